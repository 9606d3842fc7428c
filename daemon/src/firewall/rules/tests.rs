//! Each rule in its place.

use super::*;
use std::net::Ipv6Addr;

fn fenced(name: &str, v4: [u8; 4]) -> Fenced {
    Fenced {
        interface: name.into(),
        addresses: (v4.into(), Ipv6Addr::LOCALHOST),
        services: Vec::new(),
        guarded: Vec::new(),
        prefixes: ["10.77.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()],
        lans: Vec::new(),
        underlay: BTreeSet::new(),
        pods: None,
        held: Vec::new(),
        granted: Vec::new(),
        adopts: false,
    }
}

fn service(range: &str, published: &str, nat: bool) -> Service {
    Service {
        range: range.parse().unwrap(),
        published: published.parse().unwrap(),
        nat,
        sources: None,
    }
}

fn with(services: Vec<Service>) -> String {
    let fenced = Fenced {
        services,
        guarded: vec!["eth0".into()],
        ..fenced("meshd0", [10, 77, 0, 1])
    };
    table("meshd-0", [fenced].iter())
}

fn place(script: &str, rule: &str) -> usize {
    script
        .find(rule)
        .unwrap_or_else(|| panic!("{rule}\nis not in\n{script}"))
}

#[test]
fn without_interfaces_there_is_no_table() {
    assert_eq!(table("meshd-0", [].iter()).lines().count(), 2);
}

#[test]
fn each_network_reaches_its_own_addresses_only() {
    let script = table(
        "meshd-0",
        [fenced("meshd0", [10, 77, 0, 1]), fenced("meshd1", [10, 88, 0, 1])].iter(),
    );
    place(&script, "iifname \"meshd0\" ip daddr != 10.77.0.1 counter drop");
    place(&script, "iifname \"meshd1\" counter drop");
    assert!(!script.contains("ct ") && !script.contains("nat"), "{script}");
}

#[test]
fn strangers_stay_out_and_pass_for_nobody() {
    let fenced = Fenced {
        lans: vec!["10.77.3.0/24".parse().unwrap()],
        underlay: BTreeSet::from(["eth0".into(), "a\"b".into()]),
        ..fenced("meshd0", [10, 77, 0, 1])
    };
    let script = table("meshd-0", [fenced].iter());
    place(&script, "iifname { \"eth0\" } ip daddr 10.77.0.1 counter drop");
    place(&script, "iifname { \"eth0\" } ip6 daddr ::1 counter drop");
    place(
        &script,
        "iifname { \"eth0\" } ip saddr 10.77.0.0/16 ip saddr != 10.77.3.0/24 counter drop",
    );
    place(&script, "iifname { \"eth0\" } ip6 saddr fd00::/64 counter drop");
}

#[test]
fn what_is_served_passes_before_the_rest_is_dropped() {
    let script = with(vec![service("192.168.50.0/24", "192.168.50.0/24", true)]);
    let passes = place(
        &script,
        "oifname != \"meshd0\" ip daddr 192.168.50.0/24 counter accept",
    );
    assert!(
        passes < place(&script, "iifname \"meshd0\" counter drop"),
        "{script}"
    );
    place(
        &script,
        "oifname != \"meshd0\" ip daddr 192.168.50.0/24 masquerade",
    );
    place(
        &script,
        "oifname \"meshd0\" ip saddr 192.168.50.0/24 ct state new counter drop",
    );
    place(&script, "iifname \"eth0\" oifname != \"meshd0\" counter drop");
}

#[test]
fn a_limited_range_lets_named_sources_through_and_an_empty_list_nobody() {
    let limited = |sources: &[&str]| Service {
        sources: Some(
            sources
                .iter()
                .map(|s| IpNet::from(s.parse::<IpAddr>().unwrap()))
                .collect(),
        ),
        ..service("192.168.50.0/24", "192.168.50.0/24", true)
    };
    let script = with(vec![limited(&["10.77.0.2", "10.77.0.3"])]);
    place(&script, "ip saddr { 10.77.0.2, 10.77.0.3 } counter accept");
    let script = with(vec![limited(&[])]);
    assert!(!script.contains("192.168.50.0/24 counter accept"), "{script}");
}

#[test]
fn a_translated_range_is_reached_by_its_published_prefix_alone() {
    let script = with(vec![service("fd02::/64", "fd01::/64", false)]);
    place(
        &script,
        "ip6 daddr fd01::/64 dnat ip6 prefix to ip6 daddr map { fd01::/64 : fd02::/64 }",
    );
    place(
        &script,
        "ip6 saddr fd02::/64 snat ip6 prefix to ip6 saddr map { fd02::/64 : fd01::/64 }",
    );
    place(&script, "ct original ip6 daddr fd01::/64 counter accept");
    assert!(!script.contains("daddr fd02::/64"), "{script}");
}

#[test]
fn an_exit_leads_to_the_internet_and_not_into_its_own_lan() {
    let script = with(vec![
        service("0.0.0.0/0", "0.0.0.0/0", true),
        service("::/0", "::/0", true),
    ]);
    place(&script, "192.168.0.0/16, 224.0.0.0/3 } counter accept");
    place(
        &script,
        "ip6 daddr != { ::/16, fc00::/7, fe80::/10, ff00::/8 } masquerade",
    );
}

#[test]
fn what_was_granted_to_this_node_is_reached_through_it_and_the_tunnel_never_runs_in_itself() {
    let granted = Fenced {
        granted: vec!["10.244.0.0/16".parse().unwrap()],
        adopts: true,
        ..fenced("meshd0", [10, 77, 0, 1])
    };
    let script = table("meshd-0", [granted].iter());
    let passes = place(
        &script,
        "iifname \"meshd0\" oifname != \"meshd0\" ip daddr 10.244.0.0/16 counter accept",
    );
    assert!(
        passes < place(&script, "iifname \"meshd0\" counter drop"),
        "{script}"
    );
    place(&script, "iifname \"meshd0\" ct status dnat counter accept");
    place(
        &script,
        "iifname \"meshd0\" ip daddr 10.244.0.0/16 counter accept",
    );
    place(&script, "type filter hook output");
    place(
        &script,
        "oifname \"meshd0\" meta mark & 0xfff00000 == 0x6d700000 counter drop",
    );
    let without = table("meshd-0", [fenced("meshd0", [10, 77, 0, 1])].iter());
    assert!(!without.contains("hook output"), "{without}");
}

#[test]
fn into_a_range_for_some_pods_the_others_do_not_send() {
    let range = |text: &str| text.parse::<IpNet>().unwrap();
    let fenced = Fenced {
        pods: Some(FencedPods {
            part: vec![range("10.42.1.0/24")],
            limits: vec![
                (
                    range("192.168.50.0/24"),
                    vec![[10, 42, 1, 7].into(), Ipv6Addr::LOCALHOST.into()],
                ),
                (range("fd50::/64"), Vec::new()),
            ],
        }),
        ..fenced("meshd0", [10, 77, 0, 1])
    };
    let script = table("meshd-0", [fenced].iter());
    let limit = place(
        &script,
        "iifname \"mpod*\" ip daddr 192.168.50.0/24 ip saddr != { 10.42.1.7 } counter drop",
    );
    place(&script, "iifname \"mpod*\" ip6 daddr fd50::/64 counter drop");
    let first = "oifname \"mpod*\" ct state established,related counter accept";
    assert!(limit < place(&script, first), "{script}");
}

#[test]
fn what_a_stranger_sends_to_a_mesh_address_is_not_led_on_to_a_pod() {
    let fenced = Fenced {
        pods: Some(FencedPods {
            part: vec!["10.42.1.0/24".parse().unwrap()],
            limits: Vec::new(),
        }),
        underlay: ["eth0".to_owned()].into(),
        ..fenced("meshd0", [10, 77, 0, 1])
    };
    let script = table("meshd-0", [fenced].iter());
    let sent = place(
        &script,
        "iifname { \"eth0\" } ct direction original ct original ip daddr 10.77.0.1 counter drop",
    );
    assert!(
        sent < place(&script, "oifname \"mpod*\" ct status dnat counter accept"),
        "{script}"
    );
}

#[test]
fn what_every_node_holds_is_reached_from_this_machine_alone() {
    let plain = fenced("meshd0", [10, 77, 0, 1]);
    let fenced = Fenced {
        held: vec!["10.77.255.254".parse().unwrap(), "fd77::fffe".parse().unwrap()],
        underlay: ["eth0".to_owned()].into(),
        ..plain.clone()
    };
    let script = table("meshd-0", [fenced.clone()].iter());
    for line in [
        "iifname { \"eth0\" } ip daddr 10.77.255.254 counter drop",
        "iifname { \"eth0\" } ip6 daddr fd77::fffe counter drop",
    ] {
        assert!(script.contains(line), "{script}");
    }
    let silent = silence("meshd-0", [fenced].iter());
    assert!(silent.contains("arp daddr ip 10.77.255.254 drop"), "{silent}");
    assert!(!silent.contains("fd77"), "{silent}");
    assert!(!silence("meshd-0", [plain].iter()).contains("chain"));
}
