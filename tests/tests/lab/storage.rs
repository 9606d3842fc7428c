//! Storage on a service of the cluster's, used from a node's own namespace (as a kubelet mounts volumes) and from a pod, over a
//! path that carries less than everybody believes: what is written is what is read, and nothing stands still.

use std::net::{IpAddr, Ipv4Addr};

use meshd_tests::pods::Pod;
use meshd_tests::storage::{self, Protocol};
use meshd_tests::{Copies, Machine, Nat, skip};

use crate::bed::{self, Bed};
use crate::pods::give_prefixes;

const SHORT: u64 = 64 << 20;
const LONG: u64 = 1 << 30;
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
    let copies = Copies {
        client: a,
        pod: &storage.client,
        server: b,
        service: SERVICE.into(),
    };
    copies.prepare(protocol, bytes);
    let _servers = protocol.serve(b, &storage.server, storage.server_ip);
    let icmp = if silent { "without ICMP" } else { "with ICMP" };
    let what = format!(
        "{} MiB by {protocol:?} through a service, path MTU {NARROW} {icmp},",
        bytes >> 20
    );
    copies.run(protocol, &what);
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
