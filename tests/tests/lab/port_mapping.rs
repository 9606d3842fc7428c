//! Routers that map ports: a real miniupnpd (Debian's) on a site's router.

use std::time::Duration;

use meshd_tests::mesh::Node;
use meshd_tests::{Machine, Nat, Process, Site, eventually, poll};

use crate::bed::{self, Bed, NET, SOON};

/// What miniupnpd grants at most, in s: renewals come every half of it.
const LIFETIME: u64 = 6;

/// Chains that miniupnpd puts its rules into.
const CHAINS: &str = "table inet filter { chain forward { type filter hook forward priority 0; jump miniupnpd; }; chain miniupnpd { }; }; \
    table inet nat { chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }; \
    chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd; }; \
    chain prerouting_miniupnpd { }; chain postrouting_miniupnpd { }; }";

/// A router that maps ports. The lab's public addresses are reserved for documentation, which miniupnpd takes for a NAT
/// in front of it; so its router gets one more.
struct Mapper {
    router: Machine,
    outside: String,
    process: Process,
}

impl Mapper {
    fn start(bed: &Bed, site: &Site, settings: &str) -> Self {
        let (router, public) = (site.router().clone(), site.public_v4());
        let last: u32 = public
            .rsplit('.')
            .next()
            .and_then(|last| last.parse().ok())
            .expect("an address");
        let outside = format!("11.0.{last}.1");
        // the first address of an interface is the one that miniupnpd takes
        router.sh(&format!(
            "ip addr flush dev wan; ip addr add {outside}/32 dev wan; ip addr add {public}/30 dev wan; \
             ip route replace default via 198.51.100.{}; echo '{CHAINS}' | sed 's/{{ }}/{{}}/g' | nft -f -",
            last - 1
        ));
        bed.world
            .internet()
            .run(&["ip", "route", "add", &outside, "via", &public]);
        let common = format!(
            "ext_ifname=wan\nlistening_ip=lan\nport=5000\nsecure_mode=yes\nmin_lifetime=2\nmax_lifetime={LIFETIME}\n\
             upnp_table_name=filter\nupnp_nat_table_name=nat\nupnp_forward_chain=miniupnpd\n\
             upnp_nat_chain=prerouting_miniupnpd\nupnp_nat_postrouting_chain=postrouting_miniupnpd\n\
             uuid=00000000-0000-0000-0000-000000000000\nallow 1024-65535 192.168.0.0/16 1024-65535\n\
             deny 0-65535 0.0.0.0/0 0-65535\n"
        );
        let config = router.file("/run/miniupnpd.conf");
        std::fs::write(config, format!("{settings}{common}")).expect("the lab's folder is writable");
        let argv = [
            "miniupnpd",
            "-d",
            "-f",
            "/run/miniupnpd.conf",
            "-P",
            "/run/miniupnpd.pid",
        ];
        let process = router.spawn(&argv, &[]);
        eventually(SOON, "miniupnpd listens", || {
            assert!(process.is_running(), "miniupnpd ended: {}", process.log());
            process.log().contains("istening").then_some(())
        });
        Self {
            router,
            outside,
            process,
        }
    }

    /// Whether the router sends a port of its outside to this address.
    fn maps_to(&self, inside: &str) -> bool {
        let rules = self
            .router
            .run(&["nft", "list", "chain", "inet", "nat", "prerouting_miniupnpd"]);
        rules.contains(&format!("dnat ip to {inside}:"))
    }
}

/// What `netcheck` says of the mapping, once it says `wanted` of there being one.
fn mapping(node: &Node, wanted: bool) -> serde_json::Value {
    eventually(SOON, &format!("a mapping is there: {wanted}"), || {
        let output = node.try_ctl(&["netcheck", "--json"]);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        (found["port_mapping"].is_null() != wanted).then(|| found["port_mapping"].clone())
    })
}

/// Leaves NAT-PMP: what begins with the version of PCP (RFC 6887 section 7.1) does not reach miniupnpd, which has one port and
/// no switch for the two.
const NO_PCP: &str = "nft 'add table inet nopcp; add chain inet nopcp in { type filter hook input priority 0; }; \
    add rule inet nopcp in udp dport 5351 @th,64,8 2 counter drop'";

/// Two nodes behind symmetric NATs, one of whose routers maps ports this way: they become direct, and the mapping is there
/// as long as the node is.
fn becomes_direct(router: &str, settings: &str, method: &str, (asked, times): (&str, usize)) {
    let mut bed = bed::empty();
    let sites = [bed.world.site(Nat::Symmetric), bed.world.site(Nat::Symmetric)];
    sites[0].router().sh(router);
    let mapper = Mapper::start(&bed, &sites[0], settings);
    bed.add(&sites[0], "a", 2);
    bed.add(&sites[1], "b", 2);
    bed.sites.extend(sites);
    bed.settle();
    bed.wait_for_paths("direct");
    let (a, inside) = (&bed.nodes[0], bed.sites[0].v4(2));
    let port = a.network(NET).expect("joined")["listen_port"].clone();
    let granted = mapping(a, true);
    assert_eq!(
        granted["external"],
        format!("{}:{port}", mapper.outside),
        "{granted}"
    );
    assert_eq!(granted["method"], method, "{granted}");
    let page = a.ctl(&["netcheck"]);
    assert!(
        page.contains(&format!("{}:{port} ({method})", mapper.outside)),
        "{page}"
    );
    eventually(SOON, "the mapping is renewed", || {
        (mapper.process.log().matches(asked).count() >= times).then_some(())
    });
    assert!(mapper.maps_to(&inside), "it outlives what was granted at first");
    a.ctl(&["down"]);
    // half of its life is left at least
    let given_back = poll(Duration::from_secs(1), || {
        (!mapper.maps_to(&inside)).then_some(())
    });
    assert!(given_back.is_some(), "it is given back: {}", mapper.process.log());
    a.ctl(&["up"]);
    eventually(SOON, "the port is mapped again", || {
        mapper.maps_to(&inside).then_some(())
    });
}

#[test]
fn a_symmetric_nat_becomes_direct_where_its_router_speaks_pcp() {
    becomes_direct(
        "",
        "enable_natpmp=yes\nenable_upnp=no\n",
        "pcp",
        ("PCP request received", 4),
    );
}

#[test]
fn a_symmetric_nat_becomes_direct_where_its_router_speaks_nat_pmp_and_no_pcp() {
    // it grants an hour, whatever its settings say, so that there is no time to see a renewal
    becomes_direct(
        NO_PCP,
        "enable_natpmp=yes\nenable_upnp=no\n",
        "nat-pmp",
        ("NAT-PMP port mapping request", 1),
    );
}

#[test]
fn a_symmetric_nat_becomes_direct_where_its_router_speaks_upnp() {
    // its lease is an hour, so that there is no time to see a renewal
    becomes_direct(
        "",
        "enable_natpmp=no\nenable_upnp=yes\n",
        "upnp",
        ("AddPortMapping", 1),
    );
}
