//! Which addresses a node gets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::prefix::{api_server_v4, is_for_nodes_v4, is_for_nodes_v6, matching_v6};

/// Who holds which address: the node's name, for the sentence.
pub type Holders = BTreeMap<Ipv4Addr, String>;

/// The addresses of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// IPv4.
    pub ipv4: Ipv4Addr,
    /// IPv6, at the same offset into its prefix.
    pub ipv6: Ipv6Addr,
}

/// Why a node gets no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// The wanted address is another's.
    #[error("address {wanted} is held by node \"{holder}\"; ask for another, or for none")]
    Held {
        /// What was asked for.
        wanted: Ipv4Addr,
        /// The name of the node that has it.
        holder: String,
    },
    /// The wanted address is not in the network.
    #[error("address {wanted} is not in the network's prefix {prefix}")]
    Outside {
        /// What was asked for.
        wanted: Ipv4Addr,
        /// The network's prefix.
        prefix: Ipv4Net,
    },
    /// The wanted address is kept for the network.
    #[error("address {0} is kept for the Kubernetes API server of this network; ask for another")]
    ApiServer(Ipv4Addr),
    /// The wanted address is the first or the last of the prefix.
    #[error("address {0} is the network's own or its broadcast address; ask for another")]
    Ends(Ipv4Addr),
    /// What is left lies in ranges that the joining machine has.
    #[error(
        "every free address of {0} lies in a range that this machine has; with --ip it takes one all the same, which no machine \
         there may have"
    )]
    Avoided(Ipv4Net),
    /// No address is left.
    #[error("all addresses of {0} are held; remove nodes that are gone, or make a larger network")]
    Full(Ipv4Net),
}

/// The wanted address, or the lowest free one.
///
/// # Errors
/// Where the wanted address cannot be had, or none is left.
pub fn allot(
    prefix4: Ipv4Net,
    prefix6: Ipv6Net,
    held: &Holders,
    wanted: Option<Ipv4Addr>,
    avoid: &[Ipv4Net],
) -> Result<Address, AddressRefusal> {
    let ipv4 = match wanted {
        Some(wanted) => free(prefix4, held, wanted)?,
        None => lowest_free(prefix4, held, avoid).ok_or_else(|| match lowest_free(prefix4, held, &[]) {
            Some(_) => AddressRefusal::Avoided(prefix4),
            None => AddressRefusal::Full(prefix4),
        })?,
    };
    let ipv6 = matching_v6(prefix4, prefix6, ipv4);
    debug_assert!(is_for_nodes_v6(prefix4, prefix6, ipv6));
    Ok(Address { ipv4, ipv6 })
}

fn free(prefix: Ipv4Net, held: &Holders, wanted: Ipv4Addr) -> Result<Ipv4Addr, AddressRefusal> {
    if !prefix.contains(&wanted) {
        return Err(AddressRefusal::Outside { wanted, prefix });
    }
    if wanted == api_server_v4(prefix) {
        return Err(AddressRefusal::ApiServer(wanted));
    }
    if !is_for_nodes_v4(prefix, wanted) {
        return Err(AddressRefusal::Ends(wanted));
    }
    match held.get(&wanted) {
        Some(holder) => Err(AddressRefusal::Held {
            wanted,
            holder: holder.clone(),
        }),
        None => Ok(wanted),
    }
}

