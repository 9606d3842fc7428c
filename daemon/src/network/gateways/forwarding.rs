//! Forwarding of single interfaces, switched on for a gateway and put back after it.
//!
//! IPv4 has a setting for each interface (`net.ipv4.conf.IF.forwarding`: what comes in there may be forwarded), IPv6 since
//! Linux 6.17 (`force_forwarding`). Before that IPv6 forwarding is one setting of the whole machine, which also makes
//! it stop taking routes from router advertisements; that is its owner's to decide, and meshd says so.
//!
//! What was changed is on disk before it is changed, so that also `meshd clean` after a crash puts it back.

use crate::state::NetworkFiles;
use meshd_net::netlink::Family;
use meshd_net::sysctl::{Changes, Setting, SysctlError};
use std::collections::BTreeSet;
use std::fs;
use tracing::{info, warn};

/// Name of the file in the network's state folder.
const FILE: &str = "forwarding";
/// Whether the whole machine forwards IPv6.
const ALL_V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// What this network switched on.
#[derive(Default)]
pub struct Forwarding {
    changes: Changes,
}

/// One line of the file: IPv6, interface, key, the value before.
type Stored = (bool, String, String, String);

impl Forwarding {
    /// What an earlier life switched on.
    pub fn recall(files: &NetworkFiles) -> Self {
        let bytes = files.load(FILE).ok().flatten();
        let stored: Vec<Stored> = bytes
            .and_then(|b| serde_json::from_slice(&b).ok())
            .unwrap_or_default();
        let setting = |(v6, interface, key, value): Stored| {
            let family = if v6 { Family::V6 } else { Family::V4 };
            (Setting::new(family, &interface, &key), value)
        };
        Self {
            changes: Changes::from_list(stored.into_iter().map(setting).collect()),
        }
    }

    /// Lets exactly these interfaces forward, besides those that did before; the rest is put back. Sentences say what
    /// could not be done.
    pub fn set(&mut self, wanted: &BTreeSet<(Family, String)>, files: &NetworkFiles) -> Vec<String> {
        let mut said = Vec::new();
        let held = self.changes.list().to_vec();
        let is_wanted = |s: &Setting| wanted.contains(&(s.family, s.interface.clone()));
        let (kept, stale): (Vec<_>, Vec<_>) = held.into_iter().partition(|(s, _)| is_wanted(s));
        let any_stale = !stale.is_empty();
        let failed = Changes::from_list(stale).restore();
        said.extend(failed.iter().map(ToString::to_string));
        self.changes = Changes::from_list(kept);
        if any_stale {
            self.save(files);
        }
        for (family, interface) in wanted {
            said.extend(self.switch_on(*family, interface, files));
        }
        said
    }

    /// Interfaces that forward only since we serve.
    pub fn switched_on(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.changes.list().iter().map(|(s, _)| &s.interface).collect();
        names.into_iter().cloned().collect()
    }

    fn switch_on(&mut self, family: Family, interface: &str, files: &NetworkFiles) -> Option<String> {
        let key = match family {
            Family::V4 => "forwarding",
            Family::V6 if fs::read_to_string(ALL_V6).is_ok_and(|all| all.trim() == "1") => return None,
            Family::V6 => "force_forwarding",
        };
        let setting = Setting::new(family, interface, key);
        let outcome = setting.read().and_then(|before| {
            if before == "1" {
                return Ok(());
            }
            let mut list = self.changes.list().to_vec();
            if !list.iter().any(|(known, _)| *known == setting) {
                list.push((setting.clone(), before));
                self.changes = Changes::from_list(list);
                self.save(files);
            }
            info!(
                interface,
                ?family,
                "forwarding is switched on for a gateway's range"
            );
            setting.set("1").map(drop)
        });
        outcome.err().map(|error| failed(family, interface, &error))
    }

    fn save(&self, files: &NetworkFiles) {
        let line = |(s, value): &(Setting, String)| -> Stored {
            (
                s.family == Family::V6,
                s.interface.clone(),
                s.key.clone(),
                value.clone(),
            )
        };
        let stored: Vec<Stored> = self.changes.list().iter().map(line).collect();
        let bytes = serde_json::to_vec(&stored).expect("plain data");
        if let Err(error) = files.save(FILE, &bytes) {
            warn!("{error}");
        }
    }
}

fn failed(family: Family, interface: &str, error: &SysctlError) -> String {
    match family {
        Family::V6 if error.is_missing() => format!(
            "this kernel forwards IPv6 on all interfaces or on none (before Linux 6.17), and this machine does not: the IPv6 range \
             behind {interface} is not served; if it may, sysctl -w net.ipv6.conf.all.forwarding=1"
        ),
        _ => format!("{error}; ranges behind {interface} are not served"),
    }
}

/// Puts back what a meshd that no longer runs switched on in a network: what could not be, as sentences.
pub fn put_back(files: &NetworkFiles) -> Vec<String> {
    Forwarding::recall(files).set(&BTreeSet::new(), files)
}
