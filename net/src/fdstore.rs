//! The service manager: readiness, status, watchdog, and its store of file descriptors (sd_notify(3),
//! sd_listen_fds(3), file-descriptor store of systemd), spoken directly: it is a datagram with lines.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::descriptors::{self, MAX_DESCRIPTORS};

/// The first descriptor that a service manager passes (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// More than this nobody passes; a garbled number must not make us close half the process.
const MAX_PASSED: usize = 1024;

/// The way to the service manager. Messages are lost rather than waited for where it does not read.
#[derive(Debug)]
pub struct ServiceManager {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl ServiceManager {
    /// The manager that started this process (NOTIFY_SOCKET); `None` without one.
    pub fn from_environment() -> Option<Self> {
        Self::at(&std::env::var_os("NOTIFY_SOCKET")?).ok()
    }

    /// The manager that listens at `path`; a leading `@` means the abstract name space.
    pub fn at(path: &OsStr) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            path => SocketAddrUnix::new(path)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { socket, address })
    }

    /// Start-up is over.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1", &[])
    }

    /// A word for `systemctl status`; newlines become spaces.
    pub fn status(&self, words: &str) -> io::Result<()> {
        self.send(&format!("STATUS={}", words.replace('\n', " ")), &[])
    }

    /// Shutting down.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1", &[])
    }

    /// Still alive; to be sent twice per [`watchdog_interval`].
    pub fn watchdog(&self) -> io::Result<()> {
        self.send("WATCHDOG=1", &[])
    }

    /// Leaves duplicates of `fds` in the store under `name`, where they outlive this process until it is stopped for good. Up to 64
    /// may share a name; storing more under it adds them.
    ///
    /// # Errors
    /// A name that is empty, longer than 255 bytes or has a `:` or control characters. Whether the manager took them is not
    /// known: it has to allow them (FileDescriptorStoreMax=).
    pub fn store(&self, name: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        check_name(name)?;
        // FDPOLL=0: a TUN queue looks hung up while its interface is down, and must be kept nevertheless.
        let lines = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        fds.chunks(MAX_DESCRIPTORS)
            .try_for_each(|fds| self.send(&lines, fds))
    }

    /// Drops what is stored under `name`; nothing happens where there is nothing.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
    }

    fn send(&self, lines: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        descriptors::send(&self.socket, Some(&self.address), lines.as_bytes(), fds)
    }
}

/// Sends lines like `READY=1` to the service manager, if there is one; whether it was told.
pub fn notify(lines: &str) -> bool {
    ServiceManager::from_environment().is_some_and(|manager| manager.send(lines, &[]).is_ok())
}

fn check_name(name: &str) -> io::Result<()> {
    let valid =
        (1..=255).contains(&name.len()) && name.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b':');
    let words = "a descriptor's name has 1 to 255 printable characters and no colon";
    if valid {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, words))
    }
}

/// How many descriptors the manager keeps for us (FDSTORE, systemd 254 and later); `None` where it does not say.
pub fn store_size() -> Option<usize> {
    std::env::var("FDSTORE").ok()?.parse().ok()
}

/// The time within which the manager wants a sign of life; `None` where it wants none, or from another process.
pub fn watchdog_interval() -> Option<Duration> {
    if let Ok(pid) = std::env::var("WATCHDOG_PID")
        && pid.parse() != Ok(std::process::id())
    {
        return None;
    }
    let micros = std::env::var("WATCHDOG_USEC")
        .ok()?
        .parse()
        .ok()
        .filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros))
}

/// Takes the descriptors that the service manager passed to this process, with their names (`unknown` without one); they
/// are set to close-on-exec. To be called before anything else opens descriptors; the second call gets nothing.
pub fn take_passed() -> Vec<(String, OwnedFd)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID").parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    let count = variable("LISTEN_FDS").parse().unwrap_or(0usize).min(MAX_PASSED);
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':').map(str::to_owned);
    let mut passed = Vec::with_capacity(count);
    for number in (FIRST..).take(count) {
        let name = names
            .next()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "unknown".to_owned());
        // SAFETY: F_SETFD changes a flag of the descriptor, if it is open.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
            // SAFETY: it is open, and the manager's protocol (LISTEN_PID is ours) makes it this process's to own; the
            // flag above lets nobody take it twice.
            passed.push((name, unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    passed
}
