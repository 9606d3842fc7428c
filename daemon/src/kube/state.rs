//! How the link is, for `status`, and the nodes that it knows.

use super::Node;
use meshd_api::local::KubeStatus;
use meshd_core::policy::{MAX_NAMESPACES, MAX_PODS, MAX_POLICIES, Name, Namespace, Pod, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;
use tracing::{info, warn};

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Namespaces.
    Namespaces,
    /// Pods.
    Pods,
    /// Network policies.
    Policies,
    /// Nodes.
    Nodes,
}

const ALL: [What; 4] = [What::Namespaces, What::Pods, What::Policies, What::Nodes];

impl What {
    /// Most objects that are taken, and what they are called.
    fn most(self) -> (usize, &'static str) {
        match self {
            Self::Namespaces => (MAX_NAMESPACES, "namespaces"),
            Self::Pods => (MAX_PODS, "pods"),
            Self::Policies => (MAX_POLICIES, "network policies"),
            Self::Nodes => (MAX_NODES, "nodes"),
        }
    }
}

/// Most nodes.
const MAX_NODES: usize = 5_000;

/// An object with a name.
pub trait Named {
    /// Its name.
    fn name(&self) -> Name;
}

impl Named for Namespace {
    fn name(&self) -> Name {
        Name::new("", &self.name)
    }
}

impl Named for Policy {
    fn name(&self) -> Name {
        self.name.clone()
    }
}

impl Named for Pod {
    fn name(&self) -> Name {
        self.name.clone()
    }
}

/// One watch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Watch {
    /// It reads what there is.
    Reading,
    /// It hears of changes.
    Connected,
    /// It hears nothing, and why.
    Away(String),
}

/// How the link is.
#[derive(Debug)]
pub struct State {
    /// The API server's URL; none without credentials.
    server: Option<String>,
    watches: BTreeMap<What, Watch>,
    /// The names of all objects, by kind.
    names: BTreeMap<What, BTreeSet<Name>>,
    /// Kinds of which there are more than are taken.
    full: BTreeSet<What>,
    /// When it last became connected, or not.
    since: Instant,
    /// Whether it was connected then.
    connected: bool,
    nodes: BTreeMap<Box<str>, Node>,
    nodes_version: u64,
    /// This machine's node.
    own: Option<Box<str>>,
}

impl State {
    /// A link to this server begins at `now`.
    pub fn new(server: Option<String>, now: Instant) -> Self {
        Self {
            server,
            watches: ALL.into_iter().map(|what| (what, Watch::Reading)).collect(),
            names: BTreeMap::new(),
            full: BTreeSet::new(),
            since: now,
            connected: false,
            nodes: BTreeMap::new(),
            nodes_version: 0,
            own: None,
        }
    }

    /// These are all objects of a kind.
    pub fn replace<T: Named>(&mut self, what: What, all: &[T]) {
        self.names.remove(&what);
        self.full.remove(&what);
        all.iter().for_each(|one| self.upsert(what, one));
    }

    /// An object is so.
    pub fn upsert<T: Named>(&mut self, what: What, object: &T) {
        let (most, _) = what.most();
        let names = self.names.entry(what).or_default();
        let name = object.name();
        if names.len() >= most && !names.contains(&name) {
            if self.full.insert(what) {
                warn!("{}", too_many(&what));
            }
            return;
        }
        names.insert(name);
    }

    /// An object is gone.
    pub fn remove(&mut self, what: What, name: &Name) {
        self.names.entry(what).or_default().remove(name);
    }

    /// Changes of a kind are heard.
    pub fn connected(&mut self, what: What) {
        self.set(what, Watch::Connected);
    }

    /// Nothing is heard of a kind.
    pub fn away(&mut self, what: What, sentence: String) {
        self.set(what, Watch::Away(sentence));
    }

    /// Nothing is heard of any.
    pub fn away_for_all(&mut self, sentence: String) {
        for what in ALL {
            self.away(what, sentence.clone());
        }
    }

    fn set(&mut self, what: What, watch: Watch) {
        let before = self.sentence().map(str::to_owned);
        self.watches.insert(what, watch);
        let connected = self.watches.values().all(|watch| *watch == Watch::Connected);
        if connected != self.connected {
            self.connected = connected;
            self.since = Instant::now();
            if connected {
                info!("connected to Kubernetes");
            }
        }
        match self.sentence() {
            Some(sentence) if before.as_deref() != Some(sentence) => {
                warn!("{sentence}; what was known of the cluster stays in force");
            }
            _ => {}
        }
    }

    /// Why nothing is heard, of the first kind of which nothing is.
    fn sentence(&self) -> Option<&str> {
        self.watches.values().find_map(|watch| match watch {
            Watch::Away(sentence) => Some(sentence.as_str()),
            _ => None,
        })
    }

    /// These are all nodes; `own` are this machine's addresses in the network.
    pub fn set_nodes(&mut self, all: Vec<Node>, own: (Ipv4Addr, Ipv6Addr)) {
        let kept = all.into_iter().take(MAX_NODES);
        self.nodes = kept.map(|node| (node.name.clone(), node)).collect();
        self.find_own(own);
    }

    /// A node is so.
    pub fn set_node(&mut self, node: Node, own: (Ipv4Addr, Ipv6Addr)) {
        if self.nodes.len() < MAX_NODES || self.nodes.contains_key(&node.name) {
            self.nodes.insert(node.name.clone(), node);
        }
        self.find_own(own);
    }

    /// A node is gone.
    pub fn drop_node(&mut self, name: &str, own: (Ipv4Addr, Ipv6Addr)) {
        self.nodes.remove(name);
        self.find_own(own);
    }

    /// The cluster knows this machine by its address in the network.
    fn find_own(&mut self, (v4, v6): (Ipv4Addr, Ipv6Addr)) {
        self.nodes_version = self.nodes_version.wrapping_add(1);
        let own = [IpAddr::from(v4), v6.into()];
        let found = self
            .nodes
            .values()
            .find(|node| node.addresses.iter().any(|address| own.contains(address)));
        let name = found.map(|node| node.name.clone());
        if name == self.own {
            return;
        }
        if let Some(name) = &name {
            info!(node = %name, "this machine's node in Kubernetes");
        }
        self.own = name;
    }

    /// Another number when nodes changed.
    pub fn nodes_version(&self) -> u64 {
        self.nodes_version
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// This machine's node.
    pub fn own(&self) -> Option<&Node> {
        self.nodes.get(self.own.as_ref()?)
    }

    /// For `status`; none without credentials.
    pub fn shown(&self) -> Option<KubeStatus> {
        let count = |what| self.names.get(&what).map_or(0, BTreeSet::len);
        let state = match (self.connected, self.sentence()) {
            (true, _) => "connected".to_owned(),
            (false, Some(sentence)) => sentence.to_owned(),
            (false, None) => "reading what there is".to_owned(),
        };
        Some(KubeStatus {
            server: self.server.clone()?,
            state,
            connected: self.connected,
            seconds: self.since.elapsed().as_secs(),
            node: self.own().map(|node| node.name.to_string()),
            namespaces: count(What::Namespaces),
            pods: count(What::Pods),
            policies: count(What::Policies),
            elected: false,
            warnings: self.full.iter().map(too_many).collect(),
        })
    }
}

fn too_many(what: &What) -> String {
    let (most, called) = what.most();
    format!(
        "the cluster has more than {most} {called}; the others are not known here, and nothing is allowed because of them"
    )
}
