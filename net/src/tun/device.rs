//! The ioctls of /dev/net/tun (linux/if_tun.h), each as one safe function.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};

use super::Offloads;

/// IFNAMSIZ: bytes of an interface name with its terminating zero.
pub(super) const NAME_SIZE: usize = libc::IFNAMSIZ;

const TUNSETIFF: u32 = 0x4004_54ca;
const TUNGETIFF: u32 = 0x8004_54d2;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
const TUNSETVNETHDRSZ: u32 = 0x4004_54d8;
const TUNSETVNETLE: u32 = 0x4004_54dc;

const CSUM: u32 = 0x01;
const TSO4: u32 = 0x02;
const TSO6: u32 = 0x04;
const TSO_ECN: u32 = 0x08;
const USO4: u32 = 0x20;
const USO6: u32 = 0x40;

pub(super) const FLAGS: i32 = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE;
pub(super) const VNET: i32 = libc::IFF_VNET_HDR;

/// The name and flags of an interface, as `TUNSETIFF` and `TUNGETIFF` exchange them.
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) flags: i32,
}

/// A fresh, non-blocking descriptor of the control device, attached to nothing.
pub(super) fn open_control() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open("/dev/net/tun", flags, Mode::empty())?)
}

/// TUNSETIFF: makes `fd` a queue of the interface `name`, which is made if need be. `name` may hold `%d`.
pub(super) fn attach(fd: BorrowedFd<'_>, name: &str, flags: i32) -> io::Result<Attached> {
    let mut request = ifreq(name);
    // Only the low 16 bits of the flags take part in the request.
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    ioctl_ifreq(fd, TUNSETIFF, &mut request)?;
    Ok(attached(&request))
}

/// TUNGETIFF: the interface that `fd` is a queue of.
pub(super) fn attachment(fd: BorrowedFd<'_>) -> io::Result<Attached> {
    let mut request = ifreq("");
    ioctl_ifreq(fd, TUNGETIFF, &mut request)?;
    Ok(attached(&request))
}

/// Sets the virtio-net header to 10 bytes, little endian.
pub(super) fn set_vnet_format(fd: BorrowedFd<'_>) -> io::Result<()> {
    ioctl_int(fd, TUNSETVNETHDRSZ, super::VnetHeader::LEN as libc::c_int)?;
    ioctl_int(fd, TUNSETVNETLE, 1)
}

/// Asks for as much offload as the kernel has (USO came with 6.2) and says what holds now.
pub(super) fn set_offloads(fd: BorrowedFd<'_>) -> Offloads {
    agreed(|bits| {
        // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
        unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD as _, libc::c_ulong::from(bits)) == 0 }
    })
}

/// What the kernel agrees to, asked by `ask` for less and less.
fn agreed(mut ask: impl FnMut(u32) -> bool) -> Offloads {
    let tso = CSUM | TSO4 | TSO6;
    for bits in [tso | TSO_ECN | USO4 | USO6, tso | TSO_ECN, tso, CSUM] {
        if ask(bits) {
            return Offloads {
                vnet: true,
                checksum: true,
                tso4: bits & TSO4 != 0,
                tso6: bits & TSO6 != 0,
                tso_ecn: bits & TSO_ECN != 0,
                uso: bits & USO4 != 0,
            };
        }
    }
    Offloads {
        vnet: true,
        ..Offloads::default()
    }
}

fn ifreq(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is a plain C struct (an array and a union of integers); all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(NAME_SIZE - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn attached(request: &libc::ifreq) -> Attached {
    let name = request
        .ifr_name
        .iter()
        .take_while(|c| **c != 0)
        .map(|c| *c as u8)
        .collect::<Vec<u8>>();
    // SAFETY: the kernel filled the flags member; any bytes are a valid integer.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Attached {
        name: String::from_utf8_lossy(&name).into_owned(),
        flags: i32::from(flags as u16),
    }
}

fn ioctl_ifreq(fd: BorrowedFd<'_>, number: u32, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: both callers pass ioctls that read and write one `struct ifreq`, and `request` is one that lives on.
    match unsafe { libc::ioctl(fd.as_raw_fd(), number as _, std::ptr::from_mut(request)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn ioctl_int(fd: BorrowedFd<'_>, number: u32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: both callers pass ioctls that read one int through the pointer, and `value` lives through the call.
    match unsafe { libc::ioctl(fd.as_raw_fd(), number as _, std::ptr::from_ref(&value)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that refuses any of these bits.
    fn without(unknown: u32) -> Offloads {
        agreed(|bits| bits & unknown == 0)
    }

    #[test]
    fn a_kernel_that_refuses_is_asked_for_less() {
        let all = without(0);
        assert!(all.uso && all.tso_ecn && all.tso4 && all.tso6 && all.checksum && all.vnet);
        assert_eq!(without(USO4 | USO6), Offloads { uso: false, ..all });
        let no_ecn = Offloads {
            uso: false,
            tso_ecn: false,
            ..all
        };
        assert_eq!(without(USO4 | USO6 | TSO_ECN), no_ecn);
        let only_checksums = Offloads {
            tso4: false,
            tso6: false,
            ..no_ecn
        };
        assert_eq!(without(TSO4 | USO4 | USO6 | TSO_ECN), only_checksums);
        let nothing = Offloads {
            vnet: true,
            ..Offloads::default()
        };
        assert_eq!(without(CSUM), nothing);
    }
}
