//! Sending: one sendmsg per run of segments (UDP_SEGMENT), one sendmmsg per batch of runs.
//!
//! 1. A [`Transmit`] becomes a [`Frame`]: address and control messages, on the stack.
//! 2. The kernel gets up to [`CHUNK`] of them at once.
//! 3. Where it refuses UDP_SEGMENT (EIO, EINVAL), that run is sent again datagram by datagram, and the destination is
//!    remembered if this helped.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use thiserror::Error;

use super::message::{Control, Name, Outgoing};
use super::{Counters, UdpSocket, is_icmp};

/// Most segments of one [`Transmit`] that leave by one UDP_SEGMENT send (UDP_MAX_SEGMENTS of Linux before 6.9).
pub const MAX_SEGMENTS: usize = 64;
/// Most bytes of one [`Transmit`] that leave by one UDP_SEGMENT send: the largest UDP payload over IPv4.
pub const MAX_SEND_BYTES: usize = 65_507;
/// Messages handed to one sendmmsg.
const CHUNK: usize = 16;
/// Parts that one datagram may consist of where UDP_SEGMENT is not to be had.
const MAX_DATAGRAM_PARTS: usize = 16;

/// One run of datagrams to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where to. An IPv6 link-local address needs its scope id.
    pub destination: SocketAddr,
    /// The address of ours to send from; `None` leaves it to the routing table.
    pub source: Option<IpAddr>,
    /// The index of the interface to send by; 0 leaves it to the routing table.
    pub interface: u32,
    /// The ECN bits of the IP headers (RFC 3168), 0..=3.
    pub ecn: u8,
    /// Time to live (IPv4) or hop limit (IPv6); 0 for the usual one.
    pub ttl: u8,
    /// Bytes of each datagram, all but the last of them full; 0 sends everything as one datagram.
    pub segment_size: u16,
    /// The bytes, in order. Parts need not end where datagrams end.
    pub parts: &'a [IoSlice<'a>],
}

impl<'a> Transmit<'a> {
    /// One datagram, source and interface by the routing table, no ECN bits.
    pub const fn new(destination: SocketAddr, parts: &'a [IoSlice<'a>]) -> Self {
        Self {
            destination,
            source: None,
            interface: 0,
            ecn: 0,
            ttl: 0,
            segment_size: 0,
            parts,
        }
    }

    /// All bytes of the run.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.is_empty())
    }

    /// How many datagrams the run is; an empty one is one empty datagram.
    pub fn datagrams(&self) -> usize {
        match self.segment_size {
            0 => 1,
            size => self.len().div_ceil(usize::from(size)).max(1),
        }
    }
}

/// Why a run did not leave. `Copy`, to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// EAGAIN: the socket's buffer is full; wait until it is writable.
    #[error("the socket's send buffer is full")]
    WouldBlock,
    /// EMSGSIZE: a datagram is larger than the path or the link takes, and may not be fragmented.
    #[error("a datagram is larger than the path's MTU")]
    TooBig,
    /// ENETUNREACH, EHOSTUNREACH, ENETDOWN, ENODEV: no route now, or (newer kernels, IPv4) none from this source,
    /// which may be ours no longer.
    #[error("no route to the destination")]
    Unreachable,
    /// EINVAL or EADDRNOTAVAIL: most likely the source address is ours no longer.
    #[error("the source address is not ours, or the destination is invalid")]
    BadAddress,
    /// EPERM, EACCES: a local packet filter drops it.
    #[error("a local firewall rule forbids it")]
    Forbidden,
    /// ENOBUFS: the device's queue is full; the run is lost.
    #[error("the device's queue is full")]
    QueueFull,
    /// Any other error number.
    #[error("error number {0}")]
    Other(i32),
}

impl SendError {
    fn from_code(code: i32) -> Self {
        match code {
            libc::EAGAIN => Self::WouldBlock,
            libc::EMSGSIZE => Self::TooBig,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::ENODEV => Self::Unreachable,
            libc::EINVAL | libc::EADDRNOTAVAIL => Self::BadAddress,
            libc::EPERM | libc::EACCES => Self::Forbidden,
            libc::ENOBUFS => Self::QueueFull,
            other => Self::Other(other),
        }
    }
}

