//! A new file in the place of the old one, in one step.
//!
//! The new file's name carries the digests of what it replaces and of itself, so that whoever finds it after a crash
//! knows whether it is the new file (not yet exchanged) or the old one (already exchanged), or somebody else's.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use meshd_core::names::{Digest, digest};
use rustix::fs::{Mode, OFlags, RenameFlags, fchmod, fgetxattr, flistxattr, fsetxattr, renameat_with};
use rustix::io::Errno;

use super::error::{HostsError, forbids_writing};
use super::snapshot::{self, Identity, Snapshot};
use super::{Attempt, Change};

/// The folder of a hosts file, and the names that we use in it.
pub(super) struct Place<'a> {
    pub(super) dir: &'a Path,
    pub(super) handle: File,
    pub(super) name: &'a OsStr,
    prefix: Vec<u8>,
}

impl<'a> Place<'a> {
    pub(super) fn of(target: &'a Path, instance: &str) -> Result<Self, HostsError> {
        let unfit = || HostsError::Unfit {
            path: target.to_owned(),
            what: "has no file name",
        };
        let name = target.file_name().ok_or_else(unfit)?;
        let dir = match target.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits() as i32)
            .open(dir)
            .map_err(HostsError::file(dir))?;
        let prefix = [b".", name.as_bytes(), b".meshd-", instance.as_bytes(), b"."].concat();
        Ok(Self {
            dir,
            handle,
            name,
            prefix,
        })
    }

    pub(super) fn with(&self, suffix: &str) -> OsString {
        OsString::from_vec([self.prefix.as_slice(), suffix.as_bytes()].concat())
    }

    /// What stands behind our prefix in a file's name; `None` for a file that is not ours.
    pub(super) fn suffix_of<'n>(&self, name: &'n OsStr) -> Option<&'n str> {
        std::str::from_utf8(name.as_bytes().strip_prefix(self.prefix.as_slice())?).ok()
    }

    pub(super) fn path(&self, name: &OsStr) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn rename(&self, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
        renameat_with(&self.handle, from, &self.handle, to, flags)
    }

    pub(super) fn sync(&self) -> Result<(), HostsError> {
        self.handle.sync_all().map_err(HostsError::file(self.dir))
    }
}

/// What the name of a file that waits for its exchange says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    /// What it replaces.
    pub(super) old: Digest,
    /// What is in it.
    pub(super) new: Digest,
    /// How long that is, in bytes: somebody may append to it.
    pub(super) length: usize,
}

impl Ready {
    pub(super) fn of(old: &[u8], new: &[u8]) -> Self {
        Self {
            old: digest(old),
            new: digest(new),
            length: new.len(),
        }
    }

    pub(super) fn suffix(&self) -> String {
        format!(
            "{}-{}-{}",
            HEXLOWER.encode(&self.old.0),
            HEXLOWER.encode(&self.new.0),
            self.length
        )
    }

    pub(super) fn parse(suffix: &str) -> Option<Self> {
        let mut parts = suffix.split('-');
        let mut digest = || {
            let bytes = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?;
            Some(Digest(bytes.try_into().ok()?))
        };
        let (old, new) = (digest()?, digest()?);
        let length = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { old, new, length })
    }
}

/// The suffix under which a new file is being written.
pub(super) const PART: &str = "part";

/// Puts `bytes` in the place of the file that `before` read.
pub(super) fn replace(
    target: &Path,
    instance: &str,
    before: Snapshot,
    bytes: &[u8],
) -> Result<Attempt, HostsError> {
    let place = Place::of(target, instance)?;
    let (part, ready) = (
        place.with(PART),
        place.with(&Ready::of(before.bytes(), bytes).suffix()),
    );
    let new = match write_part(&place.path(&part), &before, bytes) {
        Ok(new) => new,
        Err(e) => {
            _ = std::fs::remove_file(place.path(&part));
            return match Errno::from_io_error(&e) {
                Some(errno) if forbids_writing(errno) => Ok(Attempt::InPlaceOnly),
                _ => Err(HostsError::file(target)(e)),
            };
        }
    };
    place
        .rename(&part, &ready, RenameFlags::empty())
        .map_err(HostsError::file(target))?;
    if !before.is_untouched() {
        std::fs::remove_file(place.path(&ready)).map_err(HostsError::file(target))?;
        return Ok(Attempt::Raced);
    }
    let swap = match before.opened() {
        Some(old) => exchange(&place, &ready, &before, old.identity, &new),
        None => place.rename(&ready, place.name, RenameFlags::NOREPLACE),
    };
    let attempt = match swap {
        Ok(()) => Attempt::Done(Change::Replaced),
        Err(Errno::AGAIN | Errno::EXIST | Errno::NOENT) => Attempt::Raced,
        Err(e) if e == Errno::BUSY || e == Errno::XDEV || forbids_writing(e) => Attempt::InPlaceOnly,
        // whatever lies beside the file now, recovery will judge it
        Err(e) => return Err(HostsError::file(target)(e)),
    };
    // gone already where it was renamed away
    _ = std::fs::remove_file(place.path(&ready));
    place.sync()?;
    Ok(attempt)
}

