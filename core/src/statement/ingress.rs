//! What nodes may expose by themselves, as the network's root signs it: a cluster's control planes ask the coordinator for ports of
//! its host, and for addresses of a pool, within what is said here.

use std::fmt;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::act::MAX_REACH;
use super::expose::{ExposeLimits, MAX_SITES, Protocol};
use super::pods::{Tellers, whole};
use super::text::{self, MAX_LABEL, MAX_TEXT};

/// Most ranges of ports.
pub const MAX_RANGES: usize = 16;
/// Most pools of private addresses.
pub const MAX_POOLS: usize = 4;

/// What nodes may expose by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressTerms {
    /// Who may ask.
    pub askers: Tellers,
    /// Public ports that they may ask for.
    pub ports: Vec<PortRange>,
    /// Sites (TLS server names) that they may take at a port that is shared; all where there are none. What asks for none gets these.
    pub sites: Vec<String>,
    /// Namespaces of Kubernetes whose services count; all where there are none.
    pub namespaces: Vec<String>,
    /// Private addresses for services, routed inside the mesh.
    pub pool: Vec<Ipv4Net>,
    /// Whether services of no class count too, and not only those of class `mesh`.
    pub default_class: bool,
    /// Ports at once; the coordinator's own limit where absent.
    pub listeners: Option<u16>,
    /// Limits of each port; an absent one is the default.
    pub limits: ExposeLimits,
}

/// Ports of one transport. As text `80/tcp` or `30000-32767/udp`; without a transport it is TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    /// The transport.
    pub protocol: Protocol,
    /// The first.
    pub first: u16,
    /// The last, which is not below the first.
    pub last: u16,
}

impl PortRange {
    /// Whether a port is one of them.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}/{}", self.first, self.protocol.word()),
            false => write!(f, "{}-{}/{}", self.first, self.last, self.protocol.word()),
        }
    }
}

impl FromStr for PortRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let odd = "write ports as 80, 443/tcp or 30000-32767/udp";
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(odd),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse::<u16>().map_err(|_| odd),
            false => Err(odd),
        };
        let (first, last) = (port(first)?, port(last)?);
        match first > 0 && first <= last {
            true => Ok(Self {
                protocol,
                first,
                last,
            }),
            false => Err(odd),
        }
    }
}

impl IngressTerms {
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        text::check("the allowance's name", name, MAX_LABEL)?;
        self.askers.check()?;
        let counts = [
            ("ranges of ports", self.ports.len(), MAX_RANGES),
            ("sites", self.sites.len(), MAX_SITES),
            ("namespaces", self.namespaces.len(), MAX_REACH),
            ("pools", self.pool.len(), MAX_POOLS),
        ];
        for (what, count, most) in counts {
            if count > most {
                return Err(format!(
                    "the allowance has {count} {what}; at most {most} are allowed"
                ));
            }
        }
        let ExposeLimits {
            connections,
            per_second,
            idle,
        } = self.limits;
        if [connections, per_second, idle].contains(&Some(0)) || self.listeners == Some(0) {
            return Err("a limit of 0 lets nothing in".into());
        }
        let sites = self.sites.iter();
        sites
            .clone()
            .try_for_each(|site| text::check("a site's name", site, MAX_TEXT))?;
        let mut namespaces = self.namespaces.iter();
        namespaces.try_for_each(|name| text::check("a namespace's name", name, MAX_LABEL))?;
        self.pool.iter().try_for_each(|pool| whole(&IpNet::V4(*pool)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        for (text, shown) in [
            ("80", "80/tcp"),
            ("443/tcp", "443/tcp"),
            ("30000-32767/udp", "30000-32767/udp"),
            ("5-5/udp", "5/udp"),
        ] {
            let range: PortRange = text.parse().unwrap();
            assert_eq!(range.to_string(), shown);
            assert_eq!(shown.parse(), Ok(range));
        }
        for odd in [
            "", "0", "80/sctp", "2-1", "1-", "-1", "65536", "+80", "80/", "1-2-3",
        ] {
            assert!(odd.parse::<PortRange>().is_err(), "{odd}");
        }
        let range: PortRange = "10-20/udp".parse().unwrap();
        assert!(range.contains(Protocol::Udp, 20) && !range.contains(Protocol::Tcp, 20));
        assert!(!range.contains(Protocol::Udp, 21));
    }
}
