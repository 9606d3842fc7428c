//! What is exposed: ports of this host, and the nodes behind them.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;
use meshd_api::coordinator::admin::{Done, ExposeInfo, ExposeRemove, ExposeSet, ExposeTarget};
use meshd_core::expose::{Exposure, check};
use meshd_core::id::NetworkId;
use meshd_core::names::is_label;
use meshd_core::statement::{Deed, ExposeLimits, ExposeTerms, Member, Protocol, ProxyVersion};

use super::shown;
use crate::coordinator::network::Network;
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State};
use crate::expose::{Place, Target, Wanted};

impl State {
    /// All that a network exposes; how it goes on, the ingress knows.
    pub fn list_exposures(&mut self, network: NetworkId) -> Result<Vec<ExposeInfo>, Refusal> {
        let told = self.exposed.borrow().clone();
        let held = self.network(network)?;
        let all = held.effects.exposures().iter();
        let by_admins = all.map(|(name, (serial, terms))| held.exposure_info(name, *serial, terms));
        let by_nodes = told
            .iter()
            .filter(|one| one.network == network && one.allowance.is_some())
            .map(asked_info);
        Ok(by_admins.chain(by_nodes).collect())
    }

    /// Exposes something, or changes what is exposed under this name.
    pub fn set_exposure(&mut self, network: NetworkId, wanted: &ExposeSet) -> Result<Done, Refusal> {
        let others = self.other_exposures(network, &wanted.name);
        let own = self.site.own_ports.clone();
        self.write(network, |network, batch| {
            let terms = network.expose_terms(wanted)?;
            network.may_expose(wanted)?;
            check(&terms, &own, &others).map_err(|why| Refusal::Conflict(why.to_string()))?;
            let name = wanted.name.clone();
            let message = network.exposed(&name, &terms);
            let act = network.act(Deed::Expose { name, terms }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }

    /// Exposes something no longer.
    pub fn remove_exposure(&mut self, network: NetworkId, wanted: &ExposeRemove) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let name = wanted.name.clone();
            if !network.effects.exposures().contains_key(&name) {
                return Err(Refusal::Conflict(format!(
                    "nothing is exposed as \"{}\"; `meshctl expose list` shows what is",
                    shown(&name)
                )));
            }
            let message = format!("nothing is exposed as \"{name}\" any more; its connections end");
            let act = network.act(Deed::WithdrawExpose { name }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }

    /// What all networks expose but this one under this name.
    fn other_exposures(&self, network: NetworkId, name: &str) -> Vec<Exposure> {
        let all = self.networks.values();
        let all = all.flat_map(|held| held.effects.exposures().iter().map(move |one| (held, one)));
        all.filter(|(held, (other, _))| held.id != network || *other != name)
            .map(|(held, (name, (_, terms)))| Exposure {
                network: held.name().to_owned(),
                name: name.clone(),
                terms: terms.clone(),
            })
            .collect()
    }

    /// A network's name and prefix.
    pub fn prefix_of(&mut self, name: &str) -> Result<(String, Ipv4Net), Refusal> {
        let network = self.network_named(name)?;
        Ok((network.name().to_owned(), network.params.value().ipv4))
    }

    /// The name of the node that has this mesh address.
    pub fn name_at(&mut self, network: NetworkId, address: Ipv4Addr) -> Option<String> {
        let network = self.networks.get(&network)?;
        let mut nodes = network.nodes.iter();
        let (id, node) = nodes.find(|(_, node)| node.row.ipv4 == address)?;
        Some(network.name_of(*id, node).to_owned())
    }
}

impl Network {
    /// What an admin exposes.
    pub(in crate::coordinator) fn wanted_exposures(&self) -> impl Iterator<Item = Wanted> {
        let all = self.effects.exposures().iter();
        all.map(|(name, (_, terms))| Wanted {
            network: self.id,
            network_name: self.name().to_owned(),
            prefix: self.params.value().ipv4,
            name: name.clone(),
            allowance: None,
            terms: terms.clone(),
            places: terms
                .targets
                .iter()
                .filter_map(|target| self.place(target))
                .collect(),
        })
    }

    /// Where a target is; none where its node is out, or waits for approval.
    fn place(&self, target: &Member) -> Option<Place> {
        let node = self.nodes.get(&target.node)?;
        let name = self.name_of(target.node, node).to_owned();
        let pending = self.is_pending(target.node, node);
        (!pending).then(|| Place {
            target: Target::Node(*target),
            name,
            address: SocketAddr::from((node.row.ipv4, target.port)),
            node: node.row.ipv4,
        })
    }

    fn expose_terms(&self, wanted: &ExposeSet) -> Result<ExposeTerms, Refusal> {
        let mut targets = Vec::new();
        for ExposeTarget { node, port, .. } in &wanted.targets {
            let (node, port) = (self.node_named(node)?, *port);
            targets.push(Member { node, port });
        }
        targets.sort();
        targets.dedup();
        let odd = |what: &str, text: &str| Refusal::Invalid(format!("\"{}\" is no {what}", shown(text)));
        let proxy = match wanted.proxy_protocol.as_deref() {
            None => None,
            Some("v1") => Some(ProxyVersion::V1),
            Some("v2") => Some(ProxyVersion::V2),
            Some(other) => return Err(odd("version of the PROXY protocol; take v1 or v2", other)),
        };
        Ok(ExposeTerms {
            protocol: match wanted.protocol.as_str() {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                other => return Err(odd("protocol; take tcp or udp", other)),
            },
            port: wanted.port,
            targets,
            sites: wanted.sites.clone(),
            proxy,
            limits: ExposeLimits {
                connections: wanted.max_connections,
                per_second: wanted.max_per_second,
                idle: wanted.idle_seconds,
            },
        })
    }

    fn may_expose(&self, wanted: &ExposeSet) -> Result<(), Refusal> {
        let name = &wanted.name;
        if !is_label(name) {
            let text = format!(
                "\"{}\" is no name for what is exposed: 1 to 63 lower-case letters, digits and inner hyphens",
                shown(name)
            );
            return Err(Refusal::Invalid(text));
        }
        let all = self.effects.exposures();
        let held = all.get(name).map_or(0, |(serial, _)| *serial);
        let got = wanted.based_on;
        match held == got {
            true => Ok(()),
            false => Err(Refusal::StaleBase { got, held }),
        }
    }

    fn exposed(&self, name: &str, terms: &ExposeTerms) -> String {
        let targets = terms.targets.iter();
        let targets: Vec<String> = targets
            .map(|target| format!("{}:{}", self.shown_name(target.node), target.port))
            .collect();
        let sites = match terms.sites.is_empty() {
            true => String::new(),
            false => format!(" for {}", terms.sites.join(", ")),
        };
        let (protocol, port) = (terms.protocol.word(), terms.port);
        format!(
            "\"{name}\" is exposed: port {port} ({protocol}) of meshrelay's machine{sites} leads to {}",
            targets.join(", ")
        )
    }

    fn exposure_info(&self, name: &str, serial: u64, terms: &ExposeTerms) -> ExposeInfo {
        let target = |target: &Member| ExposeTarget {
            node: self.shown_name(target.node),
            id: target.node.to_string(),
            port: target.port,
            health: "unknown".into(),
            connections: 0,
        };
        ExposeInfo {
            name: name.to_owned(),
            protocol: terms.protocol.word().to_owned(),
            port: terms.port,
            sites: terms.sites.clone(),
            proxy_protocol: terms.proxy.map(proxy_word),
            targets: terms.targets.iter().map(target).collect(),
            serial,
            ..ExposeInfo::default()
        }
    }
}

fn proxy_word(version: ProxyVersion) -> String {
    match version {
        ProxyVersion::V1 => "v1".to_owned(),
        ProxyVersion::V2 => "v2".to_owned(),
    }
}

/// A port that a node asked for.
fn asked_info(wanted: &Wanted) -> ExposeInfo {
    let target = |place: &Place| ExposeTarget {
        node: place.name.clone(),
        port: place.address.port(),
        health: "unknown".into(),
        ..ExposeTarget::default()
    };
    ExposeInfo {
        name: wanted.name.clone(),
        allowance: wanted.allowance.clone(),
        protocol: wanted.terms.protocol.word().to_owned(),
        port: wanted.terms.port,
        sites: wanted.terms.sites.clone(),
        proxy_protocol: wanted.terms.proxy.map(proxy_word),
        targets: wanted.places.iter().map(target).collect(),
        ..ExposeInfo::default()
    }
}
