//! Pods' prefixes: what may be one, and how it is parted among nodes.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::statement::{PodPrefixes, PodTerms};

/// Most parts of one network, as many as Kubernetes makes of a cluster's prefix.
pub const MAX_PARTS: u32 = 1 << 16;

/// Why pod and service prefixes are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// A node's part is no part.
    #[error(
        "nodes' parts of {pods} cannot be /{node}: write a length from /{} to /28, at most 16 bits longer than the prefix itself",
        pods.prefix_len()
    )]
    NodePrefix {
        /// The pods' prefix.
        pods: Ipv4Net,
        /// The length asked for.
        node: u8,
    },
    /// The parts of the IPv6 prefix, which are as many, would be too small.
    #[error(
        "{pods} is too small: parted like the IPv4 prefix, each node would have a /{node}, and needs a /112 at least"
    )]
    NodePrefix6 {
        /// The pods' prefix.
        pods: Ipv6Net,
        /// The length that would follow.
        node: u8,
    },
    /// Two that must differ overlap.
    #[error("{what} {one} overlaps {other}, the network's {whose}")]
    Overlap {
        /// `the pods' prefix` or `the services' prefix`.
        what: &'static str,
        /// It.
        one: IpNet,
        /// What it overlaps.
        other: IpNet,
        /// `own addresses` or `pods`.
        whose: &'static str,
    },
    /// Two service prefixes of one IP version.
    #[error("two service prefixes of one IP version, {0} and {1}; a cluster has one of each")]
    TwoServices(IpNet, IpNet),
    /// Not addresses that a host may have.
    #[error(
        "{0} holds loopback, link-local or multicast addresses; take a private prefix such as 10.42.0.0/16"
    )]
    Special(IpNet),
}

/// Whether these prefixes may be the pods' and services' of a network of the prefixes `mesh`.
///
/// # Errors
/// The first reason against them.
pub fn check_terms(terms: &PodTerms, mesh: &[IpNet]) -> Result<(), TermsError> {
    let (pods, node) = (terms.ipv4, terms.node_prefix);
    if node < pods.prefix_len() || node > 28 || bits(terms) > MAX_PARTS.ilog2() as u8 {
        return Err(TermsError::NodePrefix { pods, node });
    }
    if let Some(pods) = terms.ipv6 {
        let node = pods.prefix_len().saturating_add(bits(terms));
        if node > 112 {
            return Err(TermsError::NodePrefix6 { pods, node });
        }
    }
    if let Some(special) = terms.all().find(is_special) {
        return Err(TermsError::Special(special));
    }
    if let [one, other] = terms.services[..]
        && one.addr().is_ipv4() == other.addr().is_ipv4()
    {
        return Err(TermsError::TwoServices(one, other));
    }
    apart("the pods' prefix", terms.pods(), mesh, "own addresses")?;
    let services = || terms.services.iter().copied();
    apart("the services' prefix", services(), mesh, "own addresses")?;
    let pods: Vec<IpNet> = terms.pods().collect();
    apart("the services' prefix", services(), &pods, "pods")
}

fn apart(
    what: &'static str,
    these: impl Iterator<Item = IpNet>,
    those: &[IpNet],
    whose: &'static str,
) -> Result<(), TermsError> {
    for one in these {
        if let Some(other) = those.iter().find(|other| overlap(other, &one)) {
            let other = *other;
            return Err(TermsError::Overlap {
                what,
                one,
                other,
                whose,
            });
        }
    }
    Ok(())
}

/// Whether a part lies in these pods' prefixes, and holds what they let each node have.
pub fn fits(terms: &PodTerms, part: &PodPrefixes) -> bool {
    let v4 = terms.ipv4.contains(&part.ipv4);
    let v6 = match (terms.ipv6, part.ipv6) {
        (Some(pods), Some(part)) => pods.contains(&part),
        (None, None) => true,
        (Some(_), None) => true,
        (None, Some(_)) => false,
    };
    v4 && v6
}

/// The first part that overlaps nothing of `used`: others' parts, LANs, ranges behind gateways. None where all are taken.
pub fn next_prefixes(terms: &PodTerms, used: &[IpNet]) -> Option<PodPrefixes> {
    (0..1u32 << bits(terms)).find_map(|index| {
        let part = part(terms, index)?;
        let free = part
            .all()
            .all(|one| !used.iter().any(|other| overlap(other, &one)));
        free.then_some(part)
    })
}

/// Bits that tell nodes' parts from one another.
fn bits(terms: &PodTerms) -> u8 {
    terms.node_prefix.saturating_sub(terms.ipv4.prefix_len())
}

