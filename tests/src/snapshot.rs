//! A machine's network configuration as a bystander sees it: rules, routes, addresses, sysctls.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::machine::Machine;

/// Commands whose output must be the same before and after.
const LOOKS: [(&str, &str); 9] = [
    (
        "nftables",
        "nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+/packets N bytes N/; s/ expires [^ }]+//'",
    ),
    (
        "iptables",
        "iptables-save | grep -v '^#' | sed -E 's/\\[[0-9]+:[0-9]+\\]//'",
    ),
    (
        "ip6tables",
        "ip6tables-save | grep -v '^#' | sed -E 's/\\[[0-9]+:[0-9]+\\]//'",
    ),
    ("IPv4 routes", "ip -4 route show table all | sort"),
    (
        "IPv6 routes",
        "ip -6 route show table all | sed -E 's/ expires [0-9]+sec//' | sort",
    ),
    ("rules", "ip -4 rule; ip -6 rule"),
    ("addresses", "ip -br address | sort"),
    (
        "sysctls",
        "sysctl -a --pattern '^net\\.' 2>/dev/null \
        | grep -vE 'nf_conntrack_count|\\.stat|random|fib_info_hash|netdev_rss_key|tcp_fastopen_key|stable_secret' | sort",
    ),
    (
        "files in /etc",
        "cd /etc && find . -xdev \\( -type f -o -type l \\) | sort",
    ),
];

/// What a machine's network configuration was at one moment.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    looks: BTreeMap<&'static str, String>,
}

impl Snapshot {
    /// Looks at every part of it.
    pub fn take(machine: &Machine) -> Self {
        Self {
            looks: LOOKS
                .iter()
                .map(|(name, script)| (*name, machine.sh(&format!("{script} || true"))))
                .collect(),
        }
    }

    /// What is different in `after`, line by line; empty where nothing is.
    pub fn difference(&self, after: &Self) -> String {
        let mut report = String::new();
        for (name, before) in &self.looks {
            let now = &after.looks[name];
            for line in before
                .lines()
                .filter(|line| !now.lines().any(|other| other == *line))
            {
                let _ = writeln!(report, "{name}: gone: {line}");
            }
            for line in now
                .lines()
                .filter(|line| !before.lines().any(|other| other == *line))
            {
                let _ = writeln!(report, "{name}: new: {line}");
            }
        }
        report
    }

    /// One part, by its name, for a test that looks closer.
    ///
    /// # Panics
    /// If there is no part of that name.
    pub fn part(&self, name: &str) -> &str {
        &self.looks[name]
    }
}
