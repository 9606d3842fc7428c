//! A server that says who it is and then answers each line with itself: what a client of an endpoint needs to know.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::Machine;

/// The longest that a client waits for a word.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between lines of a client that talks without a pause.
const PAUSE: Duration = Duration::from_millis(50);

/// Listens until it is dropped; connections that it has go on until their clients end them.
pub struct Greeter {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    machine: Machine,
}

impl Greeter {
    /// A server of this name, on the machine, at its address.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(machine: &Machine, at: SocketAddr, name: &str) -> Self {
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
        Self {
            at,
            stop,
            machine: machine.clone(),
        }
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let at = self.at;
        // wakes the listener up, so that it ends
        let _ = self
            .machine
            .inside(|| TcpStream::connect_timeout(&at, PATIENCE).map(drop));
    }
}

fn serve(client: TcpStream, name: &str) -> Option<()> {
    let mut writer = client.try_clone().ok()?;
    writeln!(writer, "{name}").ok()?;
    for line in BufReader::new(client).lines() {
        writeln!(writer, "{}", line.ok()?).ok()?;
    }
    Some(())
}

/// A client's connection.
pub struct Greeted {
    /// Who answered.
    pub name: String,
    stream: BufReader<TcpStream>,
}

impl Greeted {
    /// Connects from a machine; `None` where nobody answers within `bound`.
    pub fn connect(from: &Machine, to: SocketAddr, bound: Duration) -> Option<Self> {
        let stream = from.inside(|| TcpStream::connect_timeout(&to, bound)).ok()?;
        stream.set_read_timeout(Some(bound)).ok()?;
        let mut stream = BufReader::new(stream);
        let mut name = String::new();
        stream.read_line(&mut name).ok()?;
        stream.get_ref().set_read_timeout(Some(PATIENCE)).ok()?;
        let name = name.trim().to_owned();
        (!name.is_empty()).then_some(Self { name, stream })
    }

    /// Whether it still carries lines.
    pub fn is_alive(&mut self) -> bool {
        let mut answer = String::new();
        writeln!(self.stream.get_mut(), "still there").is_ok()
            && self.stream.read_line(&mut answer).is_ok()
            && answer.trim() == "still there"
    }

    /// Whether it has ended within `bound`: nothing is written, and nothing comes any more.
    pub fn ends(&mut self, bound: Duration) -> bool {
        let mut line = String::new();
        let _ = self.stream.get_ref().set_read_timeout(Some(bound));
        match self.stream.read_line(&mut line) {
            Ok(count) => count == 0,
            Err(error) => !is_timeout(&error),
        }
    }

    /// When it ended, if that was within `bound`; `busy`: lines go to and fro meanwhile.
    pub fn lasts(mut self, bound: Duration, busy: bool) -> Option<Instant> {
        let begun = Instant::now();
        let wait = if busy { PAUSE } else { bound };
        self.stream.get_ref().set_read_timeout(Some(wait)).ok()?;
        let mut line = String::new();
        while begun.elapsed() < bound {
            if busy && writeln!(self.stream.get_mut(), "still there").is_err() {
                return Some(Instant::now());
            }
            match self.stream.read_line(&mut line) {
                Ok(0) => return Some(Instant::now()),
                Err(error) if !is_timeout(&error) => return Some(Instant::now()),
                _ => {}
            }
        }
        None
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut)
}
