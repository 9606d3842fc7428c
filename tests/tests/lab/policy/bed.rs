//! A machine with the pods of the matrix, and meshd's keeper of rules in its network namespace.

use std::net::IpAddr;
use std::path::PathBuf;

use meshd::policy::{Feed, Handle};
use meshd::state::{NetworkFiles, StateDir};
use meshd_core::id::NetworkId;
use meshd_core::ipam::{Attachment, Lease};
use meshd_core::policy::{Local, Policy};
use meshd_tests::pods::Pod;
use meshd_tests::{Machine, World};

use super::matrix::{self, NAMESPACES, PODS};
use super::probes::Servers;

/// The table.
pub const TABLE: &str = "meshd-0-pods0";

/// Fields are dropped in this order.
pub struct Bed {
    _servers: Vec<Servers>,
    pub pods: Vec<((&'static str, &'static str), Pod)>,
    pub machine: Machine,
    state: PathBuf,
    _world: World,
}

impl Bed {
    pub fn new() -> Self {
        let world = World::new();
        let machine = world.cloud();
        machine.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        let all = NAMESPACES
            .into_iter()
            .flat_map(|ns| PODS.into_iter().map(move |pod| (ns, pod)));
        let pods: Vec<_> = all.map(|of| (of, plug(&machine, of))).collect();
        let servers = pods.iter().map(|(_, pod)| Servers::start(pod)).collect();
        let state = machine.file("/var/lib/policies");
        Self {
            _servers: servers,
            pods,
            machine,
            state,
            _world: world,
        }
    }

    pub fn pod(&self, of: (&str, &str)) -> &Pod {
        let found = self.pods.iter().find(|(name, _)| *name == of);
        &found.expect("a pod of the matrix").1
    }

    /// Runs `work` in the machine's network namespace, with what meshd would keep in its state folder.
    pub fn run<T: Send, W: Future<Output = T>>(&self, work: impl FnOnce(NetworkFiles) -> W + Send) -> T {
        let state = StateDir::open(&self.state).expect("the lab's folder is writable");
        let files = state.network(NetworkId::from_bytes([7; 16]));
        self.machine.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work(files))
        })
    }
}

/// A keeper that knows the cluster and its pods.
pub struct Rules {
    pub handle: Handle,
    pub leases: Vec<Lease>,
}

impl Rules {
    /// That knows the pods of the matrix, as an API server that is watched would tell.
    pub fn start(files: NetworkFiles) -> Self {
        let rules = Self::away(files);
        rules.feed().change(|cluster| *cluster = matrix::cluster());
        rules
    }

    /// That is told nothing.
    pub fn away(files: NetworkFiles) -> Self {
        Self {
            handle: Handle::start(files, TABLE.to_owned(), Default::default()),
            leases: matrix::locals().into_iter().map(lease).collect(),
        }
    }

    pub fn feed(&self) -> &Feed {
        self.handle.feed()
    }

    /// The kernel has all rules when this returns.
    pub async fn settle(&self) {
        let set = self.handle.set_locals(self.leases.iter()).await;
        set.expect("the kernel takes the rules");
    }

    pub async fn set(&self, policies: &[Policy]) {
        let policies = policies.to_vec();
        let replaced = self.feed().change(|cluster| cluster.replace_policies(policies));
        replaced.expect("there is room");
        self.settle().await;
    }
}

fn lease(local: Local) -> Lease {
    let v4 = local.addresses.iter().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    });
    let v6 = local.addresses.iter().find_map(|ip| match ip {
        IpAddr::V6(ip) => Some(*ip),
        IpAddr::V4(_) => None,
    });
    Lease {
        attachment: Attachment {
            network: "mesh".into(),
            container: local.host.clone(),
            interface: "eth0".into(),
        },
        ipv4: v4.expect("an IPv4 address"),
        ipv6: v6,
        host: local.host,
        pod: local.pod,
    }
}

/// A pod with its cable, as `mesh-cni` makes it.
fn plug(machine: &Machine, of: (&'static str, &'static str)) -> Pod {
    let pod = Pod::new(machine, &format!("{}-{}", of.0, of.1));
    let (host, name) = (matrix::host(of), &pod.name);
    let [v4, v6] = matrix::addresses(of);
    let (inside, outside) = (
        format!("02:6d:00:00:00:{:02x}", matrix::number(of)),
        "02:6d:65:73:68:01",
    );
    machine.sh(&format!(
        "ip link add {host} address {outside} type veth peer name eth0 address {inside} netns {name}
         ip -n {name} addr add {v4}/32 dev eth0; ip -n {name} addr add {v6}/128 dev eth0 nodad
         ip -n {name} link set eth0 up
         ip -n {name} neigh add 169.254.1.1 lladdr {outside} dev eth0 nud permanent
         ip -n {name} neigh add fe80::1 lladdr {outside} dev eth0 nud permanent
         ip -n {name} route add default via 169.254.1.1 dev eth0 onlink
         ip -n {name} -6 route add default via fe80::1 dev eth0
         ip link set {host} up
         ip neigh add {v4} lladdr {inside} dev {host} nud permanent
         ip neigh add {v6} lladdr {inside} dev {host} nud permanent
         ip route add {v4} dev {host}; ip -6 route add {v6} dev {host}"
    ));
    pod
}
