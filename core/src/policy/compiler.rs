//! This node's pods and what is known of the cluster into a rule set, with as little work as what changed asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::cluster::Cluster;
use super::compile::{MAX_RULES, Numbers, compile};
use super::groups::{Groups, Holders, PortNames};
use super::model::{Direction, Local, Name, Pod, PodIdentity};
use super::ruleset::{Allowed, Match, PodRules, Ports, Rule, Ruleset};

/// Makes rule sets.
#[derive(Debug, Default)]
pub struct Compiler {
    locals: BTreeMap<String, Local>,
    /// Whether they are others than at the last rule set.
    moved: bool,
    owners: BTreeMap<IpAddr, Option<Name>>,
    /// The policies of each isolated pod.
    chosen: BTreeMap<String, [Option<Vec<Name>>; 2]>,
    compiled: BTreeMap<(Name, Direction), Compiled>,
    numbers: BTreeMap<Name, u32>,
    next: u32,
    groups: Groups,
    ports: PortNames,
}

#[derive(Debug)]
struct Compiled {
    rules: Arc<Vec<Rule>>,
    cut: bool,
}

/// What a pod of this node is to the cluster.
enum Standing<'a> {
    /// Nobody's business.
    Open,
    /// A pod whose labels are known.
    Known(&'a Pod),
    /// A pod of this namespace.
    Unknown(&'a str),
    /// Nothing is known of anybody.
    Early,
}

impl<'a> Standing<'a> {
    fn known(self) -> Option<&'a Pod> {
        match self {
            Self::Known(pod) => Some(pod),
            Self::Open | Self::Unknown(_) | Self::Early => None,
        }
    }
}

impl Local {
    /// Its pod, where the labels of that are known.
    pub fn known_in<'a>(&'a self, cluster: &'a Cluster) -> Option<&'a Pod> {
        standing(self, cluster).known()
    }
}

impl Compiler {
    /// These are the pods' interfaces on this node.
    pub fn set_locals(&mut self, locals: impl IntoIterator<Item = Local>) {
        let plain = |local: &Local| is_plain_interface(&local.host);
        let locals = locals.into_iter().filter(plain);
        let locals = locals.map(|local| (local.host.clone(), local)).collect();
        self.moved |= self.locals != locals;
        self.locals = locals;
    }

