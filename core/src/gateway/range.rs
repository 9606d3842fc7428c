//! Which ranges may be published, and why others may not.

use ipnet::IpNet;

/// A range that another gateway publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The prefix under which the network knows it.
    pub prefix: IpNet,
    /// The range behind the gateway.
    pub range: IpNet,
    /// What the gateway is called.
    pub gateway: String,
}

/// Why a range is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// `0.0.0.0/0` or `::/0`, not asked for as an exit.
    #[error(
        "{0} is everything, not a range behind a node; an exit node is made with `meshctl gateway add NODE --exit`, and each \
         node chooses it with `meshctl exit use NODE`"
    )]
    Everything(IpNet),
    /// It holds loopback addresses.
    #[error("{0} holds loopback addresses, which never leave a machine")]
    Loopback(IpNet),
    /// It holds multicast addresses.
    #[error("{0} holds multicast addresses, which no gateway forwards")]
    Multicast(IpNet),
    /// It holds link-local addresses.
    #[error("{0} holds link-local addresses, which mean another machine on every link")]
    LinkLocal(IpNet),
    /// It holds addresses of nodes.
    #[error("{range} overlaps {mesh}, the network's own range: its addresses are nodes' already")]
    Mesh {
        /// The range.
        range: IpNet,
        /// The network's prefix.
        mesh: IpNet,
    },
    /// It holds addresses of pods.
    #[error(
        "{range} overlaps {pods}, which is a node's pods'; publish the range under another prefix with --as"
    )]
    Pods {
        /// The range.
        range: IpNet,
        /// A node's part of the pods' prefix.
        pods: IpNet,
    },
    /// It overlaps another gateway's range without being the same.
    #[error(
        "{range} overlaps {}, which \"{}\" publishes, without being the same; gateways share a range as a whole, or publish \
         one of them under another prefix with --as", other.prefix, other.gateway
    )]
    Partly {
        /// The range.
        range: IpNet,
        /// The other gateway's.
        other: Published,
    },
    /// The prefix is taken for another range.
    #[error(
        "{prefix} is the prefix under which \"{}\" publishes {}; choose another for {range}", other.gateway, other.range
    )]
    Taken {
        /// The prefix.
        prefix: IpNet,
        /// The range.
        range: IpNet,
        /// Who has the prefix, for what.
        other: Published,
    },
    /// `--as` of another length or family.
    #[error(
        "--as {published} does not fit {range}: addresses are translated one to one, so both need the same length and IP version"
    )]
    Length {
        /// The range.
        range: IpNet,
        /// What it was to be published as.
        published: IpNet,
    },
    /// An exit has no prefix of its own.
    #[error("an exit node leads to everything as it is; --as is for ranges")]
    TranslatedExit,
}

/// Whether `range` may be published as `published` in a network of the prefixes `mesh`, beside `others` (the same gateway's
/// present word on the same range left out).
///
/// # Errors
/// The first reason against it.
pub fn check(range: IpNet, published: IpNet, mesh: &[IpNet], others: &[Published]) -> Result<(), RangeError> {
    if range.prefix_len() == 0 {
        return if published == range {
            Ok(())
        } else {
            Err(RangeError::TranslatedExit)
        };
    }
    if range.prefix_len() != published.prefix_len() || range.addr().is_ipv4() != published.addr().is_ipv4() {
        return Err(RangeError::Length { range, published });
    }
    for prefix in [range, published] {
        routable(prefix)?;
    }
    for range in [range, published] {
        if let Some(mesh) = mesh.iter().find(|mesh| overlap(mesh, &range)) {
            return Err(RangeError::Mesh { range, mesh: *mesh });
        }
    }
    for other in others
        .iter()
        .filter(|other| other.prefix.prefix_len() > 0 && overlap(&other.prefix, &published))
    {
        let other = other.clone();
        if other.prefix != published {
            return Err(RangeError::Partly {
                range: published,
                other,
            });
        }
        if other.range != range {
            return Err(RangeError::Taken {
                prefix: published,
                range,
                other,
            });
        }
    }
    Ok(())
}

