//! Which prefixes may be granted, and why others may not.

use ipnet::IpNet;

use crate::gateway::{Published, RangeError, routable};
use crate::id::NodeId;
use crate::map::View;

/// Why a prefix is not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// `0.0.0.0/0` or `::/0`.
    #[error("{0} is everything; a way to everything is an exit node: `meshctl gateway add NODE --exit`")]
    Everything(IpNet),
    /// Its addresses are such as are never routed, or nodes'.
    #[error(transparent)]
    Unfit(#[from] RangeError),
    /// It holds addresses of pods or services to which this network itself leads.
    #[error("{prefix} overlaps {pods}, this network's own prefix of pods or services")]
    Pods {
        /// The prefix.
        prefix: IpNet,
        /// The pods' or services'.
        pods: IpNet,
    },
    /// It holds addresses behind a gateway.
    #[error(
        "{prefix} overlaps {}, which the gateway \"{}\" publishes; a range is either a gateway's or granted",
        other.prefix, other.gateway
    )]
    Gateway {
        /// The prefix.
        prefix: IpNet,
        /// The gateway's.
        other: Published,
    },
}

/// Whether `prefix` may be granted in a network of the prefixes `mesh`, whose pods and services have `pods` and whose gateways
/// publish `gateways`. Grants may overlap one another.
///
/// # Errors
/// The first reason against it.
pub fn check(
    prefix: IpNet,
    mesh: &[IpNet],
    pods: impl IntoIterator<Item = IpNet>,
    gateways: &[Published],
) -> Result<(), GrantError> {
    if prefix.prefix_len() == 0 {
        return Err(GrantError::Everything(prefix));
    }
    routable(prefix)?;
    let overlaps = |other: &IpNet| other.contains(&prefix) || prefix.contains(other);
    if let Some(mesh) = mesh.iter().find(|mesh| overlaps(mesh)) {
        let range = prefix;
        return Err(RangeError::Mesh { range, mesh: *mesh }.into());
    }
    if let Some(pods) = pods.into_iter().find(overlaps) {
        return Err(GrantError::Pods { prefix, pods });
    }
    let mut ranges = gateways.iter().filter(|other| other.prefix.prefix_len() > 0);
    match ranges.find(|other| overlaps(&other.prefix)) {
        Some(other) => Err(GrantError::Gateway {
            prefix,
            other: other.clone(),
        }),
        None => Ok(()),
    }
}

/// The prefixes that are granted to a node.
pub fn granted_to(view: &View, node: NodeId) -> impl Iterator<Item = IpNet> + '_ {
    let held = view.nodes.get(&node);
    let tags = held.map_or(&[][..], |node| &node.membership.terms.tags[..]);
    let grants = view.grants.iter();
    grants
        .filter(move |grant| held.is_some() && grant.is_to(node, tags))
        .map(|grant| grant.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn refusal(prefix: &str) -> Option<String> {
        let gateway = Published {
            prefix: net("10.200.1.0/24"),
            range: net("192.168.50.0/24"),
            gateway: "site-a".into(),
        };
        let mesh = [net("10.77.0.0/16"), net("fd77::/64")];
        let pods = [net("10.42.0.0/16"), net("10.43.0.0/16")];
        check(net(prefix), &mesh, pods, &[gateway])
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn each_reason_is_a_sentence_of_its_own() {
        for (prefix, words) in [
            ("0.0.0.0/0", "is everything"),
            ("::/0", "is everything"),
            ("127.0.0.0/8", "loopback"),
            ("224.0.0.0/8", "multicast"),
            ("fe80::/64", "link-local"),
            ("10.77.3.0/24", "the network's own range"),
            ("10.0.0.0/8", "the network's own range"),
            ("10.42.3.0/24", "own prefix of pods"),
            ("10.40.0.0/13", "own prefix of pods"),
            ("10.200.0.0/16", "\"site-a\" publishes"),
        ] {
            let said = refusal(prefix).unwrap_or_default();
            assert!(said.contains(words), "{prefix}: {said:?}");
        }
    }

    #[test]
    fn what_breaks_nothing_is_granted() {
        for prefix in ["10.244.0.0/16", "192.168.50.0/24", "fd42::/48"] {
            assert_eq!(refusal(prefix), None, "{prefix}");
        }
    }
}
