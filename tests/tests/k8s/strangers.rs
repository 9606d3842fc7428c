//! What a stranger on a node's LAN finds open there, while pods are published in every way that Kubernetes has.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Output;
use std::time::Duration;

use meshd_tests::k8s::{Kubeadm, NET};
use meshd_tests::mesh::words;
use meshd_tests::scan::{scan, takes};
use meshd_tests::{Machine, figure, poll};

/// For pods to run and rules to be made, on a busy computer.
const LONG: Duration = Duration::from_secs(300);
/// A NodePort.
const NODE_PORT: u16 = 30053;
/// A hostPort.
const HOST_PORT: u16 = 18053;
/// Opened on purpose: a scan that does not find it finds nothing. Below the ports that outgoing connections get.
const PLANTED: u16 = 4404;
/// Ports of the API server and of a kubelet.
const OWN: [u16; 2] = [6443, 10250];
/// A server on every node, published as a NodePort and on its host; the image is CoreDNS, which is there.
const PUBLISHED: &str = include_str!("../../k8s/manifests/published.yaml");

/// Every TCP port of each node's addresses on its LAN, of both IP versions, is tried by a neighbour there; nothing but what was planted is
/// open. Nor are the node's mesh addresses reached through the LAN, and nothing but meshd listens on UDP there.
pub fn nothing_is_open_to_strangers(cluster: &Kubeadm, names: &[&str]) {
    publish(cluster, names);
    for (site, node) in cluster.sites.iter().zip(&cluster.nodes) {
        let (name, machine) = (node.name(), node.mesh().machine());
        let stranger = site.machine(&format!("{name}-stranger"), 9);
        for (host, host_number) in [(machine, 2), (&stranger, 9)] {
            let address = format!("{}/64", site.v6(host_number));
            host.run(&["ip", "addr", "add", &address, "dev", "eth0", "nodad"]);
        }
        let planted = machine.inside(|| TcpListener::bind(("::", PLANTED)).expect("the port is free"));
        for address in [site.v4(2), site.v6(2)] {
            let found = scan(&stranger, address.parse().expect("an address"));
            assert_eq!(found.open, [PLANTED], "{name} at {address}: {found:?}");
            figure(
                &format!("TCP ports of {name} open to a neighbour, of 65,535, at {address}"),
                found.open.len() - 1,
                "0",
            );
        }
        drop(planted);
        mesh_addresses_are_not_reached(cluster, &stranger, name, &site.v4(2), &site.v6(2));
        only_meshd_hears_udp(machine);
    }
    let gone = cluster.try_kubectl("n1", &["delete", "--wait=false", "-f", "/etc/published.yaml"]);
    assert!(gone.status.success(), "{}", words(&gone));
}

/// Until each node answers every other at both ports.
fn publish(cluster: &Kubeadm, names: &[&str]) {
    let image = cluster
        .get("n1", &["-n", "kube-system", "deployment", "coredns"])
        .and_then(|coredns| {
            Some(
                coredns["spec"]["template"]["spec"]["containers"][0]["image"]
                    .as_str()?
                    .to_owned(),
            )
        })
        .expect("kubeadm makes it");
    let file = cluster.node("n1").mesh().machine().file("/etc/published.yaml");
    std::fs::write(file, PUBLISHED.replace("IMAGE", &image)).expect("the machine's own file");
    let applied: Output = cluster.try_kubectl("n1", &["apply", "-f", "/etc/published.yaml"]);
    assert!(applied.status.success(), "{}", words(&applied));
    for from in names {
        for to in names.iter().filter(|to| *to != from) {
            for port in [NODE_PORT, HOST_PORT] {
                let at = SocketAddr::new(addresses(cluster, to)[0], port);
                let reached = poll(LONG, || {
                    takes(cluster.node(from).mesh().machine(), at).then_some(())
                });
                assert!(
                    reached.is_some(),
                    "{from} does not reach {at} of {to}\n{}",
                    cluster.description("n1")
                );
            }
        }
    }
}

/// Its mesh addresses; while a cluster comes up on two processors meshd may be late with an answer.
fn addresses(cluster: &Kubeadm, name: &str) -> [IpAddr; 2] {
    let node = cluster.node(name).mesh();
    let known = poll(LONG, || {
        let network = node.network(NET)?;
        let address = |field: &str| network[field].as_str()?.parse().ok();
        Some([address("ipv4")?, address("ipv6")?])
    });
    known.expect("it is in the network")
}

/// By a route through the node's LAN addresses, as a neighbour can have one.
fn mesh_addresses_are_not_reached(cluster: &Kubeadm, stranger: &Machine, name: &str, v4: &str, v6: &str) {
    for (address, via) in addresses(cluster, name).into_iter().zip([v4, v6]) {
        stranger.run(&["ip", "route", "add", &address.to_string(), "via", via]);
        for port in [NODE_PORT, HOST_PORT].into_iter().chain(OWN) {
            let at = SocketAddr::new(address, port);
            assert!(!takes(stranger, at), "a neighbour reaches {at} of {name}");
        }
    }
}

fn only_meshd_hears_udp(machine: &Machine) {
    let said = machine.output(&["ss", "-Hlunp"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let own = |line: &&str| {
        let at = line.split_whitespace().nth(3).unwrap_or_default();
        let address = at.rsplit_once(':').map_or(at, |(address, _)| address);
        let address = address
            .trim_matches(['[', ']'])
            .split('%')
            .next()
            .unwrap_or_default();
        let inside = |address: IpAddr| {
            let text = address.to_string();
            address.is_loopback() || text.starts_with("10.77.") || text.starts_with("fd")
        };
        line.contains("\"meshd\"") || address.parse().is_ok_and(inside)
    };
    let others: Vec<&str> = said.lines().filter(|line| !own(line)).collect();
    assert!(others.is_empty(), "{} hears UDP by {others:?}", machine.name());
    assert!(said.contains("\"meshd\""), "{said}");
}