/// Walks the held addresses, not the prefix: a /8 costs no more than its nodes.
fn lowest_free(prefix: Ipv4Net, held: &Holders, avoid: &[Ipv4Net]) -> Option<Ipv4Addr> {
    let mut next = u32::from(prefix.network()).checked_add(1)?;
    loop {
        let address = Ipv4Addr::from(next);
        if let Some(range) = avoid.iter().find(|range| range.contains(&address)) {
            next = u32::from(range.broadcast()).checked_add(1)?;
        } else if held.contains_key(&address) {
            next = next.checked_add(1)?;
        } else {
            return is_for_nodes_v4(prefix, address).then_some(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(held: &[&str], wanted: Option<&str>) -> Result<Address, AddressRefusal> {
        let held = held
            .iter()
            .map(|address| (address.parse().unwrap(), "db1".to_owned()))
            .collect();
        let (prefix4, prefix6) = ("10.77.0.0/28".parse().unwrap(), "fd01::/64".parse().unwrap());
        allot(
            prefix4,
            prefix6,
            &held,
            wanted.map(|wanted| wanted.parse().unwrap()),
            &[],
        )
    }

    #[test]
    fn no_address_comes_from_a_range_of_the_joining_machine() {
        let (prefix4, prefix6) = ("10.77.0.0/24".parse().unwrap(), "fd01::/64".parse().unwrap());
        let held: Holders = [("10.77.0.128".parse().unwrap(), "db1".to_owned())].into();
        let ask = |avoid: &[&str]| {
            let avoid: Vec<Ipv4Net> = avoid.iter().map(|range| range.parse().unwrap()).collect();
            allot(prefix4, prefix6, &held, None, &avoid).map(|address| address.ipv4.to_string())
        };
        assert_eq!(ask(&["10.0.0.0/30"]).unwrap(), "10.77.0.1", "it is elsewhere");
        assert_eq!(ask(&["10.77.0.0/26", "10.77.0.64/26"]).unwrap(), "10.77.0.129");
        let none = Err(AddressRefusal::Avoided(prefix4));
        assert_eq!(ask(&["10.77.0.0/24"]), none);
        assert_eq!(ask(&["0.0.0.0/0"]), none);
    }

    #[test]
    fn the_lowest_free_address_and_its_match() {
        let first = ask(&[], None).unwrap();
        assert_eq!(
            (first.ipv4.to_string(), first.ipv6.to_string()),
            ("10.77.0.1".into(), "fd01::1".into())
        );
        assert_eq!(
            ask(&["10.77.0.1", "10.77.0.3"], None).unwrap().ipv4.to_string(),
            "10.77.0.2"
        );
    }

    #[test]
    fn a_wanted_address_is_had_or_refused_with_its_holder() {
        assert_eq!(ask(&[], Some("10.77.0.9")).unwrap().ipv6.to_string(), "fd01::9");
        let error = ask(&["10.77.0.9"], Some("10.77.0.9")).unwrap_err().to_string();
        assert!(error.contains("held by node \"db1\""), "{error}");
        assert!(matches!(
            ask(&[], Some("10.78.0.9")),
            Err(AddressRefusal::Outside { .. })
        ));
        assert!(matches!(
            ask(&[], Some("10.77.0.14")),
            Err(AddressRefusal::ApiServer(_))
        ));
        assert!(matches!(
            ask(&[], Some("10.77.0.15")),
            Err(AddressRefusal::Ends(_))
        ));
        assert!(matches!(
            ask(&[], Some("10.77.0.0")),
            Err(AddressRefusal::Ends(_))
        ));
    }

    #[test]
    fn a_28_has_13_addresses_and_then_none() {
        let prefix: Ipv4Net = "10.77.0.0/28".parse().unwrap();
        let mut held = Holders::new();
        for _ in 0..13 {
            let next = allot(prefix, "fd01::/64".parse().unwrap(), &held, None, &[]).unwrap();
            assert_eq!(held.insert(next.ipv4, "x".into()), None);
        }
        let full = allot(prefix, "fd01::/64".parse().unwrap(), &held, None, &[]);
        assert_eq!(full, Err(AddressRefusal::Full(prefix)));
    }

    proptest! {
        #[test]
        fn never_twice_and_never_reserved(length in 8u8..=28, held in prop::collection::btree_set(0u32..64, 0..64)) {
            let prefix = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), length);
            let base = u32::from(prefix.network());
            let held: Holders = held.into_iter().map(|offset| ((base + offset).into(), String::new())).collect();
            if let Ok(got) = allot(prefix, "fd01::/64".parse().unwrap(), &held, None, &[]) {
                prop_assert!(!held.contains_key(&got.ipv4) && is_for_nodes_v4(prefix, got.ipv4));
            }
        }
    }
}
