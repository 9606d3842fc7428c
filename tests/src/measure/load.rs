//! What is sent: TCP streams as fast as they go, and one byte back and forth.
//!
//! Sockets are made inside a namespace and stay there; the threads that use them need not be inside.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::pods::Pod;

/// Bytes written and read at a time.
const CHUNK: usize = 128 * 1024;
/// Time to connect, and the longest that a stream may stand still.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long streams run before anything is counted: slow start is over then.
pub(super) const WARM_UP: Duration = Duration::from_millis(400);

/// Where a program runs.
#[derive(Clone)]
pub enum Place {
    /// In the node's own namespace.
    Node(Machine),
    /// In a pod.
    Pod(Pod),
}

impl Place {
    /// Runs `work` on a thread of its own there; sockets opened in it stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Node(machine) => machine.inside(work),
            Self::Pod(pod) => pod.inside(work),
        }
    }

    /// A connection from here to the address of another place.
    fn connect(&self, other: &Self, to: SocketAddr) -> (TcpStream, TcpStream) {
        let listener = other.inside(|| TcpListener::bind(to).expect("the address is there"));
        let port = listener.local_addr().expect("bound").port();
        let to = SocketAddr::new(to.ip(), port);
        let outgoing = self.inside(|| TcpStream::connect_timeout(&to, PATIENCE));
        let outgoing = outgoing.unwrap_or_else(|error| panic!("no connection to {to}: {error}"));
        let (incoming, _) = listener.accept().expect("the connection arrived");
        for stream in [&outgoing, &incoming] {
            let set = stream.set_nodelay(true).and_then(|()| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))
            });
            set.expect("options of a connected socket");
        }
        (outgoing, incoming)
    }
}

/// From where, to where, and the address there.
pub type Way<'a> = (&'a Place, &'a Place, SocketAddr);

/// Runs `streams` on each of the ways. Once they are warm `measured` begins; it is given what counts the bytes that arrived.
///
/// # Panics
/// If a stream breaks or stands still.
pub fn under_load<T>(ways: &[Way<'_>], streams: usize, measured: impl FnOnce(&AtomicU64) -> T) -> T {
    let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for (from, other, to) in ways.iter().flat_map(|way| std::iter::repeat_n(way, streams)) {
        let (outgoing, incoming) = from.connect(other, *to);
        let until = Arc::clone(&stop);
        threads.push(thread::spawn(move || write(outgoing, &until)));
        let count = Arc::clone(&arrived);
        threads.push(thread::spawn(move || read(incoming, &count)));
    }
    thread::sleep(WARM_UP);
    let result = measured(&arrived);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("the stream did not break");
    }
    result
}

fn write(mut stream: TcpStream, stop: &AtomicBool) {
    let chunk = vec![0x5a; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&chunk).expect("the stream goes on");
    }
}

fn read(mut stream: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer).expect("the stream goes on") {
            0 => return,
            length => count.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
}

/// Times of one byte there and back, over one connection without other traffic, in ascending order.
pub fn round_trips((from, other, to): Way<'_>, time: Duration) -> Vec<Duration> {
    let (mut here, mut there) = from.connect(other, to);
    let echo = thread::spawn(move || {
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() {
            if there.write_all(&byte).is_err() {
                return;
            }
        }
    });
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let sent = Instant::now();
        let mut byte = [1];
        here.write_all(&byte)
            .and_then(|()| here.read_exact(&mut byte))
            .expect("the byte comes back");
        times.push(sent.elapsed());
    }
    drop(here);
    echo.join().expect("the echo did not panic");
    times.sort();
    times
}
