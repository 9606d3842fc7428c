//! The pod network of a network's Kubernetes cluster, as its root signs it: which prefixes are pods' and services', and which
//! part of them each node has.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Most service prefixes of a cluster: one of each IP version.
pub const MAX_SERVICES: usize = 2;

/// Which prefixes of a network are pods' and services'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTerms {
    /// IPv4 addresses of all pods.
    pub ipv4: Ipv4Net,
    /// IPv6 addresses of all pods.
    pub ipv6: Option<Ipv6Net>,
    /// Length of each node's part of `ipv4`, in bits. Its part of `ipv6` is as much longer than `ipv6`.
    pub node_prefix: u8,
    /// Virtual addresses of services.
    pub services: Vec<IpNet>,
}

/// One node's part of the pods' prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodPrefixes {
    /// IPv4.
    pub ipv4: Ipv4Net,
    /// IPv6.
    pub ipv6: Option<Ipv6Net>,
}

impl PodTerms {
    /// The prefixes of all pods.
    pub fn pods(&self) -> impl Iterator<Item = IpNet> + '_ {
        [IpNet::from(self.ipv4)]
            .into_iter()
            .chain(self.ipv6.map(IpNet::from))
    }

    /// Everything that is the cluster's: pods and services.
    pub fn all(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.pods().chain(self.services.iter().copied())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.services.len() > MAX_SERVICES {
            let count = self.services.len();
            return Err(format!(
                "{count} service prefixes; at most {MAX_SERVICES} are allowed"
            ));
        }
        self.all().try_for_each(|prefix| whole(&prefix))
    }
}

impl PodPrefixes {
    /// Its prefixes.
    pub fn all(&self) -> impl Iterator<Item = IpNet> + use<> {
        [IpNet::from(self.ipv4)]
            .into_iter()
            .chain(self.ipv6.map(IpNet::from))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.all().try_for_each(|prefix| whole(&prefix))
    }
}

/// A prefix without host bits: one range has one name.
pub(super) fn whole(prefix: &IpNet) -> Result<(), String> {
    match *prefix == prefix.trunc() {
        true => Ok(()),
        false => Err(format!(
            "{prefix} is a host, not a prefix; write {}",
            prefix.trunc()
        )),
    }
}
