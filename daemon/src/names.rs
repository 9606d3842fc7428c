//! What all networks of this process want in the hosts file, gathered for the one task that keeps it.

use crate::config::Config;
use crate::hosts::{HostsError, HostsFile, HostsReport, keep};
use crate::machine;
use meshd_core::names::{NetworkNames, Reason, Wanted};
use std::sync::Arc;
use tokio::sync::watch;

/// The hosts file, for the networks. Cheap to clone.
#[derive(Clone)]
pub struct Names {
    wanted: Arc<watch::Sender<Wanted>>,
    report: watch::Receiver<HostsReport>,
    file: HostsFile,
}

impl Names {
    /// Completes or reverts what a crash left, and keeps the file from now on.
    ///
    /// # Errors
    /// Only for an instance name that cannot stand in a marker; what is wrong with the file itself is reported, and tried again.
    pub fn start(config: &Config) -> Result<Self, HostsError> {
        let file = HostsFile::open(
            &config.hosts_file,
            &config.state_dir,
            &config.instance.to_string(),
        )?;
        let own_host_name = machine::host_name();
        let (wanted, receiver) = watch::channel(Wanted {
            own_host_name,
            networks: Vec::new(),
        });
        let (reporter, report) = watch::channel(HostsReport::default());
        let wanted = Arc::new(wanted);
        tokio::spawn(keep(file.clone(), receiver, reporter));
        Ok(Self { wanted, report, file })
    }

    /// These are the names of a network from now on.
    pub fn set(&self, names: NetworkNames) {
        self.wanted.send_if_modified(|wanted| {
            match wanted.networks.iter_mut().find(|n| n.network == names.network) {
                Some(known) if *known == names => return false,
                Some(known) => *known = names,
                None => wanted.networks.push(names),
            }
            true
        });
    }

    /// What is wanted, and each change of it, for others that tell names.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// Waits until the names of this network were written, or could not be.
    pub async fn written(&self, network: &str) {
        let mut report = self.report.clone();
        let tried = |report: &HostsReport| report.networks.iter().any(|name| name == network);
        let _ = report.wait_for(tried).await;
    }

    /// The names of this network go.
    pub fn forget(&self, network: &str) {
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.networks.len();
            wanted.networks.retain(|n| n.network != network);
            wanted.networks.len() != before
        });
    }

    /// Sentences about the file and about names of this network that were withheld.
    pub fn warnings(&self, network: &str) -> Vec<String> {
        let report = self.report.borrow();
        let withheld = report
            .withheld
            .iter()
            .filter(|w| w.network == network && w.reason != Reason::OwnHostName)
            .map(|w| {
                format!(
                    "the short name {} is not in the hosts file: {}",
                    w.label, w.reason
                )
            });
        report.problem.iter().cloned().chain(withheld).collect()
    }

    /// Takes every block of this instance out of the file.
    pub fn clean(&self) -> Result<(), HostsError> {
        self.wanted.send_modify(|wanted| wanted.networks.clear());
        self.file.clone().clean().map(|_| ())
    }
}
