//! This machine's firewall: our own table, and the accepts that foreign dropping chains need.
//!
//! Our table (`inet meshd-INSTANCE`) keeps networks apart: what comes in by one mesh interface may reach the addresses of
//! that network alone. What foreign chains need is decided in [`meshd_core::firewall`].
//!
//! Others flush rule sets (`nft flush ruleset`, a firewall that reloads) and bring chains of their own later. The kernel
//! says when rules changed; then everything is compared, and put back where something is missing ([`Firewall::keep`]).

use crate::config::{Config, FirewallMode};
use meshd_core::firewall::{Hook, Ruleset};
use meshd_net::nft::{Nft, NftError};
use meshd_net::nft_changes::NftChanges;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tracing::{info, warn};

/// Changes of rules come in bursts (a firewall that reloads); they are looked at together.
const SETTLE: Duration = Duration::from_millis(150);
/// After a look at the rule set nothing is looked at for this many times as long as the look took, so that a machine whose
/// large rule set changes all the time spends a quarter of one core on it at most.
const REST: u32 = 3;

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
    fences: Arc<Mutex<Fences>>,
    /// Sentences for `status`.
    warnings: Arc<std::sync::Mutex<Vec<String>>>,
}

/// What should be there.
#[derive(Default)]
struct Fences {
    /// By interface.
    all: BTreeMap<String, Fenced>,
    /// Our table as nft printed it when it was made; `None` where it may not be as it should.
    made: Option<String>,
}

impl Firewall {
    /// Nothing is fenced yet; nothing is touched yet.
    pub fn new(config: &Config) -> Self {
        Self {
            table: config.nft_table(),
            mode: config.firewall,
            fences: Arc::default(),
            warnings: Arc::default(),
        }
    }

    /// This interface is ours from now on.
    ///
    /// # Errors
    /// In nft's words; nothing was changed then.
    pub async fn set(&self, fenced: Fenced) -> Result<(), FirewallError> {
        let mut fences = self.fences.lock().await;
        fences.all.insert(fenced.interface.clone(), fenced);
        self.apply(&mut fences).await
    }

    /// This interface is gone.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn forget(&self, interface: &str) -> Result<(), FirewallError> {
        let mut fences = self.fences.lock().await;
        fences.all.remove(interface);
        self.apply(&mut fences).await
    }

    /// Puts back what others flushed; changes nothing where all is there.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn ensure(&self) -> Result<(), FirewallError> {
        let mut fences = self.fences.lock().await;
        if fences.all.is_empty() {
            return Ok(());
        }
        let nft = Nft::find()?;
        let present = self.own_table(&nft).await?;
        if present.is_some() && present == fences.made {
            return self.judge_foreign(&nft, &fences).await;
        }
        info!(table = %self.table, "somebody changed our firewall table; it is put back");
        self.apply(&mut fences).await
    }

    /// Takes our table and our accepts away.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn clean(&self) -> Result<(), FirewallError> {
        let mut fences = self.fences.lock().await;
        fences.all.clear();
        self.apply(&mut fences).await
    }

    /// What somebody should know, as sentences.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Watches the machine's rules and puts ours back for as long as the process runs.
    pub async fn keep(self) {
        let mut changes = match NftChanges::new() {
            Ok(changes) => changes,
            Err(error) => return warn!(%error, "the machine's firewall is not watched"),
        };
        loop {
            if let Err(error) = changes.next().await {
                return warn!(%error, "the machine's firewall is no longer watched");
            }
            tokio::time::sleep(SETTLE).await;
            let start = Instant::now();
            if let Err(error) = self.ensure().await {
                warn!("{error}");
            }
            tokio::time::sleep(start.elapsed() * REST).await;
        }
    }

    async fn apply(&self, fences: &mut Fences) -> Result<(), FirewallError> {
        let outcome = self.make(fences).await;
        if let Err(error) = &outcome {
            self.warn_of(vec![format!(
                "{error}; this machine's networks are not kept apart"
            )]);
        }
        outcome
    }

    async fn make(&self, fences: &mut Fences) -> Result<(), FirewallError> {
        fences.made = None;
        let nft = Nft::find()?;
        nft.run(&table(&self.table, fences.all.values())).await?;
        if !fences.all.is_empty() {
            fences.made = self.own_table(&nft).await?;
        }
        self.judge_foreign(&nft, fences).await
    }

    /// Our table without its counters, as nft prints it.
    async fn own_table(&self, nft: &Nft) -> Result<Option<String>, FirewallError> {
        Ok(nft
            .list(&["--stateless"], &["table", "inet", &self.table])
            .await?)
    }

    /// Puts the accepts in foreign chains right, or says what fails without them. Where one cannot be added (a table
    /// that its owner locked) the others still are.
    async fn judge_foreign(&self, nft: &Nft, fences: &Fences) -> Result<(), FirewallError> {
        let listed = nft.list(&["--json"], &["ruleset"]).await?.unwrap_or_default();
        let ruleset = Ruleset::parse(listed.as_bytes())?;
        let interfaces: Vec<String> = match self.mode {
            FirewallMode::Accept => fences.all.keys().cloned().collect(),
            FirewallMode::OwnTable => Vec::new(),
        };
        let mut warnings = Vec::new();
        if self.mode == FirewallMode::OwnTable && !fences.all.is_empty() {
            let names: Vec<&str> = fences.all.keys().map(String::as_str).collect();
            let chains = ruleset.dropping(&[Hook::Input], &self.table);
            warnings.extend(chains.iter().map(|chain| forbidden(chain, &names)));
        }
        for line in ruleset.repair(&[Hook::Input], &interfaces, &self.table, &self.table) {
            match nft.run(&line).await {
                Ok(()) => info!("firewall: {line}"),
                Err(error) => warnings.push(format!(
                    "another firewall drops what comes in over the mesh, and `{line}` failed: {error}"
                )),
            }
        }
        self.warn_of(warnings);
        Ok(())
    }

    fn warn_of(&self, warnings: Vec<String>) {
        let mut kept = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        for new in warnings.iter().filter(|warning| !kept.contains(warning)) {
            warn!("{new}");
        }
        *kept = warnings;
    }
}

/// What fails where an accept is needed and forbidden.
fn forbidden(chain: &str, interfaces: &[&str]) -> String {
    let names = interfaces.join(", ");
    format!(
        "the firewall chain \"{chain}\" drops what other nodes send to this machine by {names}, and --firewall own-table \
         forbids meshd to add an accept: accept these interfaces there, e.g. nft insert rule {chain} iifname {} accept",
        interfaces.first().copied().unwrap_or_default()
    )
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
