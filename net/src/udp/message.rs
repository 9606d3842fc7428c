//! Socket addresses and control messages as the kernel wants them, in buffers of fixed size.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

use super::sys;

/// Room for the control messages of one packet in either direction: packet info, traffic class, hop limit, segment size.
const CONTROL_SIZE: usize = 128;

/// A control message buffer, aligned as `struct cmsghdr` must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; CONTROL_SIZE],
}

impl Control {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; CONTROL_SIZE],
    };

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    pub(super) fn as_ptr(&self) -> *const libc::c_void {
        self.bytes.as_ptr().cast()
    }

    pub(super) const fn capacity(&self) -> usize {
        CONTROL_SIZE
    }

    /// Appends one control message at byte `at` and returns where the next one goes.
    pub(super) fn push<T: Copy>(&mut self, at: usize, level: i32, kind: i32, value: T) -> usize {
        let size = size_of::<T>() as u32;
        // SAFETY: CMSG_SPACE and CMSG_LEN are arithmetic on their argument.
        let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size) as usize) };
        assert!(
            at + space <= CONTROL_SIZE,
            "a packet has at most four control messages"
        );
        // SAFETY: `at + space` is within the buffer, which is aligned to 8; `at` is 0 or a sum of CMSG_SPACE results,
        // hence aligned too. Header and value are written without reading what was there.
        unsafe {
            let header = self.bytes.as_mut_ptr().add(at).cast::<libc::cmsghdr>();
            let mut filled: libc::cmsghdr = std::mem::zeroed();
            filled.cmsg_len = len as _;
            filled.cmsg_level = level;
            filled.cmsg_type = kind;
            header.write(filled);
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        at + space
    }
}

/// A socket address of either family, as the kernel reads and writes it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    /// The unspecified family; also a valid value to receive into.
    pub(super) fn empty() -> Self {
        // SAFETY: all members are plain C structs of integers, for which zeroes are valid.
        unsafe { std::mem::zeroed() }
    }

    pub(super) fn from_addr(addr: &SocketAddr) -> (Self, libc::socklen_t) {
        let mut name = Self::empty();
        match addr {
            SocketAddr::V4(addr) => {
                name.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: addr.port().to_be(),
                    sin_addr: in_addr(*addr.ip()),
                    sin_zero: [0; 8],
                };
                (name, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(addr) => {
                name.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: addr.port().to_be(),
                    sin6_flowinfo: addr.flowinfo(),
                    sin6_addr: in6_addr(*addr.ip()),
                    sin6_scope_id: addr.scope_id(),
                };
                (name, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    pub(super) fn to_addr(self) -> Option<SocketAddr> {
        // SAFETY: the union was zeroed before the kernel wrote to it, so every member is initialised; all members are
        // integers, and the family says which of them means something.
        unsafe {
            match libc::c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(u32::from_be(self.v4.sin_addr.s_addr));
                    Some(SocketAddr::V4(SocketAddrV4::new(
                        ip,
                        u16::from_be(self.v4.sin_port),
                    )))
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    Some(SocketAddr::V6(SocketAddrV6::new(
                        ip,
                        port,
                        0,
                        self.v6.sin6_scope_id,
                    )))
                }
                _ => None,
            }
        }
    }
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from(ip).to_be(),
    }
}

fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip.octets() }
}

/// What the control messages of a packet to be sent say.
pub(super) struct Outgoing {
    pub(super) is_v6: bool,
    pub(super) source: Option<IpAddr>,
    pub(super) interface: u32,
    pub(super) ecn: u8,
    pub(super) ttl: u8,
    pub(super) segment_size: Option<u16>,
}

impl Outgoing {
    /// Writes the messages that are needed and returns their length in bytes. A source of the other family is left out.
    pub(super) fn write(&self, control: &mut Control) -> usize {
        let mut at = 0;
        if self.is_v6 {
            let source = match self.source {
                Some(IpAddr::V6(ip)) => ip,
                _ => Ipv6Addr::UNSPECIFIED,
            };
            if !source.is_unspecified() || self.interface != 0 {
                let info = libc::in6_pktinfo {
                    ipi6_addr: in6_addr(source),
                    ipi6_ifindex: self.interface,
                };
                at = control.push(at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        } else {
            let source = match self.source {
                Some(IpAddr::V4(ip)) => ip,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            if !source.is_unspecified() || self.interface != 0 {
                let ipi_ifindex = self.interface as libc::c_int;
                let ipi_addr = in_addr(Ipv4Addr::UNSPECIFIED);
                let info = libc::in_pktinfo {
                    ipi_ifindex,
                    ipi_spec_dst: in_addr(source),
                    ipi_addr,
                };
                at = control.push(at, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
        }
        if self.ecn & 3 != 0 {
            let (level, kind) = match self.is_v6 {
                true => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
                false => (libc::IPPROTO_IP, libc::IP_TOS),
            };
            at = control.push(at, level, kind, libc::c_int::from(self.ecn & 3));
        }
        if self.ttl != 0 {
            let (level, kind) = match self.is_v6 {
                true => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
                false => (libc::IPPROTO_IP, libc::IP_TTL),
            };
            at = control.push(at, level, kind, libc::c_int::from(self.ttl));
        }
        if let Some(size) = self.segment_size {
            at = control.push(at, libc::SOL_UDP, sys::UDP_SEGMENT, size);
        }
        at
    }
}

/// What the control messages of a received packet say.
#[derive(Clone, Copy, Default)]
pub(super) struct Ancillary {
    pub(super) local: Option<IpAddr>,
    pub(super) interface: u32,
    pub(super) ecn: u8,
    pub(super) segment_size: Option<u16>,
}

/// Reads the control messages that the kernel wrote for `header`.
///
/// # Safety
/// `header` is as recvmsg left it, and its control pointer is valid for `msg_controllen` bytes.
pub(super) unsafe fn read_control(header: &libc::msghdr) -> Ancillary {
    let mut found = Ancillary::default();
    // SAFETY: the caller vouches for the header; CMSG_FIRSTHDR and CMSG_NXTHDR stay within msg_controllen, and the
    // kernel wrote whole messages of the types below (MSG_CTRUNC packets are dropped before).
    unsafe {
        let mut cursor = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = cursor.as_ref() {
            let data = libc::CMSG_DATA(cursor);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = ptr::read_unaligned(data.cast::<libc::in_pktinfo>());
                    found.local = Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into());
                    found.interface = info.ipi_ifindex as u32;
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = ptr::read_unaligned(data.cast::<libc::in6_pktinfo>());
                    found.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    found.interface = info.ipi6_ifindex as u32;
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => found.ecn = *data & 3,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    found.ecn = (ptr::read_unaligned(data.cast::<libc::c_int>()) & 3) as u8;
                }
                (libc::SOL_UDP, sys::UDP_GRO) => {
                    let size = ptr::read_unaligned(data.cast::<libc::c_int>());
                    found.segment_size = u16::try_from(size).ok().filter(|size| *size != 0);
                }
                _ => {}
            }
            cursor = libc::CMSG_NXTHDR(header, cursor);
        }
    }
    found
}
