//! One stream: its bytes cut into frames, judged as datagrams are, and sent on.
//!
//! 1. What the connection has is read into one buffer; whole frames in it are a batch.
//! 2. Under one read lock each frame is judged; neighbours of one size for one receiver become one send.
//! 3. Control messages of the batch are handled under the write lock, and answered into the stream's own queue.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use meshd_core::demux::{Class, classify};
use meshd_core::relay::frame::{Control, Frame, parse};
use meshd_core::relay::stream::frame_at;
use meshd_core::relay::{Channel, RelayDrop, Verdict};
use meshd_net::udp::{MAX_SEGMENTS, MAX_SEND_BYTES, Transmit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::super::runs::is_want_of_room;
use super::super::{PacketMetrics, Shared};
use super::{IDLE, Place};

/// Bytes read at once: a whole frame of the longest kind, and more where it is there.
const BUFFER: usize = 2 * (u16::MAX as usize + 2);
/// Frames of one batch.
const MAX_FRAMES: usize = 256;
/// Control messages handled per batch; more are dropped.
const MAX_CONTROL: usize = 8;

/// Carries until the connection ends, is idle, or is cut.
pub(super) async fn carry<T>(shared: Arc<Shared>, place: Place, io: T)
where
    T: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(io);
    let mut inlet = Inlet {
        shared,
        own: place.channel(),
        place: &place,
        frames: Vec::with_capacity(MAX_FRAMES),
    };
    tokio::select! {
        () = inlet.read(reader) => {}
        () = write(&place, writer) => {}
        () = place.queue.until_cut() => {}
    }
}

async fn write<T: AsyncWrite>(place: &Place, mut writer: WriteHalf<T>) {
    let mut taken = VecDeque::new();
    loop {
        place.queue.take(&mut taken).await;
        let (one, two) = taken.as_slices();
        for bytes in [one, two] {
            if writer.write_all(bytes).await.is_err() {
                return;
            }
        }
        if writer.flush().await.is_err() {
            return;
        }
    }
}

/// A frame in the buffer, and where it goes.
#[derive(Clone, Copy)]
struct Judged {
    to: Channel,
    start: usize,
    end: usize,
}

struct Inlet<'p> {
    shared: Arc<Shared>,
    own: Channel,
    place: &'p Place,
    frames: Vec<Judged>,
}

