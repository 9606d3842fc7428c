//! Multicast on the local network, for beacons: one socket per family that joins a group on the interfaces given and
//! tells by which of them a datagram came in. Hop limit 1, so nothing leaves the LAN.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::sockopt;
use tokio::io::unix::AsyncFd;

use super::recv::RecvBatch;
use super::socket::{PathMtuDiscovery, UdpConfig, UdpError, UdpSocket};
use super::{SendError, Transmit};

/// The IPv4 group of the beacons (docs/wire.md, section 8).
pub const BEACON_GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 68);
/// The IPv6 group of the beacons, link-local scope.
pub const BEACON_GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x6d73, 0x6864);

/// Datagrams taken per system call; beacons are few.
const BATCH: usize = 8;
/// Larger datagrams are no beacons; they are dropped.
const MAX_BEACON: usize = 512;

/// One received datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Its bytes, at most 512.
    pub bytes: Vec<u8>,
    /// Who sent it.
    pub source: SocketAddr,
    /// The interface by which it came in.
    pub interface: u32,
}

/// The outcome of joining a group on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is joined now.
    Now,
    /// It was joined before.
    Already,
}

/// A socket for beacons, for tokio. Several programs (or instances) on one machine may have one for the same port.
#[derive(Debug)]
pub struct BeaconSocket {
    socket: AsyncFd<UdpSocket>,
    group: IpAddr,
    port: u16,
}

impl BeaconSocket {
    /// Makes the socket; it hears nothing until it joins. Must be called within a tokio runtime.
    pub fn bind(group: IpAddr, port: u16) -> Result<Self, UdpError> {
        // Bound to the group it hears nothing else. IPv6 would want an interface for that, so there it is filtered.
        let local = match group {
            IpAddr::V4(_) => group,
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut config = UdpConfig::new(SocketAddr::new(local, port));
        config.recv_buffer = 64 << 10;
        config.send_buffer = 64 << 10;
        config.reuse_address = true;
        config.coalesce = false;
        config.path_mtu = PathMtuDiscovery::Off;
        let socket = UdpSocket::bind(&config)?;
        let option = |option: &'static str| {
            move |source: io::Error| UdpError::Option {
                local: config.local.to_string(),
                option,
                source,
            }
        };
        let (limit, looped) = match group {
            IpAddr::V4(_) => (
                sockopt::set_ip_multicast_ttl(&socket, 1),
                sockopt::set_ip_multicast_loop(&socket, true),
            ),
            IpAddr::V6(_) => (
                sockopt::set_ipv6_multicast_hops(&socket, 1),
                sockopt::set_ipv6_multicast_loop(&socket, true),
            ),
        };
        limit.map_err(|errno| option("the multicast hop limit")(errno.into()))?;
        looped.map_err(|errno| option("multicast loop")(errno.into()))?;
        let socket = socket.into_async().map_err(option("readiness"))?;
        Ok(Self { socket, group, port })
    }

    /// Receives what is sent to the group on `interface` (an index) from now on.
    ///
    /// # Errors
    /// ENODEV where there is no such interface, ENOBUFS where the kernel's limit of memberships is reached.
    pub fn join(&self, interface: u32) -> io::Result<Joined> {
        let fd = self.socket.get_ref();
        let done = match self.group {
            IpAddr::V4(group) => {
                sockopt::set_ip_add_membership_with_ifindex(fd, &group, &Ipv4Addr::UNSPECIFIED, interface)
            }
            IpAddr::V6(group) => sockopt::set_ipv6_add_membership(fd, &group, interface),
        };
        match done {
            Ok(()) => Ok(Joined::Now),
            Err(rustix::io::Errno::ADDRINUSE) => Ok(Joined::Already),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Leaves the group on `interface`; no error where it was not joined or the interface is gone.
    pub fn leave(&self, interface: u32) -> io::Result<()> {
        use rustix::io::Errno;
        let fd = self.socket.get_ref();
        let done = match self.group {
            IpAddr::V4(group) => {
                sockopt::set_ip_drop_membership_with_ifindex(fd, &group, &Ipv4Addr::UNSPECIFIED, interface)
            }
            IpAddr::V6(group) => sockopt::set_ipv6_drop_membership(fd, &group, interface),
        };
        match done {
            Ok(()) | Err(Errno::ADDRNOTAVAIL | Errno::NODEV) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends `bytes` to the group on `interface`, from the address that the kernel chooses there. Never waits.
    pub fn send(&self, interface: u32, bytes: &[u8]) -> Result<(), SendError> {
        let socket = self.socket.get_ref();
        let destination = match self.group {
            IpAddr::V4(group) => SocketAddr::new(group.into(), self.port),
            IpAddr::V6(group) => SocketAddr::V6(SocketAddrV6::new(group, self.port, 0, interface)),
        };
        let parts = [io::IoSlice::new(bytes)];
        socket.send_segments(&Transmit {
            interface,
            ..Transmit::new(destination, &parts)
        })
    }

    /// Waits for datagrams and returns those that are there, at most 8.
    pub async fn recv(&self) -> io::Result<Vec<Beacon>> {
        loop {
            let mut guard = self.socket.readable().await?;
            let mut batch = RecvBatch::new(BATCH, MAX_BEACON);
            if guard.get_inner().recv_batch(&mut batch)? < BATCH {
                guard.clear_ready();
            }
            let ours =
                |received: &super::Received<'_>| self.group.is_ipv4() || received.local == Some(self.group);
            let to_beacon = |received: super::Received<'_>| Beacon {
                bytes: received.bytes.to_vec(),
                source: received.source,
                interface: received.interface,
            };
            let beacons: Vec<_> = batch.iter_mut().filter(ours).map(to_beacon).collect();
            if !beacons.is_empty() {
                return Ok(beacons);
            }
        }
    }

    /// The port of the group.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl AsFd for BeaconSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
