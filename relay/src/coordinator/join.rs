//! A join: who comes in, as what.
//!
//! 1. The enrolment must be by the token's join key, and the connection by the identity that it names.
//! 2. An identity that is known is the node that it was: it costs no use and gets what it had.
//! 3. A new one is judged by its token, and gets a name and an address.
//! 4. The use, the node, its name and its address are one transaction: fifty that race for twenty uses are twenty nodes.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use meshd_api::coordinator::node::{JoinPreview, JoinReply};
use meshd_api::local::Membership;
use meshd_core::admission::{
    Admitted, GivenName, NameWish, Returning, TokenRefusal, admit, allot, give_name,
};
use meshd_core::auth::{EXPORTER_LEN, NodeAuthorization};
use meshd_core::id::NodeId;
use meshd_core::statement::{Delegation, Enrolment, Signed};

use super::clones::Newcomer;
use super::hub::Asked;
use super::network::{Network, Node};
use super::refusal::Refusal;
use super::state::{Effect, State, unix_now};
use crate::store::Batch;
use crate::store::rows::NodeRow;

/// Nodes of one network: their map stays below the 4 MiB that a node takes (docs/wire.md section 9).
const MAX_NODES: usize = 4096;

/// A join as it came.
#[derive(Debug, Clone)]
pub struct JoinInput {
    /// Signed by the token's join key.
    pub enrolment: Signed<Enrolment>,
    /// Signed by the identity, in this session.
    pub proof: NodeAuthorization,
    /// Keying material of the session.
    pub exporter: [u8; EXPORTER_LEN],
    /// Wanted host name.
    pub host_name: String,
    /// Wanted address.
    pub ip: Option<Ipv4Addr>,
    /// Ranges of the machine, from which it gets no address unless it asks for one.
    pub avoid: Vec<Ipv4Net>,
    /// The machine.
    pub newcomer: Newcomer,
}

impl State {
    /// What the token's network is, where the token admits.
    pub fn preview(&mut self, input: &JoinInput) -> Result<JoinPreview, Refusal> {
        let network = self.joined_network(input)?;
        let enrolment = input.enrolment.value();
        let token = network.token_state(enrolment.token);
        admit(token.as_ref(), network.returning(enrolment).0, unix_now())?;
        let params = network.params.value();
        Ok(JoinPreview {
            template: token.is_some_and(|token| token.delegation.terms.template),
            network: params.name.clone(),
            cidr: params.ipv4.to_string(),
            cidr6: params.ipv6.to_string(),
        })
    }

    /// Checks proof and enrolment; asks an older connection of the same identity, where that is due.
    pub fn join_asks(&mut self, input: &JoinInput) -> Result<Option<Asked>, Refusal> {
        let network = self.joined_network(input)?;
        let (returning, node) = network.returning(input.enrolment.value());
        match returning {
            Returning::Known { .. } => Ok(self.ask_older(input.proof.network, node, &input.newcomer)),
            Returning::New | Returning::Dead(_) => Ok(None),
        }
    }

    /// Joins. `alive`: whether an older connection answered.
    pub fn join(&mut self, input: &JoinInput, alive: bool) -> Result<JoinReply, Refusal> {
        self.joined_network(input)?;
        self.write(input.proof.network, |network, batch| {
            let enrolment = input.enrolment.value();
            let (returning, id) = network.returning(enrolment);
            let token = network.token_state(enrolment.token);
            let admitted = admit(token.as_ref(), returning, unix_now())?;
            let audit = match returning {
                Returning::Known { .. } => network.rejoin(id, input, alive, batch)?,
                Returning::New | Returning::Dead(_) => Some(network.admit_new(input, admitted, batch)?),
            };
            Ok((
                network.reply(id, admitted)?,
                Effect {
                    audit,
                    ..Effect::default()
                },
            ))
        })
    }

    /// The network that a join is for, where enrolment and proof hold.
    fn joined_network(&mut self, input: &JoinInput) -> Result<&mut Network, Refusal> {
        let enrolment = input.enrolment.value();
        let unknown = || Refusal::from(TokenRefusal::Unknown);
        let network = self.networks.get_mut(&enrolment.network).ok_or_else(unknown)?;
        let token = network.tokens.get(&enrolment.token).ok_or_else(unknown)?;
        input.enrolment.verify(&token.delegation.value().join)?;
        let proof = &input.proof;
        let fits = proof.network == enrolment.network && proof.node == enrolment.node;
        if !fits || !proof.verify(&input.exporter, &enrolment.identity) {
            return Err(Refusal::Unproven(
                "the signature does not prove the identity that wants to join",
            ));
        }
        Ok(network)
    }
}

