//! Why a request failed.

use crate::Problem;

/// Why a request failed. The texts are sentences for a person.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the address.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// Socket path or `host:port`.
        address: String,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The TLS handshake failed: it is not the coordinator that the token pins, or something sits in between.
    #[error(
        "{address} is not the coordinator that the token names ({cause}); is a TLS proxy in between, or the address wrong?"
    )]
    Untrusted {
        /// `host:port`.
        address: String,
        /// What TLS said.
        cause: std::io::Error,
    },
    /// It took too long.
    #[error("{address} did not answer within {seconds} s")]
    Timeout {
        /// Socket path or `host:port`.
        address: String,
        /// The bound in seconds.
        seconds: u64,
    },
    /// The connection broke.
    #[error("the connection to {address} broke: {cause}")]
    Broken {
        /// Socket path or `host:port`.
        address: String,
        /// What happened.
        cause: String,
    },
    /// The answer is not what the API documents.
    #[error("{address} gave an answer that this version does not understand: {cause}")]
    Malformed {
        /// Socket path or `host:port`.
        address: String,
        /// What was wrong with it.
        cause: String,
    },
    /// The other side said no.
    #[error("{problem}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its reason.
        problem: Problem,
    },
}

impl ClientError {
    /// The stable code where the other side said no.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { problem, .. } => Some(&problem.code),
            _ => None,
        }
    }
}
