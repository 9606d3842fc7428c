//! A router that advertises a prefix (RFC 4861 section 4.2), so that machines give themselves addresses (RFC 4862).

use std::net::{Ipv6Addr, SocketAddrV6};

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket, sockopt};

use crate::machine::Machine;

/// All nodes of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Seconds for which the router and the prefix are good.
const LIFETIME: u16 = 1_800;

/// Sends one advertisement of a /64 from the router's interface. The kernel computes the checksum.
///
/// # Panics
/// If the interface is not there, or without root.
pub fn advertise(router: &Machine, interface: &str, prefix: Ipv6Addr) {
    let link = router.run(&["ip", "-o", "link", "show", "dev", interface]);
    let index = link.split(':').next().and_then(|index| index.trim().parse().ok());
    let to = SocketAddrV6::new(ALL_NODES, 0, 0, index.expect("an interface has a number"));
    router.inside(|| {
        let socket =
            socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).expect("needs root");
        sockopt::set_ipv6_multicast_hops(&socket, 255).expect("a raw socket");
        sendto(&socket, &advertisement(prefix), SendFlags::empty(), &to).expect("the link is up");
    });
}

fn advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    // type, code, checksum, hop limit, flags; then the router's lifetime, and two times that it leaves open
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend_from_slice(&LIFETIME.to_be_bytes());
    message.extend_from_slice(&[0; 8]);
    // prefix information: type, length in 8 bytes, prefix length, on-link and autonomous
    message.extend_from_slice(&[3, 4, 64, 0b1100_0000]);
    for lifetime in [LIFETIME, LIFETIME] {
        message.extend_from_slice(&u32::from(lifetime).to_be_bytes());
    }
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&prefix.octets());
    message
}
