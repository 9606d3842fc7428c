//! What changes in the network configuration, whoever changes it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::unix::AsyncFd;

use super::{Address, Link, NetlinkError, Route, Rule};

/// One message of the kernel is at most this long (NLMSG_GOODSIZE is far less).
const BUFFER: usize = 64 << 10;
/// Changes that wait in the kernel before [`Change::Missed`]; in bytes.
const KERNEL_QUEUE: usize = 1 << 20;

/// Next hop objects (RTNLGRP_NEXTHOP): routes that go with one are told of by nothing else. Their messages are not read here, so
/// that each is a [`Change::Missed`].
const NEXT_HOPS: u32 = 32;

/// A change. `gone` says that the thing was deleted; otherwise it is new or different now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface.
    Link {
        /// As it is now, or was.
        link: Link,
        /// Whether it was deleted.
        gone: bool,
    },
    /// An address of an interface.
    Address {
        /// As it is now, or was.
        address: Address,
        /// Whether it was deleted.
        gone: bool,
    },
    /// A route in any table.
    Route {
        /// As it is now, or was.
        route: Route,
        /// Whether it was deleted.
        gone: bool,
    },
    /// A rule.
    Rule {
        /// As it is now, or was.
        rule: Rule,
        /// Whether it was deleted.
        gone: bool,
    },
    /// More changed than the kernel could queue (or something unreadable did): read everything anew.
    Missed,
}

/// A stream of changes in the network namespace of the thread that made it. Nothing is queued in this process: what is not
/// asked for waits in the kernel, up to a limit, and is then reported as [`Change::Missed`].
pub struct Monitor {
    socket: AsyncFd<Watched>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

/// The socket, whose descriptor stays the same for its life.
struct Watched(Socket);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Monitor {
    /// Starts to listen; changes from now on are reported. Must be called within a tokio runtime.
    pub fn new() -> Result<Self, NetlinkError> {
        Self::open().map_err(NetlinkError::Start)
    }

    fn open() -> io::Result<Self> {
        use rtnetlink::MulticastGroup as Group;
        let groups = [
            Group::Link,
            Group::Ipv4Ifaddr,
            Group::Ipv6Ifaddr,
            Group::Ipv4Route,
            Group::Ipv6Route,
            Group::Ipv4Rule,
            Group::Ipv6Rule,
        ];
        let mask = groups
            .into_iter()
            .map(|group| group as u32)
            .chain([NEXT_HOPS])
            .fold(0u32, |mask, group| mask | 1 << (group - 1));
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(KERNEL_QUEUE as libc::c_int)?;
        socket.bind(&SocketAddr::new(0, mask))?;
        // SAFETY: `as_raw_fd` is the descriptor of the socket that `Watched` owns; nothing takes it out or closes it
        // before the AsyncFd is dropped.
        let socket = unsafe { AsyncFd::register(Watched(socket)) }?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
        })
    }

    /// Waits for the next change.
    ///
    /// # Errors
    /// Only what makes the socket useless.
    pub async fn next(&mut self) -> io::Result<Change> {
        loop {
            if let Some(change) = self.parse() {
                return Ok(change);
            }
            let mut guard = self.socket.readable().await?;
            match receive(&guard.get_inner().0, &mut self.buffer) {
                Ok(len) => (self.start, self.end) = (0, len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    // Until the queue was seen empty the kernel drops changes without saying so again. So what is in
                    // it is thrown away, and only then may the caller read everything anew.
                    while receive(&guard.get_inner().0, &mut self.buffer).is_ok() {}
                    return Ok(Change::Missed);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next change of the datagram at hand.
    fn parse(&mut self) -> Option<Change> {
        while self.start < self.end {
            let bytes = &self.buffer[self.start..self.end];
            let header_len = bytes
                .get(..4)
                .map(|len| u32::from_ne_bytes([len[0], len[1], len[2], len[3]]));
            let Some(len) = header_len
                .map(|len| len as usize)
                .filter(|len| (16..=bytes.len()).contains(len))
            else {
                self.start = self.end;
                return Some(Change::Missed);
            };
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes[..len]);
            self.start += len.next_multiple_of(4);
            match message.map(|message| message.payload) {
                Ok(NetlinkPayload::InnerMessage(message)) => {
                    if let Some(change) = read(&message) {
                        return Some(change);
                    }
                }
                Ok(NetlinkPayload::Overrun(_)) | Err(_) => return Some(Change::Missed),
                Ok(_) => {}
            }
        }
        None
    }
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut space = &mut *buffer;
        match socket.recv(&mut space, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // MSG_TRUNC is not asked for, so the length is at most the buffer's.
            other => return other.map(|len| len.min(buffer.len())),
        }
    }
}

fn read(message: &RouteNetlinkMessage) -> Option<Change> {
    use RouteNetlinkMessage as M;
    match message {
        M::NewLink(link) | M::DelLink(link) => Link::is_plain(link).then(|| Change::Link {
            link: Link::read(link),
            gone: matches!(message, M::DelLink(_)),
        }),
        M::NewAddress(address) | M::DelAddress(address) => {
            let gone = matches!(message, M::DelAddress(_));
            Address::read(address).map(|address| Change::Address { address, gone })
        }
        M::NewRoute(route) | M::DelRoute(route) => {
            let gone = matches!(message, M::DelRoute(_));
            Route::read(route).map(|route| Change::Route { route, gone })
        }
        M::NewRule(rule) | M::DelRule(rule) => {
            let gone = matches!(message, M::DelRule(_));
            Rule::read(rule).map(|rule| Change::Rule { rule, gone })
        }
        _ => None,
    }
}
