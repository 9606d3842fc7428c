//! The name of a host behind a gateway.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::names::{is_label, is_reserved};

/// Most hosts of one range that have names.
pub const MAX_NAMES: usize = 16;

/// Whether these can be the names of hosts in `range`, all of them together.
///
/// # Errors
/// Why not, as a sentence.
pub(super) fn check_all(names: &[HostName], range: &IpNet) -> Result<(), String> {
    if names.len() > MAX_NAMES {
        let count = names.len();
        return Err(format!(
            "{count} hosts of {range} have names; at most {MAX_NAMES} may"
        ));
    }
    if range.prefix_len() == 0 && !names.is_empty() {
        return Err("an exit node leads to everything; names are for hosts in a range".to_owned());
    }
    let mut labels = BTreeSet::new();
    for host in names {
        host.check(range)?;
        if !labels.insert(&host.label) {
            return Err(format!(
                "\"{}\" is the name of two hosts of {range}; name one",
                host.label
            ));
        }
    }
    Ok(())
}

/// A host behind a gateway that the network knows by name. Its text is `printer=192.168.50.9`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    /// Its name: a DNS label.
    pub label: String,
    /// Its own address, as it is behind the gateway.
    pub address: IpAddr,
}

impl HostName {
    /// Whether it can be the name of a host in `range`.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub fn check(&self, range: &IpNet) -> Result<(), String> {
        let Self { label, address } = self;
        if !is_label(label) || is_reserved(label) {
            return Err(format!(
                "\"{}\" cannot be a host's name: small letters, digits and inner hyphens, and no name that is kept for machines",
                label.escape_debug()
            ));
        }
        if !range.contains(address) {
            return Err(format!("{label} is at {address}, which is not in {range}"));
        }
        Ok(())
    }

    /// Its address under which the network knows it, where that knows `range` as `published`, a prefix of the same length.
    pub fn published(&self, range: &IpNet, published: &IpNet) -> Option<IpAddr> {
        match (self.address, range, published) {
            (IpAddr::V4(own), IpNet::V4(range), IpNet::V4(published)) => {
                let host = u32::from(own) & u32::from(range.hostmask());
                Some(IpAddr::V4((u32::from(published.network()) | host).into()))
            }
            (IpAddr::V6(own), IpNet::V6(range), IpNet::V6(published)) => {
                let host = u128::from(own) & u128::from(range.hostmask());
                Some(IpAddr::V6((u128::from(published.network()) | host).into()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.label, self.address)
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "write NAME=ADDRESS, such as printer=192.168.50.9";
        let (label, address) = text.split_once('=').ok_or(wanted)?;
        Ok(Self {
            label: label.to_owned(),
            address: address.parse().map_err(|_| wanted)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_same_place_in_the_published_prefix() {
        for (host, range, published, expected) in [
            ("a=192.168.50.9", "192.168.50.0/24", "10.200.1.0/24", "10.200.1.9"),
            ("a=10.1.2.3", "10.0.0.0/8", "10.0.0.0/8", "10.1.2.3"),
            ("a=fd50::9", "fd50::/64", "fd51::/64", "fd51::9"),
        ] {
            let host: HostName = host.parse().unwrap();
            let (range, published) = (range.parse().unwrap(), published.parse().unwrap());
            assert_eq!(host.check(&range), Ok(()));
            assert_eq!(host.published(&range, &published), expected.parse().ok());
            assert_eq!(host.to_string().parse(), Ok(host));
        }
    }

    #[test]
    fn what_is_no_name_of_a_host_in_the_range_is_refused_in_a_sentence() {
        let range = "192.168.50.0/24".parse().unwrap();
        for (text, reason) in [
            ("printer=192.168.51.9", "not in 192.168.50.0/24"),
            ("printer=fd50::9", "not in 192.168.50.0/24"),
            ("Printer=192.168.50.9", "cannot be a host's name"),
            ("localhost=192.168.50.9", "cannot be a host's name"),
            ("a.b=192.168.50.9", "cannot be a host's name"),
        ] {
            let said = text.parse::<HostName>().unwrap().check(&range).unwrap_err();
            assert!(said.contains(reason), "{text}: {said}");
        }
        let named = |texts: &[String]| -> Result<(), String> {
            let names: Vec<HostName> = texts.iter().map(|text| text.parse().unwrap()).collect();
            check_all(&names, &range)
        };
        let many =
            |count: usize| -> Vec<String> { (0..count).map(|n| format!("host{n}=192.168.50.{n}")).collect() };
        assert_eq!(named(&many(MAX_NAMES)), Ok(()));
        assert!(named(&many(MAX_NAMES + 1)).unwrap_err().contains("at most 16"));
        let twice = ["a=192.168.50.1".to_owned(), "a=192.168.50.2".to_owned()];
        assert!(named(&twice).unwrap_err().contains("two hosts"));
        let exit = check_all(&["a=1.2.3.4".parse().unwrap()], &"0.0.0.0/0".parse().unwrap());
        assert!(exit.unwrap_err().contains("exit node"));
        for text in ["printer", "printer=", "printer=there", ""] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
