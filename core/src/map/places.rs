//! Who has which address, key and name, where several want the same: who held it keeps it.
//!
//! Addresses, and the WireGuard and discovery keys by which packets are told apart: a node keeps those it held while it says nothing newer. One that moves takes what is free, one after the
//! other for as long as a move frees something; then newcomers come, those whose address the root fixed first, then by
//! the age of their token, then by node id, so that every node decides alike. Whoever finds one taken is
//! refused, and stays where it was if it was anywhere.
//!
//! Names are given in the same spirit, but nobody is refused for a name: it is called otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Entry;
use crate::id::NodeId;
use crate::keys::{DiscoveryPublic, WireGuardPublic};
use crate::names;
use crate::statement::Record;

/// A node, what was believed of it, and what it says now.
pub struct Claim {
    /// The node.
    pub node: NodeId,
    /// Its entry as it was believed.
    pub held: Option<Arc<Entry>>,
    /// Its entry as the map has it, where that is newer and its chain is good.
    pub fresh: Option<Arc<Entry>>,
    /// Order among newcomers: not fixed by the root, serial of the delegation.
    pub rank: (bool, u64),
}

/// What only one node can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// An address in the network.
    Address(IpAddr),
    /// A WireGuard key; another's would draw that one's packets.
    WireGuard(WireGuardPublic),
    /// A discovery key.
    Discovery(DiscoveryPublic),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address {address}"),
            Self::WireGuard(key) => write!(f, "WireGuard key {key}"),
            Self::Discovery(key) => write!(f, "discovery key {key}"),
        }
    }
}

/// A newer entry that found a place taken.
pub struct Taken {
    /// The node whose entry it was.
    pub node: NodeId,
    /// The place.
    pub place: Place,
    /// Who has it.
    pub holder: NodeId,
}

/// All that a record claims.
pub fn claimed(record: &Record) -> [Place; 4] {
    [
        Place::Address(record.ipv4.into()),
        Place::Address(record.ipv6.into()),
        Place::WireGuard(record.wireguard),
        Place::Discovery(record.discovery),
    ]
}

fn places(entry: &Entry) -> impl Iterator<Item = Place> {
    entry
        .as_node()
        .into_iter()
        .flat_map(|node| claimed(node.record.value()))
}

#[derive(Default)]
struct Owners(BTreeMap<Place, NodeId>);

impl Owners {
    /// Moves a node to the entry's places, where nobody else has one of them.
    fn take(&mut self, node: NodeId, entry: &Entry, leaving: Option<&Entry>) -> Result<(), Taken> {
        for place in places(entry) {
            match self.0.get(&place) {
                Some(&holder) if holder != node => return Err(Taken { node, place, holder }),
                _ => {}
            }
        }
        leaving.into_iter().flat_map(places).for_each(|place| {
            self.0.remove(&place);
        });
        self.0.extend(places(entry).map(|place| (place, node)));
        Ok(())
    }
}

/// The entry in force for each node, and what found its place taken.
pub fn settle(claims: Vec<Claim>) -> (BTreeMap<NodeId, Arc<Entry>>, Vec<Taken>) {
    let mut owners = Owners::default();
    let mut settled = BTreeMap::new();
    let mut refused = Vec::new();
    let (known, mut newcomers): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| claim.held.is_some());
    let mut movers = Vec::new();
    for claim in known {
        let Some(held) = claim.held else { continue };
        match owners.take(claim.node, &held, None) {
            Ok(()) => drop(settled.insert(claim.node, Arc::clone(&held))),
            Err(taken) => refused.push(taken),
        }
        movers.extend(claim.fresh.map(|fresh| (claim.node, fresh)));
    }
    loop {
        let waiting = movers.len();
        movers.retain(|(node, fresh)| {
            let moved = owners
                .take(*node, fresh, settled.get(node).map(Arc::as_ref))
                .is_ok();
            if moved {
                settled.insert(*node, Arc::clone(fresh));
            }
            !moved
        });
        if movers.len() == waiting {
            break;
        }
    }
    newcomers.sort_by_key(|claim| (claim.rank, claim.node));
    let newcomers = newcomers
        .into_iter()
        .filter_map(|claim| claim.fresh.map(|fresh| (claim.node, fresh)));
    for (node, fresh) in movers.into_iter().chain(newcomers) {
        match owners.take(node, &fresh, None) {
            Ok(()) => drop(settled.insert(node, fresh)),
            Err(taken) => refused.push(taken),
        }
    }
    (settled, refused)
}

/// A node that wants a name.
pub struct Wish<'a> {
    /// The node.
    pub node: NodeId,
    /// What it says it is called, or what an admin renamed it to.
    pub wanted: &'a str,
    /// What it was called before.
    pub before: Option<&'a str>,
    /// Whether an admin named it so.
    pub by_admin: bool,
    /// Order among newcomers, as in [`Claim`].
    pub rank: (bool, u64),
}

/// Why a wish was not granted.
pub enum NotNamed {
    /// No host name for a node.
    Unfit,
    /// Another node has it.
    Held(NodeId),
    /// A host behind a gateway has it.
    OfHost,
}

/// What a node is called, and why not otherwise.
pub struct Named {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// What it wanted.
    pub wanted: String,
    /// Why it is not what it wanted.
    pub refused: Option<NotNamed>,
}

/// Gives each node a name of its own. Those of `hosts` behind gateways, which the root named, a node has only where it had it
/// before, or where the root named it so too.
pub fn name(mut wishes: Vec<Wish<'_>>, hosts: &BTreeSet<&str>) -> Vec<Named> {
    wishes.sort_by_key(|wish| {
        let keeps = wish.before == Some(wish.wanted);
        (
            !keeps,
            !wish.by_admin,
            wish.before.is_none(),
            wish.rank,
            wish.node,
        )
    });
    let mut holders: BTreeMap<String, NodeId> = BTreeMap::new();
    let mut unnamed = Vec::new();
    let mut named = Vec::new();
    for wish in &wishes {
        let unfit = !names::is_label(wish.wanted) || names::is_reserved(wish.wanted);
        let keeps = wish.by_admin || wish.before == Some(wish.wanted);
        match holders.get(wish.wanted) {
            _ if unfit => unnamed.push((wish, NotNamed::Unfit)),
            _ if !keeps && hosts.contains(wish.wanted) => unnamed.push((wish, NotNamed::OfHost)),
            Some(&holder) => unnamed.push((wish, NotNamed::Held(holder))),
            None => {
                holders.insert(wish.wanted.to_owned(), wish.node);
                named.push(wish.called(wish.wanted.to_owned(), None));
            }
        }
    }
    let mut taken: BTreeSet<String> = holders.into_keys().collect();
    for (wish, refused) in unnamed {
        let before = wish.before.filter(|before| !taken.contains(*before));
        let free = |name: &str| !taken.contains(name) && !hosts.contains(name);
        let name = before.map_or_else(|| wish.last_resort(free), str::to_owned);
        taken.insert(name.clone());
        named.push(wish.called(name, Some(refused)));
    }
    named
}

impl Wish<'_> {
    fn called(&self, name: String, refused: Option<NotNamed>) -> Named {
        Named {
            node: self.node,
            name,
            wanted: self.wanted.to_owned(),
            refused,
        }
    }

    fn last_resort(&self, free: impl Fn(&str) -> bool) -> String {
        let id = self.node.to_string();
        names::distinct(&format!("node-{}", &id[..8]), |name| !free(name))
    }
}
