//! Who reaches whom: servers in every pod, and questions to all of them at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use meshd_core::policy::Protocol;
use meshd_tests::pods::Pod;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::policy::matrix::SERVED;

/// Between looks of a server at its sockets.
const PAUSE: Duration = Duration::from_millis(5);

/// Servers of one pod, until it is dropped: TCP and UDP, each answers with what it gets.
pub struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Servers {
    /// On every port of the matrix, by both IP versions.
    pub fn start(pod: &Pod) -> Self {
        let (streams, datagrams) = pod.inside(|| {
            let any = |port| SocketAddr::from(([0u16; 8], port));
            let of = |wanted| {
                SERVED
                    .into_iter()
                    .filter(move |(protocol, _)| *protocol == wanted)
            };
            let streams: Vec<TcpListener> = of(Protocol::Tcp)
                .map(|(_, port)| TcpListener::bind(any(port)).expect("the port is free"))
                .collect();
            let datagrams: Vec<UdpSocket> = of(Protocol::Udp)
                .map(|(_, port)| UdpSocket::bind(any(port)).expect("the port is free"))
                .collect();
            (streams, datagrams)
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || serve(&streams, &datagrams, &stopped));
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(streams: &[TcpListener], datagrams: &[UdpSocket], stop: &AtomicBool) {
    let unblock = "a socket can be set so";
    streams
        .iter()
        .for_each(|one| one.set_nonblocking(true).expect(unblock));
    datagrams
        .iter()
        .for_each(|one| one.set_nonblocking(true).expect(unblock));
    let mut open: Vec<TcpStream> = Vec::new();
    let mut bytes = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        for listener in streams {
            while let Ok((stream, _)) = listener.accept() {
                let _ = stream.set_nonblocking(true);
                open.push(stream);
            }
        }
        open.retain_mut(|stream| match stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(len) => stream.write_all(&bytes[..len]).is_ok(),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        for socket in datagrams {
            while let Ok((len, from)) = socket.recv_from(&mut bytes) {
                let _ = socket.send_to(&bytes[..len], from);
            }
        }
        thread::sleep(PAUSE);
    }
}

/// A question under way.
enum Asked {
    Stream(TcpStream),
    Datagram(UdpSocket),
    Refused,
}

/// Whether each destination answers, all asked at once from inside a pod; gives up after `patience`.
pub fn ask(pod: &Pod, to: &[(Protocol, IpAddr, u16)], patience: Duration) -> Vec<bool> {
    pod.inside(|| ask_here(to, patience))
}

/// The same from where the calling thread is.
pub fn ask_here(to: &[(Protocol, IpAddr, u16)], patience: Duration) -> Vec<bool> {
    let mut asked: Vec<(Asked, bool)> = to.iter().map(|to| (begin(*to), false)).collect();
    let end = Instant::now() + patience;
    while Instant::now() < end && asked.iter().any(|(_, answered)| !answered) {
        for (asked, answered) in asked.iter_mut().filter(|(_, answered)| !answered) {
            *answered = is_answered(asked);
        }
        thread::sleep(PAUSE);
    }
    asked.into_iter().map(|(_, answered)| answered).collect()
}

fn begin((protocol, ip, port): (Protocol, IpAddr, u16)) -> Asked {
    let to = SocketAddr::new(ip, port);
    if protocol == Protocol::Udp {
        let any: SocketAddr = if ip.is_ipv4() {
            ([0; 4], 0).into()
        } else {
            ([0u16; 8], 0).into()
        };
        let socket = UdpSocket::bind(any).expect("a socket");
        socket.set_nonblocking(true).expect("a socket can be set so");
        return match socket.connect(to).and_then(|()| socket.send(b"?")) {
            Ok(_) => Asked::Datagram(socket),
            Err(_) => Asked::Refused,
        };
    }
    let family = if ip.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None).expect("a socket");
    match connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Asked::Stream(TcpStream::from(socket)),
        Err(_) => Asked::Refused,
    }
}

fn is_answered(asked: &mut Asked) -> bool {
    match asked {
        Asked::Stream(stream) => stream.peer_addr().is_ok(),
        Asked::Datagram(socket) => socket.recv(&mut [0; 8]).is_ok(),
        Asked::Refused => false,
    }
}