    /// The pods of this node whose labels are known.
    pub fn known<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = &'a Pod> {
        self.locals.values().filter_map(|local| local.known_in(cluster))
    }

    /// What the kernel should hold now.
    pub fn compile(&mut self, cluster: &mut Cluster) -> Ruleset {
        let changes = cluster.take_changes();
        let named = |local: &Local| local.pod.as_ref().map(|pod| pod.name.clone());
        let touches_locals = changes.state
            || self.moved
            || !changes.policies.is_empty()
            || self.locals.values().any(|local| match named(local) {
                Some(name) => changes.pods.contains(&name),
                None => local.addresses.iter().any(|ip| changes.addresses.contains(ip)),
            });
        let mut addresses = changes.addresses;
        if touches_locals {
            self.place(cluster, &mut addresses, &changes.pods);
        }
        for name in &changes.policies {
            self.compiled.retain(|(compiled, _), _| compiled != name);
        }
        self.compile_policies(cluster);
        let holders = Holders {
            cluster,
            owners: &self.owners,
        };
        let everything = changes.namespaces || changes.state;
        self.groups.refresh(&holders, (!everything).then_some(&addresses));
        self.ports.refresh(&holders, !addresses.is_empty() || everything);
        self.moved = false;
        self.ruleset()
    }

    /// How many pods' interfaces are isolated in some direction.
    pub fn isolated(&self) -> usize {
        self.chosen.len()
    }

    /// Policies that say more than can be held, as sentences.
    pub fn problems(&self) -> Vec<String> {
        let cut = self.compiled.iter().filter(|(_, compiled)| compiled.cut);
        cut.map(|((name, _), _)| {
            format!("the network policy {name} has more than {MAX_RULES} rules; those beyond allow nothing")
        })
        .collect()
    }

    /// Finds out anew which policies select which pod of this node, and whose their addresses are. `addresses` grows by those
    /// whose owner is another one or has changed.
    fn place(&mut self, cluster: &Cluster, addresses: &mut BTreeSet<IpAddr>, pods: &BTreeSet<Name>) {
        let mut owners = BTreeMap::new();
        self.chosen.clear();
        for (host, local) in &self.locals {
            let standing = standing(local, cluster);
            let owner = match &standing {
                Standing::Open => None,
                Standing::Known(pod) => Some(Some(pod.name.clone())),
                Standing::Unknown(_) | Standing::Early => Some(None),
            };
            if let Some(owner) = owner {
                owners.extend(local.addresses.iter().map(|ip| (*ip, owner.clone())));
            }
            let chosen = Direction::BOTH.map(|direction| chosen(&standing, cluster, direction));
            if chosen.iter().any(Option::is_some) {
                self.chosen.insert(host.clone(), chosen);
            }
        }
        let all = self.owners.keys().chain(owners.keys());
        let touched = |ip: &&IpAddr| {
            let owner = owners.get(*ip);
            owner != self.owners.get(*ip)
                || owner.is_some_and(|name| name.iter().any(|name| pods.contains(name)))
        };
        addresses.extend(all.filter(touched));
        self.owners = owners;
    }

    /// Makes rules of the policies that some pod needs, and forgets the others.
    fn compile_policies(&mut self, cluster: &Cluster) {
        let needed: BTreeSet<(Name, Direction)> = self
            .chosen
            .values()
            .flat_map(|both| Direction::BOTH.into_iter().zip(both))
            .flat_map(|(direction, names)| names.iter().flatten().map(move |name| (name.clone(), direction)))
            .collect();
        self.compiled.retain(|key, _| needed.contains(key));
        self.numbers.retain(|name, _| {
            Direction::BOTH
                .iter()
                .any(|d| needed.contains(&(name.clone(), *d)))
        });
        for key in needed {
            let Some(policy) = cluster
                .policy(&key.0)
                .filter(|_| !self.compiled.contains_key(&key))
            else {
                continue;
            };
            let mut numbers = Numbers {
                groups: &mut self.groups,
                ports: &mut self.ports,
            };
            let (rules, cut) = compile(policy, key.1, &mut numbers);
            if !self.numbers.contains_key(&key.0) {
                self.next += 1;
                self.numbers.insert(key.0.clone(), self.next);
            }
            let rules = Arc::new(rules);
            self.compiled.insert(key, Compiled { rules, cut });
        }
        self.forget_unused();
    }

    fn forget_unused(&mut self) {
        let (mut groups, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for rule in self.compiled.values().flat_map(|compiled| compiled.rules.iter()) {
            if let Match::Group(number) = rule.peer {
                groups.insert(number);
            }
            if let Ports::Named(_, number) = rule.ports {
                ports.insert(number);
            }
        }
        self.groups.keep(&groups);
        self.ports.keep(&ports);
    }

    fn ruleset(&self) -> Ruleset {
        let number = |name: &Name| self.numbers.get(name).copied();
        let numbers = |names: &Option<Vec<Name>>| {
            let names = names.as_ref()?;
            Some(names.iter().filter_map(number).collect())
        };
        let pods = self.chosen.iter().map(|(host, [ingress, egress])| {
            let rules = PodRules {
                ingress: numbers(ingress),
                egress: numbers(egress),
            };
            (host.clone(), rules)
        });
        let policies = self.compiled.iter().filter_map(|((name, direction), compiled)| {
            let allowed = Allowed {
                name: name.clone(),
                rules: compiled.rules.clone(),
            };
            Some(((number(name)?, *direction), allowed))
        });
        Ruleset {
            groups: self.groups.all(),
            ports: self.ports.all(),
            policies: policies.collect(),
            pods: pods.collect(),
        }
    }
}

fn standing<'a>(local: &'a Local, cluster: &'a Cluster) -> Standing<'a> {
    match &local.pod {
        _ if !cluster.is_watched() => Standing::Open,
        Some(_) if !cluster.is_ready() => Standing::Early,
        None if !cluster.is_ready() => Standing::Open,
        Some(identity) => match cluster.pod(&identity.name) {
            Some(pod) if is_same(pod, identity, local) => Standing::Known(pod),
            _ => Standing::Unknown(&identity.name.namespace),
        },
        None => {
            let mut holders = local.addresses.iter().flat_map(|ip| cluster.holders(ip));
            holders.next().map_or(Standing::Open, Standing::Known)
        }
    }
}

/// Whether the pod that the API server names so is this one and none that had its name before.
fn is_same(pod: &Pod, identity: &PodIdentity, local: &Local) -> bool {
    let same = match pod.uid.is_empty() || identity.uid.is_empty() {
        true => pod.addresses.is_empty() || pod.addresses.iter().any(|ip| local.addresses.contains(ip)),
        false => pod.uid == identity.uid,
    };
    same && !pod.host_network
}

/// The policies that surely allow a pod what they allow; none where it is not isolated.
fn chosen(standing: &Standing<'_>, cluster: &Cluster, direction: Direction) -> Option<Vec<Name>> {
    let (namespace, pod) = match standing {
        Standing::Open => return None,
        Standing::Early => return Some(Vec::new()),
        Standing::Known(pod) => (&*pod.name.namespace, Some(pod)),
        Standing::Unknown(namespace) => (*namespace, None),
    };
    let mut isolated = cluster.has_lost(namespace);
    let mut names = Vec::new();
    for policy in cluster
        .policies_of(namespace)
        .filter(|policy| policy.isolates(direction))
    {
        let selected = pod.map_or(policy.pods.is_everything(), |pod| {
            policy.pods.matches(&pod.labels)
        });
        isolated |= selected || pod.is_none();
        if selected {
            names.push(policy.name.clone());
        }
    }
    isolated.then_some(names)
}

/// Whether it can be an interface's name and needs no escaping anywhere.
fn is_plain_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'))
}
