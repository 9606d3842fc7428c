//! One TCP connection from a pod to a server, on which requests go on until it is stopped: whether it survived, and how long
//! it stood still.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Pod;

/// Time to connect, and the longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection under way.
pub struct Conversation {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    talker: JoinHandle<io::Result<Duration>>,
}

impl Conversation {
    /// Connects from the pod to `server` and asks for `/hostname` over and over.
    ///
    /// # Errors
    /// Those of the connection.
    ///
    /// # Panics
    /// If the pod has no process on this computer.
    pub fn start(pod: &Pod, server: SocketAddr) -> io::Result<Self> {
        let namespace = File::open(format!("/proc/{}/ns/net", pod.process()))?;
        let stream = thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect_timeout(&server, PATIENCE)
        });
        let stream = stream.join().expect("connecting does not panic")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&answers));
        let talker = thread::spawn(move || talk(stream, server, &until, &count));
        Ok(Self {
            stop,
            answers,
            talker,
        })
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Ends it; gives the longest time from a request to its answer, or why the connection broke.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn stop(self) -> io::Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.talker.join().expect("talking does not panic")
    }
}

fn talk(
    mut stream: TcpStream,
    server: SocketAddr,
    stop: &AtomicBool,
    answers: &AtomicU64,
) -> io::Result<Duration> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        write!(stream, "GET /hostname HTTP/1.1\r\nhost: {server}\r\n\r\n")?;
        skip_answer(&mut reader)?;
        longest = longest.max(begin.elapsed());
        answers.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    Ok(longest)
}

/// Reads one answer with a content length.
fn skip_answer(reader: &mut impl BufRead) -> io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.is_empty() {
            return io::copy(&mut reader.take(length), &mut io::sink()).map(|_| ());
        }
    }
}
