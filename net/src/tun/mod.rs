//! A TUN device whose queues carry super-packets: up to 64 KiB of one TCP or UDP flow with a virtio-net header that
//! says how to cut it, so that the kernel's stack is passed once per super-packet and not once per 1,408 bytes.
//!
//! 1. [`Tun::open`] makes the interface (or [`Tun::from_fds`] adopts queues that a predecessor left with the service
//!    manager or the holder; the interface and what waits in its queues then survived the restart).
//! 2. [`Tun::offloads`] says what the kernel agreed to. Without IFF_VNET_HDR all packets are plain ones.
//! 3. Each packet thread takes a [`TunQueue`]: [`TunQueue::recv`] and [`TunQueue::send`], both non-blocking.
//!
//! The interface lives as long as any descriptor of it, duplicates included.

mod device;
mod queue;
mod vnet;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use thiserror::Error;

pub use self::queue::{MAX_PARTS, TunQueue};
pub use self::vnet::VnetHeader;

/// What the kernel leaves to the reader of a queue, and takes from its writer. In writing, checksum and TSO are taken
/// whenever `vnet` holds; a kernel without `uso` refuses GSO_UDP_L4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Packets carry a virtio-net header.
    pub vnet: bool,
    /// Checksums may be partial.
    pub checksum: bool,
    /// TCP super-packets over IPv4.
    pub tso4: bool,
    /// TCP super-packets over IPv6.
    pub tso6: bool,
    /// TCP super-packets with CWR set.
    pub tso_ecn: bool,
    /// UDP super-packets over IPv4 and IPv6 (Linux 6.2).
    pub uso: bool,
}

