//! Services and EndpointSlices, as the API words them (core v1, discovery.k8s.io/v1) and as the core takes them.

use super::objects::{Watched, name, resource};
use kube::core::{NamespaceResourceScope, ObjectMeta};
use meshd_core::expose::{Endpoint, EndpointState, Service, ServicePort, Slice};
use meshd_core::statement::Protocol;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What the annotations that count begin with.
const OURS: &str = "mesh/";
/// The label by which a slice names its service.
const SERVICE: &str = "kubernetes.io/service-name";

resource!(ApiService, "Service", "", "services", NamespaceResourceScope, metadata only: false);
resource!(ApiSlice, "EndpointSlice", "discovery.k8s.io", "endpointslices", NamespaceResourceScope, metadata only: false);

/// A service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiService {
    #[serde(deserialize_with = "annotated")]
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    load_balancer_class: Option<String>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Option<String>,
    load_balancer_source_ranges: Vec<String>,
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    name: String,
    protocol: Option<String>,
    port: u16,
    node_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Ingress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: Option<String>,
    hostname: Option<String>,
}

/// Name, version, and of labels and annotations those that count.
fn annotated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Trimmed {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        deletion_timestamp: Option<String>,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
    }
    let mut meta = Trimmed::deserialize(deserializer)?;
    meta.labels.retain(|key, _| key == SERVICE);
    meta.annotations.retain(|key, _| key.starts_with(OURS));
    if meta.deletion_timestamp.is_some() {
        // as good as gone
        meta.labels.clear();
    }
    Ok(ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        labels: Some(meta.labels),
        annotations: Some(meta.annotations),
        ..ObjectMeta::default()
    })
}

/// A service that is, or was, of type LoadBalancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What of it counts.
    pub service: Service,
    /// Its id, for events.
    pub uid: String,
    /// Whether it still is of that type.
    pub balances: bool,
}

impl Watched for ApiService {
    type Kept = Kept;

    /// One of another type counts only while its status names addresses, which are taken away.
    fn kept(self) -> Option<Kept> {
        let name = name(&self);
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let balances = spec.kind == "LoadBalancer";
        if !balances {
            return None;
        }
        let annotations = metadata.annotations.unwrap_or_default();
        let said = |key: &str| annotations.get(&format!("{OURS}{key}")).cloned();
        let sites = said("sites").unwrap_or_default();
        let sites = sites.split(',').map(|site| site.trim().to_ascii_lowercase());
        let ports = spec.ports.into_iter().map(|port| ServicePort {
            name: port.name,
            protocol: protocol(port.protocol.as_deref()),
            port: port.port,
            node_port: port.node_port,
        });
        let held = status.load_balancer.ingress.into_iter();
        Some(Kept {
            uid: metadata.uid.unwrap_or_default(),
            balances,
            service: Service {
                name,
                class: spec.load_balancer_class,
                ports: ports.collect(),
                fixed: spec.load_balancer_ip.and_then(|text| text.parse().ok()),
                has_sources: !spec.load_balancer_source_ranges.is_empty(),
                pool: said("pool"),
                sites: sites.filter(|site| !site.is_empty()).collect(),
                proxy: said("proxy-protocol"),
                status: held.filter_map(|one| one.ip.or(one.hostname)).collect(),
            },
        })
    }
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

/// Some endpoints of a service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ApiSlice {
    #[serde(deserialize_with = "annotated")]
    metadata: ObjectMeta,
    address_type: String,
    #[serde(deserialize_with = "or_none")]
    ports: Vec<SlicePort>,
    #[serde(deserialize_with = "or_none")]
    endpoints: Vec<ApiEndpoint>,
}

/// A list that may be `null`.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SlicePort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ApiEndpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl Conditions {
    fn state(&self) -> EndpointState {
        let (serving, ends) = (self.serving == Some(true), self.terminating == Some(true));
        match self.ready.unwrap_or(true) {
            true => EndpointState::Ready,
            false if serving && ends => EndpointState::Ending,
            false => EndpointState::Away,
        }
    }
}

