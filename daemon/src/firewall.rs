//! This machine's firewall: our own table, and the accepts that foreign dropping chains need.
//!
//! Our table (`inet meshd-INSTANCE`) keeps networks apart: what comes in by one mesh interface may reach the addresses of
//! that network alone, and what comes in from the machine's own networks is no mesh traffic: the kernel would take a packet
//! to a mesh address on any interface, and one with a mesh address as its source as well (RFC 1122 section 3.3.4.2, the weak
//! host model). What foreign chains need is decided in [`meshd_core::firewall`].
//!
//! Others flush rule sets (`nft flush ruleset`, a firewall that reloads) and bring chains of their own later. The kernel
//! says when rules changed; then everything is compared, and put back where something is missing ([`Firewall::keep`]).

mod rules;

use crate::config::{Config, FirewallMode};
use ipnet::IpNet;
use meshd_core::firewall::{ChainName, Hook, Ruleset};
use meshd_core::gateway::Service;
use meshd_core::ipam::HOST_PREFIX;
use meshd_net::nft::{Nft, NftError};
use meshd_net::nft_changes::NftChanges;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

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

/// An interface of ours, and where packets may go that come in by it: to its addresses, and into the ranges that this
/// node serves as a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// Its name.
    pub interface: String,
    /// Its addresses.
    pub addresses: (Ipv4Addr, Ipv6Addr),
    /// Addresses that it holds besides, for this machine alone.
    pub held: Vec<IpAddr>,
    /// Ranges that this node serves.
    pub services: Vec<Service>,
    /// Interfaces that forward only since we serve: what they forward goes to the mesh and nowhere else.
    pub guarded: Vec<String>,
    /// The network's prefixes: addresses of peers.
    pub prefixes: [IpNet; 2],
    /// LANs inside those prefixes, whose machines are no peers.
    pub lans: Vec<IpNet>,
    /// Interfaces that lead to other machines outside of the tunnel.
    pub underlay: BTreeSet<String>,
    /// Pods on this machine.
    pub pods: Option<FencedPods>,
    /// Prefixes that were granted to this node: other programs' networks behind it.
    pub granted: Vec<IpNet>,
    /// Whether routes of other programs lead to peers.
    pub adopts: bool,
}

impl Fenced {
    /// Whether packets from the mesh may go on through this machine.
    fn forwards(&self) -> bool {
        !self.services.is_empty() || self.pods.is_some() || !self.granted.is_empty()
    }
}

/// Pods on this machine, and where their packets may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FencedPods {
    /// This machine's part of the pods' prefixes.
    pub part: Vec<IpNet>,
    /// Ranges into which only some of this machine's pods may send, and their addresses.
    pub limits: Vec<(IpNet, Vec<IpAddr>)>,
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
    /// Whether there is no table that silences ARP, by us or a meshd before.
    loud: bool,
}

impl Fences {
    /// The hooks that packets of our interfaces must pass: to this machine, and through it where it is a gateway.
    fn wanted(&self) -> Vec<(Hook, Vec<String>)> {
        let mut forwarding: Vec<String> = self
            .all
            .values()
            .filter(|fenced| fenced.forwards())
            .map(|fenced| fenced.interface.clone())
            .collect();
        if self.all.values().any(|fenced| fenced.pods.is_some()) {
            forwarding.push(format!("{HOST_PREFIX}*"));
        }
        vec![
            (Hook::Input, self.all.keys().cloned().collect()),
            (Hook::Forward, forwarding),
        ]
    }
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
        nft.run(&rules::table(&self.table, fences.all.values())).await?;
        self.silence(&nft, fences).await;
        if !fences.all.is_empty() {
            fences.made = self.own_table(&nft).await?;
        }
        self.judge_foreign(&nft, fences).await
    }

    /// A kernel without this family of tables goes on answering; that is no reason to do without the rest.
    async fn silence(&self, nft: &Nft, fences: &mut Fences) {
        let loud = fences.all.values().all(|fenced| fenced.held.is_empty());
        if loud && fences.loud {
            return;
        }
        fences.loud = loud;
        if let Err(error) = nft.run(&rules::silence(&self.table, fences.all.values())).await {
            debug!(%error, "this machine may answer ARP for addresses that every node has");
        }
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
        let ruleset = self.foreign(nft).await?;
        let mut wanted = fences.wanted();
        let mut warnings = Vec::new();
        if self.mode == FirewallMode::OwnTable {
            for (hook, names) in wanted.drain(..).filter(|(_, names)| !names.is_empty()) {
                let chains = ruleset.dropping(&[hook], &self.table);
                warnings.extend(chains.iter().map(|chain| forbidden(hook, chain, &names)));
            }
        }
        for line in ruleset.repair(&wanted, &self.table, &self.table) {
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

    /// What of the machine's rules decides about our interfaces' packets.
    async fn foreign(&self, nft: &Nft) -> Result<Ruleset, FirewallError> {
        let listed = nft.list(&["--json"], &["chains"]).await?.unwrap_or_default();
        let mut ruleset = Ruleset::parse(listed.as_bytes())?;
        for ChainName { family, table, name } in ruleset.unread(&self.table) {
            // one that went meanwhile is a change, after which all is looked at again
            let chain = nft.list(&["--json"], &["chain", &family, &table, &name]).await?;
            chain.map_or(Ok(()), |chain| ruleset.read(chain.as_bytes()))?;
        }
        Ok(ruleset)
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
fn forbidden(hook: Hook, chain: &str, interfaces: &[String]) -> String {
    let names = interfaces.join(", ");
    let whither = match hook {
        Hook::Input => "to this machine",
        Hook::Forward => "through this gateway",
    };
    format!(
        "the firewall chain \"{chain}\" drops what other nodes send {whither} by {names}, and --firewall own-table \
         forbids meshd to add an accept: accept these interfaces there, e.g. nft insert rule {chain} iifname {} accept",
        interfaces.first().map_or("", String::as_str)
    )
}
