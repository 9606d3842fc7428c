//! Writing the file where it is, with a journal in the state directory.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use meshd_core::names::Journal;
use meshd_net::lease::{Lease, LeaseError, LeaseKind};
use rustix::fs::inotify::WatchFlags;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::error::{HostsError, forbids_writing};
use super::snapshot::{self, Snapshot};
use super::{Attempt, Change};

/// How long a write waits until nobody reads the file. After that readers may see the write half done, as they may
/// with any program that writes in place.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes `bytes` over the file that `before` read.
pub(super) fn write(
    target: &Path,
    journal_path: &Path,
    before: Snapshot,
    bytes: &[u8],
) -> Result<Attempt, HostsError> {
    let done = write_journalled(target, journal_path, before, bytes)?;
    forget(journal_path)?;
    Ok(if done {
        Attempt::Done(Change::InPlace)
    } else {
        Attempt::Raced
    })
}

/// Makes `current`, which is what a crash left of a journalled write, whole. False: somebody wrote it meanwhile; a
/// journal stays, because what they wrote to may still be torn.
pub(super) fn finish(
    target: &Path,
    journal_path: &Path,
    current: Snapshot,
    whole: &[u8],
) -> Result<bool, HostsError> {
    let done = write_journalled(target, journal_path, current, whole)?;
    if done {
        forget(journal_path)?;
    }
    Ok(done)
}

/// Where this fails, what stands there may be half ours: the journal stays for recovery.
fn write_journalled(
    target: &Path,
    journal_path: &Path,
    before: Snapshot,
    bytes: &[u8],
) -> Result<bool, HostsError> {
    let journal = Journal {
        path: target.as_os_str().as_bytes().to_vec(),
        old: before.bytes().to_vec(),
        new: bytes.to_vec(),
    };
    save(&journal, journal_path)?;
    let done = overwrite(target, before, &journal);
    if let Err(HostsError::ReadOnly { .. }) = done {
        forget(journal_path)?;
    }
    done
}

/// Saves a journal so that it is whole or absent.
fn save(journal: &Journal, path: &Path) -> Result<(), HostsError> {
    let state = HostsError::state(path);
    let part = path.with_extension("part");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(&journal.encode())?;
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        sync_folder(path)
    };
    write().map_err(state)
}

/// Removes the journal: the file is whole.
pub(super) fn forget(path: &Path) -> Result<(), HostsError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(HostsError::state(path)(e)),
        _ => sync_folder(path).map_err(HostsError::state(path)),
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// True where the file now has the new bytes, false where somebody else wrote it since it was read.
fn overwrite(target: &Path, before: Snapshot, journal: &Journal) -> Result<bool, HostsError> {
    if !before.is_untouched() {
        return Ok(false);
    }
    let existed = before.exists();
    // our own read lease would keep us out, too
    drop(before);
    let Some((file, lease)) = open_alone(target, existed)? else {
        return Ok(false);
    };
    let now = snapshot::read_all(&file).map_err(HostsError::file(target))?;
    if now != journal.old {
        return Ok(false);
    }
    let same = journal
        .old
        .iter()
        .zip(&journal.new)
        .take_while(|(old, new)| old == new)
        .count();
    let put = |bytes: &[u8]| {
        file.write_all_at(&bytes[same..], same as u64)?;
        file.set_len(bytes.len() as u64)
    };
    if let Err(e) = reserve(&file, journal.new.len()).and_then(|()| put(&journal.new)) {
        // a full disk: the old bytes have their room still
        return put(&journal.old).and(Err(e)).map_err(HostsError::file(target));
    }
    drop(lease);
    file.sync_all().map_err(HostsError::file(target))?;
    Ok(true)
}

/// Makes sure that there is room for the new bytes before the first of them is written.
fn reserve(file: &File, length: usize) -> std::io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, length.max(1) as u64) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Opens the file for writing when nobody else has it open, or after two seconds anyway. `None`: it came or went.
fn open_alone(target: &Path, existed: bool) -> Result<Option<(File, Option<Lease>)>, HostsError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(!existed).mode(0o644);
        let file = match snapshot::open(target, &mut options) {
            Ok(file) => file,
            Err(e) => match Errno::from_io_error(&e) {
                Some(Errno::EXIST | Errno::NOENT) => return Ok(None),
                Some(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    snapshot::wait_for_close(target, WatchFlags::CLOSE);
                    continue;
                }
                Some(Errno::WOULDBLOCK) => {
                    return Err(HostsError::Busy {
                        path: target.to_owned(),
                    });
                }
                _ => return Err(read_only(target, e)),
            },
        };
        match Lease::take(&file, LeaseKind::Write) {
            Ok(lease) => return Ok(Some((file, Some(lease)))),
            Err(LeaseError::Busy) if Instant::now() < deadline => {
                drop(file);
                snapshot::wait_for_close(target, WatchFlags::CLOSE);
            }
            Err(_) => return Ok(Some((file, None))),
        }
    }
}

fn read_only(target: &Path, source: std::io::Error) -> HostsError {
    let path = target.to_owned();
    match Errno::from_io_error(&source) {
        Some(errno) if forbids_writing(errno) => HostsError::ReadOnly { path, source },
        _ => HostsError::File { path, source },
    }
}
