//! What mesh DNS answers: the same names as the hosts file's, and back from an address to the name (RFC 1034, 1035).
//!
//! It knows `NAME.NETWORK.mesh` of the networks that this node is in and nothing else: what is asked beyond that is refused, so that
//! a resolver asks its next server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Address, DOMAIN, NetworkNames, is_label};

/// The names of all networks of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// `NETWORK.mesh`.
    networks: BTreeSet<String>,
    /// By full name.
    addresses: BTreeMap<String, Address>,
    /// Full names by address.
    names: BTreeMap<IpAddr, String>,
}

/// What there is to say of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// These addresses; where one is missing there is none of its kind.
    Addresses(Address),
    /// The full name that an address has.
    Name(&'a str),
    /// The network itself: it is there, and has no address.
    Network,
    /// There is no such name in the network.
    Nobody,
    /// Others have to be asked.
    NotOurs,
}

impl Zone {
    /// The names of these networks. Where several have one, the first counts, as in the hosts file; a name that is kept free has nobody.
    pub fn of(networks: &[NetworkNames]) -> Self {
        let mut zone = Self::default();
        for network in networks.iter().filter(|network| is_label(&network.network)) {
            let domain = format!("{}.{DOMAIN}", network.network);
            if !zone.networks.insert(domain.clone()) {
                continue;
            }
            for node in &network.nodes {
                if is_label(&node.label) && !network.blocked.contains(&node.label) {
                    zone.add(format!("{}.{domain}", node.label), node.address);
                }
            }
        }
        zone
    }

    fn add(&mut self, name: String, address: Address) {
        if self.addresses.contains_key(&name) {
            return;
        }
        for address in address.each() {
            self.names.entry(address).or_insert_with(|| name.clone());
        }
        self.addresses.insert(name, address);
    }

    /// The domains that are answered for, such as `prod.mesh`.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.networks.iter().map(String::as_str)
    }

    /// Looks a name up, in any case of letters, with or without the dot at its end.
    pub fn find(&self, name: &str) -> Found<'_> {
        let name = plain(name);
        if let Some(address) = from_reverse(&name) {
            return self
                .names
                .get(&address)
                .map_or(Found::NotOurs, |name| Found::Name(name));
        }
        if let Some(address) = self.addresses.get(&name) {
            return Found::Addresses(*address);
        }
        match self.domain(&name) {
            Some(domain) if domain == name => Found::Network,
            Some(_) => Found::Nobody,
            None => Found::NotOurs,
        }
    }

    /// The domain, such as `prod.mesh`, in which a name lies.
    pub fn domain_of(&self, name: &str) -> Option<&str> {
        self.domain(&plain(name))
    }

    fn domain(&self, name: &str) -> Option<&str> {
        let (above, top) = name.rsplit_once('.')?;
        let network = above.rsplit_once('.').map_or(above, |(_, network)| network);
        let domain = self.networks.get(&format!("{network}.{top}"))?;
        Some(domain)
    }
}

/// A name as names are kept: in lower case, without the dot at its end.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The address that `4.3.2.1.in-addr.arpa`, or its like under `ip6.arpa`, asks for (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn from_reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let bytes = backwards::<4>(digits, |part| {
            let plain = !part.starts_with('0') || part == "0";
            part.parse().ok().filter(|_| plain)
        })?;
        return Some(Ipv4Addr::from(bytes).into());
    }
    let nibbles = backwards::<32>(name.strip_suffix(".ip6.arpa")?, |part| match part.as_bytes() {
        [digit] => char::from(*digit).to_digit(16).map(|digit| digit as u8),
        _ => None,
    })?;
    let value = nibbles
        .iter()
        .fold(0u128, |sum, &nibble| sum << 4 | u128::from(nibble));
    Some(Ipv6Addr::from(value).into())
}

/// The parts of a name from the last to the first, where there are exactly so many.
fn backwards<const N: usize>(name: &str, read: impl Fn(&str) -> Option<u8>) -> Option<[u8; N]> {
    let parts: Option<Vec<u8>> = name.rsplit('.').take(N + 1).map(read).collect();
    parts?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::NodeName;
    use super::*;

    fn node(label: &str, last: u8) -> NodeName {
        NodeName {
            label: label.into(),
            address: Address {
                ipv4: Some(Ipv4Addr::new(10, 77, 0, last)),
                ipv6: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into())),
            },
        }
    }

    fn zone() -> Zone {
        Zone::of(&[
            NetworkNames {
                network: "prod".into(),
                nodes: vec![
                    node("db1", 9),
                    node("web", 10),
                    node("web", 11),
                    node("gone", 12),
                    node("-", 13),
                ],
                blocked: BTreeSet::from(["gone".to_owned()]),
            },
            NetworkNames {
                network: "not a label".into(),
                nodes: vec![node("x", 20)],
                blocked: BTreeSet::new(),
            },
        ])
    }

    #[test]
    fn names_have_their_addresses_in_any_case_of_letters() {
        let zone = zone();
        let db1 = node("db1", 9).address;
        for name in ["db1.prod.mesh", "DB1.Prod.MESH.", "db1.prod.mesh."] {
            assert_eq!(zone.find(name), Found::Addresses(db1), "{name}");
        }
        assert_eq!(
            zone.find("web.prod.mesh"),
            Found::Addresses(node("web", 10).address),
            "the first counts"
        );
        assert_eq!(zone.domains().collect::<Vec<_>>(), ["prod.mesh"]);
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_is_not_ours() {
        let zone = zone();
        for name in [
            "db2.prod.mesh",
            "gone.prod.mesh",
            "a.db1.prod.mesh",
            "-.prod.mesh",
        ] {
            assert_eq!(zone.find(name), Found::Nobody, "{name}");
        }
        assert_eq!(zone.find("prod.mesh"), Found::Network);
        for name in [
            "",
            ".",
            "mesh",
            "prod",
            "x.other.mesh",
            "db1.prod.mesh.example.org",
            "db1",
            "9.0.77.11.in-addr.arpa",
        ] {
            assert_eq!(zone.find(name), Found::NotOurs, "{name}");
        }
    }

    #[test]
    fn addresses_have_their_names() {
        let zone = zone();
        assert_eq!(zone.find("9.0.77.10.in-addr.arpa."), Found::Name("db1.prod.mesh"));
        let six = format!("a.0.0.0.{}0.0.d.f.ip6.arpa", "0.".repeat(24));
        assert_eq!(zone.find(&six), Found::Name("web.prod.mesh"));
        for name in [
            "09.0.77.10.in-addr.arpa",
            "0.77.10.in-addr.arpa",
            "1.9.0.77.10.in-addr.arpa",
            "x.ip6.arpa",
            "in-addr.arpa",
        ] {
            assert_eq!(zone.find(name), Found::NotOurs, "{name}");
        }
    }
}
