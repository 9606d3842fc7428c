//! Receiving: one recvmmsg fills a [`RecvBatch`] with the datagrams that wait, coalesced by UDP_GRO.
//!
//! 1. Pointers to the batch's own buffers are written into the message headers.
//! 2. recvmmsg, without waiting.
//! 3. Address, control messages and flags of each are read once into a [`Slot`]; what was cut off is dropped and counted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Counters;
use super::message::{Ancillary, Control, Name, read_control};

/// Bytes that hold the largest buffer that UDP_GRO makes.
pub const GRO_BUFFER: usize = 65_536;
/// An ICMP error may be reported again and again; after this many we say that nothing waits.
const MAX_SWALLOWED: u32 = 16;

/// What was received from one sender in one run: one datagram, or several of `segment_size` bytes, the last one maybe
/// shorter.
#[derive(Debug)]
pub struct Received<'a> {
    /// The datagrams, one after the other. They may be changed (opened) in place.
    pub bytes: &'a mut [u8],
    /// Bytes of each datagram; `bytes.len()` where there is one. At least 1 except for an empty datagram.
    pub segment_size: usize,
    /// Who sent them.
    pub source: SocketAddr,
    /// The address of ours that they came to, to be the source of an answer.
    pub local: Option<IpAddr>,
    /// The interface that they came in by; 0 where unknown.
    pub interface: u32,
    /// The ECN bits of their IP headers (RFC 3168), 0..=3.
    pub ecn: u8,
}

#[derive(Clone, Copy)]
struct Slot {
    buffer: usize,
    len: usize,
    source: SocketAddr,
    ancillary: Ancillary,
}

/// Buffers for one batch, allocated once. Memory that no datagram ever touched stays unbacked.
pub struct RecvBatch {
    bytes: Box<[u8]>,
    buffer_size: usize,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    slots: Vec<Slot>,
}

// SAFETY: the raw pointers in `iovecs` and `headers` point into boxes of the same value and are written anew before
// each system call; nobody else has them.
unsafe impl Send for RecvBatch {}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (buffers, filled) = (self.names.len(), self.slots.len());
        f.debug_struct("RecvBatch")
            .field("buffers", &buffers)
            .field("filled", &filled)
            .finish()
    }
}

impl RecvBatch {
    /// Room for `buffers` (1..=1024) runs of at most `buffer_size` bytes: [`GRO_BUFFER`] for a socket with GRO, else
    /// the largest datagram that matters; longer ones are dropped and counted.
    pub fn new(buffers: usize, buffer_size: usize) -> Self {
        let buffers = buffers.clamp(1, 1024);
        // SAFETY: iovec and mmsghdr are plain C structs of integers and pointers; zeroes are a valid value of both.
        let (iovec, header) = unsafe {
            (
                std::mem::zeroed::<libc::iovec>(),
                std::mem::zeroed::<libc::mmsghdr>(),
            )
        };
        Self {
            bytes: vec![0; buffers * buffer_size].into_boxed_slice(),
            buffer_size,
            names: vec![Name::empty(); buffers].into_boxed_slice(),
            controls: vec![Control::EMPTY; buffers].into_boxed_slice(),
            iovecs: vec![iovec; buffers].into_boxed_slice(),
            headers: vec![header; buffers].into_boxed_slice(),
            slots: Vec::with_capacity(buffers),
        }
    }

    /// How many runs the last receive brought.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the last receive brought nothing.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the last receive filled every buffer, so that more may wait.
    pub fn is_full(&self) -> bool {
        self.slots.len() == self.names.len()
    }

    /// The runs of the last receive, in order of arrival.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = Received<'_>> {
        // The slots' buffers ascend, so one pass over the chunks meets each of them.
        let mut chunks = self.bytes.chunks_exact_mut(self.buffer_size.max(1)).enumerate();
        self.slots.iter().filter_map(move |slot| {
            let (_, chunk) = chunks.find(|(index, _)| *index == slot.buffer)?;
            let Ancillary {
                local,
                interface,
                ecn,
                segment_size,
            } = slot.ancillary;
            let segment_size = segment_size.map_or(slot.len, |size| usize::from(size).min(slot.len));
            Some(Received {
                bytes: &mut chunk[..slot.len],
                segment_size,
                source: slot.source,
                local,
                interface,
                ecn,
            })
        })
    }

    fn prepare(&mut self) {
        let chunks = self.bytes.chunks_exact_mut(self.buffer_size.max(1));
        let slots = self.headers.iter_mut().zip(&mut self.iovecs);
        let metas = self.names.iter_mut().zip(&mut self.controls);
        for (((header, iovec), (name, control)), chunk) in slots.zip(metas).zip(chunks) {
            iovec.iov_base = chunk.as_mut_ptr().cast();
            iovec.iov_len = chunk.len();
            header.msg_len = 0;
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr();
            header.msg_hdr.msg_controllen = control.capacity() as _;
            header.msg_hdr.msg_flags = 0;
        }
    }

    pub(super) fn fill(&mut self, fd: BorrowedFd<'_>, counters: &Counters) -> io::Result<usize> {
        self.slots.clear();
        let mut swallowed = 0;
        let count = loop {
            self.prepare();
            let size = self.headers.len().min(self.bytes.len() / self.buffer_size.max(1)) as libc::c_uint;
            // SAFETY: `prepare` has just pointed `size` headers at buffers of this batch, with their lengths; all of
            // them live through the call, and nothing else refers to them.
            let count = unsafe {
                libc::recvmmsg(
                    fd.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    size,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            };
            if count >= 0 {
                break count as usize;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(0),
                Some(libc::EINTR) => {}
                Some(code) if super::is_icmp(code) => {
                    counters.icmp_errors.add(1);
                    swallowed += 1;
                    if swallowed == MAX_SWALLOWED {
                        return Ok(0);
                    }
                }
                _ => return Err(error),
            }
        };
        self.collect(count, counters);
        Ok(self.slots.len())
    }

    fn collect(&mut self, count: usize, counters: &Counters) {
        for (buffer, (header, name)) in self.headers.iter().zip(&self.names).take(count).enumerate() {
            let len = header.msg_len as usize;
            if header.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 || len > self.buffer_size
            {
                counters.truncated.add(1);
                continue;
            }
            let Some(source) = name.to_addr() else { continue };
            // SAFETY: recvmmsg filled this header, whose control buffer belongs to this batch and was not moved since.
            let ancillary = unsafe { read_control(&header.msg_hdr) };
            self.slots.push(Slot {
                buffer,
                len,
                source,
                ancillary,
            });
        }
    }
}
