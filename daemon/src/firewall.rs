//! This machine's firewall: our own table, and the accepts that foreign dropping chains need.
//!
//! Our table (`inet meshd-INSTANCE`) keeps networks apart: what comes in by one mesh interface may reach the addresses of
//! that network alone. What foreign chains need is decided in [`meshd_core::firewall`].

use crate::config::{Config, FirewallMode};
use meshd_core::firewall::{Hook, Ruleset};
use meshd_net::nft::{Nft, NftError};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Why the firewall could not be put right.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// nft's words.
    #[error("the firewall could not be set up: {0}")]
    Nft(#[from] NftError),
    /// What nft printed.
    #[error("the firewall could not be read: {0}")]
    Ruleset(#[from] meshd_core::firewall::RulesetError),
}

/// An interface of ours and the addresses that packets coming in by it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// Its name.
    pub interface: String,
    /// Its addresses.
    pub addresses: (Ipv4Addr, Ipv6Addr),
}

/// The machine's firewall, for the networks of this instance. Cheap to clone.
#[derive(Clone)]
pub struct Firewall {
    table: String,
    mode: FirewallMode,
    fenced: Arc<Mutex<BTreeMap<String, Fenced>>>,
}

impl Firewall {
    /// Nothing is fenced yet; nothing is touched yet.
    pub fn new(config: &Config) -> Self {
        Self {
            table: config.nft_table(),
            mode: config.firewall,
            fenced: Arc::default(),
        }
    }

    /// This interface is ours from now on.
    ///
    /// # Errors
    /// In nft's words; nothing was changed then.
    pub async fn set(&self, fenced: Fenced) -> Result<(), FirewallError> {
        let mut all = self.fenced.lock().await;
        all.insert(fenced.interface.clone(), fenced);
        self.apply(&all).await
    }

    /// This interface is gone.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn forget(&self, interface: &str) -> Result<(), FirewallError> {
        let mut all = self.fenced.lock().await;
        all.remove(interface);
        self.apply(&all).await
    }

    /// Puts back what others flushed; changes nothing where all is there.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn ensure(&self) -> Result<(), FirewallError> {
        let all = self.fenced.lock().await;
        if all.is_empty() {
            return Ok(());
        }
        let nft = Nft::find()?;
        let is_there = nft.list(&[], &["table", "inet", &self.table]).await?.is_some();
        if is_there && self.foreign(&nft, &all).await?.is_empty() {
            return Ok(());
        }
        self.apply(&all).await
    }

    /// Takes our table and our accepts away.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn clean(&self) -> Result<(), FirewallError> {
        let mut all = self.fenced.lock().await;
        all.clear();
        self.apply(&all).await
    }

    async fn apply(&self, fenced: &BTreeMap<String, Fenced>) -> Result<(), FirewallError> {
        let nft = Nft::find()?;
        let mut script = table(&self.table, fenced.values());
        for line in self.foreign(&nft, fenced).await? {
            let _ = writeln!(script, "{line}");
        }
        Ok(nft.run(&script).await?)
    }

    /// Lines that put the accepts in foreign chains right.
    async fn foreign(
        &self,
        nft: &Nft,
        fenced: &BTreeMap<String, Fenced>,
    ) -> Result<Vec<String>, FirewallError> {
        let interfaces: Vec<String> = match self.mode {
            FirewallMode::Accept => fenced.keys().cloned().collect(),
            FirewallMode::OwnTable => Vec::new(),
        };
        let listed = nft.list(&["--json"], &["ruleset"]).await?.unwrap_or_default();
        let ruleset = Ruleset::parse(listed.as_bytes())?;
        Ok(ruleset.repair(&[Hook::Input], &interfaces, &self.table, &self.table))
    }
}

/// Our table, made anew in one transaction.
fn table<'a>(name: &str, fenced: impl Iterator<Item = &'a Fenced> + Clone) -> String {
    let mut script = format!("add table inet {name}\ndelete table inet {name}\n");
    if fenced.clone().next().is_none() {
        return script;
    }
    let _ = writeln!(
        script,
        "table inet {name} {{\n  chain input {{\n    type filter hook input priority -10; policy accept;"
    );
    for Fenced {
        interface,
        addresses: (v4, v6),
    } in fenced.clone()
    {
        let _ = writeln!(
            script,
            "    iifname \"{interface}\" ip daddr != {v4} counter drop"
        );
        let _ = writeln!(
            script,
            "    iifname \"{interface}\" ip6 daddr != {v6} counter drop"
        );
    }
    let _ = writeln!(
        script,
        "  }}\n  chain forward {{\n    type filter hook forward priority -10; policy accept;"
    );
    for Fenced { interface, .. } in fenced {
        let _ = writeln!(script, "    iifname \"{interface}\" counter drop");
    }
    let _ = writeln!(script, "  }}\n}}");
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_interfaces_there_is_no_table() {
        assert_eq!(table("meshd-0", [].iter()).lines().count(), 2);
    }

    #[test]
    fn each_network_reaches_its_own_addresses_only() {
        let fenced = |name: &str, v4: [u8; 4]| Fenced {
            interface: name.into(),
            addresses: (v4.into(), Ipv6Addr::LOCALHOST),
        };
        let script = table(
            "meshd-0",
            [fenced("meshd0", [10, 77, 0, 1]), fenced("meshd1", [10, 88, 0, 1])].iter(),
        );
        assert!(
            script.contains("iifname \"meshd0\" ip daddr != 10.77.0.1 counter drop"),
            "{script}"
        );
        assert!(script.contains("iifname \"meshd1\" counter drop"), "{script}");
    }
}
