//! Where answers go: stdout, as text or as JSON.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;

/// How answers are given.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// As JSON.
    pub json: bool,
}

impl Output {
    /// Writes an answer: its JSON, or the text that `text` makes of it.
    pub fn answer<A: Serialize>(self, answer: &A, text: impl FnOnce(&A) -> String) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string_pretty(answer).map_err(|e| Failure::failed(e.to_string()))?;
            return write(format!("{json}\n").as_bytes());
        }
        write(printable(&text(answer)).as_bytes())
    }
}

/// Answers hold what other machines said: nothing of it reaches the terminal as a control sequence.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Writes to stdout. That the reader is gone (`| head`) is no failure.
pub fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write the answer: {e}")))
        }
        _ => Ok(()),
    }
}

/// A sentence for a person who watches, where stdout is for a program.
pub fn remark(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

/// Does `work`; where that takes longer than `patience`, a person who watches is told what goes on.
pub async fn with_progress<T>(patience: Duration, text: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(patience) => remark(text),
    }
    work.await
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_sequences_do_not_reach_the_terminal() {
        assert_eq!(super::printable("web\x1b[2J\nok"), "web\u{fffd}[2J\nok");
    }
}
