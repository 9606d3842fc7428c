//! That somebody changed the machine's nftables rule set: a signal, not what changed.
//!
//! The kernel tells the netlink group NFNLGRP_NFTABLES of every change in this network namespace (linux/netfilter/nfnetlink.h,
//! linux/netfilter/nf_tables.h). Elements of sets, counters and the like change all the time on some machines; only
//! tables, chains and rules count here.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use tokio::io::unix::AsyncFd;

/// NFNLGRP_NFTABLES is group 7.
const GROUP: u32 = 1 << 6;
/// NFNL_SUBSYS_NFTABLES: the upper byte of a message's type.
const SUBSYSTEM: u16 = 10;
/// NFT_MSG_DELRULE: from NFT_MSG_NEWTABLE (0) to it are new and deleted tables, chains and rules.
const LAST_MESSAGE: u16 = 8;
/// A message of the kernel is at most this long.
const BUFFER: usize = 64 << 10;
/// Length of a netlink message's header.
const HEADER: usize = 16;

/// A stream of signals in the network namespace of the thread that made it.
pub struct NftChanges {
    socket: AsyncFd<Watched>,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for NftChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NftChanges").finish_non_exhaustive()
    }
}

/// The socket, whose descriptor stays the same for its life.
struct Watched(Socket);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl NftChanges {
    /// Starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where the kernel has no nftables, or CAP_NET_ADMIN is missing.
    pub fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, GROUP))?;
        // SAFETY: `as_raw_fd` is the descriptor of the socket that `Watched` owns; nothing takes it out or closes it
        // before the AsyncFd is dropped.
        let socket = unsafe { AsyncFd::register(Watched(socket)) }?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
        })
    }

    /// Waits until a table, chain or rule changed (or so much that the kernel could not queue it), and takes everything
    /// that is queued.
    ///
    /// # Errors
    /// Only what makes the socket useless.
    pub async fn next(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.socket.readable().await?;
            let mut changed = false;
            loop {
                let mut space = &mut self.buffer[..];
                match guard.get_inner().0.recv(&mut space, 0) {
                    Ok(len) => changed |= concerns_rules(&self.buffer[..len.min(BUFFER)]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                    Err(error) => return Err(error),
                }
            }
            guard.clear_ready();
            if changed {
                return Ok(());
            }
        }
    }
}

/// Whether one of the datagram's messages is about a table, chain or rule; what cannot be read may be.
fn concerns_rules(mut datagram: &[u8]) -> bool {
    while datagram.len() >= HEADER {
        let len = u32::from_ne_bytes([datagram[0], datagram[1], datagram[2], datagram[3]]) as usize;
        let kind = u16::from_ne_bytes([datagram[4], datagram[5]]);
        if kind >> 8 == SUBSYSTEM && kind & 0xff <= LAST_MESSAGE {
            return true;
        }
        if len < HEADER {
            return true;
        }
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    !datagram.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, len: u32) -> Vec<u8> {
        let mut bytes = vec![0; len.max(16) as usize];
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_tables_chains_and_rules_count() {
        for (number, counts) in [
            (0, true),
            (5, true),
            (8, true),
            (9, false),
            (12, false),
            (15, false),
        ] {
            assert_eq!(
                concerns_rules(&message(SUBSYSTEM << 8 | number, 20)),
                counts,
                "{number}"
            );
        }
        assert!(!concerns_rules(&message(2, 20)), "another subsystem's");
        let both = [message(SUBSYSTEM << 8 | 12, 24), message(SUBSYSTEM << 8 | 6, 20)].concat();
        assert!(concerns_rules(&both), "the second one");
    }

    #[test]
    fn what_cannot_be_read_may_be_a_change() {
        assert!(concerns_rules(&[1, 2, 3]));
        assert!(concerns_rules(&message(2, 3)));
        assert!(!concerns_rules(&[]));
    }
}
