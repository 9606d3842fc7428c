use super::*;
use crate::keys::{LanKey, RootSecret};
use crate::statement::{MTU_DEFAULT, Tellers};

fn params() -> Params {
    Params {
        root: RootSecret::from_seed(&[1; 32]).public(),
        serial: 1,
        name: "prod".into(),
        ipv4: "10.77.0.0/16".parse().unwrap(),
        ipv6: "fd77::/64".parse().unwrap(),
        mtu: MTU_DEFAULT,
        lan_key: LanKey::from_bytes([9; 32]),
    }
}

fn terms(address: Option<&str>, port: u16) -> EndpointTerms {
    EndpointTerms {
        address: address.map(|text| text.parse().unwrap()),
        port,
        members: Vec::new(),
        authorities: Vec::new(),
    }
}

fn refusal(address: Option<&str>, port: u16) -> Option<String> {
    let pods = PodTerms {
        ipv4: "10.42.0.0/16".parse().unwrap(),
        ipv6: None,
        node_prefix: 24,
        services: vec!["10.43.0.0/16".parse().unwrap()],
        tellers: Tellers::default(),
    };
    let api = Endpoint {
        name: "api".into(),
        terms: terms(None, API_PORT),
    };
    check(&terms(address, port), &params(), Some(&pods), [&api])
        .err()
        .map(|error| error.to_string())
}

#[test]
fn without_an_address_an_endpoint_is_at_the_reserved_ones() {
    let api = Endpoint {
        name: "api".into(),
        terms: terms(None, API_PORT),
    };
    let at: Vec<String> = api.at(&params()).iter().map(SocketAddr::to_string).collect();
    assert_eq!(at, ["10.77.255.254:7443", "[fd77::fffe]:7443"]);
}

#[test]
fn each_reason_is_a_sentence_of_its_own() {
    for (address, port, words) in [
        (Some("127.0.0.1"), 443, "loopback"),
        (Some("224.0.0.9"), 443, "multicast"),
        (Some("fe80::1"), 443, "link-local"),
        (Some("0.0.0.0"), 443, "is no address"),
        (Some("10.77.3.1"), 443, "an address for a node"),
        (Some("fd77::9"), 443, "an address for a node"),
        (Some("10.42.0.9"), 443, "pods or services"),
        (Some("10.43.0.1"), 443, "pods or services"),
        (None, 7441, "meshd's own"),
        (None, 7443, "is the endpoint \"api\"'s"),
        (Some("10.77.255.254"), 7443, "is the endpoint \"api\"'s"),
    ] {
        let said = refusal(address, port).unwrap_or_default();
        assert!(said.contains(words), "{address:?} {port}: {said:?}");
    }
}

#[test]
fn what_breaks_nothing_is_an_endpoint() {
    for (address, port) in [
        (None, 5000),
        (Some("10.0.1.99"), 60443),
        (Some("10.0.1.99"), 7443),
        (Some("10.77.255.254"), 5000),
        (Some("2001:db8::9"), 443),
    ] {
        assert_eq!(refusal(address, port), None, "{address:?} {port}");
    }
}