impl Watched for ApiSlice {
    type Kept = Slice;

    fn kept(self) -> Option<Slice> {
        if self.address_type != "IPv4" {
            return None;
        }
        let service = self.metadata.labels.as_ref()?.get(SERVICE)?.clone();
        let ports = self.ports.iter().filter_map(|port| {
            let protocol = protocol(port.protocol.as_deref())?;
            Some((port.name.clone().unwrap_or_default(), protocol, port.port?))
        });
        let endpoints = self.endpoints.iter().filter_map(|one| {
            Some(Endpoint {
                address: one.addresses.first()?.parse().ok()?,
                state: one.conditions.state(),
                node: one.node_name.clone().unwrap_or_default(),
            })
        });
        Some(Slice {
            ports: ports.collect(),
            endpoints: endpoints.collect(),
            service,
            name: name(&self),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read_as_the_api_writes_it_and_of_another_type_it_is_none() {
        let text = r#"{"metadata":{"name":"web","namespace":"shop","uid":"u","annotations":{"mesh/proxy-protocol":"v2",
            "mesh/sites":"a.example.org, B.example.org","other/x":"y"}},"spec":{"type":"LoadBalancer","loadBalancerClass":"mesh",
            "loadBalancerIP":"10.88.0.9","ports":[{"name":"http","port":80,"targetPort":"http","nodePort":30080},
            {"name":"s","protocol":"SCTP","port":9}]},"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.1"},{"hostname":"a.b"}]}}}"#;
        let kept = serde_json::from_str::<ApiService>(text).unwrap().kept().unwrap();
        let service = kept.service;
        assert_eq!(service.name.to_string(), "shop/web");
        assert_eq!(service.sites, ["a.example.org", "b.example.org"]);
        assert_eq!(service.proxy.as_deref(), Some("v2"));
        assert_eq!(service.fixed, "10.88.0.9".parse().ok());
        assert_eq!(service.status, ["203.0.113.1", "a.b"]);
        assert_eq!(
            (service.ports[0].protocol, service.ports[0].node_port),
            (Some(Protocol::Tcp), 30080)
        );
        assert_eq!(service.ports[1].protocol, None);
        let other = text.replace("\"LoadBalancer\"", "\"ClusterIP\"");
        assert!(
            serde_json::from_str::<ApiService>(&other)
                .unwrap()
                .kept()
                .is_none()
        );
    }

    #[test]
    fn endpoints_are_ready_unless_they_say_otherwise() {
        let text = r#"{"metadata":{"name":"web-x","namespace":"shop","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",
            "ports":[{"name":"http","port":8080,"protocol":"TCP"}],"endpoints":[
            {"addresses":["10.42.1.7"],"conditions":{},"nodeName":"w1"},
            {"addresses":["10.42.1.8"],"conditions":{"ready":false,"serving":true,"terminating":true}},
            {"addresses":["10.42.1.9"],"conditions":{"ready":false,"serving":false,"terminating":false}}]}"#;
        let slice = serde_json::from_str::<ApiSlice>(text).unwrap().kept().unwrap();
        let states: Vec<EndpointState> = slice.endpoints.iter().map(|one| one.state).collect();
        assert_eq!(
            states,
            [EndpointState::Ready, EndpointState::Ending, EndpointState::Away]
        );
        assert_eq!((slice.service.as_str(), slice.ports[0].2), ("web", 8080));
        let none = text.replace("IPv4", "IPv6");
        assert!(serde_json::from_str::<ApiSlice>(&none).unwrap().kept().is_none());
        let empty = r#"{"metadata":{"name":"x","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":null,"endpoints":null}"#;
        assert!(
            serde_json::from_str::<ApiSlice>(empty)
                .unwrap()
                .kept()
                .unwrap()
                .endpoints
                .is_empty()
        );
    }
}
