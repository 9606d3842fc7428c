//! What a crash left: files beside the hosts file, and a journal.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use meshd_core::names::{Found, Journal, digest};
use rustix::fs::RenameFlags;

use super::error::HostsError;
use super::replace::{PART, Place, Ready, append};
use super::snapshot::{self, Snapshot};
use super::{ATTEMPTS, HostsFile, in_place};

/// What [`HostsFile::recover`] found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Files of ours beside the hosts file, removed.
    pub leftovers: u32,
    /// Another program's version that our exchange had put aside, put back.
    pub given_back: u32,
    /// A journal was there, and the file was whole.
    pub journal_stale: bool,
    /// A journal was there, and the write that it tells of was completed.
    pub journal_completed: bool,
    /// A journal was there, but no longer readable: the file is as the crash left it.
    pub journal_unreadable: bool,
}

impl HostsFile {
    /// Makes good what a crash left. An edit does it first, too, if it has not been
    /// done; called at the start it tells what it found.
    pub fn recover(&mut self) -> Result<Recovered, HostsError> {
        let _turn = self.take_turn()?;
        self.recover_now()
    }

    /// The same for who has the turn.
    pub(super) fn recover_now(&mut self) -> Result<Recovered, HostsError> {
        let mut found = Recovered::default();
        self.recover_journal(&mut found)?;
        let target = snapshot::resolve(&self.path)?;
        self.recover_folder(&target, &mut found)?;
        self.recovered = true;
        Ok(found)
    }

    fn recover_journal(&self, found: &mut Recovered) -> Result<(), HostsError> {
        let path = self.journal_path();
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(HostsError::state(&path))?,
        };
        let Some(mut journal) = Journal::decode(&bytes) else {
            found.journal_unreadable = true;
            return in_place::forget(&path);
        };
        let target = Path::new(std::ffi::OsStr::from_bytes(&journal.path)).to_owned();
        for _ in 0..ATTEMPTS {
            let current = Snapshot::take(&target)?;
            let Found::Torn { appended } = journal.explain(current.bytes()) else {
                found.journal_stale = true;
                return in_place::forget(&path);
            };
            let whole = journal.complete(&appended);
            // should this be cut short as well, the next start reads the journal of this write
            journal.old = current.bytes().to_vec();
            journal.new = whole;
            if in_place::finish(&target, &path, current, &journal.new)? {
                found.journal_completed = true;
                return Ok(());
            }
        }
        Err(HostsError::Contended { path: target })
    }

    fn recover_folder(&self, target: &Path, found: &mut Recovered) -> Result<(), HostsError> {
        let place = Place::of(target, &self.instance)?;
        let entries = std::fs::read_dir(place.dir).map_err(HostsError::file(place.dir))?;
        for entry in entries {
            let name = entry.map_err(HostsError::file(place.dir))?.file_name();
            let Some(suffix) = place.suffix_of(&name) else {
                continue;
            };
            if suffix == PART {
                found.leftovers += 1;
            } else if let Some(ready) = Ready::parse(suffix) {
                match judge(target, &place.path(&name), ready)? {
                    Leftover::Stale => found.leftovers += 1,
                    Leftover::Theirs { appended } => {
                        found.given_back += 1;
                        let path = place.path(&name);
                        append(&path, &appended).map_err(HostsError::file(&path))?;
                        place
                            .rename(&name, place.name, RenameFlags::empty())
                            .map_err(HostsError::file(target))?;
                        continue;
                    }
                }
            } else {
                continue;
            }
            let path = place.path(&name);
            std::fs::remove_file(&path).map_err(HostsError::file(&path))?;
        }
        place.sync()
    }
}

enum Leftover {
    /// Ours, or outlived: to be removed.
    Stale,
    /// Another program's last word, but for what was appended to ours.
    Theirs { appended: Vec<u8> },
}

/// Judges a file that waited for its exchange, or came out of it.
fn judge(target: &Path, path: &Path, ready: Ready) -> Result<Leftover, HostsError> {
    let aside = Snapshot::take(path)?;
    let aside_digest = digest(aside.bytes());
    if aside_digest == ready.old || aside_digest == ready.new {
        return Ok(Leftover::Stale);
    }
    // neither what we read nor what we wrote: our exchange put another program's version aside
    let current = Snapshot::take(target)?;
    if let Some((ours, appended)) = current.bytes().split_at_checked(ready.length)
        && digest(ours) == ready.new
    {
        return Ok(Leftover::Theirs {
            appended: appended.to_vec(),
        });
    }
    let written = |path: &Path| File::open(path).and_then(|file| file.metadata()?.modified());
    match (written(path), written(target)) {
        (Ok(aside), Ok(current)) if aside > current => Ok(Leftover::Theirs { appended: Vec::new() }),
        _ => Ok(Leftover::Stale),
    }
}
