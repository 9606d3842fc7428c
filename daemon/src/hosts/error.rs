//! What can go wrong with the hosts file, said to a person.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the hosts file. None of them stops the mesh: names are then stale, and addresses still work.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// The instance cannot stand in a marker.
    #[error("instance name {0:?} is not valid: use 1 to 63 letters, digits, dots, hyphens or underscores")]
    Instance(String),
    /// Neither the file nor its folder can be written.
    #[error(
        "{path} cannot be written ({source}): names of the mesh are not in it; make it writable for meshd, \
         or name another file with --hosts-file",
        path = path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program has the file open for writing and does not close it.
    #[error("{path} is open for writing in another program: meshd waits until it is closed", path = path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Another program rewrites the file all the time.
    #[error("{path} is being rewritten by another program all the time: meshd tries again later", path = path.display())]
    Contended {
        /// The file.
        path: PathBuf,
    },
    /// Not a regular file, or one that no hosts file should be.
    #[error("{path} {what}: name the machine's hosts file with --hosts-file", path = path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file or something beside it.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in the state directory.
    #[error("{path}: {source}; the hosts file was not touched", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HostsError {
    pub(super) fn file<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Self + use<'_, E> {
        |source| Self::File {
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(super) fn state<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Self + use<'_, E> {
        |source| Self::State {
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Whether it may be gone by itself in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Contended { .. })
    }
}

/// Whether an error says that we may not write there.
pub(super) fn forbids_writing(e: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(e, Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::TXTBSY)
}
