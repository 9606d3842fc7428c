//! Which of the kernel's routes count, and for whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::granted_to;
use crate::id::NodeId;
use crate::map::View;

/// Most routes that are adopted; the others are named in a sentence and not used.
pub const MAX_ROUTES: usize = 4_096;
/// Most sentences about routes that are not used; the last one says how many more there are.
const MAX_SENTENCES: usize = 8;

/// A route of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Where to.
    pub destination: IpNet,
    /// Its next hops on the network's interface, the first one at the front.
    pub next_hops: Vec<IpAddr>,
}

/// What of others' routes counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Destinations by the node to which they go.
    to: BTreeMap<NodeId, Vec<IpNet>>,
    /// Prefixes that go to another node, and from which this one may send as well: it is a further next hop.
    also_from: BTreeMap<NodeId, Vec<IpNet>>,
    /// About routes that are not used.
    sentences: Vec<String>,
}

impl Adopted {
    /// What follows for `own` from what is believed and from `routes`, which come in the order in which the kernel prefers
    /// them. Of several next hops, or several routes, for one destination the first leads to the peer; from the others packets
    /// are taken too, since answers may come back another way.
    pub fn of(view: &View, own: NodeId, routes: &[Foreign]) -> Self {
        let (mut adopted, mut refused) = (Self::default(), Vec::new());
        if routes.is_empty() {
            return adopted;
        }
        let peers = Peers::of(view, own);
        let mut led: BTreeMap<IpNet, BTreeSet<NodeId>> = BTreeMap::new();
        let mut count = 0;
        for (route, hop) in routes
            .iter()
            .flat_map(|route| route.next_hops.iter().map(move |hop| (route, *hop)))
        {
            let destination = route.destination;
            let Some(node) = peers.at(hop) else {
                refused.push(format!(
                    "the route to {destination} by {hop} is not used: no other node has that address"
                ));
                continue;
            };
            if !peers.holds(node, destination) {
                let name = &view.nodes[&node].name;
                refused.push(format!(
                    "the route to {destination} through \"{name}\" is not used: an admin grants it with `meshctl node grant \
                     {name} --routes {destination}`"
                ));
                continue;
            }
            let through = led.entry(destination).or_default();
            if through.contains(&node) {
                continue;
            }
            count += 1;
            if count > MAX_ROUTES {
                continue;
            }
            let first = through.is_empty();
            through.insert(node);
            let place = if first {
                &mut adopted.to
            } else {
                &mut adopted.also_from
            };
            place.entry(node).or_default().push(destination);
        }
        if count > MAX_ROUTES {
            refused.insert(
                0,
                format!(
                    "other programs made more than {MAX_ROUTES} routes through peers; the others are not used, aggregate them"
                ),
            );
        }
        adopted.sentences = few(refused);
        adopted
    }

    /// The prefixes that go to `node`.
    pub fn to(&self, node: NodeId) -> impl Iterator<Item = IpNet> + '_ {
        self.to.get(&node).into_iter().flatten().copied()
    }

    /// The prefixes from which `node` may send besides.
    pub fn also_from(&self, node: NodeId) -> impl Iterator<Item = IpNet> + '_ {
        self.also_from.get(&node).into_iter().flatten().copied()
    }

    /// Everything that is led to peers.
    pub fn destinations(&self) -> impl Iterator<Item = (NodeId, IpNet)> + '_ {
        let each = self.to.iter();
        each.flat_map(|(node, nets)| nets.iter().map(|net| (*node, *net)))
    }

    /// About routes that are not used.
    pub fn sentences(&self) -> impl Iterator<Item = String> + '_ {
        self.sentences.iter().cloned()
    }
}

/// The other nodes by address, and what is granted to each.
struct Peers {
    by_address: HashMap<IpAddr, NodeId>,
    granted: BTreeMap<NodeId, Vec<IpNet>>,
}

impl Peers {
    fn of(view: &View, own: NodeId) -> Self {
        let others = || view.nodes.values().filter(|node| node.id != own);
        let addresses = |node: &crate::map::Node| [(node.ipv4.into(), node.id), (node.ipv6.into(), node.id)];
        Self {
            by_address: others().flat_map(|node| addresses(node)).collect(),
            granted: others()
                .map(|node| (node.id, granted_to(view, node.id).collect()))
                .collect(),
        }
    }

    fn at(&self, address: IpAddr) -> Option<NodeId> {
        self.by_address.get(&address).copied()
    }

    fn holds(&self, node: NodeId, destination: IpNet) -> bool {
        let granted = self.granted.get(&node).into_iter().flatten();
        granted.into_iter().any(|prefix| prefix.contains(&destination))
    }
}

/// The first ones, and how many more there are.
fn few(mut sentences: Vec<String>) -> Vec<String> {
    if sentences.len() > MAX_SENTENCES {
        let more = sentences.len() - (MAX_SENTENCES - 1);
        sentences.truncate(MAX_SENTENCES - 1);
        sentences.push(format!(
            "{more} more routes of other programs on this network's interface are not used"
        ));
    }
    sentences
}
