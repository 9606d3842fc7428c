//! File leases (`fcntl(2)`, F_SETLEASE): for a short while, whoever opens the file in a way that conflicts waits.
//!
//! A read lease is given only while nobody has the file open for writing, a write lease only while nobody else has it
//! open at all. A lease can be taken by the file's owner or with CAP_LEASE. The holder learns by [`Lease::is_wanted`]
//! that somebody waits; the kernel takes a lease away after /proc/sys/fs/lease-break-time (45 s).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// fcntl(2), asm-generic/fcntl.h: the same number on every architecture.
const F_SETSIG: libc::c_int = 10;

/// What a lease keeps others from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseKind {
    /// Opening for writing, and truncating. The descriptor must be open for reading only.
    Read,
    /// Opening at all.
    Write,
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody has the file open.
    #[error("the file is open in another program")]
    Busy,
    /// This filesystem knows no leases, or the file belongs to somebody else.
    #[error("no lease can be taken on this file: {0}")]
    Unsupported(io::Error),
}

/// A lease that is held; dropping it lets others in.
#[derive(Debug)]
pub struct Lease {
    file: OwnedFd,
    kind: LeaseKind,
}

impl Lease {
    /// Takes a lease on an open file. The kernel announces waiters by a signal; it is set to SIGURG, which does
    /// nothing unless somebody asked for it (the default, SIGIO, would end the process).
    pub fn take(file: impl AsFd, kind: LeaseKind) -> Result<Self, LeaseError> {
        let file = file
            .as_fd()
            .try_clone_to_owned()
            .map_err(LeaseError::Unsupported)?;
        fcntl(&file, F_SETSIG, libc::SIGURG).map_err(LeaseError::Unsupported)?;
        match fcntl(&file, libc::F_SETLEASE, kind.lock()) {
            Ok(_) => Ok(Self { file, kind }),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(LeaseError::Busy),
            Err(e) => Err(LeaseError::Unsupported(e)),
        }
    }

    /// Whether somebody waits for this lease to end, or it has been taken away.
    pub fn is_wanted(&self) -> bool {
        fcntl(&self.file, libc::F_GETLEASE, 0).map_or(true, |now| now != self.kind.lock())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // fails only where the kernel took the lease away already
        _ = fcntl(&self.file, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

impl LeaseKind {
    fn lock(self) -> libc::c_int {
        match self {
            Self::Read => libc::F_RDLCK,
            Self::Write => libc::F_WRLCK,
        }
    }
}

fn fcntl(file: &OwnedFd, command: libc::c_int, argument: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the descriptor is open for as long as `file` lives, and these commands take an integer, no pointer.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt;

    #[test]
    fn a_writer_and_a_read_lease_exclude_each_other() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(matches!(
            Lease::take(&reader, LeaseKind::Read),
            Err(LeaseError::Busy)
        ));
        drop(writer);
        let lease = Lease::take(&reader, LeaseKind::Read).unwrap();
        assert!(!lease.is_wanted());
        File::open(&path).unwrap();
        let open = || {
            OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
        };
        assert_eq!(open().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(lease.is_wanted());
        drop(lease);
        open().unwrap();
    }

    #[test]
    fn a_write_lease_keeps_readers_out_but_not_its_holder() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let lease = Lease::take(&file, LeaseKind::Write).unwrap();
        file.set_len(10).unwrap();
        let open = || {
            OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
        };
        assert_eq!(open().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lease);
        open().unwrap();
    }
}
