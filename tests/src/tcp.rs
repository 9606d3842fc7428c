//! One TCP connection under way, every byte of it checked: whether it survived, and how long it stood still.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::machine::Machine;

/// Bytes written at a time.
const CHUNK: usize = 8192;
/// Time to connect, and the longest a reader waits after the writer has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that carries a pseudo-random stream until [`TcpFlow::stop`].
pub struct TcpFlow {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<Result<u64, String>>,
    reader: JoinHandle<Reading>,
    received: Arc<AtomicU64>,
}

/// What became of the connection.
#[derive(Clone, Debug)]
pub struct TcpReport {
    /// Bytes that arrived and were right.
    pub bytes: u64,
    /// Why the connection or its bytes broke, if they did.
    pub broken: Option<String>,
    /// The longest time in which nothing arrived.
    pub longest_stall: Duration,
}

#[derive(Default)]
struct Reading {
    bytes: u64,
    broken: Option<String>,
    longest_stall: Duration,
}

impl TcpFlow {
    /// Connects from `from` to the address `to` of the machine `at` and writes about `rate` bytes/s (0: as fast as it goes).
    ///
    /// # Panics
    /// If the connection cannot be made.
    pub fn start(from: &impl AsRef<Machine>, at: &impl AsRef<Machine>, to: SocketAddr, rate: u32) -> Self {
        let listener = at
            .as_ref()
            .inside(|| TcpListener::bind(to).expect("the receiving address exists"));
        let outgoing = from
            .as_ref()
            .inside(|| TcpStream::connect_timeout(&to, PATIENCE).expect("the connection is made"));
        let (incoming, _) = listener.accept().expect("the connection arrived");
        Self::over(outgoing, incoming, rate)
    }

    /// The same over a connection that is there.
    pub fn over(outgoing: TcpStream, incoming: TcpStream, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        Self {
            reader: thread::spawn(move || read(incoming, &count)),
            writer: thread::spawn(move || write(outgoing, rate, &until)),
            stop,
            received,
        }
    }

    /// Right bytes that have arrived so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends the stream in order and says what became of it.
    pub fn stop(self) -> TcpReport {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.writer.join().expect("the writer did not panic");
        let reading = self.reader.join().expect("the reader did not panic");
        let broken = match written {
            Err(why) => Some(format!("writing: {why}")),
            Ok(bytes) if reading.broken.is_none() && bytes != reading.bytes => {
                Some(format!("{bytes} bytes written, {} arrived", reading.bytes))
            }
            Ok(_) => reading.broken,
        };
        TcpReport {
            bytes: reading.bytes,
            broken,
            longest_stall: reading.longest_stall,
        }
    }
}

/// The stream's byte at `offset`: a hash of it, so that lost, doubled and swapped bytes all show.
fn byte_at(offset: u64) -> u8 {
    let mixed = (offset / 8).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed
        .rotate_left(23)
        .wrapping_mul(0xd6e8_feb8_6659_fd93)
        .to_be_bytes()[usize::try_from(offset % 8).unwrap_or(0)]
}

fn write(mut stream: TcpStream, rate: u32, stop: &AtomicBool) -> Result<u64, String> {
    let patient = stream.set_write_timeout(Some(PATIENCE));
    debug_assert!(patient.is_ok(), "a positive time");
    let begin = Instant::now();
    let mut written = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let chunk: Vec<u8> = (written..written + CHUNK as u64).map(byte_at).collect();
        stream.write_all(&chunk).map_err(|error| error.to_string())?;
        written += CHUNK as u64;
        if rate > 0 {
            let due = begin + Duration::from_millis(written.saturating_mul(1000) / u64::from(rate));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    stream
        .shutdown(std::net::Shutdown::Write)
        .map_err(|error| error.to_string())?;
    Ok(written)
}

fn read(mut stream: TcpStream, count: &AtomicU64) -> Reading {
    let mut reading = Reading::default();
    let mut buffer = [0; 65536];
    let mut last = Instant::now();
    let patient = stream.set_read_timeout(Some(PATIENCE));
    debug_assert!(patient.is_ok(), "a positive time");
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return reading,
            Ok(length) => {
                reading.longest_stall = reading.longest_stall.max(last.elapsed());
                last = Instant::now();
                if !reading.check(&buffer[..length]) {
                    return reading;
                }
                count.store(reading.bytes, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                reading.broken = Some(format!("reading: {error}"));
                return reading;
            }
        }
    }
}

impl Reading {
    /// Whether `bytes` continue the stream as written.
    fn check(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if *byte != byte_at(self.bytes) {
                self.broken = Some(format!("a wrong byte at {}", self.bytes));
                return false;
            }
            self.bytes += 1;
        }
        true
    }
}
