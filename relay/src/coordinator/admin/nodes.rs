//! Nodes: listed, shown, approved, renamed, removed, replaced; and names freed.

use meshd_api::coordinator::admin::{Done, NameFree, NodeAct, NodeInfo, NodeRelay, TokenCreated};
use meshd_core::admission::{BLOCKED_SECONDS, rename};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::statement::{Deed, Fixed, Limits, Terms};

use super::shown;
use super::tokens::Offer;
use crate::coordinator::network::Network;
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State, notice, unix_now};
use crate::store::{Table, rows};

impl State {
    /// All nodes of a network.
    pub fn list_nodes(&mut self, network: NetworkId) -> Result<Vec<NodeInfo>, Refusal> {
        let network = self.network(network)?;
        let mut nodes: Vec<_> = network
            .nodes
            .keys()
            .filter_map(|id| network.node_info(*id))
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// One node, by name or id.
    pub fn show_node(&mut self, network: NetworkId, name: &str) -> Result<NodeInfo, Refusal> {
        let network = self.network(network)?;
        let id = network.node_named(name)?;
        network.node_info(id).ok_or_else(|| unknown_node(name))
    }

    /// Lets a node in that waits.
    pub fn approve_node(&mut self, network: NetworkId, name: &str, how: &NodeAct) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let node = network.node_named(name)?;
            if network
                .nodes
                .get(&node)
                .is_some_and(|held| !network.is_pending(node, held))
            {
                return Err(Refusal::Conflict(format!(
                    "node \"{}\" is in already",
                    network.shown_name(node)
                )));
            }
            let act = network.act(Deed::Approve { node }, how.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let replaced = network.put_in_map(node)?;
            network.forget_nodes(&replaced, batch);
            let message = format!("node \"{}\" is approved", network.shown_name(node));
            let admitted = vec![(node, notice("approved", "an admin approved this node"))];
            let gone = replaced
                .into_iter()
                .map(|old| (old, crate::coordinator::nodes::replaced_notice()))
                .collect();
            let audit = Some(format!("network {}: {message}", network.name()));
            Ok((
                Done { message },
                Effect {
                    gone,
                    admitted,
                    audit,
                },
            ))
        })
    }

    /// Removes a node, for good. Its name stays blocked for a while.
    pub fn remove_node(&mut self, network: NetworkId, name: &str, how: &NodeAct) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let node = network.node_named(name)?;
            let name = network.shown_name(node);
            let blocked_until = Some(unix_now().saturating_add(BLOCKED_SECONDS));
            let deed = Deed::Remove { node, name: Some(name.clone()), blocked_until };
            let act = network.act(deed, how.statement.as_ref())?;
            network.take_act(&act, batch)?;
            network.forget_nodes(&[node], batch);
            let message = format!(
                "node \"{name}\" is removed; its name is free again in 30 days, or with `meshctl name free {name}`"
            );
            let gone = vec![(node, notice("removed", "an admin removed this node from the network"))];
            let audit = Some(format!("network {}: node {name} ({node}) removed", network.name()));
            Ok((Done { message }, Effect { gone, audit, ..Effect::default() }))
        })
    }

    /// Renames a node.
    pub fn rename_node(&mut self, network: NetworkId, name: &str, how: &NodeAct) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let node = network.node_named(name)?;
            let before = network.shown_name(node);
            let name = how
                .name
                .clone()
                .ok_or_else(|| Refusal::Invalid("give the new name".into()))?;
            rename(&name, &network.names(&[node]), unix_now())?;
            let act = network.act(
                Deed::Rename {
                    node,
                    name: name.clone(),
                },
                how.statement.as_ref(),
            )?;
            network.take_act(&act, batch)?;
            let message = format!("node \"{before}\" is called \"{name}\" now");
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }

    /// Has a node relay for others, or no longer.
    pub fn set_relay(&mut self, network: NetworkId, name: &str, how: &NodeRelay) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let (node, on) = (network.node_named(name)?, how.on);
            let name = network.shown_name(node);
            if network.effects.relays(node) == on {
                let is = if on { "is a relay already" } else { "is no relay" };
                return Err(Refusal::Conflict(format!("node \"{name}\" {is}")));
            }
            let act = network.act(Deed::Relay { node, on }, how.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let message = match on {
                true => format!("node \"{name}\" relays for nodes that reach it directly"),
                false => format!("node \"{name}\" is no relay any more"),
            };
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }

    /// Makes a token by which a rebuilt machine takes a node's place: its name, address and tags.
    pub fn replace_node(
        &mut self,
        network: NetworkId,
        name: &str,
        how: &NodeAct,
    ) -> Result<TokenCreated, Refusal> {
        let held = self.network(network)?;
        let id = held.node_named(name)?;
        let offer = held.replacement(id).ok_or_else(|| unknown_node(name))?;
        self.issue_token(network, offer, how.statement.as_ref())
    }

    /// Frees a name that a removal blocks.
    pub fn free_name(&mut self, network: NetworkId, how: &NameFree) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let name = how.name.clone();
            let blocked = network
                .effects
                .block(&name)
                .or_else(|| network.blocks.get(&name).copied());
            if blocked.is_none_or(|block| block.until <= unix_now()) {
                let text = format!("the name \"{}\" is not blocked", shown(&name));
                return Err(Refusal::Conflict(text));
            }
            let act = network.act(Deed::FreeName { name: name.clone() }, how.statement.as_ref())?;
            network.take_act(&act, batch)?;
            network.blocks.remove(&name);
            batch.delete(Table::Blocks, rows::block_key(&network.id, &name));
            let message = format!("the name \"{name}\" is free");
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }
}

