//! What is known of the cluster, and what of it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;

use super::model::{Name, Namespace, Pod, Policy};
use super::selector::Labels;

/// Most namespaces that are kept.
pub const MAX_NAMESPACES: usize = 20_000;
/// Most pods that are kept.
pub const MAX_PODS: usize = 50_000;
/// Most policies that are kept.
pub const MAX_POLICIES: usize = 10_000;

/// There is no room for another object; it was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster has more than {most} {kind}; the others are not known here")]
pub struct Full {
    /// What kind.
    pub kind: &'static str,
    /// How many there may be.
    pub most: usize,
}

/// Of which kinds a whole list was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    namespaces: bool,
    pods: bool,
    policies: bool,
}

/// What changed since [`Cluster::take_changes`] was asked before.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Pods, whatever of them.
    pub pods: BTreeSet<Name>,
    /// Addresses that a pod has or had.
    pub addresses: BTreeSet<IpAddr>,
    /// Namespaces whose labels are others.
    pub namespaces: bool,
    /// Policies.
    pub policies: BTreeSet<Name>,
    /// Whether it is ready, or watched.
    pub state: bool,
}

/// What is known of the cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    namespaces: BTreeMap<Box<str>, Labels>,
    pods: BTreeMap<Name, Pod>,
    policies: BTreeMap<Name, Policy>,
    /// Who has an address: pods of the hosts' networks have none.
    holders: BTreeMap<IpAddr, BTreeSet<Name>>,
    seen: Seen,
    watched: bool,
    /// Namespaces with policies for which there was no room.
    lost: BTreeSet<Box<str>>,
    changes: Changes,
    revisions: (u64, u64),
}

impl Cluster {
    /// Somebody watches the API server from now on, or means to: until it is ready, pods that the runtime names are isolated.
    pub fn watch(&mut self) {
        self.changes.state |= !self.watched;
        self.watched = true;
    }

    /// Whether somebody watches, or did before a restart.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// Whether whole lists of every kind were seen.
    pub fn is_ready(&self) -> bool {
        self.seen.namespaces && self.seen.pods && self.seen.policies
    }

    /// Two numbers: one that grows when namespaces or policies change, and one for pods.
    pub fn revisions(&self) -> (u64, u64) {
        self.revisions
    }