impl Inlet<'_> {
    async fn read<T: AsyncRead>(&mut self, mut reader: ReadHalf<T>) {
        let mut buffer = vec![0; BUFFER];
        let mut filled = 0;
        loop {
            match timeout(IDLE, reader.read(&mut buffer[filled..])).await {
                Ok(Ok(count)) if count > 0 => filled += count,
                _ => return,
            }
            let (network, node) = self.place.holder;
            if !self.shared.members.read().is_member(network, node) {
                return;
            }
            let mut done = 0;
            while let Some(end) = self.batch(&mut buffer[done..filled]) {
                done += end;
            }
            buffer.copy_within(done..filled, 0);
            filled -= done;
            tokio::task::yield_now().await; // who writes gets a turn before the queues run over
        }
    }

    /// Handles whole frames from the front of `bytes`; gives where the rest starts, none where there was none.
    fn batch(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let now = Instant::now();
        let mut metrics = PacketMetrics::default();
        let mut control = [(0, 0); MAX_CONTROL];
        let mut asked = 0;
        let mut at = 0;
        let shared = self.shared.clone();
        {
            let relay = shared.members.read();
            while let Some((start, end)) = frame_at(bytes, at)
                && metrics.received < MAX_FRAMES as u64
            {
                at = end;
                metrics.received += 1;
                let frame = &mut bytes[start..end];
                let verdict = match classify(frame) {
                    Class::Relay => relay.forward(now, self.own, frame),
                    _ => {
                        metrics.dropped += 1;
                        continue;
                    }
                };
                match verdict {
                    Verdict::Forward { to } => self.frames.push(Judged { to, start, end }),
                    Verdict::Reply(refusal) => self.answer(&refusal, &mut metrics),
                    Verdict::Control if asked < MAX_CONTROL => {
                        control[asked] = (start, end);
                        asked += 1;
                    }
                    Verdict::Drop(RelayDrop::Shed) => metrics.shed += 1,
                    Verdict::Control | Verdict::Drop(_) => metrics.dropped += 1,
                }
            }
        }
        self.send(bytes, &mut metrics);
        for (start, end) in &control[..asked] {
            self.control(now, &bytes[*start..*end], &mut metrics);
        }
        shared.counters.add(&metrics);
        (at > 0).then_some(at)
    }

    /// A control message; a bind request of another node than the one that proved itself is dropped.
    fn control(&self, now: Instant, message: &[u8], metrics: &mut PacketMetrics) {
        let own = match parse(message) {
            Some(Frame::Control(
                Control::BindRequest { network, node, .. } | Control::OpenRequest { network, node, .. },
            )) => (network, node) == self.place.holder,
            _ => false,
        };
        let verdict = own.then(|| self.shared.members.write().handle_control(now, self.own, message));
        match verdict {
            Some(Verdict::Reply(answer)) => self.answer(&answer, metrics),
            _ => metrics.dropped += 1,
        }
    }

    fn answer(&self, answer: &[u8], metrics: &mut PacketMetrics) {
        metrics.control += 1;
        metrics.unsent += self.place.queue.push(answer, answer.len());
    }

    /// Sends the judged frames of the batch, run by run.
    fn send(&mut self, bytes: &[u8], metrics: &mut PacketMetrics) {
        let mut rest = &self.frames[..];
        while let Some(first) = rest.first() {
            let count = run_length(rest);
            let (run, after) = rest.split_at(count);
            rest = after;
            match first.to.stream() {
                Some(number) => {
                    for frame in run {
                        let bytes = &bytes[frame.start..frame.end];
                        metrics.unsent += self.shared.streams.push(number, bytes, bytes.len());
                        metrics.forwarded += 1;
                        metrics.forwarded_bytes += bytes.len() as u64;
                    }
                }
                None => self.send_run(bytes, run, metrics),
            }
        }
        self.frames.clear();
    }

    fn send_run(&self, bytes: &[u8], run: &[Judged], metrics: &mut PacketMetrics) {
        let mut parts = [IoSlice::new(&[]); MAX_SEGMENTS];
        for (part, frame) in parts.iter_mut().zip(run) {
            *part = IoSlice::new(&bytes[frame.start..frame.end]);
        }
        let Some(first) = run.first() else { return };
        let transmit = Transmit {
            source: first.to.local,
            segment_size: if run.len() > 1 {
                (first.end - first.start) as u16
            } else {
                0
            },
            ..Transmit::new(first.to.address, &parts[..run.len()])
        };
        let socket = self.shared.sockets.get(first.to.listener as usize);
        match socket.map(|socket| socket.send_segments(&transmit)) {
            Some(Ok(())) => {
                metrics.forwarded += run.len() as u64;
                metrics.forwarded_bytes += transmit.len() as u64;
            }
            Some(Err(error)) if is_want_of_room(error) => {
                metrics.unsent += run.len() as u64;
                metrics.no_room += run.len() as u64;
            }
            _ => metrics.unsent += run.len() as u64,
        }
    }
}

/// How many frames from the front go to one receiver in one size, the last maybe shorter.
fn run_length(frames: &[Judged]) -> usize {
    let Some(first) = frames.first() else { return 0 };
    let size = first.end - first.start;
    let most = MAX_SEGMENTS.min(MAX_SEND_BYTES / size.max(1)).max(1);
    let mut count = 0;
    for frame in frames.iter().take(most) {
        let len = frame.end - frame.start;
        if frame.to != first.to || len > size {
            break;
        }
        count += 1;
        if len < size {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(number: u64, len: usize) -> Judged {
        Judged {
            to: Channel::of_stream(number),
            start: 0,
            end: len,
        }
    }

    #[test]
    fn a_run_is_of_one_receiver_and_one_size_with_a_shorter_end() {
        let run = [judged(1, 9), judged(1, 9), judged(1, 5), judged(1, 5)];
        assert_eq!(run_length(&run), 3);
        assert_eq!(run_length(&run[2..]), 2);
        assert_eq!(run_length(&[judged(1, 9), judged(2, 9)]), 1);
        assert_eq!(run_length(&[judged(1, 5), judged(1, 9)]), 1);
        assert_eq!(run_length(&[judged(1, 60_000); 3]), 1);
        assert_eq!(run_length(&[judged(1, 10); 100]), MAX_SEGMENTS);
    }
}
