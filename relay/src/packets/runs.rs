//! Neighbouring datagrams that go the same way, as one send.

use std::io::IoSlice;

use meshd_core::relay::Channel;
use meshd_net::udp::{MAX_SEGMENTS, MAX_SEND_BYTES, SendError, Transmit, UdpSocket};

use super::streams::Streams;
use super::{PacketMetrics, Shared};

/// Runs collected before they are sent.
pub const MAX_RUNS: usize = 64;

/// Datagrams in one piece of memory, for one receiver, all of one size but the last, which may be shorter.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    to: Channel,
    bytes: &'a [u8],
    segment_size: usize,
    datagrams: u64,
    ecn: u8,
}

/// The runs of a batch, in order, on the stack.
pub struct Runs<'a> {
    runs: [Option<Run<'a>>; MAX_RUNS],
    len: usize,
}

impl<'a> Runs<'a> {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            runs: [None; MAX_RUNS],
            len: 0,
        }
    }

    /// Adds a run, sending those held where there is no room.
    pub fn push(&mut self, run: Run<'a>, shared: &Shared, metrics: &mut PacketMetrics) {
        if self.len == MAX_RUNS {
            self.send(shared, metrics);
        }
        self.runs[self.len] = Some(run);
        self.len += 1;
    }

    /// Sends all, socket by socket, each in order. What finds no room is dropped: a relay holds no queue.
    pub fn send(&mut self, shared: &Shared, metrics: &mut PacketMetrics) {
        for run in self.runs[..self.len].iter().flatten() {
            if let Some(number) = run.to.stream() {
                send_to_stream(&shared.streams, number, run, metrics);
            }
        }
        for (listener, socket) in shared.sockets.iter().enumerate() {
            let mut of_socket = [const { None::<&Run<'a>> }; MAX_RUNS];
            let mut count = 0;
            for run in self.runs[..self.len]
                .iter()
                .flatten()
                .filter(|run| run.to.listener as usize == listener)
            {
                of_socket[count] = Some(run);
                count += 1;
            }
            send_all(socket, &of_socket[..count], metrics);
        }
        self.len = 0;
    }
}

fn send_to_stream(streams: &Streams, number: u64, run: &Run<'_>, metrics: &mut PacketMetrics) {
    metrics.unsent += streams.push(number, run.bytes, run.segment_size);
    metrics.forwarded += run.datagrams;
    metrics.forwarded_bytes += run.bytes.len() as u64;
}

fn send_all(socket: &UdpSocket, runs: &[Option<&Run<'_>>], metrics: &mut PacketMetrics) {
    let Some(Some(first)) = runs.first() else { return };
    let mut slices = [const { None::<IoSlice<'_>> }; MAX_RUNS];
    for (slice, run) in slices.iter_mut().zip(runs.iter().flatten()) {
        *slice = Some(IoSlice::new(run.bytes));
    }
    let mut transmits = [Transmit::new(first.to.address, &[]); MAX_RUNS];
    for ((transmit, slice), run) in transmits.iter_mut().zip(&slices).zip(runs.iter().flatten()) {
        *transmit = Transmit {
            ecn: run.ecn,
            source: run.to.local,
            segment_size: if run.datagrams > 1 {
                run.segment_size as u16
            } else {
                0
            },
            ..Transmit::new(run.to.address, slice.as_slice())
        };
    }
    let mut done = 0;
    while done < runs.len() {
        let outcome = socket.send_batch(&transmits[done..runs.len()]);
        for run in runs[done..done + outcome.sent].iter().flatten() {
            metrics.forwarded += run.datagrams;
            metrics.forwarded_bytes += run.bytes.len() as u64;
        }
        done += outcome.sent;
        if let Some(error) = outcome.error {
            let lost = runs.get(done).copied().flatten().map_or(0, |run| run.datagrams);
            metrics.unsent += lost;
            metrics.no_room += if is_want_of_room(error) { lost } else { 0 };
            done += 1; // the rest may well have room, or another route
        }
    }
}

/// Whether what was not sent would have been, had less been sent before.
pub fn is_want_of_room(error: SendError) -> bool {
    matches!(error, SendError::WouldBlock | SendError::QueueFull)
}

/// The run that is being made while a buffer is walked through: where it starts, and whom it is for.
#[derive(Clone, Copy)]
pub struct Open {
    to: Channel,
    start: usize,
    end: usize,
    datagrams: usize,
}

/// Splits one received buffer into runs.
pub struct Joiner {
    segment_size: usize,
    ecn: u8,
    open: Option<Open>,
}

impl Joiner {
    /// For a buffer of datagrams of `segment_size`.
    pub const fn new(segment_size: usize, ecn: u8) -> Self {
        Self {
            segment_size,
            ecn,
            open: None,
        }
    }

    /// The datagram at `start..end` goes `to`; gives the run that it does not belong to, which is complete.
    pub fn add(&mut self, to: Channel, start: usize, end: usize) -> Option<Open> {
        let joins = |open: &Open| {
            open.to == to
                && open.end == start
                && open.datagrams < MAX_SEGMENTS
                && end - open.start <= MAX_SEND_BYTES
        };
        match &mut self.open {
            Some(open) if joins(open) => {
                open.end = end;
                open.datagrams += 1;
                None
            }
            _ => self.open.replace(Open {
                to,
                start,
                end,
                datagrams: 1,
            }),
        }
    }

    /// The last run.
    pub fn finish(&mut self) -> Option<Open> {
        self.open.take()
    }

    /// A complete run over the buffer's bytes.
    pub fn run<'a>(&self, open: Open, bytes: &'a [u8]) -> Run<'a> {
        let bytes = bytes.get(open.start..open.end).unwrap_or_default();
        let (segment_size, datagrams) = (self.segment_size, open.datagrams as u64);
        Run {
            to: open.to,
            bytes,
            segment_size,
            datagrams,
            ecn: self.ecn,
        }
    }
}