    /// A namespace is so.
    ///
    /// # Errors
    /// Where there is no room for another one.
    pub fn upsert_namespace(&mut self, namespace: Namespace) -> Result<(), Full> {
        let known = self.namespaces.get(&namespace.name);
        if known == Some(&namespace.labels) {
            return Ok(());
        }
        room(
            known.is_some(),
            self.namespaces.len(),
            MAX_NAMESPACES,
            "namespaces",
        )?;
        self.changes.namespaces = true;
        self.revisions.0 += 1;
        self.namespaces.insert(namespace.name, namespace.labels);
        Ok(())
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.changes.namespaces = true;
            self.revisions.0 += 1;
        }
    }

    /// These are all namespaces.
    ///
    /// # Errors
    /// Where there is no room for all; as many as there is room for are taken.
    pub fn replace_namespaces(&mut self, all: Vec<Namespace>) -> Result<(), Full> {
        let kept: BTreeSet<&str> = all.iter().map(|namespace| &*namespace.name).collect();
        let gone = self.namespaces.keys().filter(|name| !kept.contains(&***name));
        let gone: Vec<Box<str>> = gone.cloned().collect();
        gone.iter().for_each(|name| self.remove_namespace(name));
        let taken = all_of(all, |namespace| self.upsert_namespace(namespace));
        self.saw(|seen| seen.namespaces = true);
        taken
    }

    /// A pod is so.
    ///
    /// # Errors
    /// Where there is no room for another one.
    pub fn upsert_pod(&mut self, pod: Pod) -> Result<(), Full> {
        let known = self.pods.get(&pod.name);
        if known == Some(&pod) {
            return Ok(());
        }
        room(known.is_some(), self.pods.len(), MAX_PODS, "pods")?;
        self.take_pod(&pod.name.clone());
        if !pod.host_network {
            for ip in &pod.addresses {
                self.holders.entry(*ip).or_default().insert(pod.name.clone());
                self.changes.addresses.insert(*ip);
            }
        }
        self.changes.pods.insert(pod.name.clone());
        self.revisions.1 += 1;
        self.pods.insert(pod.name.clone(), pod);
        Ok(())
    }

    /// A pod is gone, or has ended.
    pub fn remove_pod(&mut self, name: &Name) {
        self.take_pod(name);
    }

    /// These are all pods.
    ///
    /// # Errors
    /// As [`Self::replace_namespaces`].
    pub fn replace_pods(&mut self, all: Vec<Pod>) -> Result<(), Full> {
        let kept: BTreeSet<&Name> = all.iter().map(|pod| &pod.name).collect();
        let gone: Vec<Name> = self
            .pods
            .keys()
            .filter(|name| !kept.contains(name))
            .cloned()
            .collect();
        gone.iter().for_each(|name| self.take_pod(name));
        let taken = all_of(all, |pod| self.upsert_pod(pod));
        self.saw(|seen| seen.pods = true);
        taken
    }

    /// A policy is so.
    ///
    /// # Errors
    /// Where there is no room for another one; all pods of its namespace are isolated then.
    pub fn upsert_policy(&mut self, policy: Policy) -> Result<(), Full> {
        let known = self.policies.get(&policy.name);
        if known == Some(&policy) {
            return Ok(());
        }
        if let Err(full) = room(
            known.is_some(),
            self.policies.len(),
            MAX_POLICIES,
            "network policies",
        ) {
            self.lost.insert(policy.name.namespace);
            self.changes.state = true;
            return Err(full);
        }
        self.changes.policies.insert(policy.name.clone());
        self.revisions.0 += 1;
        self.policies.insert(policy.name.clone(), policy);
        Ok(())
    }

    /// A policy is gone.
    pub fn remove_policy(&mut self, name: &Name) {
        if self.policies.remove(name).is_some() {
            self.revisions.0 += 1;
            self.changes.policies.insert(name.clone());
        }
    }

    /// These are all policies.
    ///
    /// # Errors
    /// As [`Self::replace_namespaces`].
    pub fn replace_policies(&mut self, all: Vec<Policy>) -> Result<(), Full> {
        let kept: BTreeSet<&Name> = all.iter().map(|policy| &policy.name).collect();
        let gone = self.policies.keys().filter(|name| !kept.contains(name));
        let gone: Vec<Name> = gone.cloned().collect();
        gone.iter().for_each(|name| self.remove_policy(name));
        self.changes.state |= !self.lost.is_empty();
        self.lost.clear();
        let taken = all_of(all, |policy| self.upsert_policy(policy));
        self.saw(|seen| seen.policies = true);
        taken
    }

    /// The labels of a namespace; none where it is not known.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// All namespaces.
    pub fn namespaces(&self) -> impl ExactSizeIterator<Item = (&str, &Labels)> {
        self.namespaces.iter().map(|(name, labels)| (&**name, labels))
    }

    /// The pod called so.
    pub fn pod(&self, name: &Name) -> Option<&Pod> {
        self.pods.get(name)
    }

    /// All pods.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &Pod> {
        self.pods.values()
    }

    /// The policy called so.
    pub fn policy(&self, name: &Name) -> Option<&Policy> {
        self.policies.get(name)
    }

    /// All policies.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Policy> {
        self.policies.values()
    }

    /// The policies of one namespace.
    pub(super) fn policies_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Policy> {
        let first = Bound::Included(Name::new(namespace, ""));
        let all = self.policies.range((first, Bound::Unbounded));
        all.map(|(_, policy)| policy)
            .take_while(move |policy| &*policy.name.namespace == namespace)
    }

    /// Whether a namespace has policies that are not known here.
    pub(super) fn has_lost(&self, namespace: &str) -> bool {
        self.lost.contains(namespace)
    }

    /// The pods that have this address.
    pub(super) fn holders(&self, ip: &IpAddr) -> impl Iterator<Item = &Pod> {
        let names = self.holders.get(ip).into_iter().flatten();
        names.filter_map(|name| self.pods.get(name))
    }

    /// All addresses of pods.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.holders.keys()
    }

    /// What changed since this was asked before.
    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    fn take_pod(&mut self, name: &Name) {
        let Some(pod) = self.pods.remove(name) else { return };
        for ip in &pod.addresses {
            self.changes.addresses.insert(*ip);
            if let Some(holders) = self.holders.get_mut(ip) {
                holders.remove(name);
                if holders.is_empty() {
                    self.holders.remove(ip);
                }
            }
        }
        self.changes.pods.insert(pod.name);
        self.revisions.1 += 1;
    }

    fn saw(&mut self, mark: impl FnOnce(&mut Seen)) {
        let before = self.seen;
        mark(&mut self.seen);
        self.watch();
        if before != self.seen {
            self.changes.state = true;
            self.revisions = (self.revisions.0 + 1, self.revisions.1 + 1);
        }
    }
}

fn room(known: bool, len: usize, most: usize, kind: &'static str) -> Result<(), Full> {
    match known || len < most {
        true => Ok(()),
        false => Err(Full { kind, most }),
    }
}

/// Takes everything; gives a refusal where there was one.
fn all_of<T>(all: Vec<T>, mut take: impl FnMut(T) -> Result<(), Full>) -> Result<(), Full> {
    let mut taken = Ok(());
    for one in all {
        taken = take(one).and(taken);
    }
    taken
}
