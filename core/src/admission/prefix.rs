//! A network's prefixes and MTU: which are taken, and which of their addresses are for nodes.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::keys::blake2s;
use crate::statement::{MTU_MAX, MTU_MIN, MTU_STEP, mtu_is_valid};

/// Why a prefix or MTU cannot be a network's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixRefusal {
    /// Bits after the prefix are set.
    #[error("{given} has address bits after its prefix; did you mean {meant}?")]
    HostBits {
        /// As given.
        given: String,
        /// With these bits cleared.
        meant: String,
    },
    /// Somebody else's addresses.
    #[error(
        "{0} is not private: these addresses are other machines' on the internet, or no network's at all; take one from 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
    )]
    NotPrivate(Ipv4Net),
    /// Too large or too small.
    #[error("{0} does not fit a network: its length must be /8 to /28 (a /28 has 13 addresses for nodes)")]
    Length(Ipv4Net),
    /// Somebody else's addresses.
    #[error("{0} is not a unique local prefix: take one from fd00::/8 (RFC 4193), or none, then one is made")]
    NotUla(Ipv6Net),
    /// Too large or too small.
    #[error("{0} does not fit a network: its length must be /48 to /96; /64 is usual")]
    Length6(Ipv6Net),
    /// Not an MTU for WireGuard tunnels.
    #[error("MTU {0} is not a multiple of {MTU_STEP} from {MTU_MIN} to {MTU_MAX}")]
    Mtu(u16),
}

const PRIVATE: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
];
/// The half of fc00::/7 that is in use (RFC 4193 section 3.2).
const LOCALLY_ASSIGNED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 8);

/// Whether a network may have `prefix`: private (RFC 1918) or shared (RFC 6598), /8 to /28.
///
/// # Errors
/// Where it may not, and what to take instead.
pub fn check_ipv4_prefix(prefix: Ipv4Net) -> Result<(), PrefixRefusal> {
    if prefix.addr() != prefix.network() {
        return Err(PrefixRefusal::HostBits {
            given: prefix.to_string(),
            meant: prefix.trunc().to_string(),
        });
    }
    if !(8..=28).contains(&prefix.prefix_len()) {
        return Err(PrefixRefusal::Length(prefix));
    }
    if !PRIVATE.iter().any(|private| private.contains(&prefix)) {
        return Err(PrefixRefusal::NotPrivate(prefix));
    }
    Ok(())
}

/// Whether a network may have `prefix`: unique local (RFC 4193), /48 to /96.
///
/// # Errors
/// Where it may not, and what to take instead.
pub fn check_ipv6_prefix(prefix: Ipv6Net) -> Result<(), PrefixRefusal> {
    if prefix.addr() != prefix.network() {
        return Err(PrefixRefusal::HostBits {
            given: prefix.to_string(),
            meant: prefix.trunc().to_string(),
        });
    }
    if !(48..=96).contains(&prefix.prefix_len()) {
        return Err(PrefixRefusal::Length6(prefix));
    }
    if !LOCALLY_ASSIGNED.contains(&prefix) {
        return Err(PrefixRefusal::NotUla(prefix));
    }
    Ok(())
}

/// Whether a network may have `mtu`.
///
/// # Errors
/// Where it may not.
pub fn check_mtu(mtu: u16) -> Result<(), PrefixRefusal> {
    if mtu_is_valid(mtu) {
        Ok(())
    } else {
        Err(PrefixRefusal::Mtu(mtu))
    }
}

/// A unique local /64 (RFC 4193 section 3.2: `fd`, 40 random bits, subnet 0) from 32 random bytes.
pub fn ula_prefix(seed: &[u8; 32]) -> Ipv6Net {
    let random = blake2s(&[b"meshd ula v1", seed]);
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[1..6].copy_from_slice(&random[..5]);
    Ipv6Net::new_assert(bytes.into(), 64)
}

/// The last usable address, which every node holds as the API-server endpoint.
pub fn api_server_v4(prefix: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(prefix.broadcast()).saturating_sub(1))
}

/// The IPv6 address that goes with [`api_server_v4`].
pub fn api_server_v6(prefix4: Ipv4Net, prefix6: Ipv6Net) -> Ipv6Addr {
    matching_v6(prefix4, prefix6, api_server_v4(prefix4))
}

