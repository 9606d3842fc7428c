//! Egress gateways: listed, made, withdrawn.

use ipnet::IpNet;
use meshd_api::coordinator::admin::{Done, GatewayAdd, GatewayInfo, GatewayRemove};
use meshd_core::gateway::{Published, RangeError, apart_from_pods, check, parse_selector};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::statement::{Deed, GatewayTerms, HostName};

use super::shown;
use crate::coordinator::network::Network;
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State, unix_now};

impl State {
    /// All gateways of a network.
    pub fn list_gateways(&mut self, network: NetworkId) -> Result<Vec<GatewayInfo>, Refusal> {
        let network = self.network(network)?;
        Ok(network
            .gateways()
            .map(|(node, terms)| network.gateway_info(node, terms))
            .collect())
    }

    /// Makes a node the gateway for a range, or changes what it is for it.
    pub fn add_gateway(&mut self, network: NetworkId, wanted: &GatewayAdd) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let node = network.node_named(&wanted.node)?;
            let terms = network.gateway_terms(wanted)?;
            network.check_range(node, &terms, wanted.exit)?;
            let message = made(&network.shown_name(node), &terms);
            let act = network.act(Deed::Gateway { node, terms }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }

    /// Withdraws a gateway's range.
    pub fn remove_gateway(&mut self, network: NetworkId, wanted: &GatewayRemove) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let node = network.node_named(&wanted.node)?;
            let (range, name) = (prefix(&wanted.range)?, network.shown_name(node));
            if !network
                .gateways()
                .any(|(other, terms)| other == node && terms.range == range)
            {
                return Err(Refusal::Conflict(format!(
                    "\"{name}\" is no gateway for {range}; `meshctl gateway list` shows what is"
                )));
            }
            let act = network.act(Deed::WithdrawGateway { node, range }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let message = format!("\"{name}\" is no longer a gateway for {range}");
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }
}

impl Network {
    /// Gateways whose node is in.
    pub(super) fn gateways(&self) -> impl Iterator<Item = (NodeId, &GatewayTerms)> {
        self.effects
            .gateways()
            .filter(|(node, _)| self.nodes.contains_key(node))
    }

    fn gateway_terms(&self, wanted: &GatewayAdd) -> Result<GatewayTerms, Refusal> {
        let mut to_nodes = Vec::new();
        for name in &wanted.to_nodes {
            to_nodes.push(self.node_named(name)?);
        }
        Ok(GatewayTerms {
            range: prefix(&wanted.range)?,
            published: wanted.published.as_deref().map(prefix).transpose()?,
            nat: wanted.nat,
            priority: wanted.priority,
            to_nodes,
            to_tags: wanted.to_tags.clone(),
            pods: wanted.pods.clone(),
            names: host_names(&wanted.names)?,
        })
    }

    fn check_range(&self, node: NodeId, terms: &GatewayTerms, exit: bool) -> Result<(), Refusal> {
        if let Some(pods) = &terms.pods {
            parse_selector(pods)
                .map_err(|why| Refusal::Invalid(format!("the pods that may use it: {why}")))?;
        }
        let params = self.params.value();
        let mesh: [IpNet; 2] = [params.ipv4.into(), params.ipv6.into()];
        if terms.range.prefix_len() == 0 && !exit {
            return Err(Refusal::Invalid(RangeError::Everything(terms.range).to_string()));
        }
        self.check_names(node, terms)?;
        self.apart_from_grants(published(terms))?;
        let others = self
            .gateways()
            .filter(|(other, held)| (*other, held.range) != (node, terms.range));
        let others: Vec<_> = others
            .map(|(other, held)| Published {
                prefix: published(held),
                range: held.range,
                gateway: self.shown_name(other),
            })
            .collect();
        check(terms.range, published(terms), &mesh, &others)
            .and_then(|()| apart_from_pods(published(terms), &self.parts_in_use()))
            .map_err(|why| Refusal::Invalid(why.to_string()))
    }

