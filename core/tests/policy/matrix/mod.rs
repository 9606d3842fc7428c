//! The upstream matrix of network policies as a table: three namespaces with three pods each, as the policy tests of
//! Kubernetes' `[sig-network] Netpol` suite have them, and for each case who reaches whom. The lab runs the same table against
//! the kernel.

mod cases;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meshd_core::policy::{
    Cluster, Labels, Local, Name, NamedPort, Namespace, Pod, PodIdentity, Policy, Protocol, Selector,
};

pub use cases::cases;

/// Names of the namespaces, and of the pods in each.
pub const NAMESPACES: [&str; 3] = ["x", "y", "z"];
/// The same, of pods.
pub const PODS: [&str; 3] = ["a", "b", "c"];
/// What pods serve; port 53 stands for DNS.
pub const SERVED: [(Protocol, u16); 5] = [
    (Protocol::Tcp, 80),
    (Protocol::Tcp, 81),
    (Protocol::Udp, 80),
    (Protocol::Udp, 81),
    (Protocol::Udp, 53),
];

/// A question: does a packet of a new flow pass?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Namespace and pod from which it comes.
    pub from: (&'static str, &'static str),
    /// Where it goes.
    pub to: (&'static str, &'static str),
    /// Its protocol.
    pub protocol: Protocol,
    /// Its destination port.
    pub port: u16,
}

impl Flow {
    fn is_within(&self) -> bool {
        self.from == self.to
    }

    fn is_tcp(&self, port: u16) -> bool {
        (self.protocol, self.port) == (Protocol::Tcp, port)
    }
}

/// One case: these policies, and who passes.
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    /// The policies.
    pub policies: Vec<Policy>,
    /// Whether a flow to another pod passes.
    pub passes: fn(&Flow) -> bool,
}

impl Case {
    /// Whether a flow passes; a pod always reaches itself.
    pub fn expects(&self, flow: &Flow) -> bool {
        flow.is_within() || (self.passes)(flow)
    }
}

/// Every flow between the pods.
pub fn flows() -> impl Iterator<Item = Flow> {
    let pods = || {
        NAMESPACES
            .into_iter()
            .flat_map(|ns| PODS.into_iter().map(move |pod| (ns, pod)))
    };
    pods().flat_map(move |from| {
        pods().flat_map(move |to| {
            SERVED.into_iter().map(move |(protocol, port)| Flow {
                from,
                to,
                protocol,
                port,
            })
        })
    })
}

/// The place of a pod among all: from 1 on.
pub fn number((namespace, pod): (&str, &str)) -> u8 {
    let place = |all: &[&str], one: &str| all.iter().position(|other| *other == one).unwrap_or(0);
    (place(&NAMESPACES, namespace) * 3 + place(&PODS, pod) + 1) as u8
}

/// A pod's addresses: namespace x has 10.42.0.16/30 and so on, so that prefixes can name it.
pub fn addresses(of: (&str, &str)) -> [IpAddr; 2] {
    let number = number(of);
    let (namespace, pod) = ((number - 1) / 3, (number - 1) % 3);
    let host = 16 + 16 * namespace + pod + 1;
    [
        Ipv4Addr::new(10, 42, 0, host).into(),
        Ipv6Addr::new(0xfd42, 0, 0, 0, 0, 0, 0, host.into()).into(),
    ]
}

/// The host's side of a pod's interface.
pub fn host(of: (&str, &str)) -> String {
    format!("mpod{:010x}", number(of))
}

/// The cluster without policies.
pub fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    let namespaces = NAMESPACES.map(|name| Namespace {
        name: name.into(),
        labels: labels(&[("ns", name), ("kubernetes.io/metadata.name", name)]),
    });
    cluster
        .replace_namespaces(namespaces.to_vec())
        .expect("there is room");
    cluster.replace_pods(pods().collect()).expect("there is room");
    cluster.replace_policies(Vec::new()).expect("there is room");
    cluster
}

/// Every pod.
pub fn pods() -> impl Iterator<Item = Pod> {
    let all = NAMESPACES
        .into_iter()
        .flat_map(|ns| PODS.into_iter().map(move |pod| (ns, pod)));
    all.map(|of| Pod {
        name: Name::new(of.0, of.1),
        uid: format!("uid-{}", number(of)).into(),
        labels: labels(&[("pod", of.1)]),
        addresses: addresses(of).to_vec(),
        ports: SERVED
            .iter()
            .map(|(protocol, port)| named(*protocol, *port))
            .collect(),
        host_network: false,
        node: "node".into(),
    })
}

fn named(protocol: Protocol, port: u16) -> NamedPort {
    let word = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    NamedPort {
        name: format!("serve-{port}-{word}").into(),
        protocol,
        port,
    }
}

/// Every pod as the node has it.
pub fn locals() -> Vec<Local> {
    let all = NAMESPACES
        .into_iter()
        .flat_map(|ns| PODS.into_iter().map(move |pod| (ns, pod)));
    all.map(|of| Local {
        host: host(of),
        addresses: addresses(of).to_vec(),
        pod: Some(PodIdentity {
            name: Name::new(of.0, of.1),
            uid: format!("uid-{}", number(of)).into(),
        }),
    })
    .collect()
}

/// Labels.
pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

/// A selector of these labels.
pub fn select(pairs: &[(&str, &str)]) -> Selector {
    Selector {
        labels: labels(pairs),
        expressions: Vec::new(),
    }
}

/// A policy in namespace x for the pods that a selector selects.
pub fn policy(name: &str, pods: Selector) -> Policy {
    Policy {
        name: Name::new("x", name),
        pods,
        types: Vec::new(),
        ingress: Vec::new(),
        egress: Vec::new(),
    }
}
