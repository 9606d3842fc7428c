//! Why a try to join failed, and whether another one may end well.

use super::UNREACHABLE;
use meshd_api::Problem;
use meshd_api::client::ClientError;
use std::time::{Duration, Instant};
use tracing::debug;

/// How long a join goes on where connections break, and the pause between two tries.
pub(super) const PERSISTENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(200);

/// Nobody of the token answers as the one that it pins.
pub(super) fn unreachable(failures: Vec<ClientError>) -> Problem {
    let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let sentence = format!(
        "no coordinator of the token can be used: {}; is this machine online, and meshrelay running?",
        failures.join("; ")
    );
    Problem::new(UNREACHABLE, sentence)
}

/// Why a try to join failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) problem: Problem,
    /// A connection broke off: another try may end well.
    pub(super) broke: bool,
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            broke: false,
        }
    }
}

impl Failed {
    pub(super) fn of(error: ClientError) -> Self {
        Self {
            broke: is_broken(&error),
            problem: problem(error),
        }
    }
}

/// Whether the other side was there and the connection ended early, as a busy relay ends those that prove nothing.
pub(super) fn is_broken(error: &ClientError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        ClientError::Broken { .. } => true,
        ClientError::Untrusted { cause, .. } | ClientError::Unreachable { cause, .. } => {
            matches!(cause.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        }
        _ => false,
    }
}

/// Waits before another try, where one may end well and it is not yet `until`; else gives the problem back.
pub(super) async fn before_another(failed: Failed, until: Instant) -> Result<(), Problem> {
    if !failed.broke || Instant::now() >= until {
        return Err(failed.problem);
    }
    debug!("joining: {}; once more", failed.problem);
    tokio::time::sleep(AGAIN).await;
    Ok(())
}

/// A failed exchange as a problem: the coordinator's own word where it said one.
pub(super) fn problem(error: ClientError) -> Problem {
    match error {
        ClientError::Refused { problem, .. } => problem,
        other => Problem::new(UNREACHABLE, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_join_whose_connection_breaks_tries_again_and_a_refused_one_does_not() {
        let broken = || {
            Failed::of(ClientError::Untrusted {
                address: "a".into(),
                cause: std::io::ErrorKind::UnexpectedEof.into(),
            })
        };
        let now = Instant::now();
        assert!(before_another(broken(), now + PERSISTENCE).await.is_ok());
        assert!(before_another(broken(), now).await.is_err(), "not for ever");
        let expired = Failed::from(Problem::new("token-expired", "expired"));
        let refused = before_another(expired, now + PERSISTENCE).await;
        assert_eq!(refused.unwrap_err().code, "token-expired");
    }
}
