//! What of the API's objects is read: only the fields that are needed leave the parser.
//!
//! The names of the fields are the API's (Kubernetes API reference: Pod v1, Namespace v1, Node v1). Everything else of an
//! object is skipped where it stands, and of a namespace only the metadata is asked for.

use super::Node;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta};
use meshd_core::policy::{Labels, Name, NamedPort, Namespace, Pod, Protocol};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// An object of the API, and what is kept of it.
pub trait Watched:
    kube::Resource<DynamicType = ()> + serde::de::DeserializeOwned + Clone + std::fmt::Debug + Send + 'static
{
    /// What is kept.
    type Kept: Send + 'static;

    /// What is kept of it; none where it is as good as gone.
    fn kept(self) -> Option<Self::Kept>;
}

/// The name of an object; its namespace is empty where it has none.
pub fn name(object: &impl kube::Resource) -> Name {
    let meta = object.meta();
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    Name::new(&part(&meta.namespace), &part(&meta.name))
}

/// Labels as the core has them.
pub fn labels(labels: Option<BTreeMap<String, String>>) -> Labels {
    let all = labels.unwrap_or_default().into_iter();
    all.map(|(key, value)| (key.into(), value.into())).collect()
}

/// Name of the annotation by which a static pod's mirror says what the runtime calls it.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Metadata without owners, without who manages which field, and of the annotations one alone: those are most of it.
pub fn trimmed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Trimmed {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<Annotations>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Annotations {
        #[serde(rename = "kubernetes.io/config.hash")]
        config_hash: Option<String>,
    }
    let meta = Trimmed::deserialize(deserializer)?;
    let hash = meta.annotations.and_then(|annotations| annotations.config_hash);
    Ok(ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        labels: meta.labels,
        annotations: hash.map(|hash| BTreeMap::from([(CONFIG_HASH.to_owned(), hash)])),
        ..ObjectMeta::default()
    })
}

macro_rules! resource {
    ($name:ident, $kind:literal, $group:literal, $plural:literal, $scope:ty, metadata only: $metadata:literal) => {
        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind(_: &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group(_: &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version(_: &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn metadata_api() -> bool {
                $metadata
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(super) use resource;

resource!(ApiPod, "Pod", "", "pods", NamespaceResourceScope, metadata only: false);
resource!(ApiNamespace, "Namespace", "", "namespaces", ClusterResourceScope, metadata only: true);
resource!(ApiNode, "Node", "", "nodes", ClusterResourceScope, metadata only: false);

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiPod {
    #[serde(deserialize_with = "trimmed")]
    metadata: ObjectMeta,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    host_network: bool,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    ports: Vec<ContainerPort>,
    restart_policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerPort {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

impl Watched for ApiPod {
    type Kept = Pod;

    /// A pod that has ended has given its addresses back: others may have them.
    fn kept(self) -> Option<Pod> {
        if matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let name = name(&self);
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let stays = |container: &Container| container.restart_policy.as_deref() == Some("Always");
        let containers = spec.containers.into_iter();
        let containers = containers.chain(spec.init_containers.into_iter().filter(stays));
        let annotations = metadata.annotations.unwrap_or_default();
        let uid = annotations.into_values().next().or(metadata.uid);
        Some(Pod {
            name,
            uid: uid.unwrap_or_default().into(),
            labels: labels(metadata.labels),
            addresses: status
                .pod_ips
                .iter()
                .filter_map(|one| one.ip.parse().ok())
                .collect(),
            ports: containers
                .flat_map(|container| container.ports)
                .filter_map(named)
                .collect(),
            host_network: spec.host_network,
            node: spec.node_name.into(),
        })
    }
}

fn named(port: ContainerPort) -> Option<NamedPort> {
    Some(NamedPort {
        name: port.name?.into(),
        protocol: protocol(port.protocol.as_deref())?,
        port: port.container_port,
    })
}

/// TCP where none is said; none where it has no ports.
pub fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

/// A namespace's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiNamespace {
    #[serde(deserialize_with = "trimmed")]
    metadata: ObjectMeta,
}

impl Watched for ApiNamespace {
    type Kept = Namespace;

    fn kept(self) -> Option<Namespace> {
        Some(Namespace {
            name: self.metadata.name.unwrap_or_default().into(),
            labels: labels(self.metadata.labels),
        })
    }
}

/// A node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiNode {
    #[serde(deserialize_with = "trimmed")]
    metadata: ObjectMeta,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl Watched for ApiNode {
    type Kept = Node;

    fn kept(self) -> Option<Node> {
        let addresses = self.status.addresses.iter();
        let internal = addresses.filter(|one| one.kind == "InternalIP");
        Some(Node {
            name: self.metadata.name.unwrap_or_default().into(),
            addresses: internal.filter_map(|one| one.address.parse().ok()).collect(),
            pod_cidrs: self
                .spec
                .pod_cidrs
                .iter()
                .filter_map(|one| one.parse().ok())
                .collect(),
        })
    }
}
