//! The hosts file, written so that it is never broken and never loses what others write.
//!
//! Two ways, chosen by what the file lets us do:
//!
//! 1. **Rename** (`replace`): the new file is written beside the old one, synced, given the old one's mode, owner
//!    and extended attributes, and exchanged with it in one step. What comes out must be the very file that was read;
//!    where it is not, another program was faster: the two are exchanged back and everything starts over.
//! 2. **In place** (`in_place`), where nothing can be renamed over the file (a bind mount, a read-only folder, a hard
//!    link): old and new bytes go to a journal in the state directory first, so that the next start completes what
//!    a crash cut short.
//!
//! While the file is read and replaced a lease keeps writers waiting at their `open`, so nobody's half-written file is
//! taken for a whole one and nobody writes into a file that is about to go. On a filesystem without leases the
//! contents are compared again after the exchange. [`HostsFile::recover`] looks after what a crash left;
//! [`keep`] watches the file and puts the block back when somebody rewrites it.

mod error;
mod in_place;
mod keeper;
mod recover;
mod replace;
mod snapshot;
mod watch;

use std::fs::File;
use std::path::{Path, PathBuf};

use meshd_core::names::{self, Update, Wanted, Withheld};

use rustix::fs::{FlockOperation, flock};

pub use error::HostsError;
pub use keeper::{HostsReport, keep};
pub use recover::Recovered;
pub use watch::HostsWatch;

use snapshot::Snapshot;

/// How often an edit is tried against other programs that write the file, before it is left for later.
const ATTEMPTS: u32 = 100;

/// The hosts file of this machine, or whichever file was named.
///
/// Clones, and other processes with the same state directory, take turns (a lock on that directory).
#[derive(Debug, Clone)]
pub struct HostsFile {
    path: PathBuf,
    state_dir: PathBuf,
    instance: String,
    /// Found out by trying: nothing can be renamed over this file.
    in_place: bool,
    /// Nothing that a crash or an error left has to be made good.
    recovered: bool,
}

/// What an edit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The file already was as it should be.
    None,
    /// A new file took the place of the old one.
    Replaced,
    /// The file was written where it is.
    InPlace,
}

/// The result of [`HostsFile::apply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What was done.
    pub change: Change,
    /// Names that were not written, and why.
    pub withheld: Vec<Withheld>,
}

/// One try of an edit.
enum Attempt {
    Done(Change),
    /// Another program was faster.
    Raced,
    /// This file can only be written in place.
    InPlaceOnly,
}

impl HostsFile {
    /// Names the file, the folder (of this instance alone) where a journal may lie, and the instance, which stands in
    /// the markers. Touches nothing.
    pub fn open(path: &Path, state_dir: &Path, instance: &str) -> Result<Self, HostsError> {
        if !names::is_instance(instance) {
            return Err(HostsError::Instance(instance.to_owned()));
        }
        let (path, state_dir) = (path.to_owned(), state_dir.to_owned());
        Ok(Self {
            path,
            state_dir,
            instance: instance.to_owned(),
            in_place: false,
            recovered: false,
        })
    }

    /// The path as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the blocks of this instance say `wanted`. Blocks for a moment (a few `fsync`); where another program has
    /// the file open for writing, up to two seconds.
    pub fn apply(&mut self, wanted: &Wanted) -> Result<Applied, HostsError> {
        let _turn = self.take_turn()?;
        let instance = self.instance.clone();
        let mut withheld = Vec::new();
        let change = self.edit(|bytes| {
            let update: Update = names::update(bytes, &instance, wanted);
            withheld = update.withheld;
            update.bytes
        })?;
        Ok(Applied { change, withheld })
    }

    /// Takes all blocks of this instance out, and what a crash left beside the file. A file that we made goes, if
    /// nobody else wrote anything into it.
    pub fn clean(&mut self) -> Result<Change, HostsError> {
        let _turn = self.take_turn()?;
        self.recover_now()?;
        let instance = self.instance.clone();
        let change = self.edit(|bytes| names::remove_all(bytes, &instance))?;
        self.remove_if_ours()?;
        Ok(change)
    }

    fn edit(&mut self, change: impl FnMut(&[u8]) -> Vec<u8>) -> Result<Change, HostsError> {
        if !self.recovered {
            self.recover_now()?;
        }
        let result = self.try_edit(change);
        self.recovered = result.is_ok();
        result
    }

    fn try_edit(&mut self, mut change: impl FnMut(&[u8]) -> Vec<u8>) -> Result<Change, HostsError> {
        for _ in 0..ATTEMPTS {
            let target = snapshot::resolve(&self.path)?;
            let before = Snapshot::take(&target)?;
            let after = change(before.bytes());
            if after == before.bytes() {
                return Ok(Change::None);
            }
            if !before.exists() {
                self.note_made()?;
            }
            let attempt = match self.in_place || before.is_linked_elsewhere() {
                true => in_place::write(&target, &self.journal_path(), before, &after)?,
                false => replace::replace(&target, &self.instance, before, &after)?,
            };
            match attempt {
                Attempt::Done(change) => return Ok(change),
                Attempt::Raced => {}
                Attempt::InPlaceOnly => self.in_place = true,
            }
        }
        Err(HostsError::Contended {
            path: self.path.clone(),
        })
    }

    /// Waits until nobody else with this state directory is at it.
    fn take_turn(&self) -> Result<File, HostsError> {
        let dir = File::open(&self.state_dir).map_err(HostsError::state(&self.state_dir))?;
        flock(&dir, FlockOperation::LockExclusive).map_err(HostsError::state(&self.state_dir))?;
        Ok(dir)
    }

    fn journal_path(&self) -> PathBuf {
        self.state_dir.join("hosts.journal")
    }

    /// Marks that the file did not exist before us.
    fn made_path(&self) -> PathBuf {
        self.state_dir.join("hosts.made")
    }

    fn note_made(&self) -> Result<(), HostsError> {
        let path = self.made_path();
        std::fs::write(&path, b"").map_err(HostsError::state(&path))
    }

    fn remove_if_ours(&self) -> Result<(), HostsError> {
        let made = self.made_path();
        if !made.exists() {
            return Ok(());
        }
        if std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() == 0) {
            std::fs::remove_file(&self.path).map_err(HostsError::file(&self.path))?;
        }
        std::fs::remove_file(&made).map_err(HostsError::state(&made))
    }
}
