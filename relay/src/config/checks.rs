//! Single values, checked.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use meshd_core::keys::RootPublic;

use super::{ConfigError, Listen, MAX_LISTENERS, MAX_PUBLIC_ADDRS};

/// A value that does not do.
pub(super) fn refused(setting: &'static str, value: impl ToString, reason: &'static str) -> ConfigError {
    ConfigError::Value {
        setting,
        value: value.to_string(),
        reason,
    }
}

/// Only an absolute path does.
pub(super) fn absolute(setting: &'static str, path: &Path) -> Result<(), ConfigError> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(refused(setting, path.display(), "give an absolute path")),
    }
}

/// Names or addresses, without ports.
pub(super) fn public_addrs(given: Vec<String>) -> Result<Vec<String>, ConfigError> {
    const SETTING: &str = "public-addr";
    if given.len() > MAX_PUBLIC_ADDRS {
        return Err(refused(
            SETTING,
            given.len(),
            "at most 8 are possible, since each is written into every token",
        ));
    }
    let mut addrs = Vec::with_capacity(given.len());
    for host in given {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
                return Err(refused(
                    SETTING,
                    host,
                    "nodes cannot reach this; give the address that they connect to",
                ));
            }
            Ok(ip) => addrs.push(ip.to_string()),
            Err(_) if is_host_name(&host) => addrs.push(host.to_ascii_lowercase()),
            Err(_) => {
                return Err(refused(
                    SETTING,
                    host,
                    "give a host name or an IP address, without a port",
                ));
            }
        }
    }
    Ok(addrs)
}

/// Root keys.
pub(super) fn network_keys(given: Vec<String>) -> Result<Vec<RootPublic>, ConfigError> {
    let key = |hex: String| {
        let reason =
            "give the network's root key, 64 hex digits, as `meshctl network create --relay` says it";
        hex.parse().map_err(|_| refused("network-key", hex, reason))
    };
    given.into_iter().map(key).collect()
}

/// Labels of letters, digits and hyphens (RFC 1123 section 2.1), with at least one letter at all.
fn is_host_name(host: &str) -> bool {
    let label = |l: &str| {
        let plain = l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&l.len()) && plain && !l.starts_with('-') && !l.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label) && host.bytes().any(|b| b.is_ascii_alphabetic())
}

/// The addresses given, or all of both families at these ports.
pub(super) fn listeners(
    setting: &'static str,
    given: Vec<SocketAddr>,
    ports: &[u16],
) -> Result<Vec<Listen>, ConfigError> {
    if given.is_empty() {
        let v4 = ports
            .iter()
            .map(|p| (IpAddr::V4(Ipv4Addr::UNSPECIFIED), *p, true));
        let v6 = ports
            .iter()
            .map(|p| (IpAddr::V6(Ipv6Addr::UNSPECIFIED), *p, false));
        let listen = |(ip, port, required)| Listen {
            addr: SocketAddr::new(ip, port),
            required,
        };
        return Ok(v4.chain(v6).map(listen).collect());
    }
    if given.len() > MAX_LISTENERS {
        return Err(refused(setting, given.len(), "at most 8 addresses are possible"));
    }
    let mut seen = BTreeSet::new();
    for addr in &given {
        if addr.port() != 0 && !seen.insert(*addr) {
            return Err(refused(setting, addr, "given twice"));
        }
    }
    Ok(given
        .into_iter()
        .map(|addr| Listen { addr, required: true })
        .collect())
}
