//! `meshctl network pods`, and the same options of `network create`

use clap::{Args, ValueEnum};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meshd_api::coordinator::admin::{Done, NetworkInfo, NetworkPods, NodeInfo, NodePods, PodsInfo};
use meshd_core::id::NodeId;
use meshd_core::ipam::next_prefixes;
use meshd_core::statement::{Deed, PodPrefixes, PodTerms, Tellers};

use crate::admin::{self, Admin};
use crate::cli::{Global, label};
use crate::failure::Failure;
use crate::verbs::reach::{self, Named};

/// Length of a node's part where none is given: what Kubernetes gives nodes.
const NODE_PREFIX: u8 = 24;

/// Give the network's pods and services prefixes.
///
/// Each node gets a part of the pods' prefixes for as long as it is in. Where the root key is kept off the relay, nodes that
/// join later get theirs when this is run again, without options.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl network pods prod --pod-cidr 10.42.0.0/16 --service-cidr 10.43.0.0/16
  meshctl network pods prod      nodes that have no part yet get one")]
pub struct Pods {
    /// The network [default: the only one]
    #[arg(value_parser = label)]
    name: Option<String>,
    #[command(flatten)]
    prefixes: PodArguments,
}

/// The prefixes of pods and services.
#[derive(Debug, Clone, Args)]
pub struct PodArguments {
    /// The IPv4 addresses of its pods, for Kubernetes
    #[arg(long, value_name = "PREFIX")]
    pod_cidr: Option<Ipv4Net>,
    /// The IPv6 addresses of its pods; `none` for none [default: a random fd00::/8 prefix]
    #[arg(long, value_name = "PREFIX", requires = "pod_cidr", value_parser = ipv6)]
    pod_cidr6: Option<Ipv6>,
    /// The length of each node's part of --pod-cidr [default: 24]
    #[arg(long, value_name = "BITS", requires = "pod_cidr")]
    pod_prefix: Option<u8>,
    /// Who allots nodes' parts: the mesh, or Kubernetes (Node.spec.podCIDRs); chosen before the first node has one [default:
    /// mesh]
    #[arg(long, value_name = "WHO", requires = "pod_cidr")]
    authority: Option<Authority>,
    /// The nodes whose meshd tells what Kubernetes allots: its control planes, or tag:NAME for all nodes with a tag
    #[arg(
        long,
        value_name = "NODE|tag:NAME",
        value_delimiter = ',',
        value_parser = reach::named,
        required_if_eq("authority", "kubernetes")
    )]
    control_planes: Vec<Named>,
    /// The addresses of its services; may be given once for each IP version
    #[arg(long = "service-cidr", value_name = "PREFIX", requires = "pod_cidr")]
    service_cidrs: Vec<IpNet>,
}

/// Who says which part of the pods' prefixes a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Authority {
    /// The mesh.
    Mesh,
    /// Kubernetes' controller manager.
    Kubernetes,
}

/// An IPv6 prefix, or none.
#[derive(Debug, Clone, Copy)]
enum Ipv6 {
    None,
    Prefix(Ipv6Net),
}

fn ipv6(text: &str) -> Result<Ipv6, String> {
    match text {
        "none" => Ok(Ipv6::None),
        _ => text
            .parse()
            .map(Ipv6::Prefix)
            .map_err(|_| "write a prefix such as fd42::/56, or none".to_owned()),
    }
}

impl PodArguments {
    /// None of them.
    pub fn none() -> Self {
        Self {
            pod_cidr: None,
            pod_cidr6: None,
            pod_prefix: None,
            authority: None,
            control_planes: Vec::new(),
            service_cidrs: Vec::new(),
        }
    }

    /// What they say; none where they say nothing. `held` are the present prefixes: what is not given stays.
    fn terms(&self, held: Option<&PodsInfo>) -> Option<PodTerms> {
        let ipv4 = self.pod_cidr?.trunc();
        let held = held.filter(|held| held.cidr == ipv4.to_string());
        let node_prefix = self.pod_prefix.or(held.map(|held| held.node_prefix));
        let node_prefix = node_prefix.unwrap_or_else(|| NODE_PREFIX.max(ipv4.prefix_len()));
        let ipv6 = match (self.pod_cidr6, held) {
            (Some(Ipv6::None), _) => None,
            (Some(Ipv6::Prefix(prefix)), _) => Some(prefix.trunc()),
            (None, Some(held)) => held.cidr6.as_ref().and_then(|text| text.parse().ok()),
            (None, None) => {
                let bits = node_prefix.saturating_sub(ipv4.prefix_len());
                let len = 64u8.saturating_sub(bits).max(48);
                Ipv6Net::new(admin::random_ula().addr(), len)
                    .ok()
                    .map(|net| net.trunc())
            }
        };
        let services = self.service_cidrs.iter().map(IpNet::trunc).collect();
        Some(PodTerms {
            ipv4,
            ipv6,
            node_prefix,
            services,
            tellers: held.map(tellers).unwrap_or_default(),
        })
    }

    /// The same, with who allots parts where that is said.
    async fn all_terms(&self, admin: &mut Admin, network: &NetworkInfo) -> Result<Option<PodTerms>, Failure> {
        let Some(mut terms) = self.terms(network.pods.as_ref()) else {
            return Ok(None);
        };
        match self.authority {
            Some(Authority::Kubernetes) => {
                let (nodes, tags) = reach::resolve(admin, &network.name, &self.control_planes).await?;
                terms.tellers = Tellers { nodes, tags };
            }
            Some(Authority::Mesh) => terms.tellers = Tellers::default(),
            None => {}
        }
        Ok(Some(terms))
    }

    /// Whether they say anything.
    pub fn are_given(&self) -> bool {
        self.pod_cidr.is_some()
    }

