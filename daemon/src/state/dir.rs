//! The state folder: lock, key, and sealed files in two generations.

use super::Membership;
use meshd_core::id::NetworkId;
use meshd_core::sealed::{self, SealKey};
use meshd_net::file;
use rand_core::{OsRng, RngCore};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
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

/// The locked state folder.
pub struct StateDir {
    root: PathBuf,
    key: Arc<SealKey>,
    _lock: file::Lock,
}

impl StateDir {
    /// Opens (and makes) the folder, locks it, and reads or makes the machine key.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        make_folder(root)?;
        let lock = file::Lock::acquire(&root.join("lock")).map_err(|cause| match cause.kind() {
            io::ErrorKind::WouldBlock => StateError::Locked(root.to_owned()),
            _ => StateError::Io {
                path: root.join("lock"),
                cause,
            },
        })?;
        let key = Arc::new(machine_key(root)?);
        Ok(Self {
            root: root.to_owned(),
            key,
            _lock: lock,
        })
    }

    /// Every network that this node is in, and the ones whose files are damaged with the reason.
    pub fn memberships(&self) -> (Vec<Membership>, Vec<StateError>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for id in self.network_ids() {
            match self.network(id).load_membership() {
                Ok(Some(membership)) => good.push(membership),
                Ok(None) => {}
                Err(error) => bad.push(error),
            }
        }
        good.sort_by_key(|membership| membership.interface);
        (good, bad)
    }

    /// The files of one network.
    pub fn network(&self, id: NetworkId) -> NetworkFiles {
        NetworkFiles {
            folder: self.root.join("networks").join(id.to_string()),
            key: self.key.clone(),
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
            Some(token) => write_generations(&path, &self.key, token.as_bytes()),
            None => remove_generations(&path),
        }
    }

    /// Forgets every network and the template: the machine must join anew.
    pub fn forget_all(&self) -> Result<(), StateError> {
        self.set_template(None)?;
        self.network_ids()
            .into_iter()
            .try_for_each(|id| self.network(id).forget())
    }

    fn network_ids(&self) -> Vec<NetworkId> {
        let Ok(entries) = fs::read_dir(self.root.join("networks")) else {
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

    /// Keeps the membership.
    pub fn save_membership(&self, membership: &Membership) -> Result<(), StateError> {
        self.save("identity", &membership.encode())
    }

    /// Reads a file; `None` where there is none.
    pub fn load(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        read_generations(&self.folder.join(name), &self.key)
    }

    /// Writes a file; on error the generations before stay as they were.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        make_folder(&self.folder)?;
        write_generations(&self.folder.join(name), &self.key, bytes)
    }

    /// Forgets the network.
    pub fn forget(&self) -> Result<(), StateError> {
        match fs::remove_dir_all(&self.folder) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(StateError::Io {
                path: self.folder.clone(),
                cause,
            }),
            _ => Ok(()),
        }
    }
}

fn make_folder(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|cause| StateError::Io {
            path: path.to_owned(),
            cause,
        })
}

/// Reads the key from either of its two copies (a power cut may have taken one), or makes it.
fn machine_key(root: &Path) -> Result<SealKey, StateError> {
    let paths = [root.join("machine.key"), root.join("machine.key.copy")];
    let (mut key, mut damaged) = (None, None);
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
        file::write_atomic(path, &key[..], 0o600).map_err(|cause| StateError::Io {
            path: path.clone(),
            cause,
        })?;
    }
    Ok(SealKey::from_bytes(*key))
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// The present generation, else the older one with a warning.
fn read_generations(path: &Path, key: &SealKey) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
    let cause = match read_one(path, key)? {
        None => return Ok(read_one(&older(path), key)?.and_then(Result::ok)),
        Some(Ok(bytes)) => return Ok(Some(bytes)),
        Some(Err(cause)) => cause,
    };
    match read_one(&older(path), key)? {
        Some(Ok(bytes)) => {
            warn!(path = %path.display(), %cause, "a state file cannot be used; its older generation is");
            Ok(Some(bytes))
        }
        _ => Err(StateError::Damaged {
            path: path.to_owned(),
            cause,
        }),
    }
}

type Opened = Result<Zeroizing<Vec<u8>>, String>;