impl Network {
    fn admit_new(
        &mut self,
        input: &JoinInput,
        admitted: Admitted,
        batch: &mut Batch,
    ) -> Result<String, Refusal> {
        let Enrolment { node: id, token, .. } = *input.enrolment.value();
        if self.nodes.contains_key(&id) {
            let text = "another identity has this node id; draw a new one and join again";
            return Err(Refusal::Conflict(text.into()));
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(Refusal::Full);
        }
        let held = self.tokens.get(&token).ok_or(TokenRefusal::Unknown)?;
        let row = self.allotment(held.delegation.value(), input)?;
        let waits = if admitted.pending {
            ", waits for approval"
        } else {
            ""
        };
        let (network, name, ipv4) = (self.name(), &row.name, row.ipv4);
        let line = format!("network {network}: node {name} ({id}) joined by token {token} as {ipv4}{waits}");
        if let Some(token) = self.tokens.get_mut(&token) {
            token.used += u32::from(admitted.costs_use);
        }
        self.nodes
            .insert(id, Node::new(input.enrolment.clone(), None, row));
        self.save_token(token, batch);
        self.save_node(id, batch);
        let avoid: Vec<IpNet> = input.avoid.iter().map(|lan| IpNet::from(*lan)).collect();
        self.allot_pods(&avoid, batch)?;
        Ok(line)
    }

    /// Name and address for a newcomer.
    fn allotment(&self, delegation: &Delegation, input: &JoinInput) -> Result<NodeRow, Refusal> {
        let params = self.params.value();
        let fixed = &delegation.fixed;
        let replaced: Vec<NodeId> = fixed.replaces.into_iter().collect();
        let wish = fixed
            .host_name
            .as_deref()
            .map_or(NameWish::Machine(&input.host_name), NameWish::Fixed);
        let GivenName { name, .. } = give_name(wish, &self.names(&replaced), unix_now())?;
        if let (Some(fixed), Some(wanted)) =
            (fixed.ipv4, input.ip.filter(|wanted| Some(*wanted) != fixed.ipv4))
        {
            let text =
                format!("this token fixes the address {fixed}, and {wanted} was asked for; leave out --ip");
            return Err(Refusal::Invalid(text));
        }
        let address = allot(
            params.ipv4,
            params.ipv6,
            &self.holders(&replaced),
            fixed.ipv4.or(input.ip),
            &input.avoid,
        )?;
        Ok(NodeRow {
            enrolment: input.enrolment.bytes().into(),
            record: None,
            name,
            ipv4: address.ipv4,
            ipv6: address.ipv6,
            facts: input.newcomer.facts.0.clone(),
            moved: false,
            joined: unix_now(),
        })
    }

    /// An identity that is in. Where another node has its address by now (after a restore), it gets a new one.
    fn rejoin(
        &mut self,
        id: NodeId,
        input: &JoinInput,
        alive: bool,
        batch: &mut Batch,
    ) -> Result<Option<String>, Refusal> {
        let address = match self.nodes.get(&id) {
            Some(node) if self.is_held(id, node.row.ipv4) => {
                let params = self.params.value();
                Some(allot(
                    params.ipv4,
                    params.ipv6,
                    &self.holders(&[]),
                    None,
                    &input.avoid,
                )?)
            }
            _ => None,
        };
        let judged = self.judge(id, &input.newcomer, alive)?;
        self.take_facts(id, &input.newcomer, &judged);
        if let (Some(node), Some(address)) = (self.nodes.get_mut(&id), address) {
            (node.row.ipv4, node.row.ipv6) = (address.ipv4, address.ipv6);
        }
        self.save_node(id, batch);
        Ok(judged.line.map(|line| format!("network {}: {line}", self.name())))
    }

    fn reply(&self, id: NodeId, admitted: Admitted) -> Result<JoinReply, Refusal> {
        let missing = || Refusal::from(TokenRefusal::Unknown);
        let node = self.nodes.get(&id).ok_or_else(missing)?;
        let token = self.tokens.get(&node.token()).ok_or_else(missing)?;
        Ok(JoinReply {
            state: if admitted.pending {
                Membership::Pending
            } else {
                Membership::Joined
            },
            node: id.to_string(),
            params: (!admitted.pending).then(|| self.params.bytes().into()),
            network: self.name().to_owned(),
            delegation: token.delegation.bytes().into(),
            hostname: self.name_of(id, node).to_owned(),
            ipv4: node.row.ipv4,
            ipv6: node.row.ipv6,
            listen_port: token.delegation.value().fixed.listen_port,
        })
    }
}
