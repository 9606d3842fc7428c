//! Servers that answer whatever comes with their name, a line end and the same bytes: who was reached, and what arrived there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::machine::Machine;

/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// The longest that a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server on TCP and UDP, until it is dropped.
pub struct Echo {
    stop: Arc<AtomicBool>,
    tcp: Option<(Machine, SocketAddr)>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some((machine, at)) = &self.tcp {
            // wakes the listener up, so that it ends
            let _ = machine.inside(|| TcpStream::connect_timeout(at, PATIENCE).map(drop));
        }
    }
}

impl Echo {
    /// On TCP.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn tcp(machine: &Machine, at: SocketAddr, name: &str) -> Self {
        let listener = machine.inside(|| TcpListener::bind(at).expect("the address exists"));
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (stop.clone(), name.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let name = name.clone();
                thread::spawn(move || serve(client, &name));
            }
        });
        let tcp = Some((machine.clone(), at));
        Self { stop, tcp }
    }

    /// On UDP.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn udp(machine: &Machine, at: SocketAddr, name: &str) -> Self {
        let socket = machine.inside(|| UdpSocket::bind(at).expect("the address exists"));
        socket.set_read_timeout(Some(LOOK)).expect("a positive time");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (stop.clone(), name.to_owned());
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::SeqCst) {
                if let Ok((count, from)) = socket.recv_from(&mut buffer) {
                    let answer = [name.as_bytes(), b"\n", &buffer[..count]].concat();
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { stop, tcp: None }
    }
}

fn serve(mut client: TcpStream, name: &str) -> Option<()> {
    let mut buffer = [0; 4096];
    let mut first = true;
    loop {
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        if std::mem::take(&mut first) {
            client.write_all(format!("{name}\n").as_bytes()).ok()?;
        }
        client.write_all(&buffer[..count]).ok()?;
    }
}

/// What a server said: its name, and what it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its name.
    pub name: String,
    /// The bytes that arrived there.
    pub saw: Vec<u8>,
    /// The address from which the client asked.
    pub from: SocketAddr,
}

/// Asks over TCP, by bytes that no header ends with; `None` where nobody answers in time.
pub fn ask_tcp(from: &Machine, to: SocketAddr, bytes: &[u8], bound: Duration) -> Option<Said> {
    let mut stream = from.inside(|| TcpStream::connect_timeout(&to, bound)).ok()?;
    stream.set_read_timeout(Some(bound)).ok()?;
    let local = stream.local_addr().ok()?;
    stream.write_all(bytes).ok()?;
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while !all.ends_with(bytes) {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        all.extend_from_slice(&buffer[..count]);
    }
    said(&all, local)
}

/// The same over UDP, from a socket of its own.
pub fn ask_udp(from: &Machine, to: SocketAddr, bytes: &[u8], bound: Duration) -> Option<Said> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = from.inside(|| UdpSocket::bind(any)).ok()?;
    ask_udp_by(&socket, to, bytes, bound)
}

/// The same from this socket.
pub fn ask_udp_by(socket: &UdpSocket, to: SocketAddr, bytes: &[u8], bound: Duration) -> Option<Said> {
    socket.set_read_timeout(Some(bound)).ok()?;
    socket.connect(to).ok()?;
    socket.send(bytes).ok()?;
    let mut buffer = [0; 4096];
    let count = socket.recv(&mut buffer).ok()?;
    said(&buffer[..count], socket.local_addr().ok()?)
}

fn said(all: &[u8], from: SocketAddr) -> Option<Said> {
    let end = all.iter().position(|byte| *byte == b'\n')?;
    Some(Said {
        name: String::from_utf8_lossy(&all[..end]).into_owned(),
        saw: all[end + 1..].to_vec(),
        from,
    })
}

/// A ClientHello that asks for a site and offers one protocol (RFC 8446 section 4.1.2); no server that does TLS takes it.
pub fn client_hello(site: &str, protocol: &str) -> Vec<u8> {
    let vec16 = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extension = |kind: u16, value: &[u8]| [&kind.to_be_bytes()[..], &vec16(value)].concat();
    let name = [&[0][..], &vec16(site.as_bytes())].concat();
    let offered = [&[protocol.len() as u8][..], protocol.as_bytes()].concat();
    let extensions = [extension(0, &vec16(&name)), extension(16, &vec16(&offered))].concat();
    let start = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 0x01, 1, 0]].concat();
    let body = [start, vec16(&extensions)].concat();
    let message = [&[1, 0][..], &vec16(&body)].concat();
    [&[22, 3, 1][..], &vec16(&message)].concat()
}
