//! Clients and the node's server: the same for both proxies.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use meshd_tests::{Machine, eventually};

use crate::{SENDS, SHORT, SOON, TAKES};

/// Streams at once, and clients that make short connections.
const STREAMS: usize = 8;
/// What is written at once.
const CHUNK: usize = 128 * 1024;
/// The longest wait for a byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server does with a connection.
type Serve = fn(TcpStream) -> std::io::Result<()>;

/// On the node: one port that sends, one that takes, one that answers a byte.
pub fn serve(machine: &Machine, at: impl Fn(u16) -> SocketAddr) {
    let serves: [(u16, Serve); 3] = [(SENDS, sends), (TAKES, takes), (SHORT, answers)];
    for (port, serves) in serves {
        let here = at(port);
        let listener = machine.inside(|| TcpListener::bind(here).expect("the node's address"));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                thread::spawn(move || serves(client));
            }
        });
    }
}

fn sends(mut client: TcpStream) -> std::io::Result<()> {
    let chunk = vec![7; CHUNK];
    loop {
        client.write_all(&chunk)?;
    }
}

fn takes(mut client: TcpStream) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    while client.read(&mut chunk)? > 0 {}
    Ok(())
}

fn answers(mut client: TcpStream) -> std::io::Result<()> {
    let mut byte = [0];
    client.read_exact(&mut byte)?;
    client.write_all(&byte)
}

/// Bytes that arrive from the node.
pub fn take(from: SocketAddr, time: Duration) -> f64 {
    each(from, time, |stream, until| {
        let (mut chunk, mut count) = (vec![0; CHUNK], 0);
        while Instant::now() < until {
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => count += read as u64,
                Err(error) if is_late(&error) => {}
                Err(error) => panic!("the stream breaks: {error}"),
            }
        }
        count
    })
}

/// Bytes that are taken for the node; what waits on the way in the end is small beside them.
pub fn send(to: SocketAddr, time: Duration) -> f64 {
    let chunk = vec![7; CHUNK];
    each(to, time, |stream, until| {
        let mut count = 0;
        while Instant::now() < until {
            match stream.write(&chunk) {
                Ok(written) => count += written as u64,
                Err(error) if is_late(&error) => {}
                Err(error) => panic!("the stream breaks: {error}"),
            }
        }
        count
    })
}

/// Connections that bring a byte there and back, one after the other for each client.
pub fn short(to: SocketAddr, time: Duration) -> f64 {
    connect(to);
    let (until, all) = (Instant::now() + time, AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..STREAMS {
            scope.spawn(|| {
                while Instant::now() < until {
                    let mut stream = connect(to);
                    let mut byte = [7];
                    let there = stream
                        .write_all(&byte)
                        .and_then(|()| stream.read_exact(&mut byte));
                    there.expect("a byte comes back");
                    all.fetch_add(1, Relaxed);
                }
            });
        }
    });
    all.load(Relaxed) as f64
}

/// What `work` counts on each of the streams, which begin together.
fn each(at: SocketAddr, time: Duration, work: impl Fn(&mut TcpStream, Instant) -> u64 + Sync) -> f64 {
    let mut streams: Vec<TcpStream> = (0..STREAMS).map(|_| connect(at)).collect();
    let until = Instant::now() + time;
    let all = AtomicU64::new(0);
    thread::scope(|scope| {
        for stream in &mut streams {
            let (work, all) = (&work, &all);
            scope.spawn(move || all.fetch_add(work(stream, until), Relaxed));
        }
    });
    all.load(Relaxed) as f64
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = eventually(SOON, "it is served", || {
        TcpStream::connect_timeout(&at, PATIENCE).ok()
    });
    let short = Some(Duration::from_millis(200));
    stream.set_write_timeout(short).expect("a positive time");
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    stream
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