fn unknown_node(name: &str) -> Refusal {
    Refusal::Unknown {
        what: "node",
        name: shown(name),
        hint: "`meshctl node list` shows those that are",
    }
}

impl Network {
    pub(super) fn node_named(&self, name: &str) -> Result<NodeId, Refusal> {
        let id: Option<NodeId> = name.parse().ok();
        let mut nodes = self.nodes.iter();
        let found = nodes.find(|(node, held)| Some(**node) == id || self.name_of(**node, held) == name);
        found.map(|(node, _)| *node).ok_or_else(|| unknown_node(name))
    }

    pub(in crate::coordinator) fn shown_name(&self, id: NodeId) -> String {
        self.nodes
            .get(&id)
            .map_or_else(|| id.to_string(), |node| self.name_of(id, node).to_owned())
    }

    /// What a token offers by which another machine becomes this node.
    fn replacement(&self, id: NodeId) -> Option<Offer> {
        let node = self.nodes.get(&id)?;
        let delegation = self.delegation_of(node)?;
        let Terms { tags, ephemeral, .. } = delegation.terms.clone();
        Some(Offer {
            terms: Terms {
                tags,
                ephemeral,
                approval: false,
                template: false,
            },
            fixed: Fixed {
                host_name: Some(self.name_of(id, node).to_owned()),
                ipv4: Some(node.row.ipv4),
                listen_port: delegation.fixed.listen_port,
                replaces: Some(id),
            },
            limits: Limits {
                not_after: None,
                uses: Some(1),
            },
        })
    }

    fn node_info(&self, id: NodeId) -> Option<NodeInfo> {
        let node = self.nodes.get(&id)?;
        let record = node.record.as_ref().map(|record| record.value());
        let last_seen = self.hub.last_seen(id).map(|seen| seen.elapsed().as_secs());
        Some(NodeInfo {
            name: self.name_of(id, node).to_owned(),
            id: id.to_string(),
            state: if self.is_pending(id, node) {
                "pending"
            } else {
                "active"
            }
            .into(),
            ipv4: node.row.ipv4,
            ipv6: node.row.ipv6,
            public_key: record.map(|record| record.wireguard.to_string()),
            tags: self
                .delegation_of(node)
                .map(|held| held.terms.tags.clone())
                .unwrap_or_default(),
            token: node.token().to_string(),
            connected: self.hub.is_connected(id),
            last_seen,
            candidates: record.map_or_else(Vec::new, |r| {
                r.candidates.iter().map(ToString::to_string).collect()
            }),
            system: record.map(|record| record.system.clone()),
            version: record.map(|record| record.version.clone()),
            moved: node.row.moved,
            relay: self.effects.relays(id),
            pods: self.part_shown(id),
            granted: self.granted_shown(id, node),
            pods_told: self.told_shown(id),
        })
    }
}
