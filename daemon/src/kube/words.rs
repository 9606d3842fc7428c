//! What is asked of the coordinator, and what is written into a service's status and events.

use super::desk::{Allowed, Outcome};
use k8s_openapi::jiff::Timestamp;
use meshd_api::coordinator::ingress::IngressPort;
use meshd_core::expose::{Asked, Planned};
use meshd_core::policy::Name;
use meshd_core::statement::ProxyVersion;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The addresses that a service's status is to name, and what is wrong; none where that is not known yet.
pub fn verdict(
    planned: &Planned,
    outcome: Option<&Outcome>,
    allowed: &Allowed,
) -> Option<(Vec<Value>, String)> {
    let range = match planned {
        // kube-proxy leads such an address to pods by itself, on every node
        Planned::Private(address) => {
            return Some((vec![json!({"ip": address, "ipMode": "VIP"})], String::new()));
        }
        Planned::Nothing(why) => return Some((Vec::new(), why.clone())),
        Planned::Public(range) => range.clone(),
    };
    let given = outcome?.given.as_ref().ok()?;
    let states = given.ports.get(range)?;
    let refused = states.iter().filter_map(|state| state.refused.clone());
    let warned = states.iter().flat_map(|state| state.warnings.iter().cloned());
    let why: Vec<String> = refused.chain(warned).collect();
    let had = states.iter().any(|state| state.refused.is_none());
    let hosts = match given.addresses.is_empty() {
        true => &allowed.hosts,
        false => &given.addresses,
    };
    // what a pod sends there goes to meshrelay, too: it knows sites, and adds the header that a service may expect
    let addresses = hosts.iter().map(|host| match host.parse::<IpAddr>() {
        Ok(ip) => json!({"ip": ip, "ipMode": "Proxy"}),
        Err(_) => json!({"hostname": host}),
    });
    Some((addresses.filter(|_| had).collect(), why.join("; ")))
}

/// A port, as it is asked for.
pub fn port(asked: &Asked) -> IngressPort {
    IngressPort {
        namespace: asked.namespace.clone(),
        service: asked.service.clone(),
        protocol: asked.protocol.word().to_owned(),
        port: asked.port,
        sites: asked.sites.clone(),
        proxy_protocol: asked.proxy.map(|version| match version {
            ProxyVersion::V1 => "v1".to_owned(),
            ProxyVersion::V2 => "v2".to_owned(),
        }),
        targets: asked.targets.iter().map(ToString::to_string).collect(),
    }
}

/// An event of a service, which says why it is not exposed.
pub fn event(name: &Name, uid: &str, message: &str) -> Value {
    let now = format!("{:.0}", Timestamp::now());
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": format!("{}.", name.name), "namespace": *name.namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Service", "namespace": *name.namespace, "name": *name.name, "uid": uid},
        "reason": "NotExposed",
        "type": "Warning",
        "message": message,
        "source": {"component": "meshd"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_api::coordinator::ingress::{IngressAsk, IngressGiven, IngressState};
    use meshd_core::statement::IngressTerms;

    fn outcome(refused: [Option<&str>; 2], addresses: &[&str]) -> Outcome {
        let state = |refused: Option<&str>| IngressState {
            refused: refused.map(str::to_owned),
            warnings: Vec::new(),
        };
        Outcome {
            ask: IngressAsk::default().into(),
            given: Ok(IngressGiven {
                addresses: addresses.iter().map(|one| (*one).to_owned()).collect(),
                ports: refused.map(state).to_vec(),
            }),
        }
    }

    #[test]
    fn a_status_names_addresses_where_a_port_was_had_and_an_event_says_what_was_not() {
        let allowed = Allowed {
            name: "cluster".into(),
            terms: IngressTerms::default(),
            own: "cp1".into(),
            nodes: Vec::new(),
            pods: Vec::new(),
            hosts: vec!["vpn.example.org".into()],
        };
        let of = |planned, outcome: &Outcome| verdict(&planned, Some(outcome), &allowed).unwrap();
        let some = outcome([None, Some("port 22 is not allowed")], &["203.0.113.1"]);
        let (addresses, why) = of(Planned::Public(0..2), &some);
        assert_eq!(addresses, [json!({"ip": "203.0.113.1", "ipMode": "Proxy"})]);
        assert_eq!(why, "port 22 is not allowed");
        let (addresses, why) = of(Planned::Public(1..2), &some);
        assert!(addresses.is_empty() && !why.is_empty());
        let (addresses, why) = of(Planned::Public(0..1), &outcome([None, None], &[]));
        assert_eq!(
            (addresses, why.as_str()),
            (vec![json!({"hostname": "vpn.example.org"})], "")
        );
        let (addresses, _) = of(Planned::Private([10, 88, 0, 1].into()), &some);
        assert_eq!(addresses, [json!({"ip": "10.88.0.1", "ipMode": "VIP"})]);
        assert_eq!(
            verdict(&Planned::Public(0..1), None, &allowed),
            None,
            "nothing is known yet"
        );
    }
}