    /// Sets them, where they say anything; the sentences to tell.
    pub async fn set(&self, admin: &mut Admin, network: &NetworkInfo) -> Result<Vec<String>, Failure> {
        let mut said = Vec::new();
        if let Some(terms) = self.all_terms(admin, network).await? {
            let path = format!("networks/{}/pods", network.name);
            let (done, ()): (Done, _) = admin
                .post_signed(network, &path, |key, network| {
                    let deed = Deed::PodNetwork { terms: terms.clone() };
                    let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
                    let pods = shown(&terms);
                    Ok((NetworkPods { pods, statement }, ()))
                })
                .await?;
            said.push(done.message);
        }
        if admin.key().is_some() {
            said.extend(allot(admin, &network.name).await?);
        }
        Ok(said)
    }
}

impl Pods {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let network = admin.network(self.name.as_deref()).await?;
        if self.prefixes.pod_cidr.is_none() && network.pods.is_none() {
            return Err(Failure::usage(format!(
                "the pods of {0} have no prefix yet: meshctl network pods {0} --pod-cidr 10.42.0.0/16",
                network.name
            )));
        }
        let mut said = self.prefixes.set(&mut admin, &network).await?;
        if said.is_empty() {
            said.push("every node has its part already".to_owned());
        }
        let message = said.join("\n");
        global
            .output()
            .answer(&Done { message }, |done| format!("{}\n", done.message))
    }
}

/// Signs a part for each node that has none: the key is here, so nobody else can.
async fn allot(admin: &mut Admin, network: &str) -> Result<Vec<String>, Failure> {
    let info = admin.network(Some(network)).await?;
    let Some(terms) = info.pods.as_ref().and_then(read) else {
        return Ok(Vec::new());
    };
    let nodes: Vec<NodeInfo> = admin.get(&format!("networks/{network}/nodes")).await?;
    if !terms.tellers.is_empty() {
        return sign_told(admin, &info, &nodes).await;
    }
    let gateways: Vec<meshd_api::coordinator::admin::GatewayInfo> =
        admin.get(&format!("networks/{network}/gateways")).await?;
    let mut used: Vec<IpNet> = nodes
        .iter()
        .flat_map(|node| &node.pods)
        .filter_map(|text| text.parse().ok())
        .collect();
    used.extend(
        gateways
            .iter()
            .flat_map(|gateway| [&gateway.range, &gateway.published])
            .filter_map(|text| text.parse::<IpNet>().ok())
            .filter(|range| range.prefix_len() > 0),
    );
    let mut said = Vec::new();
    for node in nodes
        .iter()
        .filter(|node| node.pods.is_empty() && node.state == "active")
    {
        let Some(prefixes) = next_prefixes(&terms, &used) else {
            said.push(format!(
                "nothing is left for \"{}\": every part is in use",
                node.name
            ));
            break;
        };
        used.extend(prefixes.all());
        said.push(give(admin, &info, node, prefixes).await?);
    }
    Ok(said)
}

/// Signs what Kubernetes gave nodes, as its control planes told the coordinator.
async fn sign_told(
    admin: &mut Admin,
    network: &NetworkInfo,
    nodes: &[NodeInfo],
) -> Result<Vec<String>, Failure> {
    let mut said = Vec::new();
    for node in nodes.iter().filter(|node| !node.pods_told.is_empty()) {
        let told = node.pods_told.iter().filter_map(|text| text.parse().ok());
        let (mut ipv4, mut ipv6) = (None, None);
        for prefix in told {
            match prefix {
                IpNet::V4(net) => ipv4 = Some(net),
                IpNet::V6(net) => ipv6 = Some(net),
            }
        }
        if let Some(ipv4) = ipv4 {
            said.push(give(admin, network, node, PodPrefixes { ipv4, ipv6 }).await?);
        }
    }
    Ok(said)
}

async fn give(
    admin: &mut Admin,
    network: &NetworkInfo,
    to: &NodeInfo,
    prefixes: PodPrefixes,
) -> Result<String, Failure> {
    let node: NodeId = to
        .id
        .parse()
        .map_err(|e| Failure::failed(format!("the coordinator's answer is odd: {e}")))?;
    let path = format!("networks/{}/nodes/{node}/pods", network.name);
    let (done, ()): (Done, _) = admin
        .post_signed(network, &path, |key, network| {
            let deed = Deed::PodPrefixes { node, prefixes };
            let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
            let wanted = NodePods {
                cidr: prefixes.ipv4.to_string(),
                cidr6: prefixes.ipv6.map(|ipv6| ipv6.to_string()),
                statement,
            };
            Ok((wanted, ()))
        })
        .await?;
    Ok(done.message)
}

fn shown(terms: &PodTerms) -> PodsInfo {
    PodsInfo {
        cidr: terms.ipv4.to_string(),
        cidr6: terms.ipv6.map(|ipv6| ipv6.to_string()),
        node_prefix: terms.node_prefix,
        services: terms.services.iter().map(ToString::to_string).collect(),
        control_planes: terms.tellers.nodes.iter().map(NodeId::to_string).collect(),
        control_plane_tags: terms.tellers.tags.clone(),
    }
}

fn tellers(pods: &PodsInfo) -> Tellers {
    let nodes = pods.control_planes.iter().filter_map(|text| text.parse().ok());
    Tellers {
        nodes: nodes.collect(),
        tags: pods.control_plane_tags.clone(),
    }
}

fn read(pods: &PodsInfo) -> Option<PodTerms> {
    Some(PodTerms {
        ipv4: pods.cidr.parse().ok()?,
        ipv6: match &pods.cidr6 {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        },
        node_prefix: pods.node_prefix,
        services: pods
            .services
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        tellers: tellers(pods),
    })
}
