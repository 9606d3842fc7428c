//! A tiny process that keeps file descriptors while meshd restarts, for machines without a service manager that does.
//!
//! A TUN interface lives as long as a descriptor of one of its queues. The holder has duplicates of them: when meshd is
//! killed the interface stays up, its routes stay, packets wait in the queues, and the next meshd takes the descriptors
//! up again.
//!
//! 1. meshd calls [`Holder::obtain`]: connects to the holder at a socket path, or starts one.
//! 2. It hands over named descriptors with [`Holder::put`], and gets duplicates of them back with [`Holder::get`].
//! 3. The holder ([`serve`]) runs in a session of its own. It ends when told to ([`Holder::quit`]), and when it holds
//!    nothing and nobody is connected.
//!
//! Both sides check that the other runs under their own user. One message is one SOCK_SEQPACKET record: a request is
//! `[version 1][operation][name]`, an answer `[0][text]` or `[1][why not]`; descriptors go along as SCM_RIGHTS.

mod client;
mod server;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};
use thiserror::Error;

pub use self::client::{Holder, Start};
pub use self::server::serve;

/// Most descriptors under one name.
pub const MAX_PER_NAME: usize = crate::descriptors::MAX_DESCRIPTORS;
/// Most descriptors in all.
pub const MAX_HELD: usize = 256;
/// Longest name, in bytes.
pub const MAX_NAME: usize = 64;

const VERSION: u8 = 1;
const OK: u8 = 0;
const REFUSED: u8 = 1;
/// Holds the longest request and the longest answer (a list of [`MAX_HELD`] names).
const MAX_MESSAGE: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Put = 1,
    Get = 2,
    List = 3,
    Drop = 4,
    Quit = 5,
}

impl Operation {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Put, Self::Get, Self::List, Self::Drop, Self::Quit]
            .into_iter()
            .find(|op| *op as u8 == code)
    }
}

/// What went wrong with a holder.
#[derive(Debug, Error)]
pub enum HolderError {
    /// A system call failed.
    #[error("descriptor holder at {}: {what}: {source}", path.display())]
    Io {
        /// The holder's socket.
        path: PathBuf,
        /// The step that failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The process at the socket belongs to somebody else.
    #[error("descriptor holder at {}: the other side runs as user {uid}, not as ours", path.display())]
    Stranger {
        /// The holder's socket.
        path: PathBuf,
        /// The other side's user id.
        uid: u32,
    },
    /// The holder did not do it.
    #[error("descriptor holder at {}: {words}", path.display())]
    Refused {
        /// The holder's socket.
        path: PathBuf,
        /// What it said.
        words: String,
    },
    /// Another holder serves the path.
    #[error("descriptor holder at {}: another one serves it already", path.display())]
    Served {
        /// The holder's socket.
        path: PathBuf,
    },
}

fn failed(path: &Path, what: &'static str) -> impl Fn(io::Error) -> HolderError {
    move |source| HolderError::Io {
        path: path.to_owned(),
        what,
        source,
    }
}

fn seqpacket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | flags,
        None,
    )?)
}

fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(path)?)
}

/// Refuses a peer of another user.
fn check_peer(socket: impl AsFd, path: &Path) -> Result<(), HolderError> {
    let peer = sockopt::socket_peercred(socket).map_err(|errno| failed(path, "peer's user")(errno.into()))?;
    if peer.uid == rustix::process::geteuid() {
        return Ok(());
    }
    Err(HolderError::Stranger {
        path: path.to_owned(),
        uid: peer.uid.as_raw(),
    })
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_graphic())
}
