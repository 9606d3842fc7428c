//! Storage on a service of the cluster's, used from a node's own namespace (as a kubelet mounts volumes) and from a pod, over a
//! path that carries less than everybody believes: what is written is what is read, and nothing stands still.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use meshd_tests::pods::Pod;
use meshd_tests::storage::{self, Protocol, Watch};
use meshd_tests::{Machine, Nat, Process, figure, keeps, skip};

use crate::bed::{self, Bed};
use crate::pods::give_prefixes;

/// The longest that a copy may stand still.
const PAUSE: Duration = Duration::from_secs(3);
const SHORT: u64 = 64 << 20;
const LONG: u64 = 1 << 30;
/// For a copy of the long kind on a busy computer.
const BOUND: Duration = Duration::from_secs(900);
/// The service's address.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 20);
/// The uplinks' MTU.
const NARROW: u32 = 1400;

/// Two nodes behind NATs; a client pod on the first, a server pod on the second, and a service that leads to it.
struct Storage {
    client: Pod,
    server: Pod,
    server_ip: IpAddr,
    bed: Bed,
}

impl Storage {
    /// The uplinks carry 1,400 bytes; `silent` routers do not say so.
    fn new(bytes: u64, silent: bool) -> Self {
        let bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::PortRestricted)]);
        give_prefixes(&bed, "10.42.0.0/16");
        bed.wait_for_paths("direct");
        for site in &bed.sites {
            site.narrow_uplink(bed.world.internet(), NARROW, silent);
        }
        let (client, _) = Pod::added(&bed.nodes[0], "client");
        let (server, ips) = Pod::added(&bed.nodes[1], "server");
        for node in &bed.nodes {
            storage::make_folder(node.machine(), 2 * (bytes >> 20) + 16);
        }
        lead(bed.nodes[0].machine(), ips[0]);
        Self {
            client,
            server,
            server_ip: ips[0],
            bed,
        }
    }

    fn machines(&self) -> [&Machine; 2] {
        [self.bed.nodes[0].machine(), self.bed.nodes[1].machine()]
    }

    /// Writes and reads back on the first node, in its own namespace and in the pod.
    fn copies(&self, protocol: Protocol, what: &str) {
        let [a, b] = self.machines();
        let (data, back) = (storage::file(a, "data"), storage::file(a, "back"));
        let node = |argv: &[&str]| a.spawn(argv, &[]);
        let pod = |argv: &[&str]| self.client.spawn(argv);
        let places: [(&str, &dyn Fn(&[&str]) -> Process); 2] = [("the node", &node), ("a pod", &pod)];
        for ((place, run), name) in places.into_iter().zip(protocol.disks()) {
            let disk = storage::file(b, name);
            let copy = |way: &str, argv: &[String], target: &Path| {
                let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
                tell(
                    &format!("{what} {way} {place}"),
                    storage::watch(&run(&argv), target, BOUND),
                );
            };
            copy("from", &protocol.write(SERVICE.into(), name, "data"), &disk);
            copy("back to", &protocol.read(SERVICE.into(), name, "back"), &back);
            assert!(
                storage::same(&data, &disk),
                "{what}: what is stored is what was written"
            );
            assert!(
                storage::same(&data, &back),
                "{what}: what is read is what was written"
            );
            std::fs::remove_file(&back).expect("it is there");
            protocol.make_disk(&disk, std::fs::metadata(&data).expect("it is there").len());
        }
    }
}

fn tell(what: &str, watch: Watch) {
    let (took, pause) = (watch.took.as_secs_f64(), watch.longest_pause.as_millis());
    figure(
        &format!("{what} in {took:.1} s, longest pause"),
        format!("{pause} ms"),
        "3,000 ms",
    );
    assert!(keeps(watch.longest_pause, PAUSE), "{what}: {watch:?}");
}

/// What kube-proxy does for a service without a selector of ports: for pods and for the node itself.
fn lead(node: &Machine, endpoint: IpAddr) {
    node.sh(&format!(
        "nft add table ip proxy
         nft add chain ip proxy pre '{{ type nat hook prerouting priority dstnat; }}'
         nft add chain ip proxy out '{{ type nat hook output priority -100; }}'
         nft add rule ip proxy pre ip daddr {SERVICE} dnat to {endpoint}
         nft add rule ip proxy out ip daddr {SERVICE} dnat to {endpoint}
         nft add chain ip proxy post '{{ type nat hook postrouting priority srcnat; }}'
         nft add rule ip proxy post ct status dnat ip saddr != 10.42.0.0/16 masquerade"
    ));
}

/// The whole of it, for one protocol.
fn stores(test: &str, protocol: Protocol, bytes: u64, silent: bool) {
    if let missing @ [_, ..] = &storage::missing()[..] {
        return skip(test, &format!("not installed: {}", missing.join(", ")));
    }
    let storage = Storage::new(bytes, silent);
    let [a, b] = storage.machines();
    storage::fill(&storage::file(a, "data"), bytes);
    protocol.make_disk(&storage::file(b, "disk"), bytes);
    let _servers = protocol.serve(b, &storage.server, storage.server_ip);
    let icmp = if silent { "without ICMP" } else { "with ICMP" };
    let what = format!(
        "{} MiB by {protocol:?} through a service, path MTU {NARROW} {icmp},",
        bytes >> 20
    );
    storage.copies(protocol, &what);
}

#[test]
fn nfs_through_a_service_over_a_narrow_path_that_says_nothing_does_not_stall() {
    let test = "nfs_through_a_service_over_a_narrow_path_that_says_nothing_does_not_stall";
    stores(test, Protocol::Nfs, SHORT, true);
}

#[test]
fn iscsi_through_a_service_over_a_narrow_path_that_says_nothing_does_not_stall() {
    let test = "iscsi_through_a_service_over_a_narrow_path_that_says_nothing_does_not_stall";
    stores(test, Protocol::Iscsi, SHORT, true);
}

#[test]
#[ignore = "1 GB: ./test --long"]
fn a_gigabyte_by_nfs_through_a_service_over_narrow_paths_does_not_stall() {
    let test = "a_gigabyte_by_nfs_through_a_service_over_narrow_paths_does_not_stall";
    for silent in [false, true] {
        stores(test, Protocol::Nfs, LONG, silent);
    }
}

#[test]
#[ignore = "1 GB: ./test --long"]
fn a_gigabyte_by_iscsi_through_a_service_over_narrow_paths_does_not_stall() {
    let test = "a_gigabyte_by_iscsi_through_a_service_over_narrow_paths_does_not_stall";
    for silent in [false, true] {
        stores(test, Protocol::Iscsi, LONG, silent);
    }
}
