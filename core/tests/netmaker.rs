//! Networks of Netmaker, as its servers of several ages tell them.

use meshd_core::netmaker::{ImportError, Plan, plan};
use proptest::prelude::*;
use serde_json::{Value, json};

/// As a server before 1.0 tells it: ranges are their node's.
fn old() -> Value {
    json!({
        "networks": [{"netid": "home_net", "addressrange": "10.101.0.0/16", "addressrange6": "fd11::/112", "defaultacl": "yes"}],
        "hosts": [
            {"id": "h1", "name": "Web.Example.com", "os": "linux", "listenport": 51821},
            {"id": "h2", "name": "pi", "endpointip": "203.0.113.9"},
            {"id": "h3", "name": "PI"},
            {"id": "h4", "name": "localhost"},
        ],
        "nodes": [
            {"id": "n1", "hostid": "h1", "network": "home_net", "address": "10.101.0.1/16", "address6": "fd11::1/112",
             "isegressgateway": true, "egressgatewaynatenabled": true,
             "egressgatewayranges": ["192.168.50.0/24", "10.101.3.0/24", "bad"]},
            {"id": "n2", "hostid": "h2", "network": "home_net", "address": "10.101.0.2/16", "address6": "fd11::9/112",
             "isegressgateway": true, "egressgatewaynatenabled": false, "egressgatewayranges": ["192.168.50.7/24"],
             "egressgatewayranges_with_metric": [{"network": "192.168.50.0/24", "route_metric": 100}]},
            {"id": "n3", "hostid": "h3", "network": "home_net", "address": "10.101.0.2/16", "egressgatewayranges": null},
            {"id": "n4", "hostid": "h4", "network": "home_net", "address": ""},
            {"id": "c1", "hostid": "", "network": "home_net", "address": "10.101.0.9/32", "is_static": true},
            {"id": "x1", "hostid": "h1", "network": "other", "address": "10.102.0.1/16"},
        ],
    })
}

fn planned(export: &Value) -> Plan {
    plan(export.to_string().as_bytes(), None).unwrap()
}

#[test]
fn names_addresses_and_ranges_are_kept() {
    let plan = planned(&old());
    assert_eq!(
        (plan.network.as_str(), plan.ipv4.to_string()),
        ("home-net", "10.101.0.0/16".into())
    );
    assert_eq!(plan.ipv6.unwrap().to_string(), "fd11::/96");
    let nodes: Vec<(&str, Option<String>)> = plan
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.ipv4.map(|ipv4| ipv4.to_string())))
        .collect();
    assert_eq!(
        nodes,
        [
            ("localhost-2", None),
            ("pi", Some("10.101.0.2".into())),
            ("pi-2", None),
            ("web-example-com", Some("10.101.0.1".into())),
        ]
    );
    let ranges: Vec<(&str, String, bool, u32)> = plan
        .gateways
        .iter()
        .map(|gateway| {
            (
                gateway.node.as_str(),
                gateway.range.to_string(),
                gateway.nat,
                gateway.priority,
            )
        })
        .collect();
    assert_eq!(
        ranges,
        [
            ("web-example-com", "192.168.50.0/24".into(), true, 256),
            ("pi", "192.168.50.0/24".into(), false, 100),
        ]
    );
    let notes = plan.notes.join("\n");
    for part in [
        "network home_net becomes home-net",
        "IPv6 range fd11::/112 becomes fd11::/96",
        "\"PI\" (10.101.0.2/16) becomes pi-2",
        "pi-2 cannot keep the address \"10.101.0.2/16\"",
        "10.101.3.0/24 behind web-example-com is left out: ",
        "\"bad\" behind web-example-com is no range",
        "1 clients without netclient",
        "these change: fd11::9 of pi",
    ] {
        assert!(notes.contains(part), "{part} is not in\n{notes}");
    }
    assert!(!notes.contains("fd11::1 of"), "{notes}");
}

