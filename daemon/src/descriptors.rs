//! Descriptors that outlive this process: with the service manager's store where there is one, else with a small
//! holder process (the same program, `meshd hold`).
//!
//! What is kept are duplicates of the TUN queues: as long as one exists the interface, its routes and the TCP
//! connections over it stay, and packets wait in the queue for the next meshd.

use crate::config::Config;
use meshd_net::fdstore::{self, ServiceManager};
use meshd_net::holder::{Holder, HolderError, Start};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tracing::{debug, warn};

/// Who keeps them.
enum Keeper {
    /// systemd, or another that speaks its protocol.
    Manager(ServiceManager),
    /// Our own small process at this socket.
    Holder(PathBuf),
}

/// Keeps descriptors by name.
pub struct Descriptors {
    keeper: Keeper,
    /// What the service manager passed to this process and nobody took yet.
    passed: Mutex<Vec<(String, OwnedFd)>>,
}

impl Descriptors {
    /// Finds out who keeps descriptors here. To be called before anything else opens some.
    pub fn open(config: &Config) -> Self {
        let passed = fdstore::take_passed();
        let keeper = match ServiceManager::from_environment() {
            Some(manager) if fdstore::store_size() != Some(0) => Keeper::Manager(manager),
            _ => Keeper::Holder(config.holder_socket()),
        };
        Self {
            keeper,
            passed: Mutex::new(passed),
        }
    }

    /// Takes back what was kept under a name; none where there is nothing.
    pub fn take(&self, name: &str) -> Option<Vec<OwnedFd>> {
        let fds = match &self.keeper {
            Keeper::Manager(_) => {
                let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
                let (ours, others): (Vec<_>, Vec<_>) = passed.drain(..).partition(|(n, _)| n == name);
                *passed = others;
                ours.into_iter().map(|(_, fd)| fd).collect()
            }
            Keeper::Holder(path) => {
                match Holder::connect(path).and_then(|h| h.map_or(Ok(Vec::new()), |h| h.get(name))) {
                    Ok(fds) => fds,
                    Err(error) => {
                        warn!("{error}");
                        Vec::new()
                    }
                }
            }
        };
        (!fds.is_empty()).then_some(fds)
    }

    /// Keeps duplicates under a name. Without a keeper a restart costs the interface; that is a warning, not an error.
    pub fn keep<'a>(&self, name: &str, fds: impl Iterator<Item = BorrowedFd<'a>>) {
        let fds: Vec<_> = fds.collect();
        let kept = match &self.keeper {
            Keeper::Manager(manager) => manager.store(name, &fds).map_err(|error| error.to_string()),
            Keeper::Holder(path) => put(path, name, &fds).map_err(|error| error.to_string()),
        };
        if let Err(error) = kept {
            warn!(name, error, "nobody keeps the interface over a restart");
        }
    }

    /// Drops what is kept under a name.
    pub fn forget(&self, name: &str) {
        let forgotten = match &self.keeper {
            Keeper::Manager(manager) => manager.forget(name).map_err(|error| error.to_string()),
            Keeper::Holder(path) => Holder::connect(path)
                .and_then(|holder| holder.map_or(Ok(()), |holder| holder.drop_name(name)))
                .map_err(|error| error.to_string()),
        };
        if let Err(error) = forgotten {
            debug!(name, error, "a kept descriptor was not dropped");
        }
    }

    /// Drops everything, and ends the holder.
    pub fn forget_all(&self) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = passed.drain(..).map(|(name, _)| name).collect();
        drop(passed);
        match &self.keeper {
            Keeper::Manager(_) => names.iter().for_each(|name| self.forget(name)),
            Keeper::Holder(path) => {
                if let Ok(Some(holder)) = Holder::connect(path) {
                    let _ = holder.quit();
                }
            }
        }
    }
}

fn put(path: &std::path::Path, name: &str, fds: &[BorrowedFd<'_>]) -> Result<(), HolderError> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let socket = path.to_string_lossy();
    let start = Start {
        program: &program,
        arguments: &["hold", &socket],
    };
    Holder::obtain(path, &start)?.put(name, fds)
}
