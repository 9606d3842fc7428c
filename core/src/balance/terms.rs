//! Which endpoints break nothing, and why others would.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::admission::{api_server_v4, api_server_v6};
use crate::gateway::{RangeError, routable};
use crate::names::NodeName;
use crate::statement::{EndpointTerms, Params, PodTerms};

/// The port of the API server's endpoint at the reserved address: not 6443, on which a control plane listens itself.
pub const API_PORT: u16 = 7443;
/// Ports of meshd itself on addresses of the network.
const OWN_PORTS: [u16; 2] = [7441, 7442];

/// An endpoint that breaks nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Where it is, and who is behind it.
    pub terms: EndpointTerms,
}

/// Why there is no such endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Its address is such as is never routed, or everybody's.
    #[error(transparent)]
    Unfit(#[from] RangeError),
    /// It is nobody's.
    #[error("{0} is no address; without --address the endpoint has the one that is kept for it")]
    Nobody(IpAddr),
    /// It is, or may become, a node's.
    #[error(
        "{0} is an address for a node of the network; without --address the endpoint has the one that is kept for it, {1}"
    )]
    Mesh(IpAddr, Ipv4Addr),
    /// It is, or may become, a pod's or a service's.
    #[error("{0} lies in {1}, a prefix of this network's pods or services")]
    Pods(IpAddr, IpNet),
    /// meshd has that port itself.
    #[error("port {0} is meshd's own on addresses of the network")]
    OwnPort(u16),
    /// Another endpoint is there.
    #[error("{at} is the endpoint \"{name}\"'s; take another port")]
    Taken {
        /// Where.
        at: SocketAddr,
        /// The other's name.
        name: String,
    },
}

impl Endpoint {
    /// Where it is: at its address, or at the network's reserved ones.
    pub fn at(&self, params: &Params) -> Vec<SocketAddr> {
        places(&self.terms, params)
    }
}

/// Endpoints as names of their network: where a node or a host has the name, it keeps it.
pub fn names(endpoints: &[Endpoint], params: &Params, taken: &BTreeSet<&str>) -> Vec<NodeName> {
    let free = |endpoint: &&Endpoint| !taken.contains(endpoint.name.as_str());
    let named = endpoints.iter().filter(free).map(|endpoint| NodeName {
        label: endpoint.name.clone(),
        address: endpoint.at(params).iter().map(SocketAddr::ip).collect(),
    });
    named.collect()
}

fn places(terms: &EndpointTerms, params: &Params) -> Vec<SocketAddr> {
    let addresses = match terms.address {
        Some(address) => vec![address],
        None => {
            let (v4, v6) = reserved(params);
            vec![v4.into(), v6.into()]
        }
    };
    let at = |address| SocketAddr::new(address, terms.port);
    addresses.into_iter().map(at).collect()
}

/// The addresses that no node has and every node holds.
pub fn reserved(params: &Params) -> (Ipv4Addr, Ipv6Addr) {
    (
        api_server_v4(params.ipv4),
        api_server_v6(params.ipv4, params.ipv6),
    )
}

/// Whether there may be such an endpoint in a network with these pods, besides these others.
///
/// # Errors
/// The first reason against it.
pub fn check<'a>(
    terms: &EndpointTerms,
    params: &Params,
    pods: Option<&PodTerms>,
    others: impl IntoIterator<Item = &'a Endpoint>,
) -> Result<(), EndpointError> {
    let (v4, v6) = reserved(params);
    if let Some(address) = terms.address {
        if address.is_unspecified() {
            return Err(EndpointError::Nobody(address));
        }
        routable(address.into())?;
        let in_mesh =
            IpNet::from(params.ipv4).contains(&address) || IpNet::from(params.ipv6).contains(&address);
        if in_mesh && address != IpAddr::from(v4) && address != IpAddr::from(v6) {
            return Err(EndpointError::Mesh(address, v4));
        }
        let mut of_pods = pods.into_iter().flat_map(PodTerms::all);
        if let Some(prefix) = of_pods.find(|prefix| prefix.contains(&address)) {
            return Err(EndpointError::Pods(address, prefix));
        }
    }
    if OWN_PORTS.contains(&terms.port) {
        return Err(EndpointError::OwnPort(terms.port));
    }
    let here = places(terms, params);
    for other in others {
        if let Some(at) = other.at(params).into_iter().find(|at| here.contains(at)) {
            let name = other.name.clone();
            return Err(EndpointError::Taken { at, name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
