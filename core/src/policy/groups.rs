//! Who is in which group: kept up to date address by address, because pods come and go all the time and selectors are slow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::cluster::Cluster;
use super::model::{Name, Pod, Protocol};
use super::selector::{Labels, Selector};

/// Whose an address is, with what this node knows better than the API server.
pub(super) struct Holders<'a> {
    pub cluster: &'a Cluster,
    /// Addresses of this node's pods that the runtime named, and whose they are; `None`: nobody's that is known.
    pub owners: &'a BTreeMap<IpAddr, Option<Name>>,
}

impl Holders<'_> {
    fn of(&self, ip: &IpAddr) -> Vec<&Pod> {
        match self.owners.get(ip) {
            Some(owner) => owner.iter().filter_map(|name| self.cluster.pod(name)).collect(),
            None => self.cluster.holders(ip).collect(),
        }
    }

    fn addresses(&self) -> BTreeSet<IpAddr> {
        self.cluster
            .addresses()
            .chain(self.owners.keys())
            .copied()
            .collect()
    }
}

/// Selectors of pods: any of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    /// The policy's namespace, where it matters.
    pub namespace: Option<Box<str>>,
    /// Namespaces (absent: that one) and pods (absent: all) that are selected, in order and each once.
    pub peers: Vec<(Option<Selector>, Option<Selector>)>,
}

impl GroupKey {
    fn selects(&self, pod: &Pod, cluster: &Cluster) -> bool {
        self.peers.iter().any(|(namespaces, pods)| {
            let in_namespace = match namespaces {
                None => self.namespace.as_deref() == Some(&pod.name.namespace),
                Some(selector) => selects_namespace(selector, cluster.namespace(&pod.name.namespace)),
            };
            in_namespace && pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
        })
    }
}

/// A namespace whose labels are unknown is selected by what selects everything.
fn selects_namespace(selector: &Selector, labels: Option<&Labels>) -> bool {
    labels.map_or(selector.is_everything(), |labels| selector.matches(labels))
}

/// What is kept of each key: a number, and who is in it.
#[derive(Debug)]
pub(super) struct Numbered<K, M> {
    numbers: BTreeMap<K, u32>,
    members: BTreeMap<u32, Arc<BTreeSet<M>>>,
    /// Whose members are not known yet.
    fresh: BTreeSet<u32>,
    next: u32,
}

impl<K, M> Default for Numbered<K, M> {
    fn default() -> Self {
        Self {
            numbers: BTreeMap::new(),
            members: BTreeMap::new(),
            fresh: BTreeSet::new(),
            next: 1,
        }
    }
}

impl<K: Ord, M: Ord> Numbered<K, M> {
    /// The number of a key.
    pub fn number(&mut self, key: K) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(key, number);
        self.fresh.insert(number);
        self.members.insert(number, Arc::default());
        number
    }

    /// Forgets those that nobody uses.
    pub fn keep(&mut self, used: &BTreeSet<u32>) {
        self.numbers.retain(|_, number| used.contains(number));
        self.members.retain(|number, _| used.contains(number));
        self.fresh.retain(|number| used.contains(number));
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<u32, Arc<BTreeSet<M>>> {
        self.members.clone()
    }
}

/// Addresses of pods by selectors.
pub(super) type Groups = Numbered<GroupKey, IpAddr>;
/// Addresses and numbers of ports by protocol and name.
pub(super) type PortNames = Numbered<(Protocol, Box<str>), (IpAddr, u16)>;

impl Groups {
    /// Looks at these addresses again, at all of them where none are given; at all for new groups in any case.
    pub fn refresh(&mut self, holders: &Holders<'_>, changed: Option<&BTreeSet<IpAddr>>) {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() && changed.is_some_and(BTreeSet::is_empty) {
            return;
        }
        let all = match changed {
            Some(_) if fresh.is_empty() => BTreeSet::new(),
            _ => holders.addresses(),
        };
        let in_group = |key: &GroupKey, ip: &IpAddr| {
            let pods = holders.of(ip);
            pods.into_iter().any(|pod| key.selects(pod, holders.cluster))
        };
        for (key, number) in &self.numbers {
            let Some(members) = self.members.get_mut(number) else {
                continue;
            };
            match changed {
                Some(changed) if !fresh.contains(number) => {
                    for ip in changed {
                        let wanted = in_group(key, ip);
                        if wanted != members.contains(ip) {
                            let members = Arc::make_mut(members);
                            let _ = if wanted {
                                members.insert(*ip)
                            } else {
                                members.remove(ip)
                            };
                        }
                    }
                }
                _ => replace(
                    members,
                    all.iter().filter(|ip| in_group(key, ip)).copied().collect(),
                ),
            }
        }
    }
}

impl PortNames {
    /// Looks at all pods again where something changed; for new names in any case.
    pub fn refresh(&mut self, holders: &Holders<'_>, changed: bool) {
        let fresh = std::mem::take(&mut self.fresh);
        if self.numbers.is_empty() || (fresh.is_empty() && !changed) {
            return;
        }
        let mut found: BTreeMap<u32, BTreeSet<(IpAddr, u16)>> = BTreeMap::new();
        for ip in holders.addresses() {
            for port in holders.of(&ip).into_iter().flat_map(|pod| &pod.ports) {
                if let Some(number) = self.numbers.get(&(port.protocol, port.name.clone())) {
                    found.entry(*number).or_default().insert((ip, port.port));
                }
            }
        }
        for (number, members) in &mut self.members {
            replace(members, found.remove(number).unwrap_or_default());
        }
    }
}

/// Keeps what is shared with an earlier rule set where nothing changed.
fn replace<M: Ord>(held: &mut Arc<BTreeSet<M>>, new: BTreeSet<M>) {
    if **held != new {
        *held = Arc::new(new);
    }
}
