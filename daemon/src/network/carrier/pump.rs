//! Moving frames between the loopback socket and the TLS connection.
//!
//! Up: one receive call brings runs of datagrams from the tunnel's socket; each goes into a bounded ring, from which the
//! connection is written; where TCP is slow the oldest are dropped. Down: what was read is cut into frames; neighbours of
//! one size leave as one send.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshd_core::demux::{Class, classify};
use meshd_core::relay::stream::{FrameRing, frame_at};
use meshd_net::udp::{GRO_BUFFER, MAX_SEGMENTS, MAX_SEND_BYTES, RecvBatch, Transmit, UdpSocket};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::debug;

/// Bytes that wait for the connection at most: 40 ms at 50 Mbit/s.
const MAX_WAITING: usize = 256 * 1024;
/// Runs taken by one receive call.
const RUNS: usize = 8;
/// A whole frame of the longest kind, and more where it is there.
const BUFFER: usize = 2 * (u16::MAX as usize + 2);
/// The relay answers a renewal every 15 s; silent for longer than three of them, the connection is dead.
const SILENCE: Duration = Duration::from_secs(50);

/// The loopback side of a carrier.
pub(super) struct Local {
    socket: AsyncFd<UdpSocket>,
    tunnel: SocketAddr,
}

/// What waits for the connection.
struct Waiting {
    ring: Mutex<FrameRing>,
    ready: Notify,
}

impl Waiting {
    fn ring(&self) -> MutexGuard<'_, FrameRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Local {
    /// A socket on loopback, and the tunnel's address there.
    pub(super) fn new(socket: UdpSocket, tunnel: SocketAddr) -> io::Result<Self> {
        let socket = socket.into_async()?;
        Ok(Self { socket, tunnel })
    }

    /// Moves frames until the connection ends; says why it did.
    pub(super) async fn carry<T: AsyncRead + AsyncWrite>(&self, stream: T) -> io::Error {
        let (reader, writer) = tokio::io::split(stream);
        let waiting = Waiting {
            ring: Mutex::new(FrameRing::new(MAX_WAITING)),
            ready: Notify::new(),
        };
        tokio::select! {
            error = self.up(&waiting) => error,
            error = write(&waiting, writer) => error,
            error = self.down(reader) => error,
        }
    }

    async fn up(&self, waiting: &Waiting) -> io::Error {
        let mut batch = RecvBatch::new(RUNS, GRO_BUFFER);
        let mut dropped = 0;
        loop {
            let mut guard = match self.socket.readable().await {
                Ok(guard) => guard,
                Err(error) => return error,
            };
            match guard.get_inner().recv_batch(&mut batch) {
                Ok(_) if batch.is_full() => {}
                Ok(_) => guard.clear_ready(),
                Err(error) => return error,
            }
            let before = dropped;
            {
                let mut ring = waiting.ring();
                for run in batch.iter_mut().filter(|run| run.source == self.tunnel) {
                    let relayed = |datagram: &&[u8]| classify(datagram) == Class::Relay;
                    let datagrams = run.bytes.chunks(run.segment_size.max(1));
                    dropped += datagrams
                        .filter(relayed)
                        .map(|frame| ring.push(frame, frame.len()))
                        .sum::<u64>();
                }
            }
            if dropped != before && before == 0 {
                debug!("the relay over TLS is slow; the oldest packets are dropped");
            }
            waiting.ready.notify_one();
            yield_now().await; // the writer gets a turn before the ring runs over
        }
    }

    async fn down<T: AsyncRead>(&self, mut reader: ReadHalf<T>) -> io::Error {
        let mut buffer = vec![0; BUFFER];
        let mut filled = 0;
        loop {
            match timeout(SILENCE, reader.read(&mut buffer[filled..])).await {
                Ok(Ok(0)) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(Ok(count)) => filled += count,
                Ok(Err(error)) => return error,
                Err(_) => return io::ErrorKind::TimedOut.into(),
            }
            let done = self.deliver(&buffer[..filled]);
            buffer.copy_within(done..filled, 0);
            filled -= done;
        }
    }

    /// Sends the whole frames at the front of `bytes` to the tunnel; gives where the rest starts. What finds no room is
    /// lost, as on any network.
    fn deliver(&self, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut parts = [IoSlice::new(&[]); MAX_SEGMENTS];
        let (mut count, mut size, mut total) = (0, 0, 0);
        while let Some((start, end)) = frame_at(bytes, at) {
            at = end;
            let frame = &bytes[start..end];
            if classify(frame) != Class::Relay {
                continue;
            }
            let fits = count < MAX_SEGMENTS && frame.len() <= size && total + frame.len() <= MAX_SEND_BYTES;
            let ended = count > 0 && total % size != 0;
            if count > 0 && (!fits || ended) {
                self.send(&parts[..count], size);
                (count, total) = (0, 0);
            }
            if count == 0 {
                size = frame.len();
            }
            parts[count] = IoSlice::new(frame);
            count += 1;
            total += frame.len();
        }
        if count > 0 {
            self.send(&parts[..count], size);
        }
        at
    }

    fn send(&self, parts: &[IoSlice<'_>], size: usize) {
        let _ = self.socket.get_ref().send_segments(&Transmit {
            segment_size: if parts.len() > 1 { size as u16 } else { 0 },
            ..Transmit::new(self.tunnel, parts)
        });
    }
}

async fn write<T: AsyncWrite>(waiting: &Waiting, mut writer: WriteHalf<T>) -> io::Error {
    let mut taken = VecDeque::new();
    loop {
        while !waiting.ring().take(&mut taken) {
            waiting.ready.notified().await;
        }
        let (one, two) = taken.as_slices();
        for bytes in [one, two] {
            if let Err(error) = writer.write_all(bytes).await {
                return error;
            }
        }
        if let Err(error) = writer.flush().await {
            return error;
        }
    }
}
