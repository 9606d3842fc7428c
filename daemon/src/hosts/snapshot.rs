//! The hosts file as it was at one moment: its bytes, the open file, and a lease that keeps writers waiting.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use meshd_core::names::MAX_FILE_LEN;
use meshd_net::lease::{Lease, LeaseError, LeaseKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::error::HostsError;

/// How long an edit waits for another program to close the file.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest wait between two looks at a busy file: the event of a close comes a moment before the lease is free.
const LOOK_AGAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Device and inode: as long as the file is held open, no other file has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// An open file and what was in it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) identity: Identity,
    pub(super) links: u64,
    /// `None` where the filesystem has no leases.
    lease: Option<Lease>,
}

/// The hosts file at one moment; it may not exist.
#[derive(Debug)]
pub(super) struct Snapshot {
    bytes: Vec<u8>,
    opened: Option<Opened>,
}

/// The file that a path leads to, through symbolic links; a path that leads nowhere is its own.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, HostsError> {
    match path.canonicalize() {
        Ok(target) => Ok(target),
        Err(e) if e.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(path.to_owned()),
        Err(e) => Err(HostsError::file(path)(e)),
    }
}

impl Snapshot {
    /// Reads the file while nobody writes it; waits up to two seconds for that.
    pub(super) fn take(path: &Path) -> Result<Self, HostsError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(snapshot) = Self::try_take(path)? {
                return Ok(snapshot);
            }
            wait_for_close(path, WatchFlags::CLOSE_WRITE);
            if Instant::now() > deadline {
                return Err(HostsError::Busy {
                    path: path.to_owned(),
                });
            }
        }
    }

    /// `None`: another program has it open for writing.
    fn try_take(path: &Path) -> Result<Option<Self>, HostsError> {
        let file = match open(path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Ok(Some(Self {
                    bytes: Vec::new(),
                    opened: None,
                }));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(HostsError::file(path)(e)),
        };
        let meta = file.metadata().map_err(HostsError::file(path))?;
        if !meta.is_file() {
            return Err(HostsError::Unfit {
                path: path.to_owned(),
                what: "is not a regular file",
            });
        }
        if meta.len() > MAX_FILE_LEN {
            return Err(HostsError::Unfit {
                path: path.to_owned(),
                what: "is larger than 16 MiB",
            });
        }
        let lease = match Lease::take(&file, LeaseKind::Read) {
            Ok(lease) => Some(lease),
            Err(LeaseError::Busy) => return Ok(None),
            Err(LeaseError::Unsupported(_)) => None,
        };
        let bytes = read_all(&file).map_err(HostsError::file(path))?;
        let identity = Identity(meta.dev(), meta.ino());
        Ok(Some(Self {
            bytes,
            opened: Some(Opened {
                file,
                identity,
                links: meta.nlink(),
                lease,
            }),
        }))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn exists(&self) -> bool {
        self.opened.is_some()
    }

    pub(super) fn opened(&self) -> Option<&Opened> {
        self.opened.as_ref()
    }

    /// Whether the file has other names, which a new file would not have.
    pub(super) fn is_linked_elsewhere(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.links > 1)
    }

    /// Whether the file that was read is still as it was, and nobody waits to write it.
    pub(super) fn is_untouched(&self) -> bool {
        match &self.opened {
            None => true,
            Some(Opened {
                lease: Some(lease), ..
            }) => !lease.is_wanted(),
            Some(Opened {
                file, lease: None, ..
            }) => read_all(file).is_ok_and(|now| now == self.bytes),
        }
    }
}

/// Opens without ever waiting: neither for a lease of somebody else's nor for a pipe's other end.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

/// Who a file is.
pub(super) fn identify(file: &File) -> std::io::Result<Identity> {
    let meta = file.metadata()?;
    Ok(Identity(meta.dev(), meta.ino()))
}

/// The whole file from its start, wherever the descriptor stands.
pub(super) fn read_all(file: &File) -> std::io::Result<Vec<u8>> {
    struct FromStart<'a>(&'a File, u64);
    impl Read for FromStart<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.read_at(buffer, self.1)?;
            self.1 += n as u64;
            Ok(n)
        }
    }
    let mut bytes = Vec::new();
    FromStart(file, 0)
        .take(MAX_FILE_LEN + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Waits until somebody closes the file, or a moment. It is only worth a wait: whoever calls looks again.
pub(super) fn wait_for_close(path: &Path, what: WatchFlags) {
    let Ok(watch) = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else {
        return;
    };
    _ = inotify::add_watch(
        &watch,
        path,
        what | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF,
    );
    _ = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&LOOK_AGAIN));
}
