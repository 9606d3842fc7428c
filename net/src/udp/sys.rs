//! Socket options that rustix does not have, each as one safe function.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// SOL_UDP option: receive several datagrams of one sender as one buffer (linux/udp.h).
pub(super) const UDP_GRO: libc::c_int = 104;
/// SOL_UDP option and control message: cut what is sent into datagrams of this size.
pub(super) const UDP_SEGMENT: libc::c_int = 103;

/// Sets an option whose value is an int.
pub(super) fn set_int(fd: impl AsFd, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: pointer and length describe `value`, which lives through the call and is only read.
    let done = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Marks what a socket sends (SO_MARK, socket(7); CAP_NET_ADMIN). Where the kernel is an emulator that knows no marks, packets
/// go without one.
pub(super) fn set_mark(fd: impl AsFd, mark: u32) -> io::Result<()> {
    match set_int(fd, libc::SOL_SOCKET, libc::SO_MARK, mark as libc::c_int) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        done => done,
    }
}

/// Reads an option that is an array of at most `N` 32-bit numbers; what the kernel does not fill stays 0.
pub(super) fn get_u32s<const N: usize>(fd: impl AsFd, level: i32, option: i32) -> io::Result<[u32; N]> {
    let mut values = [0u32; N];
    let mut len = size_of_val(&values) as libc::socklen_t;
    // SAFETY: pointer and length describe `values`, which lives through the call; any bytes are valid integers.
    let done = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            values.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if done == 0 {
        Ok(values)
    } else {
        Err(io::Error::last_os_error())
    }
}
