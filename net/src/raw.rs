//! Whole IP packets of our own making, sent as this machine sends any other (raw(7), `IPPROTO_RAW`): nothing is ever received.
//!
//! What comes out of a TUN device with one of the machine's own addresses as its source is dropped as a martian; what the
//! machine sends itself is not, and finds its way to local programs, containers and through connection tracking.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType};

/// Sends IPv4 and IPv6 packets, headers and all.
#[derive(Debug)]
pub struct RawSender {
    v4: OwnedFd,
    /// None where the machine has no IPv6.
    v6: Option<OwnedFd>,
}

impl RawSender {
    /// Opens the sockets.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn open() -> io::Result<RawSender> {
        Ok(RawSender {
            v4: socket(AddressFamily::INET)?,
            v6: socket(AddressFamily::INET6).ok(),
        })
    }

    /// Sends a packet to the destination in its header, without waiting. The kernel fills in the checksum of an IPv4 header and
    /// looks at nothing else; the source has to be an address of this machine.
    ///
    /// # Errors
    /// What the kernel says; there is no way, or no room.
    pub fn send(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let socket = match destination {
            IpAddr::V4(_) => Some(&self.v4),
            IpAddr::V6(_) => self.v6.as_ref(),
        };
        let socket = socket.ok_or(io::ErrorKind::Unsupported)?;
        net::sendto(
            socket,
            packet,
            SendFlags::empty(),
            &SocketAddr::new(destination, 0),
        )?;
        Ok(())
    }
}

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(net::ipproto::RAW);
    Ok(net::socket_with(family, SocketType::RAW, flags, protocol)?)
}