/// The IPv6 address that goes with an IPv4 address: the same offset into the prefix.
pub(super) fn matching_v6(prefix4: Ipv4Net, prefix6: Ipv6Net, address: Ipv4Addr) -> Ipv6Addr {
    let offset = u32::from(address).wrapping_sub(u32::from(prefix4.network()));
    Ipv6Addr::from(u128::from(prefix6.network()) | u128::from(offset))
}

/// Whether a node may have `address`: in the prefix, and neither the network's, the broadcast nor the API server's.
pub fn is_for_nodes_v4(prefix: Ipv4Net, address: Ipv4Addr) -> bool {
    prefix.contains(&address)
        && address != prefix.network()
        && address != prefix.broadcast()
        && address != api_server_v4(prefix)
}

/// Whether a node may have `address`: in the prefix, and neither its first (the subnet-router anycast address, RFC 4291
/// section 2.6.1) nor the API server's.
pub fn is_for_nodes_v6(prefix4: Ipv4Net, prefix6: Ipv6Net, address: Ipv6Addr) -> bool {
    prefix6.contains(&address) && address != prefix6.network() && address != api_server_v6(prefix4, prefix6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Result<(), PrefixRefusal> {
        check_ipv4_prefix(text.parse().unwrap())
    }

    #[test]
    fn private_and_shared_prefixes_are_taken() {
        for good in [
            "10.0.0.0/8",
            "10.77.0.0/16",
            "172.31.0.0/24",
            "192.168.1.16/28",
            "100.64.0.0/10",
        ] {
            assert_eq!(v4(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn others_are_refused_with_what_to_do() {
        assert!(matches!(v4("8.8.0.0/16"), Err(PrefixRefusal::NotPrivate(_))));
        assert!(matches!(v4("172.16.0.0/11"), Err(PrefixRefusal::HostBits { .. })));
        assert!(matches!(v4("172.0.0.0/11"), Err(PrefixRefusal::NotPrivate(_))));
        assert!(matches!(v4("10.0.0.0/29"), Err(PrefixRefusal::Length(_))));
        assert!(matches!(v4("0.0.0.0/0"), Err(PrefixRefusal::Length(_))));
        let error = v4("10.77.0.1/16").unwrap_err().to_string();
        assert_eq!(
            error,
            "10.77.0.1/16 has address bits after its prefix; did you mean 10.77.0.0/16?"
        );
        for bad in [
            "2001:db8::/64",
            "fc00::/64",
            "fd00::/40",
            "fd00::/97",
            "fd00::1/64",
        ] {
            assert!(check_ipv6_prefix(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_made_prefix_is_unique_local() {
        let made = ula_prefix(&[1; 32]);
        assert_eq!(check_ipv6_prefix(made), Ok(()));
        assert_eq!(made.prefix_len(), 64);
        assert_ne!(made, ula_prefix(&[2; 32]));
    }

    #[test]
    fn mtus() {
        for good in [1280, 1408, 8912] {
            assert_eq!(check_mtu(good), Ok(()), "{good}");
        }
        for bad in [0, 1279, 1281, 1400, 8921, 8928, u16::MAX] {
            assert!(check_mtu(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_usable_address_is_the_api_servers() {
        let (prefix4, prefix6) = ("10.77.0.0/16".parse().unwrap(), "fd01::/64".parse().unwrap());
        assert_eq!(api_server_v4(prefix4).to_string(), "10.77.255.254");
        assert_eq!(api_server_v6(prefix4, prefix6).to_string(), "fd01::fffe");
        for bad in ["10.77.0.0", "10.77.255.255", "10.77.255.254", "10.78.0.1"] {
            assert!(!is_for_nodes_v4(prefix4, bad.parse().unwrap()), "{bad}");
        }
        assert!(is_for_nodes_v4(prefix4, "10.77.255.253".parse().unwrap()));
        for bad in ["fd01::", "fd01::fffe", "fd02::1"] {
            assert!(!is_for_nodes_v6(prefix4, prefix6, bad.parse().unwrap()), "{bad}");
        }
    }
}
