//! Datagrams on their way out: sealed straight into one arena, sent in runs.
//!
//! 1. [`Outbox::put`] gives room for one datagram at the end of the arena and takes what was written there.
//! 2. A datagram of the same size to the same place as the one before it joins its run; a shorter one is the run's last.
//! 3. [`Outbox::flush`] hands the runs to the kernel, up to 16 in one call, each one UDP_SEGMENT send.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};

use meshd_core::packet::DropReason;
use meshd_core::path::{Endpoint, SocketId};
use meshd_core::wireguard::REPLAY_WINDOW;
use meshd_net::udp::{MAX_SEGMENTS, MAX_SEND_BYTES, SendError, Transmit};

use super::shared::Drops;
use super::sockets::{SocketSet, Token};

/// Runs handed to the kernel in one call.
const CHUNK: usize = 16;

/// Datagrams that wait at most. They are sealed already: what another thread seals later and sends at once, such as a keepalive,
/// comes that much ahead of them, and the receiver's replay window has to hold both.
const MAX_DATAGRAMS: usize = 512;
const _: () =
    assert!(MAX_DATAGRAMS + 2 * MAX_SEGMENTS + super::staging::SLOTS + super::rescue::SLOTS < REPLAY_WINDOW);

/// Where datagrams go, and with what in their IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) endpoint: Endpoint,
    /// The address of ours to send from, where the peer talks to a certain one.
    pub(super) source: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    destination: SocketAddr,
    socket: SocketId,
    source: Option<IpAddr>,
    ecn: u8,
    /// A shorter datagram ended it.
    closed: bool,
    offset: usize,
    length: usize,
    segment: u16,
    count: usize,
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// The outbox is empty.
    All,
    /// A socket has no room: flush again when it is writable.
    Blocked {
        /// Which.
        token: Token,
    },
}

/// Datagrams to be sent, in fixed memory.
#[derive(Debug)]
pub(super) struct Outbox {
    arena: Box<[u8]>,
    used: usize,
    datagrams: usize,
    runs: Vec<Run>,
    /// Runs already sent, after a flush that was blocked.
    sent: usize,
}

