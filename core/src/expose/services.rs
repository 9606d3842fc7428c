//! Services of Kubernetes that want an address from outside (type LoadBalancer), and what follows for a cluster's exposures.
//!
//! [`plan`] knows nothing of an API server: services, their endpoints and what the root allowed go in; out come the ports to ask the
//! coordinator for, private addresses, and for each service that gets nothing the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use super::ingress::{Asked, MAX_TARGETS, most_ports};
use crate::policy::Name;
use crate::statement::{IngressTerms, Protocol, ProxyVersion};

/// The class of services that are ours.
pub const CLASS: &str = "mesh";
/// Addresses of a pool that are looked through for a free one.
const MAX_POOL: usize = 4_096;

/// A service of type LoadBalancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its namespace and name.
    pub name: Name,
    /// Its `loadBalancerClass`.
    pub class: Option<String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its `loadBalancerIP`.
    pub fixed: Option<IpAddr>,
    /// Whether it says who may come (`loadBalancerSourceRanges`).
    pub has_sources: bool,
    /// Annotation `mesh/pool`: `public` or `private`.
    pub pool: Option<String>,
    /// Annotation `mesh/sites`.
    pub sites: Vec<String>,
    /// Annotation `mesh/proxy-protocol`: `v1` or `v2`.
    pub proxy: Option<String>,
    /// What its status says: addresses, and names.
    pub status: Vec<String>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty where it has none.
    pub name: String,
    /// TCP or UDP; none where it is another.
    pub protocol: Option<Protocol>,
    /// Its number.
    pub port: u16,
    /// Its port on every node; 0 where it has none.
    pub node_port: u16,
}

/// Some of the endpoints of a service (an EndpointSlice).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Its own namespace and name.
    pub name: Name,
    /// The service's name.
    pub service: String,
    /// Name, transport and number of each port.
    pub ports: Vec<(String, Protocol, u16)>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether it takes what is new; one that ends and still serves is taken where no other is left.
    pub state: EndpointState,
    /// The node on which it is.
    pub node: String,
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointState {
    /// Ready.
    Ready,
    /// It ends, and still serves.
    Ending,
    /// Neither.
    Away,
}

/// What of the mesh counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// Prefixes of pods whose network is the mesh itself.
    pub pods: Vec<Ipv4Net>,
    /// Mesh addresses of the cluster's nodes, by their names there.
    pub nodes: BTreeMap<String, Ipv4Addr>,
}

/// What follows for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// These of the plan's ports are its own.
    Public(std::ops::Range<usize>),
    /// This address inside the mesh is its own.
    Private(Ipv4Addr),
    /// It gets nothing, and why.
    Nothing(String),
}

/// What follows from all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The ports to ask for.
    pub ports: Vec<Asked>,
    /// What follows for each service that is ours.
    pub services: Vec<(Name, Planned)>,
}

/// Whether a service is ours to serve.
pub fn is_ours(service: &Service, terms: &IngressTerms) -> bool {
    match service.class.as_deref() {
        Some(class) => class == CLASS,
        None => terms.default_class,
    }
}

/// What follows from these services, in the order of their names, and their endpoints.
pub fn plan<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: &BTreeMap<Name, Slice>,
    terms: &IngressTerms,
    ground: &Ground,
) -> Plan {
    let mut ours: Vec<&Service> = services.into_iter().filter(|one| is_ours(one, terms)).collect();
    ours.sort_by(|a, b| a.name.cmp(&b.name));
    let private = addresses(&ours, terms);
    let mut plan = Plan::default();
    let most = most_ports(terms);
    for service in ours {
        let planned = match private.get(&service.name) {
            Some(Ok(address)) => Planned::Private(*address),
            Some(Err(why)) => Planned::Nothing(why.clone()),
            None => match public(service, slices, ground) {
                Ok(ports) if plan.ports.len() + ports.len() > most => Planned::Nothing(format!(
                    "{most} ports are allowed, and others have them; `meshctl expose allow --max-ports` changes that"
                )),
                Ok(ports) => {
                    let first = plan.ports.len();
                    plan.ports.extend(ports);
                    Planned::Public(first..plan.ports.len())
                }
                Err(why) => Planned::Nothing(why),
            },
        };
        plan.services.push((service.name.clone(), planned));
    }
    plan
}

fn is_private(service: &Service, terms: &IngressTerms) -> bool {
    let fixed = |address| terms.pool.iter().any(|pool| in_pool(*pool, address));
    match service.pool.as_deref() {
        Some("private") => true,
        Some(_) => false,
        None => service.fixed.is_some_and(fixed) || terms.ports.is_empty(),
    }
}

fn in_pool(pool: Ipv4Net, address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if pool.contains(&address))
}

