//! What the routing table says of a destination, asked with a connected socket that sends nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::sys;

/// How packets to a destination would leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteTo {
    /// The source address that the kernel would choose.
    pub source: IpAddr,
    /// The path MTU that the kernel knows, in bytes, IP header included.
    pub mtu: u32,
}

/// Asks the kernel, for packets with `mark` (CAP_NET_ADMIN) or without one. Nothing is sent.
///
/// # Errors
/// ENETUNREACH and its like where there is no route.
pub fn route_to(destination: SocketAddr, mark: Option<u32>) -> io::Result<RouteTo> {
    let is_v6 = destination.is_ipv6();
    let family = if is_v6 {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let fd = net::socket_with(
        family,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(net::ipproto::UDP),
    )?;
    if let Some(mark) = mark {
        sys::set_mark(&fd, mark)?;
    }
    net::connect(&fd, &destination)?;
    let source = SocketAddr::try_from(net::getsockname(&fd)?)?.ip();
    let mtu = if is_v6 {
        sockopt::ipv6_mtu(&fd)?
    } else {
        sockopt::ip_mtu(&fd)?
    };
    Ok(RouteTo { source, mtu })
}