/// Writes and syncs the new file, with everything that the old one had.
fn write_part(path: &Path, before: &Snapshot, bytes: &[u8]) -> std::io::Result<File> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut new = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    new.write_all(bytes)?;
    match before.opened() {
        Some(old) => copy_attributes(&old.file, &new)?,
        None => fchmod(&new, Mode::from_raw_mode(0o644))?,
    }
    new.sync_all()?;
    Ok(new)
}

/// Owner and mode must be kept (else the caller writes in place); extended attributes as far as the system lets us.
fn copy_attributes(old: &File, new: &File) -> std::io::Result<()> {
    let (from, to) = (old.metadata()?, new.metadata()?);
    if (from.uid(), from.gid()) != (to.uid(), to.gid()) {
        std::os::unix::fs::fchown(new, Some(from.uid()), Some(from.gid()))?;
    }
    fchmod(new, Mode::from_raw_mode(from.mode() & 0o7777))?;
    let mut names = vec![0; 64 << 10];
    let length = flistxattr(old, &mut names[..]).unwrap_or(0);
    let mut value = vec![0; 64 << 10];
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        if let Ok(length) = fgetxattr(old, name, &mut value[..]) {
            _ = fsetxattr(new, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
    Ok(())
}

/// Exchanges the two files; `Errno::AGAIN` where what came out is not what was read, and everything is back as it was.
fn exchange(
    place: &Place<'_>,
    ready: &OsStr,
    before: &Snapshot,
    old: Identity,
    new: &File,
) -> Result<(), Errno> {
    // almost every race is seen here; what follows is for those that are not
    if !is_still(place, old) || !before.is_untouched() {
        return Err(Errno::AGAIN);
    }
    match place.rename(ready, place.name, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // no exchange on this filesystem
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            return place.rename(ready, place.name, RenameFlags::empty());
        }
        Err(e) => return Err(e),
    }
    let io = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
    let out = File::open(place.path(ready))
        .and_then(|file| snapshot::identify(&file))
        .map_err(io)?;
    if out == old {
        // the sync takes longer than an open that found the old file: whoever did waits for the lease by then
        place.handle.sync_all().map_err(io)?;
        if before.is_untouched() {
            return Ok(());
        }
    }
    give_back(place, ready, old, new).map_err(io)?;
    Err(Errno::AGAIN)
}

fn is_still(place: &Place<'_>, identity: Identity) -> bool {
    File::open(place.path(place.name))
        .and_then(|file| snapshot::identify(&file))
        .is_ok_and(|now| now == identity)
}

/// Another program's file came out: it goes back in. Should yet another one come out by that, it is newer still.
fn give_back(place: &Place<'_>, ready: &OsStr, old: Identity, new: &File) -> std::io::Result<()> {
    let written = snapshot::read_all(new)?;
    let mut known = vec![old];
    let mut held = Vec::new();
    let mut ours = Some(snapshot::identify(new)?);
    loop {
        let putting = File::open(place.path(ready))?;
        known.push(snapshot::identify(&putting)?);
        // an inode that is held is not used again
        held.push(putting);
        place.rename(ready, place.name, RenameFlags::EXCHANGE)?;
        let out = File::open(place.path(ready))?;
        let identity = Some(snapshot::identify(&out)?);
        if identity == ours {
            let now = snapshot::read_all(&out)?;
            match now.strip_prefix(written.as_slice()) {
                Some(tail) => append(&place.path(place.name), tail)?,
                // written anew while it stood there: newer than what we put back
                None => {
                    ours = None;
                    continue;
                }
            }
        } else if !identity.is_some_and(|identity| known.contains(&identity)) {
            continue;
        }
        return std::fs::remove_file(place.path(ready));
    }
}

/// What somebody appended to our file belongs to theirs.
pub(super) fn append(path: &Path, tail: &[u8]) -> std::io::Result<()> {
    match tail {
        [] => Ok(()),
        tail => OpenOptions::new().append(true).open(path)?.write_all(tail),
    }
}
