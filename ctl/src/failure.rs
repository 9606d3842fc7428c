//! Why a verb failed: a sentence and an exit code.

use std::io::ErrorKind;
use std::process::ExitCode;

use meshd_api::client::ClientError;
use serde_json::json;

/// Exit code: it was tried and did not work, or was refused.
const FAILED: u8 = 1;
/// Exit code: the command line is wrong.
const USAGE: u8 = 2;
/// Exit code: meshd or meshrelay cannot be reached.
const UNREACHABLE: u8 = 3;

/// A failure, said to a person (or, with `--json`, to a program).
#[derive(Debug)]
pub struct Failure {
    exit: u8,
    code: String,
    message: String,
}

impl Failure {
    /// It did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: FAILED,
            code: "failed".into(),
            message: message.into(),
        }
    }

    /// What was typed is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: USAGE,
            code: "usage".into(),
            message: message.into(),
        }
    }

    /// A request to the meshd on this machine failed.
    pub fn local(error: ClientError) -> Self {
        const START: &str = "is meshd running? start it with `systemctl start meshd` or `meshd run`";
        Self::of(error, START)
    }

    /// A request to the coordinator failed.
    pub fn coordinator(error: ClientError) -> Self {
        const START: &str = "is meshrelay running on this machine? start it with `systemctl start meshrelay` or \
             `meshrelay run`; from another machine use --relay URL --admin-key-file FILE";
        Self::of(error, START)
    }

    fn of(error: ClientError, start: &str) -> Self {
        let (exit, code, message) = match error {
            ClientError::Unreachable { address, cause } if address.starts_with(['/', '.']) => {
                let hint = match cause.kind() {
                    ErrorKind::NotFound => format!("there is no such socket; {start}"),
                    ErrorKind::ConnectionRefused => format!("nobody listens there; {start}"),
                    ErrorKind::PermissionDenied => "permission denied; run it as root, with sudo".to_owned(),
                    _ => cause.to_string(),
                };
                (
                    UNREACHABLE,
                    "unreachable".to_owned(),
                    format!("cannot reach {address}: {hint}"),
                )
            }
            ClientError::Refused { problem, .. } => (FAILED, problem.code, problem.message),
            ClientError::Malformed { .. } => (FAILED, "malformed".to_owned(), error.to_string()),
            ClientError::Timeout { .. } | ClientError::Broken { .. } => {
                (UNREACHABLE, "unanswered".to_owned(), error.to_string())
            }
            ClientError::Untrusted { address, cause } => {
                let text = format!(
                    "{address} is not the meshrelay whose identity key is in the admin key file or in --relay-pin ({cause}); \
                     is the address wrong, or a TLS proxy in between?"
                );
                (UNREACHABLE, "untrusted".to_owned(), text)
            }
            other => (UNREACHABLE, "unreachable".to_owned(), other.to_string()),
        };
        Self { exit, code, message }
    }

    /// Whether it was asked for, and the answer did not come or was not understood: it may have been done.
    pub fn is_unanswered(&self) -> bool {
        self.code == "unanswered" || self.code == "malformed"
    }

    /// Whether the coordinator refused a statement because another was signed in the meantime.
    pub fn is_stale(&self) -> bool {
        self.code == "stale-serial"
    }

    /// Whether the coordinator knows nothing of the network whose root key signed, or answers its admin not here.
    pub fn is_uninvited(&self) -> bool {
        self.code == "unknown-network" || self.code == "socket-only"
    }

    /// What it is, for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What it is, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same failure with a further sentence.
    pub fn and(mut self, sentence: &str) -> Self {
        self.message = format!("{}; {sentence}", self.message);
        self
    }

    /// Writes it to stderr and gives the exit code.
    pub fn tell(&self, json: bool) -> ExitCode {
        if json {
            eprintln!("{}", json!({ "code": self.code, "message": self.message }));
        } else {
            eprintln!("meshctl: {}", self.message);
        }
        ExitCode::from(self.exit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_api::Problem;

    fn unreachable(address: &str, kind: ErrorKind) -> ClientError {
        ClientError::Unreachable {
            address: address.into(),
            cause: kind.into(),
        }
    }

    #[test]
    fn a_socket_that_is_not_there_says_how_to_start_meshd() {
        for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused] {
            let failure = Failure::local(unreachable("/run/meshd/meshd.sock", kind));
            assert_eq!(failure.exit, 3);
            for part in [
                "/run/meshd/meshd.sock",
                "is meshd running?",
                "systemctl start meshd",
                "meshd run",
            ] {
                assert!(failure.message.contains(part), "{}", failure.message);
            }
        }
        let failure = Failure::coordinator(unreachable("/run/meshrelay/admin.sock", ErrorKind::NotFound));
        assert!(
            failure.message.contains("--relay URL --admin-key-file"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn a_socket_that_one_may_not_use_says_sudo() {
        let failure = Failure::local(unreachable("/run/meshd/meshd.sock", ErrorKind::PermissionDenied));
        assert_eq!(failure.exit, 3);
        assert!(
            failure
                .message
                .ends_with("permission denied; run it as root, with sudo"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn a_refusal_is_said_in_the_words_of_who_refused() {
        let problem = Problem::new("token-expired", "the token expired; make a new one");
        let failure = Failure::local(ClientError::Refused { status: 403, problem });
        assert_eq!((failure.exit, failure.code.as_str()), (1, "token-expired"));
        assert_eq!(failure.message, "the token expired; make a new one");
    }

    #[test]
    fn a_coordinator_that_is_away_is_unreachable_not_failed() {
        for error in [
            unreachable("vpn.example.net:443", ErrorKind::ConnectionRefused),
            ClientError::Timeout {
                address: "vpn.example.net:443".into(),
                seconds: 8,
            },
        ] {
            let failure = Failure::coordinator(error);
            assert_eq!(failure.exit, 3);
            assert!(
                failure.message.contains("vpn.example.net:443"),
                "{}",
                failure.message
            );
        }
    }
}
