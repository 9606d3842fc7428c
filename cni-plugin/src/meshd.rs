//! The questions to meshd: HTTP/1.1 over its Unix socket, one connection for each.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use meshd_api::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::outcome::{CniError, Code};

/// How long meshd may take for an answer: it answers at once, unless its disk is slow.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer in bytes.
const MAX: u64 = 1 << 20;

/// What became of a question.
pub enum Answer<T> {
    /// The answer.
    Given(T),
    /// meshd said no.
    Refused(Problem),
    /// meshd was not reached, or ended before it answered.
    Away(String),
}

/// Asks `POST /v1/pods/WHAT`.
pub fn ask<Q: Serialize, A: DeserializeOwned>(socket: &Path, what: &str, question: &Q) -> Answer<A> {
    match exchange(socket, what, question) {
        Ok((200, body)) => match serde_json::from_slice(&body) {
            Ok(answer) => Answer::Given(answer),
            Err(error) => Answer::Away(format!("its answer cannot be read: {error}")),
        },
        Ok((status, body)) => match serde_json::from_slice(&body) {
            Ok(problem) => Answer::Refused(problem),
            Err(_) => Answer::Away(format!("it answered with HTTP status {status}")),
        },
        Err(error) => Answer::Away(error.to_string()),
    }
}

impl<T> Answer<T> {
    /// The answer, or the error that the runtime is told.
    pub fn given(self, socket: &Path) -> Result<T, CniError> {
        match self {
            Self::Given(answer) => Ok(answer),
            Self::Refused(problem) => Err(CniError::new(code(&problem.code), problem.message)),
            Self::Away(why) => Err(away(socket, &why)),
        }
    }
}

/// meshd was not reached: it comes back by itself.
fn away(socket: &Path, why: &str) -> CniError {
    let message = format!("meshd does not answer on {}; try again", socket.display());
    CniError::new(Code::Later, message).because(why)
}

fn code(problem: &str) -> Code {
    match problem {
        "pods-exhausted" => Code::Exhausted,
        "pods-broken" | "pods-unknown" => Code::Broken,
        "which-network" => Code::Refused,
        _ => Code::Later,
    }
}

fn exchange(socket: &Path, what: &str, question: &impl Serialize) -> io::Result<(u16, Vec<u8>)> {
    let body = serde_json::to_vec(question)?;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST /v1/pods/{what} HTTP/1.1\r\nhost: meshd\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    let mut answer = Vec::new();
    stream.take(MAX).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before it answered"))
}

/// Status and body of a whole answer.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>())
    })?;
    let body = answer.get(end + 4..)?;
    (body.len() == length.ok()?).then(|| (status, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_none() {
        let good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(good), Some((200, b"{}".to_vec())));
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), None, "{length}");
        }
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n{}"), None);
        assert_eq!(parse(b"x\r\n\r\n"), None);
    }
}
