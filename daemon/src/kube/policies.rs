//! Network policies, as the API words them (networking.k8s.io/v1) and as the core takes them.
//!
//! The API server has checked them. What of one cannot be read all the same allows nothing: where it stood, a rule for
//! everybody must not be left.

use super::objects::{Watched, labels, name, protocol, resource, trimmed};
use ipnet::IpNet;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use meshd_core::policy::{
    Direction, Operator, Peer, Policy, PolicyRule, Port, PortNumber, Requirement, Selector,
};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

resource!(ApiPolicy, "NetworkPolicy", "networking.k8s.io", "networkpolicies", NamespaceResourceScope, metadata only: false);

/// A network policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiPolicy {
    #[serde(deserialize_with = "trimmed")]
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    pod_selector: ApiSelector,
    policy_types: Vec<String>,
    ingress: Vec<ApiRule>,
    egress: Vec<ApiRule>,
}

/// An entry of `ingress`, which has `from`, or of `egress`, which has `to`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ApiRule {
    from: Vec<ApiPeer>,
    to: Vec<ApiPeer>,
    ports: Vec<ApiPort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ApiPeer {
    pod_selector: Option<ApiSelector>,
    namespace_selector: Option<ApiSelector>,
    ip_block: Option<IpBlock>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct IpBlock {
    cidr: String,
    except: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ApiPort {
    protocol: Option<String>,
    port: Option<IntOrString>,
    end_port: Option<u16>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum IntOrString {
    Int(i64),
    String(String),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ApiSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Vec<ApiRequirement>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ApiRequirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Watched for ApiPolicy {
    type Kept = Policy;

    fn kept(self) -> Option<Policy> {
        let name = name(&self);
        let spec = self.spec;
        let direction = |text: &String| match text.as_str() {
            "Ingress" => Some(Direction::Ingress),
            "Egress" => Some(Direction::Egress),
            _ => None,
        };
        Some(Policy {
            name,
            // one that cannot be read isolates every pod of its namespace
            pods: selector(spec.pod_selector).unwrap_or_default(),
            types: spec.policy_types.iter().filter_map(direction).collect(),
            ingress: spec.ingress.into_iter().filter_map(rule).collect(),
            egress: spec.egress.into_iter().filter_map(rule).collect(),
        })
    }
}

/// An empty list is everybody, or every port; so a rule of whose list nothing can be read goes.
fn rule(rule: ApiRule) -> Option<PolicyRule> {
    let peers = rule.from.into_iter().chain(rule.to);
    Some(PolicyRule {
        peers: readable(peers.collect(), peer)?,
        ports: readable(rule.ports, port)?,
    })
}

fn readable<T, R>(list: Vec<T>, read: impl Fn(T) -> Option<R>) -> Option<Vec<R>> {
    let any = !list.is_empty();
    let read: Vec<R> = list.into_iter().filter_map(read).collect();
    (!any || !read.is_empty()).then_some(read)
}

fn peer(peer: ApiPeer) -> Option<Peer> {
    if let Some(IpBlock { cidr, except }) = peer.ip_block {
        let prefix = |text: &String| text.parse::<IpNet>().ok().map(|prefix| prefix.trunc());
        return Some(Peer::Block {
            cidr: prefix(&cidr)?,
            except: except.iter().map(prefix).collect::<Option<_>>()?,
        });
    }
    if peer.pod_selector.is_none() && peer.namespace_selector.is_none() {
        return None;
    }
    // a selector that is there and cannot be read selects nobody
    let read = |wanted: Option<ApiSelector>| wanted.map(selector).map_or(Some(None), |read| read.map(Some));
    Some(Peer::Pods {
        namespaces: read(peer.namespace_selector)?,
        pods: read(peer.pod_selector)?,
    })
}

fn port(port: ApiPort) -> Option<Port> {
    let number = match port.port {
        None => None,
        Some(IntOrString::Int(first)) => {
            let first = u16::try_from(first).ok()?;
            Some(PortNumber::Range(first, port.end_port.unwrap_or(first)))
        }
        Some(IntOrString::String(name)) => Some(PortNumber::Named(name.into())),
    };
    Some(Port {
        protocol: protocol(port.protocol.as_deref())?,
        port: number,
    })
}

fn selector(selector: ApiSelector) -> Option<Selector> {
    let expressions = selector.match_expressions.into_iter().map(requirement);
    Some(Selector {
        labels: labels(selector.match_labels),
        expressions: expressions.collect::<Option<_>>()?,
    })
}

fn requirement(requirement: ApiRequirement) -> Option<Requirement> {
    Some(Requirement {
        key: requirement.key.into(),
        operator: match requirement.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        },
        values: requirement.values.into_iter().map(Into::into).collect(),
    })
}