fn part(terms: &PodTerms, index: u32) -> Option<PodPrefixes> {
    let shift = 32u32.checked_sub(terms.node_prefix.into())?;
    let ipv4 = u32::from(terms.ipv4.network()) | index.checked_shl(shift)?;
    let ipv6 = terms.ipv6.map(|pods| {
        let len = pods.prefix_len().checked_add(bits(terms))?;
        let shift = 128u32.checked_sub(len.into())?;
        let address = u128::from(pods.network()) | u128::from(index).checked_shl(shift)?;
        Ipv6Net::new(address.into(), len).ok()
    });
    Some(PodPrefixes {
        ipv4: Ipv4Net::new(ipv4.into(), terms.node_prefix).ok()?,
        ipv6: match ipv6 {
            Some(ipv6) => Some(ipv6?),
            None => None,
        },
    })
}

fn is_special(prefix: &IpNet) -> bool {
    const SPECIAL: [&str; 8] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/16",
        "fe80::/10",
        "ff00::/8",
        "fec0::/10",
    ];
    SPECIAL.iter().any(|special| {
        special
            .parse()
            .is_ok_and(|special: IpNet| overlap(&special, prefix))
    })
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Tellers;

    fn terms(ipv4: &str, ipv6: Option<&str>, node_prefix: u8, services: &[&str]) -> PodTerms {
        PodTerms {
            ipv4: ipv4.parse().unwrap(),
            ipv6: ipv6.map(|ipv6| ipv6.parse().unwrap()),
            node_prefix,
            services: services.iter().map(|s| s.parse().unwrap()).collect(),
            tellers: Tellers::default(),
        }
    }

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn what_cannot_work_is_refused_in_a_sentence() {
        let mesh = nets(&["10.77.0.0/16", "fd77::/64"]);
        for (terms, words) in [
            (terms("10.42.0.0/16", None, 8, &[]), "cannot be /8"),
            (terms("10.42.0.0/16", None, 29, &[]), "cannot be /29"),
            (terms("10.0.0.0/9", None, 26, &[]), "16 bits longer"),
            (terms("10.42.0.0/16", Some("fd42::/108"), 24, &[]), "a /116"),
            (terms("10.77.0.0/20", None, 24, &[]), "own addresses"),
            (terms("10.0.0.0/8", None, 24, &[]), "own addresses"),
            (terms("10.42.0.0/16", Some("fd77::/56"), 24, &[]), "own addresses"),
            (terms("10.42.0.0/16", None, 24, &["10.42.128.0/17"]), "pods"),
            (
                terms("10.42.0.0/16", None, 24, &["10.77.0.0/24"]),
                "services' prefix 10.77.0.0/24",
            ),
            (
                terms("10.42.0.0/16", None, 24, &["10.43.0.0/16", "10.44.0.0/16"]),
                "one of each",
            ),
            (terms("169.254.0.0/16", None, 24, &[]), "link-local"),
        ] {
            let said = check_terms(&terms, &mesh).unwrap_err().to_string();
            assert!(said.contains(words), "{terms:?}: {said}");
        }
        let good = terms(
            "10.42.0.0/16",
            Some("fd42::/48"),
            24,
            &["10.43.0.0/16", "fd43::/112"],
        );
        assert_eq!(check_terms(&good, &mesh), Ok(()));
        let lan = terms("192.168.0.0/16", None, 24, &[]);
        assert_eq!(check_terms(&lan, &mesh), Ok(()), "a LAN may lie in it");
    }

    #[test]
    fn parts_are_allotted_around_everything_in_use() {
        let terms = terms("192.168.0.0/16", Some("fd42::/48"), 24, &[]);
        let mut used = nets(&["192.168.0.0/23", "fd42:0:0:200::7/128"]);
        let first = next_prefixes(&terms, &used).unwrap();
        assert_eq!(first.ipv4.to_string(), "192.168.3.0/24");
        assert_eq!(first.ipv6.unwrap().to_string(), "fd42:0:0:300::/56");
        assert!(fits(&terms, &first));
        used.extend(first.all());
        let second = next_prefixes(&terms, &used).unwrap();
        assert!(!overlap(&first.ipv4.into(), &second.ipv4.into()));
    }

    #[test]
    fn when_all_parts_are_taken_there_is_none() {
        let terms = terms("10.42.0.0/22", None, 24, &[]);
        let mut used = Vec::new();
        for _ in 0..4 {
            used.extend(next_prefixes(&terms, &used).unwrap().all());
        }
        assert_eq!(next_prefixes(&terms, &used), None);
    }
}