#[test]
fn a_newer_server_has_egress_of_its_own() {
    let mut export = old();
    export["nodes"][0]["isegressgateway"] = json!(false);
    export["nodes"][1]["isegressgateway"] = json!(false);
    let entry = |name: &str, range: &str, more: Value| {
        let mut entry = json!({"name": name, "network": "home_net", "nodes": {"n1": 20}, "tags": {}, "range": range, "nat": true, "status": true});
        entry
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        entry
    };
    export["egress"] = json!({"Code": 200, "Message": "", "Response": [
        entry("lan", "192.168.7.0/24", json!({})),
        entry("twin", "192.168.8.0/24", json!({"mode": "virtual_nat", "virtual_range": "10.9.8.0/24"})),
        entry("off", "192.168.9.0/24", json!({"status": false})),
        entry("site", "", json!({"domains": ["example.com"]})),
        entry("gone", "192.168.10.0/24", json!({"nodes": {"n9": 1}})),
        entry("tagged", "192.168.11.0/24", json!({"nodes": {}, "tags": {"home.lab": 1}})),
        entry("all", "0.0.0.0/0", json!({})),
        entry("elsewhere", "192.168.12.0/24", json!({"network": "other"})),
    ]});
    let plan = planned(&export);
    let ranges: Vec<(String, String, u32)> = plan
        .gateways
        .iter()
        .map(|gateway| {
            (
                gateway.range.to_string(),
                gateway.published.to_string(),
                gateway.priority,
            )
        })
        .collect();
    let same = |range: &str| (range.to_owned(), range.to_owned(), 20);
    assert_eq!(
        ranges,
        [
            same("192.168.7.0/24"),
            ("192.168.8.0/24".into(), "10.9.8.0/24".into(), 20),
            same("0.0.0.0/0"),
        ]
    );
    let notes = plan.notes.join("\n");
    for part in [
        "egress off is switched off",
        "egress site is for domains",
        "egress gone is behind a node that is not here",
        "egress tagged is also behind the nodes with a tag",
    ] {
        assert!(notes.contains(part), "{part} is not in\n{notes}");
    }
}

#[test]
fn what_cannot_be_planned_is_said() {
    let refused =
        |export: Value, network: Option<&str>| plan(export.to_string().as_bytes(), network).unwrap_err();
    assert!(matches!(plan(b"{", None), Err(ImportError::Unreadable(_))));
    assert!(matches!(refused(json!([]), None), ImportError::Unreadable(_)));
    assert_eq!(
        refused(json!({"networks": []}), None),
        ImportError::Missing("hosts")
    );
    let mut two = old();
    let networks = two["networks"].as_array_mut().unwrap();
    networks.push(json!({"netid": "public", "addressrange": "8.8.0.0/16"}));
    assert_eq!(
        refused(two.clone(), None),
        ImportError::Several("home_net or public".into())
    );
    assert!(matches!(
        refused(two.clone(), Some("none")),
        ImportError::NoNetwork(_)
    ));
    let said = refused(two.clone(), Some("public")).to_string();
    assert!(
        said.contains("8.8.0.0/16") && said.contains("not private"),
        "{said}"
    );
    assert!(plan(two.to_string().as_bytes(), Some("home_net")).is_ok());
}

/// Any JSON, in which the fields of exports come often.
fn anything() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("home_net".to_owned()),
        Just("n1".to_owned()),
        Just("10.101.0.0/16".to_owned()),
        Just("10.101.0.1/16".to_owned()),
        Just("fd11::/64".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let field = prop::sample::select(vec![
        "id",
        "hostid",
        "name",
        "network",
        "netid",
        "address",
        "address6",
        "addressrange",
        "addressrange6",
        "range",
        "nodes",
        "tags",
        "mode",
        "virtual_range",
        "egressgatewayranges",
        "isegressgateway",
        "networks",
        "hosts",
        "egress",
        "Response",
    ]);
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((field.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_export_is_planned_or_refused(networks in anything(), hosts in anything(), nodes in anything(), egress in anything()) {
        let mut export = old();
        for (name, value) in [("networks", networks), ("hosts", hosts), ("nodes", nodes), ("egress", egress)] {
            if !value.is_null() {
                export[name] = value;
            }
        }
        if let Ok(plan) = plan(export.to_string().as_bytes(), None) {
            let mut names: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
            names.dedup();
            prop_assert_eq!(names.len(), plan.nodes.len(), "each name once");
            let addresses: Vec<_> = plan.nodes.iter().filter_map(|node| node.ipv4).collect();
            for (n, address) in addresses.iter().enumerate() {
                prop_assert!(plan.ipv4.contains(address) && !addresses[..n].contains(address));
            }
        }
    }

    #[test]
    fn any_bytes_are_planned_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = plan(&bytes, None);
    }
}
