//! The table in the kernel: made anew where it is unknown what is there, changed by transactions after that.

use crate::config::Config;
use meshd_core::policy::Ruleset;
use meshd_net::nft::{Nft, NftError};
use serde_json::Value;
use tracing::{debug, info};

/// The name of the table (family inet) of the network that has this interface number.
pub fn table(config: &Config, interface: u16) -> String {
    format!("{}{interface}", prefix(config))
}

fn prefix(config: &Config) -> String {
    format!("{}-pods", config.nft_table())
}

/// Takes the tables of every network of this instance away.
///
/// # Errors
/// In nft's words.
pub async fn clean(config: &Config) -> Result<(), NftError> {
    let nft = Nft::find()?;
    let listed = nft.list(&[], &["tables", "inet"]).await?.unwrap_or_default();
    let prefix = prefix(config);
    let is_ours = |name: &&str| {
        let number = name.strip_prefix(&prefix);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
    };
    let names = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("table inet "));
    for name in names.filter(is_ours) {
        nft.run(&Ruleset::removal(name)).await?;
    }
    Ok(())
}

/// Our table.
pub struct Kernel {
    table: String,
    /// What it holds; `None` where that is not known.
    held: Option<Ruleset>,
    /// Whether it is certain that there is no table.
    bare: bool,
    /// The two base chains as nft prints them.
    base: Option<String>,
}

impl Kernel {
    /// Nothing is known of what is there.
    pub fn new(table: String) -> Self {
        Self {
            table,
            held: None,
            bare: false,
            base: None,
        }
    }

    /// Whether there is a table of ours.
    pub fn is_made(&self) -> bool {
        self.held.is_some()
    }

    /// Makes the kernel hold this.
    ///
    /// # Errors
    /// In nft's words; what is there stays.
    pub async fn set(&mut self, wanted: Ruleset) -> Result<(), NftError> {
        if self.held.is_none() && wanted.pods.is_empty() {
            return self.remove().await;
        }
        let script = wanted.script(&self.table, self.held.as_ref());
        if script.is_empty() {
            self.held = Some(wanted);
            return Ok(());
        }
        let nft = Nft::find()?;
        let anew = self.held.is_none();
        debug!(bytes = script.len(), anew, "pods' rules change");
        if let Err(error) = nft.run(&script).await {
            if anew {
                return Err(error);
            }
            info!("the table of pods' rules is made anew: {error}");
            self.held = None;
            nft.run(&wanted.script(&self.table, None)).await?;
        }
        if anew || self.held.is_none() {
            self.base = self.print(&nft).await?;
        }
        (self.held, self.bare) = (Some(wanted), false);
        Ok(())
    }

    /// Puts the table back where somebody took it away.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn ensure(&mut self) -> Result<(), NftError> {
        if self.held.is_none() || self.print(&Nft::find()?).await? == self.base {
            return Ok(());
        }
        info!(table = %self.table, "somebody changed the table of pods' rules; it is put back");
        match self.held.take() {
            Some(held) => self.set(held).await,
            None => Ok(()),
        }
    }

    /// Takes the table away.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn remove(&mut self) -> Result<(), NftError> {
        if !self.bare {
            Nft::find()?.run(&Ruleset::removal(&self.table)).await?;
        }
        (self.held, self.bare) = (None, true);
        Ok(())
    }

    /// Packets denied since the table was made: on their way to pods, and from pods.
    pub async fn denied(&self) -> (u64, u64) {
        if self.held.is_none() {
            return (0, 0);
        }
        let Ok(nft) = Nft::find() else { return (0, 0) };
        let what = ["counters", "table", "inet", &self.table];
        let listed = nft.list(&["--json"], &what).await.ok().flatten();
        let document: Value = serde_json::from_str(&listed.unwrap_or_default()).unwrap_or_default();
        let objects = document["nftables"].as_array().into_iter().flatten();
        let counters = objects.map(|object| &object["counter"]);
        let of = |name: &str| {
            let mut named = counters.clone().filter(|counter| counter["name"] == name);
            named.find_map(|counter| counter["packets"].as_u64()).unwrap_or(0)
        };
        (of("denied-ingress"), of("denied-egress"))
    }

    async fn print(&self, nft: &Nft) -> Result<Option<String>, NftError> {
        let mut printed = String::new();
        for chain in ["egress", "ingress"] {
            let what = ["chain", "inet", &self.table, chain];
            match nft.list(&["--stateless", "--terse"], &what).await? {
                Some(text) => printed.push_str(&text),
                None => return Ok(None),
            }
        }
        Ok(Some(printed))
    }
}
