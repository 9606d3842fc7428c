//! The state folder: lock, key, and sealed files in two generations.

use super::Membership;
use super::generations::{
    make_folder, read_generations, refuse_newer, remove_generations, write_generations,
};
use super::troubles::Troubles;
use meshd_core::id::NetworkId;
use meshd_core::sealed::SealKey;
use meshd_net::file;
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;
use zeroize::Zeroizing;

/// Why state could not be read or written. Each text says which file, what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("{path}: {cause}; make room or rights there, then try again (what was kept before is untouched)")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// Another meshd holds the lock.
    #[error("another meshd uses {0}; stop it, or choose another --state-dir and --instance")]
    Locked(PathBuf),
    /// A newer release wrote it.
    #[error(
        "{path} is of format {version}: a newer meshd wrote it, and this one reads format 1; start the newer one again (nothing was \
         touched), or choose another --state-dir"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// Both generations of a file are unusable.
    #[error(
        "{path} cannot be used: {cause}; neither can its older generation. Restore it from a backup, or remove {path}* and join again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with the present generation.
        cause: String,
    },
}

/// Name of the mark of a network that this node leaves.
const LEAVING: &str = "leaving";
/// Names in the folder.
const NETWORKS: &str = "networks";
const LOCK: &str = "lock";
/// Networks of which it is kept why this machine is out.
const MAX_FAREWELLS: usize = 16;

/// What is left of a network that this machine was put out of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// The network's name.
    pub network: String,
    /// Why this machine is out, and what to do: one sentence.
    pub sentence: String,
}

/// The locked state folder.
pub struct StateDir {
    root: PathBuf,
    key: Arc<SealKey>,
    troubles: Troubles,
    lock: file::Lock,
}

impl StateDir {
    /// Opens (and makes) the folder, locks it, and reads or makes the machine key. A folder that became read-only (a worn SD
    /// card) is used as it is: [`Self::trouble`] says so.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        make_folder(root)?;
        let troubles = Troubles::default();
        let lock = lock(root, &troubles)?;
        refuse_newer(root)?;
        let key = Arc::new(machine_key(root)?);
        Ok(Self {
            root: root.to_owned(),
            key,
            troubles,
            lock,
        })
    }

    /// What of the state cannot be written now, in a sentence.
    pub fn trouble(&self) -> Option<String> {
        self.troubles.sentence()
    }

    /// Every network that this node is in, and the ones whose files are damaged with the reason.
    pub fn memberships(&self) -> (Vec<Membership>, Vec<StateError>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for id in self.network_ids() {
            let files = self.network(id);
            match files.load_membership() {
                Ok(Some(_)) if files.is_leaving() => {}
                Ok(Some(membership)) => good.push(membership),
                Ok(None) => {}
                Err(error) => bad.push(error),
            }
        }
        good.sort_by_key(|membership| membership.interface);
        (good, bad)
    }

    /// Networks that this node was leaving when the process ended.
    pub fn half_left(&self) -> Vec<Membership> {
        let files = self.network_ids().into_iter().map(|id| self.network(id));
        files
            .filter(NetworkFiles::is_leaving)
            .filter_map(|files| files.load_membership().ok().flatten())
            .collect()
    }

    /// The files of one network.
    pub fn network(&self, id: NetworkId) -> NetworkFiles {
        NetworkFiles {
            folder: self.root.join(NETWORKS).join(id.to_string()),
            key: self.key.clone(),
            troubles: self.troubles.clone(),
        }
    }

    /// The token sealed for the first boot of a clone, if there is one.
    pub fn template(&self) -> Result<Option<Zeroizing<String>>, StateError> {
        let bytes = read_generations(&self.root.join("template"), &self.key)?;
        Ok(bytes
            .and_then(|b| String::from_utf8(b.to_vec()).ok())
            .map(Zeroizing::new))
    }

    /// Keeps or forgets the token for a clone's first boot.
    pub fn set_template(&self, token: Option<&str>) -> Result<(), StateError> {
        let path = self.root.join("template");
        match token {
            Some(token) => {
                let written = write_generations(&path, &self.key, token.as_bytes());
                self.troubles.noted(&path, written)
            }
            None => remove_generations(&path),
        }
    }

    /// Why this machine is no longer in networks that it was in: a sentence each, by network id.
    pub fn farewells(&self) -> BTreeMap<String, Farewell> {
        let read = read_generations(&self.root.join("farewells"), &self.key);
        let bytes = read.inspect_err(|error| warn!("{error}")).ok().flatten();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Keeps the sentence of a network, or (none) forgets it.
    pub fn set_farewell(&self, network: NetworkId, farewell: Option<Farewell>) -> Result<(), StateError> {
        let mut farewells = self.farewells();
        match farewell {
            Some(farewell) => {
                farewells.insert(network.to_string(), farewell);
                while farewells.len() > MAX_FAREWELLS {
                    farewells.pop_first();
                }
            }
            None if farewells.remove(&network.to_string()).is_none() => return Ok(()),
            None => {}
        }
        let path = self.root.join("farewells");
        match farewells.is_empty() {
            true => remove_generations(&path),
            false => {
                let bytes = serde_json::to_vec(&farewells).expect("plain data");
                self.troubles
                    .noted(&path, write_generations(&path, &self.key, &bytes))
            }
        }
    }

    /// Forgets every network and the template: the machine must join anew.
    pub fn forget_all(&self) -> Result<(), StateError> {
        self.set_template(None)?;
        remove_generations(&self.root.join("farewells"))?;
        self.network_ids()
            .into_iter()
            .try_for_each(|id| self.network(id).forget())
    }

    /// Forgets everything and takes the folder away, where nothing of others is in it. For a meshd that does not run: one that runs
    /// seals what it keeps with the key.
    pub fn remove(self) -> Result<(), StateError> {
        self.forget_all()?;
        let [key, copy] = key_files(&self.root);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| StateError::Io { path, cause }
        };
        for file in [key, copy] {
            match fs::remove_file(&file) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(&file)(cause)),
                _ => {}
            }
        }
        let path = self.root.join(LOCK);
        self.lock.remove(&path).map_err(failed(&path))?;
        // what others put there stays, and so does a folder that is a mount point or not ours to remove
        let _ = fs::remove_dir(self.root.join(NETWORKS)).and_then(|()| fs::remove_dir(&self.root));
        Ok(())
    }

    fn network_ids(&self) -> Vec<NetworkId> {
        let Ok(entries) = fs::read_dir(self.root.join(NETWORKS)) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }
}

