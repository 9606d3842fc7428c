//! The holder itself: one thread, one epoll loop.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{SocketFlags, accept_with, bind, listen};

use super::{
    HolderError, MAX_HELD, MAX_MESSAGE, OK, Operation, REFUSED, VERSION, address, check_peer, failed,
    is_name, seqpacket,
};
use crate::descriptors;
use crate::file::Lock;
use crate::poll::{Events, Interest, Poller};

/// Connections at a time; meshd has one.
const MAX_CLIENTS: usize = 16;
/// How long a holder that was never given anything waits for somebody to come.
const GRACE: Duration = Duration::from_secs(10);
const LISTENER: u64 = 0;

/// Serves at `path` until there is no more use for it. To be called early by a process that does nothing else: it leaves
/// its session, so that neither a terminal nor its parent's end takes it along, and says that it serves by one byte
/// on its standard output, which it then lets go of with the other two streams.
///
/// # Errors
/// [`HolderError::Served`] where another holder serves the path. A socket that a dead one left is replaced.
pub fn serve(path: &Path) -> Result<(), HolderError> {
    // EPERM says that we lead a session already.
    let _ = rustix::process::setsid();
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = Path::new(&lock_path);
    let lock = Lock::acquire(lock_path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => HolderError::Served {
            path: path.to_owned(),
        },
        _ => failed(path, "lock it")(source),
    })?;
    let mut server = Server::listen(path)?;
    detach().map_err(failed(path, "let go of the standard streams"))?;
    let outcome = server.run();
    // We have the lock, so this is our socket and not a successor's.
    let _ = fs::remove_file(path);
    let _ = lock.remove(lock_path);
    outcome.map_err(failed(path, "wait for requests"))
}

/// Says "serving" to whoever started us and lets go of the streams it gave us.
fn detach() -> io::Result<()> {
    // Who started us may be gone already; that is no reason to end.
    let _ = io::stdout().write_all(b"s").and_then(|()| io::stdout().flush());
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

struct Server<'a> {
    path: &'a Path,
    listener: OwnedFd,
    poller: Poller,
    clients: HashMap<u64, OwnedFd>,
    next_token: u64,
    held: BTreeMap<String, Vec<OwnedFd>>,
    was_used: bool,
    told_to_end: bool,
}

impl<'a> Server<'a> {
    fn listen(path: &'a Path) -> Result<Self, HolderError> {
        let fail = |what| failed(path, what);
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fail("remove a stale socket")(error));
            }
            _ => {}
        }
        let listener = seqpacket(SocketFlags::NONBLOCK).map_err(fail("make a socket"))?;
        let address = address(path).map_err(fail("the path of the socket"))?;
        bind(&listener, &address).map_err(|errno| fail("bind the socket")(errno.into()))?;
        // Who connects is checked as well; this keeps others from even trying.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, private).map_err(fail("protect the socket"))?;
        listen(&listener, MAX_CLIENTS as i32).map_err(|errno| fail("listen")(errno.into()))?;
        let poller = Poller::new().map_err(fail("make an epoll instance"))?;
        poller
            .add(&listener, LISTENER, Interest::READ)
            .map_err(fail("watch the socket"))?;
        Ok(Self {
            path,
            listener,
            poller,
            clients: HashMap::new(),
            next_token: LISTENER + 1,
            held: BTreeMap::new(),
            was_used: false,
            told_to_end: false,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(MAX_CLIENTS + 1);
        loop {
            let is_idle = self.held.is_empty() && self.clients.is_empty();
            if self.told_to_end || (is_idle && self.was_used) {
                return Ok(());
            }
            self.poller.wait(&mut events, is_idle.then_some(GRACE))?;
            if events.is_empty() && is_idle {
                return Ok(());
            }
            for event in events.iter() {
                match event.token {
                    LISTENER => self.accept()?,
                    client => self.handle(client),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let Ok(client) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else {
            return Ok(());
        };
        if self.clients.len() < MAX_CLIENTS && check_peer(&client, self.path).is_ok() {
            self.poller.add(&client, self.next_token, Interest::READ)?;
            self.clients.insert(self.next_token, client);
            self.next_token += 1;
        }
        Ok(())
    }

    /// Answers one request; a client that is gone or does not read its answer is forgotten.
    fn handle(&mut self, token: u64) {
        let Some(client) = self.clients.remove(&token) else {
            return;
        };
        let mut buffer = [0; 256];
        match descriptors::receive(&client, &mut buffer) {
            Ok((0, _)) => return,
            Ok((len, fds)) => {
                let answer = self.answer(&buffer[..len], fds);
                if self.reply(&client, &answer).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        self.clients.insert(token, client);
    }

    fn reply(&self, client: &OwnedFd, answer: &Answer) -> io::Result<()> {
        let (status, text, kept) = match answer {
            Answer::Done => (OK, "", None),
            Answer::Text(text) => (OK, text.as_str(), None),
            Answer::Kept(name) => (OK, "", self.held.get(name)),
            Answer::Refused(words) => (REFUSED, *words, None),
        };
        let mut message = [&[status], text.as_bytes()].concat();
        message.truncate(MAX_MESSAGE);
        let fds: Vec<_> = kept.into_iter().flatten().map(AsFd::as_fd).collect();
        descriptors::send(client, None, &message, &fds)
    }

    fn answer(&mut self, request: &[u8], fds: Vec<OwnedFd>) -> Answer {
        let [VERSION, code, name @ ..] = request else {
            return Answer::Refused("another version of the protocol");
        };
        let Some(operation) = Operation::from_code(*code) else {
            return Answer::Refused("unknown operation");
        };
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| is_name(name))
            .map(str::to_owned);
        match (operation, name) {
            (Operation::Put, Some(name)) => self.put(name, fds),
            (Operation::Get, Some(name)) => Answer::Kept(name),
            (Operation::Drop, Some(name)) => {
                self.held.remove(&name);
                Answer::Done
            }
            (Operation::List, _) => {
                let line = |(name, fds): (&String, &Vec<OwnedFd>)| format!("{} {name}\n", fds.len());
                Answer::Text(self.held.iter().map(line).collect())
            }
            (Operation::Quit, _) => {
                self.told_to_end = true;
                Answer::Done
            }
            (_, None) => Answer::Refused("a name has 1 to 64 visible ASCII characters"),
        }
    }

    fn put(&mut self, name: String, fds: Vec<OwnedFd>) -> Answer {
        let others = self
            .held
            .iter()
            .filter(|(other, _)| **other != name)
            .map(|(_, fds)| fds.len())
            .sum::<usize>();
        if fds.is_empty() {
            return Answer::Refused("no descriptor came along");
        }
        if others + fds.len() > MAX_HELD {
            return Answer::Refused("it holds as many descriptors as it may");
        }
        self.was_used = true;
        self.held.insert(name, fds);
        Answer::Done
    }
}

enum Answer {
    Done,
    Text(String),
    /// Goes with duplicates of what is kept under this name.
    Kept(String),
    Refused(&'static str),
}