fn read_one(path: &Path, key: &SealKey) -> Result<Option<Opened>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(
            sealed::open(key, &bytes)
                .map(|b| Zeroizing::new(b.to_vec()))
                .map_err(|e| e.to_string()),
        )),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StateError::Io {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Writes the new generation; the present one, where it is whole, becomes the older.
fn write_generations(path: &Path, key: &SealKey, bytes: &[u8]) -> Result<(), StateError> {
    let io_error = |cause| StateError::Io {
        path: path.to_owned(),
        cause,
    };
    if let Ok(present) = fs::read(path)
        && sealed::open(key, &present).is_ok()
    {
        file::write_atomic(&older(path), &present, 0o600).map_err(io_error)?;
    }
    file::write_atomic(path, &sealed::seal(key, bytes), 0o600).map_err(io_error)
}

fn remove_generations(path: &Path) -> Result<(), StateError> {
    for path in [path.to_owned(), older(path)] {
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(StateError::Io { path, cause });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder {
        root: tempfile::TempDir,
        state: StateDir,
    }

    fn folder() -> Folder {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(root.path()).unwrap();
        Folder { state, root }
    }

    impl Folder {
        fn files(&self) -> NetworkFiles {
            self.state.network([7; 16].into())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root
                .path()
                .join("networks")
                .join(NetworkId::from_bytes([7; 16]).to_string())
                .join(name)
        }
    }

    fn load(files: &NetworkFiles) -> Vec<u8> {
        files.load("map").unwrap().expect("there").to_vec()
    }

    #[test]
    fn what_was_saved_last_is_loaded() {
        let folder = folder();
        let files = folder.files();
        assert!(files.load("map").unwrap().is_none());
        for text in [&b"one"[..], b"two", b"three"] {
            files.save("map", text).unwrap();
            assert_eq!(load(&files), text);
        }
    }

    #[test]
    fn a_damaged_file_gives_way_to_its_older_generation() {
        let folder = folder();
        let files = folder.files();
        files.save("map", b"one").unwrap();
        files.save("map", b"two").unwrap();
        for damage in [&b""[..], b"garbage"] {
            fs::write(folder.path("map"), damage).unwrap();
            assert_eq!(load(&files), b"one");
        }
        fs::remove_file(folder.path("map")).unwrap();
        assert_eq!(load(&files), b"one");
    }

    #[test]
    fn a_damaged_file_does_not_become_the_older_generation() {
        let folder = folder();
        let files = folder.files();
        files.save("map", b"one").unwrap();
        files.save("map", b"two").unwrap();
        fs::write(folder.path("map"), b"garbage").unwrap();
        files.save("map", b"three").unwrap();
        fs::write(folder.path("map"), b"garbage").unwrap();
        assert_eq!(load(&files), b"one");
    }

    #[test]
    fn two_damaged_generations_are_an_error_that_names_the_file_and_what_to_do() {
        let folder = folder();
        let files = folder.files();
        files.save("map", b"one").unwrap();
        files.save("map", b"two").unwrap();
        fs::write(folder.path("map"), b"garbage").unwrap();
        fs::write(folder.path("map.old"), b"garbage").unwrap();
        let said = files.load("map").unwrap_err().to_string();
        assert!(said.contains(&folder.path("map").display().to_string()), "{said}");
        assert!(said.contains("backup"), "{said}");
    }

    #[test]
    fn either_copy_of_the_machine_key_brings_the_other_back() {
        let folder = folder();
        folder.files().save("map", b"one").unwrap();
        let Folder { root, state } = folder;
        drop(state);
        for lost in ["machine.key", "machine.key.copy"] {
            fs::write(root.path().join(lost), b"short").unwrap();
            let state = StateDir::open(root.path()).unwrap();
            assert_eq!(load(&state.network([7; 16].into())), b"one", "{lost}");
        }
        let key = fs::read(root.path().join("machine.key")).unwrap();
        assert_eq!(fs::read(root.path().join("machine.key.copy")).unwrap(), key);
    }

    #[test]
    fn two_damaged_machine_keys_are_an_error_and_never_a_new_key() {
        let Folder { root, state } = folder();
        drop(state);
        for name in ["machine.key", "machine.key.copy"] {
            fs::write(root.path().join(name), b"short").unwrap();
        }
        assert!(matches!(
            StateDir::open(root.path()),
            Err(StateError::Damaged { .. })
        ));
    }

    #[test]
    fn a_second_meshd_is_told_of_the_first() {
        let folder = folder();
        let said = StateDir::open(folder.root.path())
            .err()
            .expect("locked")
            .to_string();
        assert!(
            said.contains("another meshd") && said.contains("--instance"),
            "{said}"
        );
    }

    #[test]
    fn files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        folder.files().save("map", b"one").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path("map")), 0o600);
        assert_eq!(mode(folder.path("map").parent().unwrap()), 0o700);
    }

    #[test]
    fn a_template_is_kept_and_forgotten() {
        let folder = folder();
        folder.state.set_template(Some("mesh1abc")).unwrap();
        assert_eq!(
            folder.state.template().unwrap().as_deref().map(String::as_str),
            Some("mesh1abc")
        );
        folder.state.set_template(None).unwrap();
        assert!(folder.state.template().unwrap().is_none());
    }
}
