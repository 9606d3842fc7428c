//! Files that are whole or not there: atomic replacement, and a lock that ends with its process.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Writes `bytes` to `path` so that at every moment, power cut included, either the old file or the new one is there, whole:
/// temporary file beside it, fsync, rename, fsync of the folder.
///
/// # Errors
/// The system's; on any of them (a full disk) the old file is as it was, and the temporary one is gone.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path);
    let written = write_synced(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; where the file could not even be made, there is nothing to remove.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match File::open(folder.unwrap_or(Path::new(".")))?.sync_all() {
        // Some file systems cannot sync a folder; then the rename is as durable as they make it.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// `.NAME.new`, in the same folder: one writer at a time is the caller's business (see [`Lock`]).
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The permissions asked for, whatever the process's mask says.
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// How often a lock file that goes away under us is made again.
const LOCK_TRIES: usize = 8;

/// An exclusive lock on a file, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock, making the file where there is none.
    ///
    /// # Errors
    /// `WouldBlock` where somebody else holds it; else the system's.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        for _ in 0..LOCK_TRIES {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            let lock = Self(file);
            // who held it before may have removed the file after we opened it: then others lock another one
            if lock.is_of(path)? {
                return Ok(lock);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Removes the file and gives the lock up. Nothing where the file at the path is another one.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(self, path: &Path) -> io::Result<()> {
        match self.is_of(path)? {
            true => fs::remove_file(path),
            false => Ok(()),
        }
    }

    fn is_of(&self, path: &Path) -> io::Result<bool> {
        let own = self.0.metadata()?;
        match fs::metadata(path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same of a file or folder that is there, without a right to write.
    ///
    /// # Errors
    /// `WouldBlock` where somebody else holds it; else the system's.
    pub fn acquire_existing(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write_atomic(&path, b"one", 0o666).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write_atomic(&path, b"old", 0o600).unwrap();
        // A folder in the way of the temporary file: it can be neither removed as a file nor created.
        fs::create_dir(folder.path().join(".f.new")).unwrap();
        assert!(write_atomic(&path, b"new", 0o600).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_lock_is_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::acquire(&path).unwrap();
        for again in [Lock::acquire(&path), Lock::acquire_existing(&path)] {
            assert_eq!(again.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        drop(first);
        let removed = Lock::acquire(&path).unwrap();
        removed.remove(&path).unwrap();
        assert!(!path.exists());
        Lock::acquire(&path).unwrap();
    }

    #[test]
    fn a_lock_whose_file_was_replaced_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let stale = Lock::acquire(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let present = Lock::acquire(&path).unwrap();
        stale.remove(&path).unwrap();
        assert!(path.exists(), "the other's file stays");
        present.remove(&path).unwrap();
    }
}