/// How far [`UdpSocket::send_batch`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSent {
    /// How many runs, from the first on, left.
    pub sent: usize,
    /// Why the next one did not; `None` where all did. Skip it, or wait, and send the rest again from there.
    pub error: Option<SendError>,
}

/// Address and control messages of one message, as the kernel reads them.
struct Frame {
    name: Name,
    name_len: libc::socklen_t,
    control: Control,
    control_len: usize,
    segmented: bool,
}

impl Frame {
    fn empty() -> Self {
        Self {
            name: Name::empty(),
            name_len: 0,
            control: Control::EMPTY,
            control_len: 0,
            segmented: false,
        }
    }

    fn set(&mut self, transmit: &Transmit<'_>, segment: bool) {
        let is_v6 = transmit.destination.is_ipv6();
        let size = segment.then_some(transmit.segment_size);
        (self.name, self.name_len) = Name::from_addr(&transmit.destination);
        self.control_len = Outgoing {
            is_v6,
            source: transmit.source,
            interface: transmit.interface,
            ecn: transmit.ecn,
            ttl: transmit.ttl,
            segment_size: size,
        }
        .write(&mut self.control);
        self.segmented = segment;
    }

    /// The header that refers to this frame and `parts`; valid as long as both stay where they are.
    fn header(&self, parts: &[IoSlice<'_>]) -> libc::mmsghdr {
        // SAFETY: mmsghdr is a plain C struct of integers and pointers; zeroes are a valid value.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        // sendmmsg only reads through these pointers. IoSlice has the layout of iovec (std's guarantee on Unix).
        header.msg_hdr.msg_name = std::ptr::from_ref(&self.name).cast_mut().cast();
        header.msg_hdr.msg_namelen = self.name_len;
        header.msg_hdr.msg_iov = parts.as_ptr().cast::<libc::iovec>().cast_mut();
        header.msg_hdr.msg_iovlen = parts.len() as _;
        if self.control_len != 0 {
            header.msg_hdr.msg_control = self.control.as_ptr().cast_mut();
            header.msg_hdr.msg_controllen = self.control_len as _;
        }
        header
    }
}

impl UdpSocket {
    /// Sends one run, by one system call where UDP_SEGMENT works. At most [`MAX_SEGMENTS`] datagrams and
    /// [`MAX_SEND_BYTES`] bytes do; a longer run goes datagram by datagram.
    ///
    /// # Errors
    /// The run is lost except with [`SendError::WouldBlock`]. Where only the rest of a run sent datagram by datagram found
    /// no room, that rest is lost and counted, and the call is a success.
    pub fn send_segments(&self, transmit: &Transmit<'_>) -> Result<(), SendError> {
        match self.send_batch(std::slice::from_ref(transmit)).error {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Sends runs in order, to whatever destinations, until one fails.
    pub fn send_batch(&self, batch: &[Transmit<'_>]) -> BatchSent {
        let mut sent = 0;
        let mut frames = [const { None::<Frame> }; CHUNK];
        while sent < batch.len() {
            match self.send_chunk(&batch[sent..], &mut frames) {
                Ok(count) => sent += count,
                Err(error) => {
                    return BatchSent {
                        sent,
                        error: Some(error),
                    };
                }
            }
        }
        BatchSent { sent, error: None }
    }

    /// Sends up to [`CHUNK`] runs from the front of `batch`, which is not empty; returns how many left.
    fn send_chunk(
        &self,
        batch: &[Transmit<'_>],
        frames: &mut [Option<Frame>; CHUNK],
    ) -> Result<usize, SendError> {
        // SAFETY: mmsghdr is a plain C struct of integers and pointers; zeroes are a valid value.
        let mut headers: [libc::mmsghdr; CHUNK] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        for ((transmit, frame), header) in batch.iter().zip(frames).zip(&mut headers) {
            let many = transmit.datagrams() > 1;
            if many && !self.may_segment(transmit) {
                break;
            }
            let frame = frame.get_or_insert_with(Frame::empty);
            frame.set(transmit, many);
            *header = frame.header(transmit.parts);
            count += 1;
        }
        if count == 0 {
            return self.send_singly(&batch[0]).map(|()| 1);
        }
        let first_segmented = batch[0].datagrams() > 1;
        match send_headers(self.borrow(), &mut headers[..count], &self.counters) {
            Ok(count) => Ok(count),
            Err(libc::EIO | libc::EINVAL) if first_segmented => {
                self.counters.segment_refusals.add(1);
                self.send_singly(&batch[0])?;
                self.refusals.insert(batch[0].destination.ip());
                Ok(1)
            }
            Err(code) => Err(SendError::from_code(code)),
        }
    }

    fn may_segment(&self, transmit: &Transmit<'_>) -> bool {
        self.segments
            && transmit.datagrams() <= MAX_SEGMENTS
            && transmit.len() <= MAX_SEND_BYTES
            && !self.refusals.contains(transmit.destination.ip())
    }

    /// Sends each datagram of a run by itself, [`CHUNK`] to a system call; address and control messages are shared.
    fn send_singly(&self, transmit: &Transmit<'_>) -> Result<(), SendError> {
        let mut frame = Frame::empty();
        frame.set(transmit, false);
        let mut rest = Cursor {
            parts: transmit.parts,
            offset: 0,
        };
        let mut left = transmit.datagrams();
        let mut any = false;
        while left > 0 {
            let mut pieces = [[IoSlice::new(&[]); MAX_DATAGRAM_PARTS]; CHUNK];
            // SAFETY: mmsghdr is a plain C struct of integers and pointers; zeroes are a valid value.
            let mut headers: [libc::mmsghdr; CHUNK] = unsafe { std::mem::zeroed() };
            let count = left.min(CHUNK);
            for (pieces, header) in pieces.iter_mut().zip(&mut headers).take(count) {
                let used = rest
                    .take(usize::from(transmit.segment_size), pieces)
                    .ok_or(SendError::TooBig)?;
                *header = frame.header(&pieces[..used]);
            }
            let mut done = 0;
            while done < count {
                match send_headers(self.borrow(), &mut headers[done..count], &self.counters) {
                    Ok(sent) => done += sent,
                    Err(libc::EAGAIN | libc::ENOBUFS) if any || done > 0 => {
                        self.counters.lost.add((left - done) as u64);
                        return Ok(());
                    }
                    Err(code) => return Err(SendError::from_code(code)),
                }
            }
            any = true;
            left -= count;
        }
        Ok(())
    }
}

/// A place in a list of parts.
struct Cursor<'a> {
    parts: &'a [IoSlice<'a>],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// Takes the next `size` bytes (fewer at the end; all of them where `size` is 0) as parts into `to`; returns how
    /// many parts those are, `None` where there is no room for so many.
    fn take(&mut self, size: usize, to: &mut [IoSlice<'a>]) -> Option<usize> {
        let mut wanted = if size == 0 { usize::MAX } else { size };
        let mut used = 0;
        while wanted > 0 {
            let Some((first, others)) = self.parts.split_first() else {
                break;
            };
            let first: &'a [u8] = first;
            let piece = &first[self.offset..];
            let piece = &piece[..piece.len().min(wanted)];
            if !piece.is_empty() {
                *to.get_mut(used)? = IoSlice::new(piece);
                used += 1;
            }
            wanted -= piece.len();
            self.offset += piece.len();
            if self.offset == first.len() {
                (self.parts, self.offset) = (others, 0);
            }
        }
        Some(used)
    }
}

/// sendmmsg until at least one message left or a real error comes: pending ICMP errors are counted and passed over.
fn send_headers(
    fd: BorrowedFd<'_>,
    headers: &mut [libc::mmsghdr],
    counters: &Counters,
) -> Result<usize, i32> {
    let mut swallowed = 0;
    loop {
        let count = headers.len() as libc::c_uint;
        // SAFETY: each header points at an address, control messages and parts that the callers keep alive and unmoved
        // through the call, with their lengths; sendmmsg writes only `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
            )
        };
        if sent >= 0 {
            return Ok(sent as usize);
        }
        match io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
            libc::EINTR => {}
            code if is_icmp(code) && swallowed == 0 => {
                counters.icmp_errors.add(1);
                swallowed += 1;
            }
            code => return Err(code),
        }
    }
}
