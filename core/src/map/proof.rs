//! Why a node is out, in entries that prove it to that node itself (docs/wire.md section 3): it takes nobody's word for it.

use minicbor::{Decoder, Encoder};

use super::chain::verify_node;
use super::network_map::item;
use super::{Body, Death, Entry, MapError, NodeEntry};
use crate::id::{NetworkId, NodeId};
use crate::keys::RootPublic;
use crate::statement::{Deed, Delegation, Enrolment};

/// Most entries of a proof: a delegation, an approval, and the node that came by them.
const MAX_ENTRIES: u64 = 3;

/// Entries of a map that put a node out: an act, a departure, or the delegation that replaces it with (the approval of and)
/// the node that came by it. Nothing in it is verified before [`death_of`](Self::death_of).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalProof(Vec<Entry>);

impl RemovalProof {
    /// Of these entries.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// Reads `[entry, ...]`.
    ///
    /// # Errors
    /// Where it is not of this form, or has more than three entries.
    pub fn decode(bytes: &[u8]) -> Result<Self, MapError> {
        let form = || MapError::Malformed("it is not [entry, ...] of one to three entries");
        let mut decoder = Decoder::new(bytes);
        let count = decoder.array().ok().flatten();
        let count = count
            .filter(|count| (1..=MAX_ENTRIES).contains(count))
            .ok_or_else(form)?;
        let entries = (0..count).map(|_| Entry::decode(item(&mut decoder, bytes)?));
        let entries = entries.collect::<Result<_, _>>()?;
        match decoder.position() == bytes.len() {
            true => Ok(Self(entries)),
            false => Err(form()),
        }
    }

    /// `[entry, ...]`.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        encoder
            .array(self.0.len() as u64)
            .expect("a vector takes all that is written to it");
        let mut bytes = encoder.into_writer();
        self.0
            .iter()
            .for_each(|entry| bytes.extend_from_slice(&entry.encode()));
        bytes
    }

    /// Why the node that enrolled so is out for good, where this proves it under the network's root key.
    pub fn death_of(&self, root: &RootPublic, own: &Enrolment) -> Option<Death> {
        let by_act = self.deeds(root).find_map(|deed| {
            [Death::Removed, Death::TokenRevoked(own.token)]
                .into_iter()
                .find(|death| death.follows_from(deed, own.node))
        });
        let left = || {
            let mut departures = self.0.iter().filter_map(|entry| match entry.body() {
                Body::Departure(departure) => Some(departure),
                _ => None,
            });
            departures.any(|departure| {
                departure
                    .verify(&own.identity)
                    .is_ok_and(|value| value.node == own.node && value.network == NetworkId::of_root(root))
            })
        };
        by_act
            .or_else(|| left().then_some(Death::Departed))
            .or_else(|| self.replacement_of(root, own.node).map(Death::ReplacedBy))
    }

    /// Which node took this one's place, where this proves it under the network's root key.
    pub fn replacement_of(&self, root: &RootPublic, old: NodeId) -> Option<NodeId> {
        let delegation = self.delegation(root).filter(|d| d.fixed.replaces == Some(old))?;
        let node = self.0.iter().find_map(Entry::as_node)?;
        let by = node.node();
        let approved = || self.deeds(root).any(|deed| *deed == Deed::Approve { node: by });
        let genuine = verify_node(node, delegation, NetworkId::of_root(root)).is_ok();
        (genuine && by != old && (!delegation.terms.approval || approved())).then_some(by)
    }

    fn delegation(&self, root: &RootPublic) -> Option<&Delegation> {
        let mut delegations = self.0.iter().filter_map(|entry| match entry.body() {
            Body::Delegation(delegation) => delegation.verify(root).ok(),
            _ => None,
        });
        delegations.find(|delegation| delegation.network == NetworkId::of_root(root))
    }

    /// What the root did, of this network.
    fn deeds(&self, root: &RootPublic) -> impl Iterator<Item = &Deed> {
        let network = NetworkId::of_root(root);
        self.0.iter().filter_map(move |entry| match entry.body() {
            Body::Act(act) => {
                let act = act.verify(root).ok().filter(|act| act.network == network);
                act.map(|act| &act.deed)
            }
            _ => None,
        })
    }
}

/// The proof that `node` took the place of another, from the entries of the map that bear it.
pub(super) fn replacement(delegation: Entry, approval: Option<Entry>, node: &NodeEntry) -> RemovalProof {
    let node = Body::Node(node.clone()).into();
    RemovalProof::new([Some(delegation), approval, Some(node)].into_iter().flatten())
}