/// Why a TUN device could not be had.
#[derive(Debug, Error)]
pub enum TunError {
    /// The device node is missing or may not be opened.
    #[error("cannot open /dev/net/tun: {0}; load the kernel module `tun`, and give the container the device")]
    Control(#[source] io::Error),
    /// The kernel did not make or share the interface.
    #[error("cannot make the TUN interface {name}: {source}; {hint}")]
    Attach {
        /// The name asked for.
        name: String,
        /// What the kernel said.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The name is not one that an interface can have.
    #[error("`{0}` cannot be an interface name: 1 to 15 characters without space, `/` and `:`")]
    Name(String),
    /// A descriptor to adopt is not a usable TUN queue.
    #[error("descriptor {fd} is not a queue of the TUN interface: {reason}")]
    Adopt {
        /// The descriptor's number.
        fd: i32,
        /// What is wrong about it.
        reason: String,
    },
    /// No queue was asked for or handed over.
    #[error("a TUN device needs at least one queue")]
    NoQueue,
    /// Anything else that the kernel refused.
    #[error("TUN interface {name}: {what}: {source}")]
    Setup {
        /// The interface.
        name: String,
        /// The step that failed.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What became of a packet that the kernel did not take. `Copy`, to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TunSendError {
    /// EINVAL: the kernel does not take a packet with this header; its segments may be written singly.
    #[error("the kernel refused the packet's virtio-net header")]
    Refused,
    /// EAGAIN: no memory for it now.
    #[error("the queue is full")]
    WouldBlock,
    /// EIO: the interface is down.
    #[error("the interface is down")]
    Down,
    /// EBADFD: the interface was deleted.
    #[error("the interface is gone")]
    Gone,
    /// More than [`MAX_PARTS`] parts.
    #[error("more than {MAX_PARTS} parts")]
    TooManyParts,
    /// Any other error number.
    #[error("error number {0}")]
    Other(i32),
}

/// What is asked of the kernel.
enum Kind {
    Plain,
    SuperPackets,
}

/// A TUN device and its queues.
#[derive(Debug)]
pub struct Tun {
    name: String,
    offloads: Offloads,
    queues: Vec<TunQueue>,
}

impl Tun {
    /// Makes the interface `name` (a `%d` in it is replaced by the first free number) with `queues` queues. The
    /// interface is down and has no address; netlink does the rest.
    ///
    /// # Errors
    /// Sentences for a person; EBUSY means that another program holds the interface.
    pub fn open(name: &str, queues: usize) -> Result<Self, TunError> {
        Self::open_as(name, queues, Kind::SuperPackets)
    }

    /// As [`Tun::open`], without IFF_VNET_HDR: each packet is a plain one of at most the MTU, as on kernels that know no other.
    ///
    /// # Errors
    /// As [`Tun::open`].
    pub fn open_plain(name: &str, queues: usize) -> Result<Self, TunError> {
        Self::open_as(name, queues, Kind::Plain)
    }

    fn open_as(name: &str, queues: usize, kind: Kind) -> Result<Self, TunError> {
        let valid = !name.is_empty()
            && name.len() < device::NAME_SIZE
            && name
                .bytes()
                .all(|c| c.is_ascii_graphic() && !matches!(c, b'/' | b':'));
        if !valid {
            return Err(TunError::Name(name.to_owned()));
        }
        let first = device::open_control().map_err(TunError::Control)?;
        let attach = |flags| device::attach(first.as_fd(), name, flags);
        let plain = || attach(device::FLAGS).map(|attached| (attached, false));
        let attached = match kind {
            Kind::Plain => plain(),
            Kind::SuperPackets => match attach(device::FLAGS | device::VNET) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => plain(),
                attached => attached.map(|attached| (attached, true)),
            },
        };
        let (attached, vnet) = attached.map_err(|source| attach_error(name, source))?;
        let mut tun = Self {
            name: attached.name,
            offloads: Offloads::default(),
            queues: Vec::new(),
        };
        tun.admit(first, vnet)?;
        tun.add_queues(queues.saturating_sub(1))?;
        Ok(tun)
    }

    /// Adopts queues that all belong to one interface, in the network namespace where they were made. They are set to
    /// non-blocking and to the header format of this module.
    ///
    /// # Errors
    /// Names the descriptor that is not a queue, or is one of another interface or kind.
    pub fn from_fds(fds: Vec<OwnedFd>) -> Result<Self, TunError> {
        let mut tun = Self {
            name: String::new(),
            offloads: Offloads::default(),
            queues: Vec::new(),
        };
        for fd in fds {
            let number = fd.as_raw_fd();
            let adopt = |reason: String| TunError::Adopt { fd: number, reason };
            let attached = device::attachment(fd.as_fd()).map_err(|error| adopt(error.to_string()))?;
            let vnet = attached.flags & device::VNET != 0;
            if attached.flags & libc::IFF_TUN == 0 || attached.flags & libc::IFF_NO_PI == 0 {
                return Err(adopt(format!(
                    "{} is not a TUN device without packet information",
                    attached.name
                )));
            }
            match tun.queues.first() {
                None => tun.name = attached.name,
                Some(_) if tun.name != attached.name => {
                    return Err(adopt(format!(
                        "it belongs to {}, the others to {}",
                        attached.name, tun.name
                    )));
                }
                Some(queue) if queue.has_vnet_header() != vnet => {
                    return Err(adopt("its virtio-net header differs from the others'".to_owned()));
                }
                Some(_) => {}
            }
            tun.admit(fd, vnet)?;
        }
        if tun.queues.is_empty() {
            Err(TunError::NoQueue)
        } else {
            Ok(tun)
        }
    }

    /// Adds `count` queues to the ones there are.
    pub fn add_queues(&mut self, count: usize) -> Result<(), TunError> {
        let flags = device::FLAGS | if self.offloads.vnet { device::VNET } else { 0 };
        for _ in 0..count {
            let fd = device::open_control().map_err(TunError::Control)?;
            device::attach(fd.as_fd(), &self.name, flags)
                .map_err(|source| attach_error(&self.name, source))?;
            self.admit(fd, self.offloads.vnet)?;
        }
        Ok(())
    }

    fn admit(&mut self, fd: OwnedFd, vnet: bool) -> Result<(), TunError> {
        let setup = |what| {
            move |source| TunError::Setup {
                name: String::new(),
                what,
                source,
            }
        };
        let named = |error| match error {
            TunError::Setup { what, source, .. } => TunError::Setup {
                name: self.name.clone(),
                what,
                source,
            },
            other => other,
        };
        let flags = fcntl_getfl(&fd).map_err(|e| named(setup("read flags")(e.into())))?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(|e| named(setup("set non-blocking")(e.into())))?;
        if vnet {
            device::set_vnet_format(fd.as_fd()).map_err(|e| named(setup("set the header format")(e)))?;
            self.offloads = device::set_offloads(fd.as_fd());
        }
        self.queues.push(TunQueue::new(fd, vnet));
        Ok(())
    }

    /// The interface's name when it was opened or adopted.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index, asked of the kernel now; the name is looked up afresh, so a rename does no harm.
    pub fn ifindex(&self) -> Result<u32, TunError> {
        let setup = |source| TunError::Setup {
            name: self.name.clone(),
            what: "find its index",
            source,
        };
        let queue = self.queues.first().ok_or(TunError::NoQueue)?;
        let attached = device::attachment(queue.as_fd()).map_err(setup)?;
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::DGRAM,
            None,
        )
        .map_err(|errno| setup(errno.into()))?;
        rustix::net::netdevice::name_to_index(&socket, &attached.name).map_err(|errno| setup(errno.into()))
    }

    /// What holds on all queues.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// The queues, to lend out.
    pub fn queues(&self) -> &[TunQueue] {
        &self.queues
    }

    /// The queues, each to a thread of its own.
    pub fn into_queues(self) -> Vec<TunQueue> {
        self.queues
    }

    /// The descriptors to leave with the service manager or the holder; pass duplicates of these.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.queues.iter().map(AsFd::as_fd)
    }
}

fn attach_error(name: &str, source: io::Error) -> TunError {
    let hint = match source.raw_os_error() {
        Some(libc::EPERM) => "CAP_NET_ADMIN is needed",
        Some(libc::EBUSY) => "another program holds an interface of this name",
        Some(libc::EINVAL) => "an interface of this name exists and is of another kind",
        Some(libc::E2BIG) => "it has as many queues as the kernel allows",
        _ => "see the kernel's log",
    };
    TunError::Attach {
        name: name.to_owned(),
        source,
        hint,
    }
}