/// The files of one network. Cheap to clone.
#[derive(Clone)]
pub struct NetworkFiles {
    folder: PathBuf,
    key: Arc<SealKey>,
    troubles: Troubles,
}

impl NetworkFiles {
    /// Reads the membership; `None` where there is none.
    pub fn load_membership(&self) -> Result<Option<Membership>, StateError> {
        let Some(bytes) = self.load("identity")? else {
            return Ok(None);
        };
        Membership::decode(&bytes)
            .map(Some)
            .map_err(|cause| StateError::Damaged {
                path: self.folder.join("identity"),
                cause,
            })
    }

    /// Keeps the membership; whoever joins is not leaving any more.
    pub fn save_membership(&self, membership: &Membership) -> Result<(), StateError> {
        remove_generations(&self.folder.join(LEAVING))?;
        self.save("identity", &membership.encode())
    }

    /// Keeps that this node leaves: whatever ends the process, the next start does not come back into the network.
    pub fn mark_leaving(&self) -> Result<(), StateError> {
        self.save(LEAVING, b"leaving")
    }

    /// Whether it leaves. A mark that cannot be read counts: it was made by somebody who left.
    fn is_leaving(&self) -> bool {
        self.folder.join(LEAVING).exists()
    }

    /// Reads a file; `None` where there is none.
    pub fn load(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        read_generations(&self.folder.join(name), &self.key)
    }

    /// Writes a file; on error the generations before stay as they were.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.folder.join(name);
        let written = make_folder(&self.folder).and_then(|()| write_generations(&path, &self.key, bytes));
        self.troubles.noted(&path, written)
    }

    /// Takes a file away, both generations of it.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        remove_generations(&self.folder.join(name))
    }

    /// Forgets the network.
    pub fn forget(&self) -> Result<(), StateError> {
        match fs::remove_dir_all(&self.folder) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(StateError::Io {
                path: self.folder.clone(),
                cause,
            }),
            _ => {
                self.troubles.ended(&self.folder);
                Ok(())
            }
        }
    }
}

/// Locks the folder. Where its file system is read-only and nobody made a lock file before, the folder itself is locked.
fn lock(root: &Path, troubles: &Troubles) -> Result<file::Lock, StateError> {
    let path = root.join(LOCK);
    let mut locked = file::Lock::acquire(&path);
    if locked
        .as_ref()
        .is_err_and(|e| e.kind() == io::ErrorKind::ReadOnlyFilesystem)
    {
        locked = file::Lock::acquire_existing(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => file::Lock::acquire_existing(root),
            _ => Err(error),
        });
        let sentence = format!(
            "{} is on a read-only file system; make it writable, or replace a worn card",
            root.display()
        );
        if locked.is_ok() {
            warn!("{sentence}; meshd runs from what is stored there");
            troubles.note(root, sentence);
        }
    }
    locked.map_err(|cause| match cause.kind() {
        io::ErrorKind::WouldBlock => StateError::Locked(root.to_owned()),
        _ => StateError::Io { path, cause },
    })
}

/// The machine key, twice.
fn key_files(root: &Path) -> [PathBuf; 2] {
    ["machine.key", "machine.key.copy"].map(|name| root.join(name))
}

/// Reads the key from either of its two copies (a power cut may have taken one), or makes it.
fn machine_key(root: &Path) -> Result<SealKey, StateError> {
    let paths = key_files(root);
    let (mut key, mut damaged): (Option<Zeroizing<[u8; 32]>>, _) = (None, None);
    for path in &paths {
        match fs::read(path).map(Zeroizing::new) {
            Ok(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
                Ok(bytes) => key = key.or(Some(Zeroizing::new(bytes))),
                Err(_) => damaged = Some(format!("it has {} bytes instead of 32", bytes.len())),
            },
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => {
                return Err(StateError::Io {
                    path: path.clone(),
                    cause,
                });
            }
        }
    }
    let known = key.is_some();
    let key = match (key, damaged) {
        (Some(key), _) => key,
        (None, Some(cause)) => {
            return Err(StateError::Damaged {
                path: paths[0].clone(),
                cause,
            });
        }
        (None, None) => {
            let mut key = Zeroizing::new([0; 32]);
            OsRng.fill_bytes(&mut *key);
            key
        }
    };
    for path in paths
        .iter()
        .filter(|path| !fs::read(path).is_ok_and(|b| b == key[..]))
    {
        match file::write_atomic(path, &key[..], 0o600) {
            // one copy is enough to run
            Err(cause) if known => {
                warn!(path = %path.display(), %cause, "the key's other copy cannot be written")
            }
            written => written.map_err(|cause| StateError::Io {
                path: path.clone(),
                cause,
            })?,
        }
    }
    Ok(SealKey::from_bytes(*key))
}
