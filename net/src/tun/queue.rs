//! One queue of a TUN device: packets in and out, one system call each.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::{TunSendError, VnetHeader};

/// Most parts of one packet given to [`TunQueue::send`].
pub const MAX_PARTS: usize = 128;
const FEW_PARTS: usize = 4;

/// A queue: a descriptor of /dev/net/tun attached to the device. Sharing one between threads is safe, but a queue per
/// thread is what it is for.
#[derive(Debug)]
pub struct TunQueue {
    fd: OwnedFd,
    vnet: bool,
}

impl TunQueue {
    pub(super) fn new(fd: OwnedFd, vnet: bool) -> Self {
        Self { fd, vnet }
    }

    /// Whether packets carry a virtio-net header, so that super-packets pass.
    pub fn has_vnet_header(&self) -> bool {
        self.vnet
    }

    /// Takes the next packet into `buffer`: its header and its length in bytes. `None` where there is none now. A
    /// buffer of 65,536 bytes holds any packet; what does not fit is cut off by the kernel.
    ///
    /// # Errors
    /// EBADFD where the interface was deleted; the queue is then of no more use.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<(VnetHeader, usize)>> {
        let mut head = [0; VnetHeader::LEN];
        let read = if self.vnet {
            let mut parts = [IoSliceMut::new(&mut head), IoSliceMut::new(buffer)];
            rustix::io::retry_on_intr(|| rustix::io::readv(&self.fd, &mut parts))
        } else {
            rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer))
        };
        match read {
            Ok(len) if !self.vnet => Ok(Some((VnetHeader::PLAIN, len))),
            Ok(len) => Ok(len
                .checked_sub(VnetHeader::LEN)
                .map(|len| (VnetHeader::decode(&head), len))),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives the kernel one packet (or super-packet), whose bytes are `parts` in order; at most [`MAX_PARTS`].
    ///
    /// # Errors
    /// [`TunSendError::Refused`] where the kernel does not take this super-packet: the caller may write its segments
    /// singly. The packet is lost with any other error.
    pub fn send(&self, header: &VnetHeader, parts: &[IoSlice<'_>]) -> Result<(), TunSendError> {
        let written = if self.vnet {
            let head = header.encode();
            // a single packet is not worth the room for 128 parts
            let (mut few, mut many);
            let all = if parts.len() < FEW_PARTS {
                few = [IoSlice::new(&[]); FEW_PARTS];
                &mut few[..]
            } else {
                many = [IoSlice::new(&[]); MAX_PARTS + 1];
                &mut many[..]
            };
            let Some(to) = all.get_mut(1..=parts.len()) else {
                return Err(TunSendError::TooManyParts);
            };
            to.copy_from_slice(parts);
            all[0] = IoSlice::new(&head);
            let all = &all[..=parts.len()];
            rustix::io::retry_on_intr(|| rustix::io::writev(&self.fd, all))
        } else if header.is_plain() {
            rustix::io::retry_on_intr(|| rustix::io::writev(&self.fd, parts))
        } else {
            return Err(TunSendError::Refused);
        };
        match written {
            Ok(_) => Ok(()),
            Err(Errno::INVAL) => Err(TunSendError::Refused),
            Err(Errno::AGAIN) => Err(TunSendError::WouldBlock),
            Err(Errno::IO) => Err(TunSendError::Down),
            Err(Errno::BADFD) => Err(TunSendError::Gone),
            Err(errno) => Err(TunSendError::Other(errno.raw_os_error())),
        }
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
