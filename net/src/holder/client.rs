//! The side of meshd.

use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{SocketFlags, connect, sockopt};

use super::{
    HolderError, MAX_MESSAGE, MAX_PER_NAME, OK, Operation, VERSION, address, check_peer, failed, is_name,
    seqpacket,
};
use crate::descriptors;

/// The holder only shuffles memory; it answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A holder may end just when we connect to it; the next one will not.
const ATTEMPTS: usize = 3;

/// How to start a holder: a program that calls [`super::serve`].
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The program, usually our own executable.
    pub program: &'a Path,
    /// Its arguments, which tell it to serve the path.
    pub arguments: &'a [&'a str],
}

/// A connection to a holder. Blocking, but every call is over within 5 s.
#[derive(Debug)]
pub struct Holder {
    socket: OwnedFd,
    path: PathBuf,
}

impl Holder {
    /// Connects to the holder at `path`; `None` where there is none (no socket, or one that a dead holder left).
    pub fn connect(path: &Path) -> Result<Option<Self>, HolderError> {
        let fail = |what| failed(path, what);
        let address = address(path).map_err(fail("the path of the socket"))?;
        let socket = seqpacket(SocketFlags::empty()).map_err(fail("make a socket"))?;
        for timeout in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            let set = sockopt::set_socket_timeout(&socket, timeout, Some(ANSWER_TIMEOUT));
            set.map_err(|errno| fail("set a time limit")(errno.into()))?;
        }
        use rustix::io::Errno;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            Err(errno) => return Err(fail("connect")(errno.into())),
        }
        check_peer(&socket, path)?;
        Ok(Some(Self {
            socket,
            path: path.to_owned(),
        }))
    }

    /// Connects to the holder at `path`, or starts one and connects to that. It is no child of ours in any way that
    /// matters: it has its own session and lives on when we are killed.
    pub fn obtain(path: &Path, start: &Start<'_>) -> Result<Self, HolderError> {
        for _ in 0..ATTEMPTS {
            if let Some(holder) = Self::connect(path)? {
                return Ok(holder);
            }
            launch(path, start)?;
        }
        let words = format!("{} did not start to serve", start.program.display());
        Self::connect(path)?.ok_or_else(|| HolderError::Refused {
            path: path.to_owned(),
            words,
        })
    }

    /// Has the holder keep duplicates of `fds` (1 to 64) under `name`, in the place of what it kept there.
    pub fn put(&self, name: &str, fds: &[BorrowedFd<'_>]) -> Result<(), HolderError> {
        if fds.is_empty() || fds.len() > MAX_PER_NAME {
            return Err(self.refused(format!(
                "{} descriptors for {name}, not 1 to {MAX_PER_NAME}",
                fds.len()
            )));
        }
        self.ask(Operation::Put, name, fds).map(drop)
    }

    /// Duplicates of what is kept under `name`, in the order in which it was put; empty where there is nothing.
    pub fn get(&self, name: &str) -> Result<Vec<OwnedFd>, HolderError> {
        Ok(self.ask(Operation::Get, name, &[])?.1)
    }

    /// Names and how many descriptors are kept under each.
    pub fn list(&self) -> Result<Vec<(String, usize)>, HolderError> {
        let (text, _) = self.ask(Operation::List, "", &[])?;
        let entry = |line: &str| {
            let (count, name) = line.split_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        Ok(text.lines().filter_map(entry).collect())
    }

    /// Closes what is kept under `name`; no error where there is nothing.
    pub fn drop_name(&self, name: &str) -> Result<(), HolderError> {
        self.ask(Operation::Drop, name, &[]).map(drop)
    }

    /// Ends the holder, whatever it keeps.
    pub fn quit(self) -> Result<(), HolderError> {
        self.ask(Operation::Quit, "", &[]).map(drop)
    }

    fn ask(
        &self,
        operation: Operation,
        name: &str,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(String, Vec<OwnedFd>), HolderError> {
        let nameless = matches!(operation, Operation::List | Operation::Quit);
        if !nameless && !is_name(name) {
            return Err(self.refused(format!("`{name}` is no name: 1 to 64 visible ASCII characters")));
        }
        let request = [&[VERSION, operation as u8], name.as_bytes()].concat();
        descriptors::send(&self.socket, None, &request, fds).map_err(failed(&self.path, "send a request"))?;
        let mut buffer = vec![0; MAX_MESSAGE];
        let answer = descriptors::receive(&self.socket, &mut buffer);
        let (len, fds) = answer.map_err(failed(&self.path, "receive an answer"))?;
        let Some((status, text)) = buffer[..len].split_first() else {
            let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(failed(&self.path, "receive an answer")(gone));
        };
        let text = String::from_utf8_lossy(text).into_owned();
        if *status == OK {
            Ok((text, fds))
        } else {
            Err(self.refused(text))
        }
    }

    fn refused(&self, words: String) -> HolderError {
        HolderError::Refused {
            path: self.path.clone(),
            words,
        }
    }
}

/// Starts the program and waits until it says that it serves, or ends (as it does where another one serves already).
fn launch(path: &Path, start: &Start<'_>) -> Result<(), HolderError> {
    let fail = |what| failed(path, what);
    let mut command = Command::new(start.program);
    command.args(start.arguments).env_clear().current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(fail("start the holder"))?;
    if let Some(mut stdout) = child.stdout.take() {
        let mut word = [0; 1];
        // One byte says that it serves; the end of the pipe, that it ended. The caller connects either way.
        let _ = stdout.read(&mut word);
    }
    // Somebody has to collect its exit status should it end before us.
    let reaper = std::thread::Builder::new()
        .name("holder-reaper".to_owned())
        .stack_size(64 << 10);
    reaper
        .spawn(move || child.wait())
        .map_err(fail("start a thread"))?;
    Ok(())
}
