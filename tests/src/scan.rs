//! Which TCP ports of an address take connections: every one is tried, by a whole connect.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::machine::Machine;

/// Connections at a time.
const WIDTH: usize = 48;
/// For an answer of a machine on the same LAN, on a busy computer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Ports that took a connection, in order.
    pub open: Vec<u16>,
    /// How many refused it.
    pub refused: u32,
    /// How many said nothing.
    pub silent: u32,
}

/// Tries all 65,535 ports of an address, from a machine.
pub fn scan(from: &Machine, to: IpAddr) -> Scan {
    from.inside(|| {
        let (next, found) = (AtomicU32::new(1), Mutex::new(Scan::default()));
        // threads begin in the namespace of the one that starts them
        thread::scope(|scope| {
            for _ in 0..WIDTH {
                scope.spawn(|| {
                    while let Ok(port) = u16::try_from(next.fetch_add(1, Ordering::Relaxed)) {
                        one(to, port, &found);
                    }
                });
            }
        });
        let mut found = found.into_inner().expect("not poisoned");
        found.open.sort_unstable();
        found
    })
}

/// Whether a port takes a connection from a machine.
pub fn takes(from: &Machine, to: SocketAddr) -> bool {
    from.inside(|| TcpStream::connect_timeout(&to, PATIENCE).is_ok())
}

fn one(to: IpAddr, port: u16, found: &Mutex<Scan>) {
    let tried = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE);
    let mut found = found.lock().expect("not poisoned");
    match tried {
        Ok(_) => found.open.push(port),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => found.refused += 1,
        Err(_) => found.silent += 1,
    }
}
