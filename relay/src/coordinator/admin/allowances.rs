//! What nodes may expose by themselves: said, listed, withdrawn.

use meshd_api::coordinator::admin::{Done, IngressInfo, IngressRemove, IngressSet};
use meshd_core::expose::{is_site, most_ports};
use meshd_core::id::NetworkId;
use meshd_core::names::is_label;
use meshd_core::statement::{Deed, ExposeLimits, IngressTerms, Tellers};

use super::shown;
use crate::coordinator::network::Network;
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State};

impl State {
    /// All allowances of a network, and what is had by them.
    pub fn list_allowances(&mut self, id: NetworkId) -> Result<Vec<IngressInfo>, Refusal> {
        let network = self.networks.get(&id);
        let all = network.into_iter().flat_map(|network| {
            let all = network.effects.ingress().iter();
            all.map(move |(name, (serial, terms))| (network, name, *serial, terms))
        });
        Ok(all
            .map(|(network, name, serial, terms)| {
                let judged = self.judged.get(&(id, name.clone()));
                let ports = judged.map(|judged| judged.ports.as_slice()).unwrap_or_default();
                IngressInfo {
                    asked_by: judged
                        .and_then(|judged| judged.by)
                        .map(|by| network.shown_name(by)),
                    held: ports.iter().filter(|port| port.refused.is_none()).count(),
                    refused: ports.iter().filter_map(|port| port.refused.clone()).collect(),
                    serial,
                    ..network.allowance_info(name, terms)
                }
            })
            .collect())
    }

    /// Says what nodes may expose by themselves under a name.
    pub fn set_allowance(&mut self, id: NetworkId, wanted: &IngressSet) -> Result<Done, Refusal> {
        self.write(id, |network, batch| {
            let terms = network.ingress_terms(wanted)?;
            let name = wanted.name.clone();
            let message = network.allowed(&name, &terms);
            let act = network.act(Deed::Ingress { name, terms }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }

    /// Nodes may expose nothing by this name any more.
    pub fn remove_allowance(&mut self, id: NetworkId, wanted: &IngressRemove) -> Result<Done, Refusal> {
        self.write(id, |network, batch| {
            let name = wanted.name.clone();
            if !network.effects.ingress().contains_key(&name) {
                return Err(Refusal::Conflict(format!(
                    "nothing is allowed as \"{}\"; `meshctl expose allowed` shows what is",
                    shown(&name)
                )));
            }
            let message = format!("nodes expose nothing as \"{name}\" any more; its ports are closed");
            let act = network.act(Deed::WithdrawIngress { name }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }
}

impl Network {
    fn ingress_terms(&self, wanted: &IngressSet) -> Result<IngressTerms, Refusal> {
        let invalid = |text: String| Err(Refusal::Invalid(text));
        if !is_label(&wanted.name) {
            return invalid(format!(
                "\"{}\" is no name for an allowance: 1 to 63 lower-case letters, digits and inner hyphens",
                shown(&wanted.name)
            ));
        }
        if wanted.nodes.is_empty() && wanted.tags.is_empty() {
            return invalid("nobody could ask; name nodes with --from NODE or --from tag:TAG".into());
        }
        if wanted.ports.is_empty() && wanted.pool.is_empty() {
            return invalid(
                "nothing would be allowed; name public ports with --ports, or private addresses with --pool"
                    .into(),
            );
        }
        if let Some(odd) = wanted.sites.iter().find(|site| !is_site(site)) {
            return invalid(format!("\"{}\" is no name of a site", shown(odd)));
        }
        let mut nodes = Vec::new();
        for name in &wanted.nodes {
            nodes.push(self.node_named(name)?);
        }
        let ports = wanted.ports.iter().map(|text| {
            text.parse()
                .map_err(|why| Refusal::Invalid(format!("\"{}\": {why}", shown(text))))
        });
        let pool = wanted.pool.iter().map(|text| {
            text.parse()
                .map_err(|_| Refusal::Invalid(format!("\"{}\" is no IPv4 prefix", shown(text))))
        });
        Ok(IngressTerms {
            askers: Tellers {
                nodes,
                tags: wanted.tags.clone(),
            },
            ports: ports.collect::<Result<_, _>>()?,
            sites: wanted.sites.clone(),
            namespaces: wanted.namespaces.clone(),
            pool: pool.collect::<Result<_, _>>()?,
            default_class: wanted.default_class,
            listeners: wanted.max_ports,
            limits: ExposeLimits {
                connections: wanted.max_connections,
                per_second: wanted.max_per_second,
                idle: wanted.idle_seconds,
            },
        })
    }

    /// Who may ask, for a sentence.
    fn askers(&self, terms: &IngressTerms) -> String {
        let nodes = terms.askers.nodes.iter().map(|node| self.shown_name(*node));
        let tags = terms.askers.tags.iter().map(|tag| format!("nodes tagged {tag}"));
        nodes.chain(tags).collect::<Vec<_>>().join(", ")
    }

    fn allowed(&self, name: &str, terms: &IngressTerms) -> String {
        let ports: Vec<String> = terms.ports.iter().map(ToString::to_string).collect();
        let pool: Vec<String> = terms.pool.iter().map(ToString::to_string).collect();
        let mut what = Vec::new();
        if !ports.is_empty() {
            what.push(format!("the public ports {}", ports.join(", ")));
        }
        if !pool.is_empty() {
            what.push(format!("addresses of {}", pool.join(", ")));
        }
        format!(
            "\"{name}\": {} may give {} to services by themselves",
            self.askers(terms),
            what.join(" and ")
        )
    }

    fn allowance_info(&self, name: &str, terms: &IngressTerms) -> IngressInfo {
        let nodes = terms.askers.nodes.iter().map(|node| self.shown_name(*node));
        IngressInfo {
            name: name.to_owned(),
            nodes: nodes.collect(),
            tags: terms.askers.tags.clone(),
            ports: terms.ports.iter().map(ToString::to_string).collect(),
            sites: terms.sites.clone(),
            namespaces: terms.namespaces.clone(),
            pool: terms.pool.iter().map(ToString::to_string).collect(),
            default_class: terms.default_class,
            max_ports: most_ports(terms) as u16,
            ..IngressInfo::default()
        }
    }
}
