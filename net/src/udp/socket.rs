//! Making a UDP socket and setting it up.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use thiserror::Error;
use tokio::io::unix::AsyncFd;

use super::recv::RecvBatch;
use super::refusals::Refusals;
use super::{Counters, UdpStats, sys};

/// What a socket is to be.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// Address and port to bind to; the unspecified address for all, port 0 for any. Its family is the socket's: an
    /// IPv6 socket takes no IPv4.
    pub local: SocketAddr,
    /// Receive buffer in bytes; more than net.core.rmem_max only with CAP_NET_ADMIN.
    pub recv_buffer: usize,
    /// Send buffer in bytes; likewise.
    pub send_buffer: usize,
    /// Mark of the packets sent, for rules and filters; CAP_NET_ADMIN.
    pub mark: Option<u32>,
    /// SO_REUSEADDR.
    pub reuse_address: bool,
    /// SO_REUSEPORT: several sockets, one per thread, share the port.
    pub reuse_port: bool,
    /// Whether the kernel coalesces what it receives (UDP_GRO); then receive into buffers of [`super::GRO_BUFFER`].
    pub coalesce: bool,
    /// The don't-fragment bit and whose idea of the path MTU counts.
    pub path_mtu: PathMtuDiscovery,
}

impl UdpConfig {
    /// For a node's or relay's socket: coalescing, don't-fragment with our own idea of the path MTU, 4 MiB buffers.
    pub fn new(local: SocketAddr) -> Self {
        Self {
            local,
            recv_buffer: 4 << 20,
            send_buffer: 4 << 20,
            mark: None,
            reuse_address: false,
            reuse_port: false,
            coalesce: true,
            path_mtu: PathMtuDiscovery::Probe,
        }
    }
}

/// Values of IP_MTU_DISCOVER (ip(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// No don't-fragment bit: the network fragments.
    Off,
    /// Don't fragment; the kernel refuses what exceeds the path MTU that it learnt from ICMP.
    Kernel,
    /// Don't fragment; ICMP is ignored and only the link's MTU limits, so that larger datagrams can probe the path.
    Probe,
}

/// Why a socket could not be had.
#[derive(Debug, Error)]
pub enum UdpError {
    /// The port is taken or the address is not there.
    #[error("cannot listen on UDP {local}: {source}; {hint}")]
    Bind {
        /// The address asked for.
        local: SocketAddr,
        /// What the kernel said.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// A socket option was refused.
    #[error("cannot set {option} on the UDP socket for {local}: {source}")]
    Option {
        /// The socket's address.
        local: String,
        /// The option's name.
        option: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The descriptor to adopt is no UDP socket with an address.
    #[error("the descriptor is not a bound UDP socket")]
    NotUdp,
}

/// A non-blocking UDP socket of one family. It may be shared between threads.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
    coalesces: bool,
    pub(super) segments: bool,
    pub(super) refusals: Refusals,
    pub(super) counters: Counters,
}

impl UdpSocket {
    /// Makes, sets up and binds a socket. Buffers come as large as the system allows.
    pub fn bind(config: &UdpConfig) -> Result<Self, UdpError> {
        let family = if config.local.is_ipv6() {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let bind = |source: io::Error| bind_error(config.local, source);
        let fd = net::socket_with(family, SocketType::DGRAM, flags, Some(net::ipproto::UDP))
            .map_err(|errno| bind(errno.into()))?;
        let option = |option| {
            move |source| UdpError::Option {
                local: config.local.to_string(),
                option,
                source,
            }
        };
        if family == AddressFamily::INET6 {
            set(sockopt::set_ipv6_v6only(&fd, true)).map_err(option("IPV6_V6ONLY"))?;
        }
        if config.reuse_address {
            set(sockopt::set_socket_reuseaddr(&fd, true)).map_err(option("SO_REUSEADDR"))?;
        }
        if config.reuse_port {
            set(sockopt::set_socket_reuseport(&fd, true)).map_err(option("SO_REUSEPORT"))?;
        }
        net::bind(&fd, &config.local).map_err(|errno| bind(errno.into()))?;
        Self::set_up(fd, config)
    }

    /// Takes over a bound socket, such as one that the service manager kept, and sets it up as `config` says; its
    /// address stays.
    pub fn adopt(fd: OwnedFd, config: &UdpConfig) -> Result<Self, UdpError> {
        let is_datagram = sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::DGRAM);
        if !is_datagram || local_addr(&fd).is_none() {
            return Err(UdpError::NotUdp);
        }
        rustix::io::ioctl_fionbio(&fd, true).map_err(|_| UdpError::NotUdp)?;
        Self::set_up(fd, config)
    }

