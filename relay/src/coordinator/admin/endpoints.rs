//! Endpoints: addresses that every node holds and balances.

use std::net::IpAddr;

use meshd_api::Base64Bytes;
use meshd_api::coordinator::admin::{Done, EndpointInfo, EndpointMember, EndpointRemove, EndpointSet};
use meshd_core::balance::{Endpoint, check};
use meshd_core::id::NetworkId;
use meshd_core::names::is_label;
use meshd_core::statement::{Deed, EndpointTerms, Member};

use super::shown;
use crate::coordinator::network::Network;
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State};

impl State {
    /// All endpoints of a network.
    pub fn list_endpoints(&mut self, network: NetworkId) -> Result<Vec<EndpointInfo>, Refusal> {
        let network = self.network(network)?;
        let all = network.effects.endpoints().iter();
        Ok(all
            .map(|(name, (serial, terms))| network.endpoint_info(name, *serial, terms))
            .collect())
    }

    /// Makes an endpoint, or changes it.
    pub fn set_endpoint(&mut self, network: NetworkId, wanted: &EndpointSet) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let terms = network.endpoint_terms(wanted)?;
            network.check_endpoint(wanted, &terms)?;
            let name = wanted.name.clone();
            let message = network.made(&name, &terms);
            let act = network.act(Deed::Endpoint { name, terms }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }

    /// Takes an endpoint away.
    pub fn remove_endpoint(&mut self, network: NetworkId, wanted: &EndpointRemove) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let name = wanted.name.clone();
            if !network.effects.endpoints().contains_key(&name) {
                return Err(Refusal::Conflict(format!(
                    "there is no endpoint \"{}\"; `meshctl endpoint list` shows those that are",
                    shown(&name)
                )));
            }
            let message = format!("there is no endpoint \"{name}\" any more; its connections end");
            let act = network.act(Deed::WithdrawEndpoint { name }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }
}

impl Network {
    fn endpoint_terms(&self, wanted: &EndpointSet) -> Result<EndpointTerms, Refusal> {
        let mut members = Vec::new();
        for EndpointMember { node, port, .. } in &wanted.members {
            let (node, port) = (self.node_named(node)?, *port);
            members.push(Member { node, port });
        }
        members.sort();
        members.dedup();
        let address = wanted.address.as_deref().map(address).transpose()?;
        let authorities = wanted.authorities.iter().map(|der| der.0.clone()).collect();
        Ok(EndpointTerms {
            address,
            port: wanted.port,
            members,
            authorities,
        })
    }

    fn check_endpoint(&self, wanted: &EndpointSet, terms: &EndpointTerms) -> Result<(), Refusal> {
        let name = &wanted.name;
        if !is_label(name) {
            let text = format!(
                "\"{}\" is no name for an endpoint: 1 to 63 lower-case letters, digits and inner hyphens",
                shown(name)
            );
            return Err(Refusal::Invalid(text));
        }
        if self.node_named(name).is_ok() {
            return Err(Refusal::Conflict(format!(
                "\"{name}\" is a node; name the endpoint otherwise"
            )));
        }
        let all = self.effects.endpoints();
        let held = all.get(name).map_or(0, |(serial, _)| *serial);
        if held != wanted.based_on {
            let got = wanted.based_on;
            return Err(Refusal::StaleBase { got, held });
        }
        let others: Vec<_> = all
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(name, (_, terms))| endpoint(name, terms))
            .collect();
        check(terms, self.params.value(), self.effects.pods(), &others)
            .map_err(|why| Refusal::Invalid(why.to_string()))
    }

    fn made(&self, name: &str, terms: &EndpointTerms) -> String {
        let at = self.at(name, terms).join(" and ");
        let members = terms.members.iter();
        let members: Vec<String> = members
            .map(|member| format!("{}:{}", self.shown_name(member.node), member.port))
            .collect();
        match members.is_empty() {
            true => format!("the endpoint \"{name}\" is at {at} on every node, with nobody behind it yet"),
            false => format!(
                "the endpoint \"{name}\" is at {at} on every node, and leads to {}",
                members.join(", ")
            ),
        }
    }

    fn at(&self, name: &str, terms: &EndpointTerms) -> Vec<String> {
        let at = endpoint(name, terms).at(self.params.value());
        at.iter().map(ToString::to_string).collect()
    }

    fn endpoint_info(&self, name: &str, serial: u64, terms: &EndpointTerms) -> EndpointInfo {
        let member = |member: &Member| EndpointMember {
            node: self.shown_name(member.node),
            id: member.node.to_string(),
            port: member.port,
            connected: self.hub.is_connected(member.node),
        };
        let check = match terms.authorities.is_empty() {
            true => "connect",
            false => "readyz",
        };
        EndpointInfo {
            name: name.to_owned(),
            at: self.at(name, terms),
            address: terms.address.map(|address| address.to_string()),
            port: terms.port,
            members: terms.members.iter().map(member).collect(),
            check: check.to_owned(),
            authorities: terms.authorities.iter().cloned().map(Base64Bytes).collect(),
            serial,
        }
    }
}

fn endpoint(name: &str, terms: &EndpointTerms) -> Endpoint {
    Endpoint {
        name: name.to_owned(),
        terms: terms.clone(),
    }
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    let parsed = text.parse();
    parsed.map_err(|_| Refusal::Invalid(format!("\"{}\" is no IP address", shown(text))))
}