/// Private addresses: who fixes one has it, who has one keeps it, and others get the next.
fn addresses(ours: &[&Service], terms: &IngressTerms) -> BTreeMap<Name, Result<Ipv4Addr, String>> {
    let mut given = BTreeMap::new();
    let mut used = BTreeSet::new();
    let wanting = || ours.iter().filter(|one| is_private(one, terms));
    let allowed = |service: &Service| {
        terms.namespaces.is_empty()
            || terms
                .namespaces
                .iter()
                .any(|name| **name == *service.name.namespace)
    };
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => {
            let edge =
                |pool: &Ipv4Net| pool.prefix_len() < 31 && [pool.network(), pool.broadcast()].contains(v4);
            let mut pools = terms.pool.iter();
            pools.any(|pool| pool.contains(v4) && !edge(pool)).then_some(*v4)
        }
        IpAddr::V6(_) => None,
    };
    for service in wanting().filter(|one| one.fixed.is_some() || !allowed(one)) {
        let fixed = service.fixed.as_ref().and_then(usable);
        let had = match fixed {
            _ if !allowed(service) => Err(format!(
                "namespace {} is none that the allowance has",
                service.name.namespace
            )),
            Some(address) if used.insert(address) => Ok(address),
            Some(address) => Err(format!("{address} is another service's")),
            None => Err("its loadBalancerIP lies in no pool that was allowed".to_owned()),
        };
        given.insert(service.name.clone(), had);
    }
    for service in wanting() {
        let held = service.status.iter().filter_map(|text| text.parse().ok());
        let held = held.filter_map(|address| usable(&address)).next();
        if let Some(address) =
            held.filter(|address| !given.contains_key(&service.name) && used.insert(*address))
        {
            given.insert(service.name.clone(), Ok(address));
        }
    }
    for service in wanting() {
        if !given.contains_key(&service.name) {
            let mut free = terms.pool.iter().flat_map(Ipv4Net::hosts).take(MAX_POOL);
            let free = free.find(|address| !used.contains(address));
            used.extend(free);
            let had = free.ok_or_else(|| "all addresses of the pools are taken, or none was allowed; `meshctl expose allow --pool` gives more".to_owned());
            given.insert(service.name.clone(), had);
        }
    }
    given
}

fn public(service: &Service, slices: &BTreeMap<Name, Slice>, ground: &Ground) -> Result<Vec<Asked>, String> {
    if service.has_sources {
        return Err("it has loadBalancerSourceRanges, which meshrelay does not know; without them everybody may come, with them nobody".into());
    }
    if service.fixed.is_some() {
        return Err("its loadBalancerIP lies in no pool that was allowed; a public service has the address of meshrelay's machine".into());
    }
    if let Some(odd) = service.pool.as_deref().filter(|pool| *pool != "public") {
        return Err(format!(
            "its annotation mesh/pool says \"{odd}\"; it may say public or private"
        ));
    }
    let proxy = match service.proxy.as_deref() {
        None => None,
        Some("v1") => Some(ProxyVersion::V1),
        Some("v2") => Some(ProxyVersion::V2),
        Some(odd) => {
            return Err(format!(
                "its annotation mesh/proxy-protocol says \"{odd}\"; it may say v1 or v2"
            ));
        }
    };
    let own: Vec<&Slice> = slices
        .values()
        .filter(|slice| {
            slice.name.namespace == service.name.namespace && *slice.service == *service.name.name
        })
        .collect();
    let ports = service.ports.iter().map(|port| {
        let protocol = port
            .protocol
            .ok_or_else(|| format!("its port {} is neither TCP nor UDP", port.port))?;
        Ok(Asked {
            namespace: service.name.namespace.to_string(),
            service: service.name.name.to_string(),
            protocol,
            port: port.port,
            sites: service.sites.clone(),
            proxy,
            targets: targets((port, protocol), &own, ground),
        })
    });
    ports.collect()
}

/// Pods that are ready, where the mesh is their network; else the node ports of the nodes on which they are. So a service whose
/// `externalTrafficPolicy` is `Local` gets what comes where its pods are, and so does any other, one hop sooner.
fn targets(
    (port, protocol): (&ServicePort, Protocol),
    slices: &[&Slice],
    ground: &Ground,
) -> Vec<SocketAddrV4> {
    let all = slices.iter().flat_map(|slice| {
        let mut ports = slice.ports.iter();
        let there = ports.find(|(name, of, _)| *name == port.name && *of == protocol);
        there
            .into_iter()
            .flat_map(|(_, _, number)| slice.endpoints.iter().map(move |one| (one, *number)))
    });
    let all: Vec<(&Endpoint, u16)> = all.filter(|(one, _)| one.state != EndpointState::Away).collect();
    let best = all.iter().map(|(one, _)| one.state).min();
    let best = all.into_iter().filter(|(one, _)| Some(one.state) == best);
    let places =
        best.filter_map(
            |(one, number)| match ground.pods.iter().any(|pods| pods.contains(&one.address)) {
                true => Some(SocketAddrV4::new(one.address, number)),
                false if port.node_port != 0 => {
                    Some(SocketAddrV4::new(*ground.nodes.get(&one.node)?, port.node_port))
                }
                false => None,
            },
        );
    let places: BTreeSet<SocketAddrV4> = places.collect();
    places.into_iter().take(MAX_TARGETS).collect()
}

#[cfg(test)]
mod tests;