impl Outbox {
    /// Room for `bytes` bytes in at most `runs` runs.
    pub(super) fn new(bytes: usize, runs: usize) -> Outbox {
        Outbox {
            arena: vec![0; bytes].into_boxed_slice(),
            used: 0,
            datagrams: 0,
            runs: Vec::with_capacity(runs),
            sent: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether a datagram of `length` bytes, without a relay's header, still has room.
    #[inline]
    pub(super) fn has_room(&self, length: usize) -> bool {
        let needed = length + meshd_core::demux::RELAY_HEADER_LEN;
        self.runs.len() < self.runs.capacity()
            && self.datagrams < MAX_DATAGRAMS
            && self.arena.len() - self.used >= needed
    }

    /// Writes one datagram of at most `room` bytes by `write`, which gives its length, behind the relay's header where
    /// `route` needs one.
    ///
    /// # Errors
    /// What `write` says, or [`DropReason::TooBig`] without [`Outbox::has_room`].
    #[inline]
    pub(super) fn put(
        &mut self,
        route: &Route,
        ecn: u8,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<usize, DropReason> {
        if !self.has_room(room) {
            return Err(DropReason::TooBig);
        }
        let space = &mut self.arena[self.used..];
        let header_len = match route.endpoint.header() {
            Some(header) => {
                space[..header.len()].copy_from_slice(&header);
                header.len()
            }
            None => 0,
        };
        let written = write(&mut space[header_len..header_len + room])?;
        self.append(route, ecn, header_len + written);
        Ok(written)
    }

    /// Copies a datagram that is sealed already.
    pub(super) fn copy(&mut self, route: &Route, ecn: u8, datagram: &[u8]) -> Result<usize, DropReason> {
        self.put(route, ecn, datagram.len(), |space| {
            space.copy_from_slice(datagram);
            Ok(datagram.len())
        })
    }

    /// The datagram last put, without a relay's header.
    pub(super) fn last(&self, length: usize) -> &[u8] {
        &self.arena[self.used - length..self.used]
    }

    #[inline]
    fn append(&mut self, route: &Route, ecn: u8, length: usize) {
        let (offset, destination, socket) = (self.used, route.endpoint.address(), route.endpoint.socket());
        self.used += length;
        self.datagrams += 1;
        if let Some(run) = self.runs.last_mut() {
            let fits = run.destination == destination
                && run.socket == socket
                && run.source == route.source
                && run.ecn == ecn
                && !run.closed
                && length <= usize::from(run.segment)
                && run.count < MAX_SEGMENTS
                && run.length + length <= MAX_SEND_BYTES;
            if fits {
                run.closed = length < usize::from(run.segment);
                run.length += length;
                run.count += 1;
                return;
            }
        }
        let (source, segment) = (route.source, length as u16);
        self.runs.push(Run {
            destination,
            socket,
            source,
            ecn,
            closed: false,
            offset,
            length,
            segment,
            count: 1,
        });
    }

    /// Sends everything. What the kernel refuses for good is counted as dropped.
    pub(super) fn flush(&mut self, sockets: &SocketSet, drops: &Drops) -> Flushed {
        while self.sent < self.runs.len() {
            let (done, error) = self.send_chunk(sockets);
            self.sent += done;
            match error {
                None => {}
                Some(SendError::WouldBlock) => {
                    let Run {
                        socket, destination, ..
                    } = self.runs[self.sent];
                    return Flushed::Blocked {
                        token: SocketSet::token(socket, destination),
                    };
                }
                Some(error) => self.skip(error, drops),
            }
        }
        self.clear();
        Flushed::All
    }

    /// Drops what is left, after a flush that was blocked.
    pub(super) fn discard(&mut self, drops: &Drops) {
        let left: usize = self.runs[self.sent..].iter().map(|run| run.count).sum();
        drops.add(DropReason::SendFailed, left as u64);
        self.clear();
    }

    fn clear(&mut self) {
        self.runs.clear();
        (self.used, self.sent, self.datagrams) = (0, 0, 0);
    }

    /// Sends up to [`CHUNK`] runs by one socket; how many left, and why the next did not.
    fn send_chunk(&self, sockets: &SocketSet) -> (usize, Option<SendError>) {
        let runs = &self.runs[self.sent..];
        let token = |run: &Run| SocketSet::token(run.socket, run.destination);
        let Some(socket) = sockets.towards(runs[0].socket, runs[0].destination) else {
            return (0, Some(SendError::Unreachable));
        };
        let count = runs
            .iter()
            .take(CHUNK)
            .take_while(|run| token(run) == token(&runs[0]))
            .count();
        let mut parts = [[IoSlice::new(&[])]; CHUNK];
        for (part, run) in parts.iter_mut().zip(&runs[..count]) {
            part[0] = IoSlice::new(&self.arena[run.offset..run.offset + run.length]);
        }
        let batch: [Transmit<'_>; CHUNK] = std::array::from_fn(|place| {
            let run = &runs[place.min(count - 1)];
            Transmit {
                destination: run.destination,
                source: run.source,
                interface: 0,
                ecn: run.ecn,
                ttl: 0,
                segment_size: if run.count > 1 { run.segment } else { 0 },
                parts: &parts[place.min(count - 1)],
            }
        });
        let outcome = socket.send_batch(&batch[..count]);
        (outcome.sent, outcome.error)
    }

    /// The first run left did not leave. A source address that may be ours no longer is given up; else the run is dropped.
    fn skip(&mut self, error: SendError, drops: &Drops) {
        let run = &mut self.runs[self.sent];
        let may_be_source = matches!(error, SendError::BadAddress | SendError::Unreachable);
        if may_be_source && run.source.take().is_some() {
            return;
        }
        let reason = if error == SendError::TooBig {
            drops.note_too_large(run.destination);
            DropReason::TooBig
        } else {
            DropReason::SendFailed
        };
        drops.add(reason, run.count as u64);
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Sockets;
    use super::*;
    use meshd_net::udp::{RecvBatch, UdpConfig, UdpSocket};

    fn socket() -> UdpSocket {
        let config = UdpConfig {
            coalesce: false,
            ..UdpConfig::new("127.0.0.1:0".parse().unwrap())
        };
        UdpSocket::bind(&config).unwrap()
    }

    fn receive(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut batch = RecvBatch::new(64, 2048);
        let mut found = Vec::new();
        while socket.recv_batch(&mut batch).unwrap() > 0 {
            found.extend(batch.iter_mut().map(|received| received.bytes.to_vec()));
        }
        found
    }

    #[test]
    fn datagrams_leave_in_runs_and_arrive_in_order() {
        let (from, to) = (socket(), socket());
        let sockets = SocketSet::from(Sockets {
            v4: Some(from),
            v6: None,
        });
        let direct = Route {
            endpoint: Endpoint::direct(to.local_addr()),
            source: None,
        };
        let relay = Endpoint::Relay {
            relay: to.local_addr(),
            session: 7,
        };
        let relayed = Route {
            endpoint: relay,
            source: None,
        };
        let mut outbox = Outbox::new(1 << 16, 8);
        let mut expected = Vec::new();
        for (length, route) in [
            (100, direct),
            (100, direct),
            (40, direct),
            (100, direct),
            (100, relayed),
        ] {
            let fill = expected.len() as u8;
            let wrote = outbox.put(&route, 0, 120, |space| {
                space[..length].fill(fill);
                Ok(length)
            });
            assert_eq!(wrote, Ok(length));
            let header = route.endpoint.header();
            expected.push(
                [
                    header.as_ref().map_or(&[][..], |header| header),
                    &vec![fill; length],
                ]
                .concat(),
            );
            assert_eq!(outbox.last(length), vec![fill; length]);
        }
        assert_eq!(outbox.runs.len(), 3);
        assert_eq!(outbox.flush(&sockets, &Drops::default()), Flushed::All);
        assert!(outbox.is_empty());
        assert_eq!(receive(&to), expected);
    }

    #[test]
    fn what_cannot_leave_is_counted_and_does_not_hold_up_the_rest() {
        let (from, to) = (socket(), socket());
        let sockets = SocketSet::from(Sockets {
            v4: Some(from),
            v6: None,
        });
        let drops = Drops::default();
        let mut outbox = Outbox::new(1 << 16, 8);
        let v6 = Route {
            endpoint: Endpoint::direct("[::1]:9".parse().unwrap()),
            source: None,
        };
        let foreign = Some("192.0.2.77".parse().unwrap());
        let good = Route {
            endpoint: Endpoint::direct(to.local_addr()),
            source: foreign,
        };
        outbox.copy(&v6, 0, b"nowhere").unwrap();
        outbox
            .copy(&good, 0, b"from an address that is not ours")
            .unwrap();
        assert_eq!(outbox.flush(&sockets, &drops), Flushed::All);
        assert_eq!(receive(&to), [b"from an address that is not ours"]);
        assert_eq!(drops.get(DropReason::SendFailed), 1);
    }

    #[test]
    fn a_full_outbox_takes_nothing() {
        let route = Route {
            endpoint: Endpoint::direct("127.0.0.1:9".parse().unwrap()),
            source: None,
        };
        let mut outbox = Outbox::new(100, 8);
        assert!(!outbox.has_room(89) && outbox.has_room(88));
        assert_eq!(outbox.copy(&route, 0, &[0; 89]), Err(DropReason::TooBig));
        assert_eq!(
            outbox.put(&route, 0, 10, |_| Err(DropReason::NoSession)),
            Err(DropReason::NoSession)
        );
        assert!(outbox.is_empty());
    }

    #[test]
    fn no_more_wait_than_the_replay_window_holds() {
        let route = Route {
            endpoint: Endpoint::direct("127.0.0.1:9".parse().unwrap()),
            source: None,
        };
        let mut outbox = Outbox::new(1 << 16, 128);
        for _ in 0..MAX_DATAGRAMS {
            outbox.copy(&route, 0, &[0; 32]).unwrap();
        }
        assert_eq!(outbox.copy(&route, 0, &[0; 32]), Err(DropReason::TooBig));
        outbox.discard(&Drops::default());
        assert!(outbox.has_room(32));
    }
}
