//! Being told when somebody else writes the hosts file (inotify).

use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::snapshot;

/// What happens to names in a folder.
const FOLDER: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE);
/// What happens to the file itself: where it is a bind mount, its folder hears nothing of it.
const FILE: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF);

/// A watch over one hosts file, through symbolic links, renames and bind mounts.
#[derive(Debug)]
pub struct HostsWatch {
    path: PathBuf,
    inotify: AsyncFd<OwnedFd>,
    /// The names that count in the watched folders.
    names: Vec<OsString>,
}

impl HostsWatch {
    /// Watches nothing yet. Needs a tokio runtime with I/O.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "its unsafe successor is for types that are less careful than OwnedFd"
        )]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Self {
            path: path.to_owned(),
            inotify,
            names: Vec::new(),
        })
    }

    /// Watches whatever the path leads to now. To be called before each look at the file, so that no change after
    /// that look is missed. Watching twice is watching once.
    pub fn arm(&mut self) {
        let target = snapshot::resolve(&self.path).unwrap_or_else(|_| self.path.clone());
        self.names.clear();
        for path in [&self.path, &target] {
            self.names.extend(path.file_name().map(OsString::from));
            if let Some(dir) = path.parent() {
                _ = inotify::add_watch(self.inotify.get_ref(), dir, FOLDER);
            }
        }
        _ = inotify::add_watch(self.inotify.get_ref(), &target, FILE);
    }

    /// Returns when something happened to the file. Safe to be dropped at any time.
    pub async fn changed(&mut self) -> std::io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            match drain(self.inotify.get_ref(), &self.names) {
                Ok(true) => return Ok(()),
                Ok(false) => ready.clear_ready(),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Reads all waiting events and says whether one of them was about the file.
fn drain(inotify: &OwnedFd, names: &[OsString]) -> Result<bool, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    let mut concerned = false;
    loop {
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::IGNORED) => {}
            Ok(event) => {
                let name = event
                    .file_name()
                    .map(|name| OsString::from_vec(name.to_bytes().to_vec()));
                concerned |= name.is_none_or(|name| names.iter().any(|n| n.as_bytes() == name.as_bytes()));
            }
            Err(Errno::AGAIN) => return Ok(concerned),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}