    /// A host's name is nobody else's: no node's, no removed node's, and no host's in another range.
    fn check_names(&self, node: NodeId, terms: &GatewayTerms) -> Result<(), Refusal> {
        for host in &terms.names {
            let label = &host.label;
            host.check(&terms.range).map_err(Refusal::Invalid)?;
            if self.node_named(label).is_ok() {
                return Err(Refusal::Conflict(format!("\"{label}\" is the name of a node")));
            }
            self.check_not_blocked(label)?;
            let same =
                |other: &HostName| other.label == *label && other.address.is_ipv4() == host.address.is_ipv4();
            let other = self
                .gateways()
                .filter(|(other, held)| (*other, held.range) != (node, terms.range))
                .filter(|(_, held)| published(held) != published(terms))
                .find_map(|(_, held)| Some((held.range, held.names.iter().find(|host| same(host))?)));
            if let Some((range, other)) = other {
                return Err(Refusal::Conflict(format!(
                    "\"{label}\" is the name of {} in {range} already",
                    other.address
                )));
            }
        }
        Ok(())
    }

    /// The host behind a gateway that has this name, for people.
    pub(in crate::coordinator) fn host_named(&self, label: &str) -> Option<String> {
        self.gateways().find_map(|(node, terms)| {
            let host = terms.names.iter().find(|host| host.label == label)?;
            Some(format!("{} behind \"{}\"", host.address, self.shown_name(node)))
        })
    }

    /// Nodes write no name that a removed node had a short while ago.
    fn check_not_blocked(&self, label: &str) -> Result<(), Refusal> {
        let blocks = [self.effects.block(label), self.blocks.get(label).copied()];
        if blocks.into_iter().flatten().any(|block| block.until > unix_now()) {
            return Err(Refusal::Conflict(format!(
                "\"{label}\" was a removed node's name and is blocked; `meshctl name free {label}` frees it"
            )));
        }
        Ok(())
    }

    fn gateway_info(&self, node: NodeId, terms: &GatewayTerms) -> GatewayInfo {
        GatewayInfo {
            node: self.shown_name(node),
            id: node.to_string(),
            range: terms.range.to_string(),
            published: published(terms).to_string(),
            nat: terms.nat,
            priority: terms.priority,
            to_nodes: terms.to_nodes.iter().map(|to| self.shown_name(*to)).collect(),
            to_tags: terms.to_tags.clone(),
            pods: terms.pods.clone(),
            names: terms.names.iter().map(ToString::to_string).collect(),
            connected: self.hub.is_connected(node),
        }
    }
}

fn made(name: &str, terms: &GatewayTerms) -> String {
    let how = match terms.nat {
        true => "its hosts see the gateway's own address",
        false => "its hosts see the nodes' addresses and need a route to them through the gateway",
    };
    match terms.published {
        _ if terms.range.prefix_len() == 0 => {
            format!(
                "\"{name}\" is an exit node for {}; a node chooses it with `meshctl exit use {name}`",
                terms.range
            )
        }
        Some(published) => format!(
            "\"{name}\" is the gateway for {}, known as {published}; {how}",
            terms.range
        ),
        None => format!("\"{name}\" is a gateway for {}; {how}", terms.range),
    }
}

fn published(terms: &GatewayTerms) -> IpNet {
    terms.published.unwrap_or(terms.range)
}

fn host_names(texts: &[String]) -> Result<Vec<HostName>, Refusal> {
    let parsed = texts.iter().map(|text| {
        let invalid = |why| Refusal::Invalid(format!("\"{}\" is no host's name: {why}", shown(text)));
        text.parse().map_err(invalid)
    });
    parsed.collect()
}

pub(super) fn prefix(text: &str) -> Result<IpNet, Refusal> {
    let parsed: Option<IpNet> = text.parse().ok();
    let invalid = |why: String| Refusal::Invalid(format!("\"{}\" {why}", shown(text)));
    let net = parsed.ok_or_else(|| invalid("is no prefix; write it as 192.168.50.0/24".into()))?;
    match net == net.trunc() {
        true => Ok(net),
        false => Err(invalid(format!("is a host, not a prefix; write {}", net.trunc()))),
    }
}
