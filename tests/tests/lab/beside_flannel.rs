//! Real Flannel on the mesh interface: host-gw by adopted routes, VXLAN by nodes' addresses alone.

use std::net::{IpAddr, SocketAddr};

use meshd_tests::beside::{Etcd, Flannel, bridged_pod, has_flannel, words};
use meshd_tests::mesh::Node;
use meshd_tests::pods::Pod;
use meshd_tests::{Nat, eventually, figure, skip};

use crate::bed::{self, Bed, NET, SOON};

/// Bytes of a TCP stream between pods.
const STREAM: u64 = 4 << 20;
/// A port in pods.
const PORT: u16 = 9000;
/// Prefix of the cluster.
const CLUSTER: &str = "10.244.0.0/16";

/// A node with Flannel and one pod on its subnet.
struct Host {
    flannel: Flannel,
    pod: Pod,
    ip: IpAddr,
    mtu: u32,
    /// The subnet without its last byte.
    subnet: String,
}

/// Three nodes, two of them behind NATs that only the relay joins; each with Flannel.
struct Cluster {
    hosts: Vec<Host>,
    etcd: Etcd,
    bed: Bed,
}

impl Cluster {
    fn new(backend: &str) -> Self {
        let bed = bed::apart(&[
            ("a", Nat::Open),
            ("b", Nat::PortRestricted),
            ("c", Nat::Symmetric),
        ]);
        let config = format!("{{\"Network\":\"{CLUSTER}\",\"Backend\":{backend}}}");
        let etcd = Etcd::start(&bed.nodes[0], NET, &config);
        let hosts = bed.nodes.iter().map(|node| host(node, &etcd)).collect();
        Self { hosts, etcd, bed }
    }

    #[track_caller]
    fn all_pods_talk(&self) {
        for (n, from) in self.hosts.iter().enumerate() {
            for to in self.hosts.iter().filter(|to| to.ip != from.ip) {
                eventually(SOON, &format!("the pod on {n} reaches {}", to.ip), || {
                    from.pod.pings(to.ip).then_some(())
                });
            }
        }
    }

    /// Bytes of a stream, checked, and a packet as large as a pod may send, unfragmented.
    #[track_caller]
    fn full_packets_pass(&self) {
        let (from, to) = (&self.hosts[1], &self.hosts[2]);
        let payload = (from.mtu - 28).to_string();
        let target = to.ip.to_string();
        let ping = [
            "ping", "-n", "-q", "-c1", "-W2", "-M", "do", "-s", &payload, &target,
        ];
        eventually(SOON, "a packet of the pods' MTU passes whole", || {
            from.pod.output(&ping).status.success().then_some(())
        });
        let flow = from.pod.streams_to(&to.pod, SocketAddr::new(to.ip, PORT), 0);
        eventually(SOON, "the stream arrives", || {
            (flow.received() > STREAM).then_some(())
        });
        let report = flow.stop();
        assert!(report.broken.is_none(), "{report:?}");
    }
}

fn host(node: &Node, etcd: &Etcd) -> Host {
    let flannel = Flannel::start(node, etcd);
    let (subnet, mtu) = flannel.subnet();
    let (pod, ip) = bridged_pod(node, &subnet, mtu);
    Host {
        flannel,
        pod,
        ip,
        mtu,
        subnet,
    }
}

#[test]
fn flannels_host_gw_routes_lead_to_the_peers_that_are_their_next_hops() {
    let test = "flannels_host_gw_routes_lead_to_the_peers_that_are_their_next_hops";
    if !has_flannel() {
        return skip(test, "flanneld could not be built");
    }
    let cluster = Cluster::new("{\"Type\":\"host-gw\"}");
    let relay = &cluster.bed.relay;
    relay.ctl(&words("cloud$ meshctl node grant --all"));
    cluster.all_pods_talk();
    cluster.full_packets_pass();
    figure("Flannel host-gw: MTU of pods", cluster.hosts[0].mtu, 1408);

    // a node's lease ends: the others take its route away, and its pods send for nobody
    let (a, b) = (&cluster.hosts[0], &cluster.hosts[1]);
    b.flannel.stop();
    cluster.etcd.release(&cluster.bed.nodes[0], &b.subnet);
    eventually(SOON, "flanneld takes the route away", || {
        let routes = cluster.bed.nodes[0].machine().run(&["ip", "route"]);
        (!routes.contains(&b.subnet)).then_some(())
    });
    eventually(SOON, "the pod is out of reach", || {
        (!a.pod.pings(b.ip)).then_some(())
    });
    relay.ctl(&["node", "revoke-grant", "--all", "--routes", CLUSTER]);
    let c = cluster.hosts[2].ip;
    eventually(SOON, "without the grant nothing passes", || {
        (!a.pod.pings(c)).then_some(())
    });
}

#[test]
fn flannels_vxlan_runs_over_the_mesh_and_needs_no_grant() {
    let test = "flannels_vxlan_runs_over_the_mesh_and_needs_no_grant";
    if !has_flannel() {
        return skip(test, "flanneld could not be built");
    }
    let cluster = Cluster::new("{\"Type\":\"vxlan\"}");
    cluster.all_pods_talk();
    cluster.full_packets_pass();
    figure(
        "Flannel VXLAN over the mesh: MTU of pods",
        cluster.hosts[0].mtu,
        1358,
    );
    let warnings = cluster.bed.nodes[0].network(NET).expect("joined")["warnings"].to_string();
    assert!(
        !warnings.contains("10.244"),
        "its routes are not on our interface: {warnings}"
    );
}