/// Whether a published prefix leaves the nodes' parts of the pods' prefix alone. It may lie in the pods' prefix otherwise.
///
/// # Errors
/// Where it does not.
pub fn apart_from_pods(range: IpNet, pods: &[IpNet]) -> Result<(), RangeError> {
    let met = pods
        .iter()
        .find(|pods| range.prefix_len() > 0 && overlap(pods, &range));
    met.map_or(Ok(()), |pods| Err(RangeError::Pods { range, pods: *pods }))
}

/// Whether the addresses of a prefix are such as can be routed at all: no loopback, multicast or link-local ones.
///
/// # Errors
/// Where they are not.
pub fn routable(prefix: IpNet) -> Result<(), RangeError> {
    let holds = |unfit: &str| unfit.parse().is_ok_and(|unfit: IpNet| overlap(&unfit, &prefix));
    if holds("127.0.0.0/8") || holds("::1/128") {
        return Err(RangeError::Loopback(prefix));
    }
    if holds("224.0.0.0/4") || holds("ff00::/8") {
        return Err(RangeError::Multicast(prefix));
    }
    if holds("169.254.0.0/16") || holds("fe80::/10") {
        return Err(RangeError::LinkLocal(prefix));
    }
    Ok(())
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn refusal(range: &str, published: &str) -> Option<String> {
        let mesh = [net("10.77.0.0/16"), net("fd77::/64")];
        let others = [Published {
            prefix: net("10.200.1.0/24"),
            range: net("192.168.50.0/24"),
            gateway: "site-a".into(),
        }];
        check(net(range), net(published), &mesh, &others)
            .err()
            .map(|e| e.to_string())
    }

    #[test]
    fn each_reason_is_a_sentence_of_its_own() {
        for (range, published, words) in [
            ("127.0.0.0/8", "127.0.0.0/8", "loopback"),
            ("126.0.0.0/7", "126.0.0.0/7", "loopback"),
            ("::/8", "::/8", "loopback"),
            ("0.0.0.0/1", "0.0.0.0/1", "loopback"),
            ("128.0.0.0/1", "128.0.0.0/1", "multicast"),
            ("224.1.0.0/16", "224.1.0.0/16", "multicast"),
            ("ff05::/16", "ff05::/16", "multicast"),
            ("169.254.3.0/24", "169.254.3.0/24", "link-local"),
            ("fe80::/64", "fe80::/64", "link-local"),
            ("10.0.0.0/8", "10.0.0.0/8", "the network's own range"),
            ("10.77.3.0/24", "10.77.3.0/24", "the network's own range"),
            ("fd77::/80", "fd77::/80", "the network's own range"),
            ("192.168.60.0/24", "10.77.3.0/24", "the network's own range"),
            ("10.200.0.0/16", "10.200.0.0/16", "without being the same"),
            ("10.200.1.128/25", "10.200.1.128/25", "without being the same"),
            (
                "192.168.60.0/24",
                "10.200.1.0/24",
                "choose another for 192.168.60.0/24",
            ),
            ("192.168.60.0/24", "10.201.0.0/16", "the same length"),
            ("192.168.60.0/24", "fd99::/24", "the same length"),
            ("0.0.0.0/0", "10.201.0.0/16", "leads to everything"),
        ] {
            let said = refusal(range, published).unwrap_or_default();
            assert!(said.contains(words), "{range} as {published}: {said:?}");
        }
    }

    #[test]
    fn what_breaks_nothing_is_taken() {
        for (range, published) in [
            ("192.168.50.0/24", "192.168.50.0/24"),
            ("192.168.50.0/24", "10.200.1.0/24"),
            ("192.168.50.0/24", "10.200.2.0/24"),
            ("2001:db8:50::/64", "2001:db8:50::/64"),
            ("192.168.50.7/32", "192.168.50.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(refusal(range, published), None, "{range} as {published}");
        }
    }
}
