//! The kernel's network configuration, over rtnetlink: interfaces, addresses, routes, rules.
//!
//! [`Netlink`] asks and changes; [`Monitor`] tells what changed, whoever changed it. Adding what is there and deleting
//! what is not there are no errors, so every call may be repeated. Routes and rules of ours carry
//! [`OWN_PROTOCOL`], by which they are found again after a restart and told apart from anybody else's.
//!
//! A [`Netlink`] speaks to the network namespace of the thread that made it.

mod addresses;
mod links;
mod monitor;
mod next_hops;
mod routes;
mod rules;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, pin_mut};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use thiserror::Error;
use tokio::sync::Mutex;

pub use self::addresses::{Address, AddressState, Scope};
pub use self::links::{Link, LinkChange};
pub use self::monitor::{Change, Monitor};
pub use self::next_hops::RouteOver;
pub use self::routes::{Route, RouteFilter, RouteKind};
pub use self::rules::{Rule, RuleAction};

/// Marks our routes and rules (rtm_protocol, FRA_PROTOCOL). It is not in iproute2's list of known ones.
pub const OWN_PROTOCOL: u8 = 109;
/// Marks our routes to pods, which come and go one by one. Not in iproute2's list either.
pub const POD_PROTOCOL: u8 = 110;
/// Marks what our own sockets send (SO_MARK), so that rules of ours pass it over. Bits that other programs set, clear or look for are
/// none of it ([`OWN_MARK_MASK`]): a packet with kube-proxy's bit 0x4000 leaves the machine from a random port.
pub const OWN_MARK: u32 = 0x6d70_0000;
/// The bits of a mark that are ours. The others may be anything: Cilium writes 0x0f00 into the marks of all that a machine sends, Calico
/// clears 0xf0000.
pub const OWN_MARK_MASK: u32 = 0xfff0_0000;
/// Bits of others, as docs/beside.md lists them.
const OTHERS_MARKS: u32 = 0x4000 | 0x8000 | 0x2000 | 0x80 | 0x0f00 | 0xf_0000;
const _: () = assert!(OWN_MARK & !OWN_MARK_MASK == 0 && OWN_MARK_MASK & OTHERS_MARKS == 0);
/// The table that ordinary routes are in.
pub const MAIN_TABLE: u32 = 254;

/// The kernel answers at once; only a lost answer takes this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, to iterate over.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn code(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }

    fn from_code(code: AddressFamily) -> Option<Self> {
        match code {
            AddressFamily::Inet => Some(Self::V4),
            AddressFamily::Inet6 => Some(Self::V6),
            _ => None,
        }
    }
}

/// What the kernel refused.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// No netlink socket could be had.
    #[error("cannot talk to the kernel over netlink: {0}")]
    Start(#[source] io::Error),
    /// A request failed.
    #[error("cannot {what}: {source}{}", hint(source))]
    Refused {
        /// What was tried, with names.
        what: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// No answer came.
    #[error("cannot {what}: the kernel did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer {
        /// What was tried, with names.
        what: String,
    },
}

impl NetlinkError {
    /// The kernel's error number, where there is one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Start(source) | Self::Refused { source, .. } => source.raw_os_error(),
            Self::NoAnswer { .. } => None,
        }
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM) => "; CAP_NET_ADMIN is needed",
        Some(libc::EOPNOTSUPP) => "; this kernel was built without it",
        _ => "",
    }
}

/// What a request does with what is there already.
#[derive(Clone, Copy)]
enum Mode {
    /// Changes something that exists.
    Act,
    /// Makes something; EEXIST if it is there.
    Create,
    /// Makes something or replaces it.
    Replace,
}

impl Mode {
    fn flags(self) -> u16 {
        NLM_F_REQUEST
            | NLM_F_ACK
            | match self {
                Self::Act => 0,
                Self::Create => NLM_F_CREATE | NLM_F_EXCL,
                Self::Replace => NLM_F_CREATE | NLM_F_REPLACE,
            }
    }
}

/// A connection to the kernel; clones share it. Made within a tokio runtime, which runs it until the last clone is gone.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    /// The kernel gives one list at a time to a socket, and refuses a second one as "busy".
    lists: Arc<Mutex<()>>,
}

impl Netlink {
    /// Connects, to the network namespace of the calling thread.
    pub fn new() -> Result<Self, NetlinkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(NetlinkError::Start)?;
        tokio::spawn(connection);
        Ok(Self {
            handle,
            lists: Arc::default(),
        })
    }

    /// Sends a request and waits for its acknowledgement. Error numbers in `fine` count as success.
    async fn act(
        &self,
        message: RouteNetlinkMessage,
        mode: Mode,
        fine: &[i32],
        what: impl Fn() -> String + Sync,
    ) -> Result<(), NetlinkError> {
        match self.exchange(message, mode.flags(), &what).await {
            Ok(_) => Ok(()),
            Err(error) if error.code().is_some_and(|code| fine.contains(&code)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks for a list. No such table (ENOENT) is an empty list.
    async fn dump(
        &self,
        message: RouteNetlinkMessage,
        what: &'static str,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let this = self.clone();
        // a task: who stops waiting for a list does not stop the kernel from giving it, and the next one waits for that
        let list = tokio::spawn(async move {
            let _turn = this.lists.lock().await;
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            this.exchange(message, flags, &|| what.to_owned()).await
        });
        let stopping = |_| NetlinkError::NoAnswer {
            what: what.to_owned(),
        };
        match list.await.map_err(stopping)? {
            Err(error) if error.code() == Some(libc::ENOENT) => Ok(Vec::new()),
            other => other,
        }
    }

    async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: &(dyn Fn() -> String + Sync),
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let answers = self.handle.clone().request(request).map_err(|_| {
            let closed = io::Error::new(io::ErrorKind::NotConnected, "the netlink connection is closed");
            NetlinkError::Refused {
                what: what(),
                source: closed,
            }
        })?;
        match tokio::time::timeout(ANSWER_TIMEOUT, collect(answers)).await {
            Ok(Ok(messages)) => Ok(messages),
            Ok(Err(source)) => Err(NetlinkError::Refused { what: what(), source }),
            Err(_) => Err(NetlinkError::NoAnswer { what: what() }),
        }
    }
}

async fn collect(
    answers: impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>>,
) -> io::Result<Vec<RouteNetlinkMessage>> {
    pin_mut!(answers);
    let mut messages = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Done(done) if done.code != 0 => {
                return Err(io::Error::from_raw_os_error(done.code.abs()));
            }
            NetlinkPayload::InnerMessage(message) => messages.push(message),
            _ => {}
        }
    }
    Ok(messages)
}
