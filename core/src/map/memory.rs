//! All that a node ever believed and must not unbelieve: it only grows, whatever a later map says.

use std::collections::BTreeMap;
use std::fmt;

use super::{Cause, EntryKey};
use crate::id::{NodeId, TokenId};
use crate::keys::{IdentityPublic, blake2s};
use crate::statement::{Act, Deed, Delegation, Departure, Digest, Params, Signed};

/// Most nodes remembered; more are refused, so that nobody can fill a node's disk.
pub const MAX_REMEMBERED: usize = 65_536;
/// Most departures kept of nodes whose identity is not known (yet), and which therefore prove nothing (yet).
pub const MAX_UNPROVEN: usize = 4_096;

/// What a node remembers of its network. It is saved with the map (see [`MapHolder::save`](super::MapHolder::save)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The highest (epoch, version) seen, and what it was.
    pub(super) seen: Option<((u32, u64), Digest)>,
    /// The parameters of the highest serial.
    pub(super) params: Option<Signed<Params>>,
    /// The delegation of the highest serial for each token.
    pub(super) delegations: BTreeMap<TokenId, Signed<Delegation>>,
    /// Every act, by serial.
    pub(super) acts: BTreeMap<(u64, EntryKey), Signed<Act>>,
    /// Every departure that is proven, or may be one day.
    pub(super) departures: BTreeMap<EntryKey, Signed<Departure>>,
    /// What is remembered of each node.
    pub(super) nodes: BTreeMap<NodeId, Remembered>,
}

/// What is remembered of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The identity first held; no other is taken for this node id.
    pub identity: IdentityPublic,
    /// The token by which it came.
    pub token: TokenId,
    /// The last record believed: its serial, and the hash of its bytes.
    pub record: Option<(u64, [u8; 32])>,
    /// What it was last called here.
    pub name: Option<String>,
    /// Why it is out, for good.
    pub death: Option<Death>,
}

/// Why a node is out, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Death {
    /// An admin removed it.
    Removed,
    /// An admin revoked its token and removed who came by it.
    TokenRevoked(TokenId),
    /// It left.
    Departed,
    /// Another machine took its place.
    ReplacedBy(NodeId),
}

impl Death {
    /// Whether an admin's deed is what put this node out.
    pub fn follows_from(self, deed: &Deed, of: NodeId) -> bool {
        match (self, deed) {
            (Self::Removed, Deed::Remove { node, .. }) => *node == of,
            (Self::TokenRevoked(token), Deed::RevokeTokenAndNodes { token: revoked }) => token == *revoked,
            _ => false,
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed => write!(f, "an admin removed it"),
            Self::TokenRevoked(token) => {
                write!(
                    f,
                    "an admin revoked token {token} and removed the nodes that came by it"
                )
            }
            Self::Departed => write!(f, "it left the network"),
            Self::ReplacedBy(node) => write!(f, "node {node} replaced it"),
        }
    }
}

impl Memory {
    /// Takes verified parameters, where they are not older than those held.
    pub(super) fn note_params(&mut self, params: &Signed<Params>) -> Result<(), Cause> {
        let held = self.params.as_ref().map(|held| held.value().serial);
        let got = params.value().serial;
        if newer("set of network parameters", got, held)? {
            self.params = Some(params.clone());
        }
        Ok(())
    }

    /// Takes a verified delegation, where it is not older than the one held for its token.
    pub(super) fn note_delegation(&mut self, delegation: &Signed<Delegation>) -> Result<(), Cause> {
        let Delegation { token, serial, .. } = *delegation.value();
        let held = self.delegations.get(&token).map(|held| held.value().serial);
        if newer("delegation", serial, held)? {
            self.delegations.insert(token, delegation.clone());
        }
        Ok(())
    }

    /// Takes a verified act.
    pub(super) fn note_act(&mut self, key: EntryKey, act: &Signed<Act>) {
        self.acts
            .entry((act.value().serial, key))
            .or_insert_with(|| act.clone());
    }

    /// Takes a departure that is proven, or of a node whose identity is not known while there is room for such.
    pub(super) fn note_departure(&mut self, key: EntryKey, departure: &Signed<Departure>) {
        self.departures.entry(key).or_insert_with(|| departure.clone());
    }

    /// How many more departures may be kept of nodes whose identity is not known.
    pub(super) fn room_for_unproven(&self) -> usize {
        let unproven = |held: &&Signed<Departure>| !self.nodes.contains_key(&held.value().node);
        MAX_UNPROVEN.saturating_sub(self.departures.values().filter(unproven).count())
    }

    /// Takes the identity of a node whose chain is good; the first one stays.
    pub(super) fn note_identity(
        &mut self,
        node: NodeId,
        identity: IdentityPublic,
        token: TokenId,
    ) -> Result<(), Cause> {
        if let Some(held) = self.nodes.get(&node) {
            let changed = Cause::ChangedIdentity {
                held: held.identity,
                got: identity,
            };
            return if held.identity == identity {
                Ok(())
            } else {
                Err(changed)
            };
        }
        if self.nodes.len() >= MAX_REMEMBERED {
            return Err(Cause::TooMany(MAX_REMEMBERED));
        }
        self.nodes.insert(
            node,
            Remembered {
                identity,
                token,
                record: None,
                name: None,
                death: None,
            },
        );
        Ok(())
    }

    /// Whether a record may be believed of a node: newer than the one held, or the very same.
    pub(super) fn record_counts(&self, node: NodeId, serial: u64, bytes: &[u8]) -> Result<(), Cause> {
        let held = self.nodes.get(&node).and_then(|node| node.record);
        match held {
            Some((held, hash)) if serial < held || (serial == held && hash != blake2s(&[bytes])) => {
                Err(Cause::StaleRecord { got: serial, held })
            }
            _ => Ok(()),
        }
    }

    /// Takes what is now believed of a node.
    pub(super) fn note_believed(&mut self, node: NodeId, serial: u64, bytes: &[u8], name: &str) {
        if let Some(held) = self.nodes.get_mut(&node) {
            if held.record.is_none_or(|(held, _)| held < serial) {
                held.record = Some((serial, blake2s(&[bytes])));
            }
            if held.name.as_deref() != Some(name) {
                held.name = Some(name.to_owned());
            }
        }
    }

    /// Takes that a node is out; the first cause stays.
    pub(super) fn note_death(&mut self, node: NodeId, death: Death) {
        if let Some(held) = self.nodes.get_mut(&node) {
            held.death.get_or_insert(death);
        }
    }

    /// The delegation in force for a token.
    pub(super) fn delegation(&self, token: TokenId) -> Option<&Delegation> {
        self.delegations.get(&token).map(Signed::value)
    }

    /// Whether a node is known, and not out.
    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|held| held.death.is_none())
    }

    /// Why a node that is known is out.
    pub(super) fn death(&self, node: NodeId) -> Option<Death> {
        self.nodes.get(&node).and_then(|held| held.death)
    }

    /// What a node was last called here.
    pub(super) fn name(&self, node: NodeId) -> Option<String> {
        self.nodes.get(&node).and_then(|held| held.name.clone())
    }
}

/// Whether `got` is newer than `held`; the same again is neither newer nor refused.
fn newer(what: &'static str, got: u64, held: Option<u64>) -> Result<bool, Cause> {
    match held {
        Some(held) if got < held => Err(Cause::Superseded { what, got, held }),
        Some(held) => Ok(got > held),
        None => Ok(true),
    }
}