    fn set_up(fd: OwnedFd, config: &UdpConfig) -> Result<Self, UdpError> {
        let local = local_addr(&fd).ok_or(UdpError::NotUdp)?;
        let option = |option| {
            move |source| UdpError::Option {
                local: local.to_string(),
                option,
                source,
            }
        };
        // Without privileges the sizes are capped by net.core.{r,w}mem_max, which is no error.
        if sockopt::set_socket_recv_buffer_size_force(&fd, config.recv_buffer).is_err() {
            set(sockopt::set_socket_recv_buffer_size(&fd, config.recv_buffer))
                .map_err(option("SO_RCVBUF"))?;
        }
        if sockopt::set_socket_send_buffer_size_force(&fd, config.send_buffer).is_err() {
            set(sockopt::set_socket_send_buffer_size(&fd, config.send_buffer))
                .map_err(option("SO_SNDBUF"))?;
        }
        if let Some(mark) = config.mark {
            sys::set_mark(&fd, mark).map_err(option("SO_MARK"))?;
        }
        if local.is_ipv6() {
            let info = sys::set_int(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1);
            info.map_err(option("IPV6_RECVPKTINFO"))?;
            set(sockopt::set_ipv6_recvtclass(&fd, true)).map_err(option("IPV6_RECVTCLASS"))?;
        } else {
            sys::set_int(&fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1).map_err(option("IP_PKTINFO"))?;
            set(sockopt::set_ip_recvtos(&fd, true)).map_err(option("IP_RECVTOS"))?;
        }
        let coalesces = config.coalesce && sys::set_int(&fd, libc::SOL_UDP, sys::UDP_GRO, 1).is_ok();
        let segments = sys::get_u32s::<1>(&fd, libc::SOL_UDP, sys::UDP_SEGMENT).is_ok();
        let (refusals, counters) = (Refusals::new(), Counters::default());
        let socket = Self {
            fd,
            local,
            coalesces,
            segments,
            refusals,
            counters,
        };
        socket.set_path_mtu_discovery(config.path_mtu)?;
        Ok(socket)
    }

    /// Receives what waits, up to the batch's capacity, and returns how many runs; 0 where nothing waits. ICMP errors
    /// are counted and passed over.
    ///
    /// # Errors
    /// Only what makes the socket useless.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.fill(self.fd.as_fd(), &self.counters)
    }

    /// The address and port it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether the kernel coalesces what is received (UDP_GRO holds).
    pub fn coalesces(&self) -> bool {
        self.coalesces
    }

    /// Whether the kernel knows UDP_SEGMENT at all.
    pub fn segments(&self) -> bool {
        self.segments
    }

    /// Sets the don't-fragment bit and whose idea of the path MTU counts, for all that is sent from now on.
    pub fn set_path_mtu_discovery(&self, mode: PathMtuDiscovery) -> Result<(), UdpError> {
        use sockopt::{Ipv4PathMtuDiscovery as V4, Ipv6PathMtuDiscovery as V6};
        let (v4, v6) = match mode {
            PathMtuDiscovery::Off => (V4::DONT, V6::DONT),
            PathMtuDiscovery::Kernel => (V4::DO, V6::DO),
            PathMtuDiscovery::Probe => (V4::PROBE, V6::PROBE),
        };
        let (option, done) = match self.local {
            SocketAddr::V4(_) => ("IP_MTU_DISCOVER", sockopt::set_ip_mtu_discover(&self.fd, v4)),
            SocketAddr::V6(_) => ("IPV6_MTU_DISCOVER", sockopt::set_ipv6_mtu_discover(&self.fd, v6)),
        };
        set(done).map_err(|source| UdpError::Option {
            local: self.local.to_string(),
            option,
            source,
        })
    }

    /// Tries UDP_SEGMENT again for all destinations. To be called when links or routes changed.
    pub fn forget_segment_refusals(&self) {
        self.refusals.clear();
    }

    /// The buffers that the kernel granted, in bytes: receive, send.
    pub fn buffer_sizes(&self) -> io::Result<(usize, usize)> {
        // The kernel reports twice what holds payload (socket(7), SO_RCVBUF).
        let recv = sockopt::socket_recv_buffer_size(&self.fd)? / 2;
        Ok((recv, sockopt::socket_send_buffer_size(&self.fd)? / 2))
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, since the socket was made.
    pub fn kernel_drops(&self) -> io::Result<u32> {
        // SO_MEMINFO is an array of numbers; the last of the nine is the drop count (linux/sock_diag.h).
        Ok(sys::get_u32s::<9>(&self.fd, libc::SOL_SOCKET, libc::SO_MEMINFO)?[8])
    }

    /// What happened besides packets.
    pub fn stats(&self) -> UdpStats {
        UdpStats {
            icmp_errors: self.counters.icmp_errors.get(),
            truncated: self.counters.truncated.get(),
            segment_refusals: self.counters.segment_refusals.get(),
            lost: self.counters.lost.get(),
        }
    }

    /// For the control side: readiness by tokio instead of [`crate::poll`]. Must be called within a tokio runtime.
    pub fn into_async(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: `as_raw_fd` is the number of `self.fd`, which `self` owns and never replaces or closes before it is
        // dropped.
        Ok(unsafe { AsyncFd::register(self) }?)
    }

    pub(super) fn borrow(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl std::os::fd::AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

fn set(done: rustix::io::Result<()>) -> io::Result<()> {
    done.map_err(io::Error::from)
}

fn local_addr(fd: &OwnedFd) -> Option<SocketAddr> {
    SocketAddr::try_from(net::getsockname(fd).ok()?).ok()
}

fn bind_error(local: SocketAddr, source: io::Error) -> UdpError {
    let hint = match source.raw_os_error() {
        Some(libc::EADDRINUSE) => "another program uses the port",
        Some(libc::EADDRNOTAVAIL) => "no interface has this address",
        Some(libc::EACCES) => "a port below 1024 needs CAP_NET_BIND_SERVICE",
        Some(libc::EAFNOSUPPORT) => "the kernel has this IP version switched off",
        _ => "see the kernel's log",
    };
    UdpError::Bind { local, source, hint }
}
