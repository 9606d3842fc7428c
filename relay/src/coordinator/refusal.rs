//! Why the coordinator says no: a stable code for programs, a sentence for a person.

use meshd_core::admission::{AddressRefusal, DelegationRefusal, NameRefusal, PrefixRefusal, TokenRefusal};
use meshd_core::map::{Death, RemovalProof};
use meshd_core::statement::StatementError;

use crate::store::StoreError;

/// Why the coordinator says no. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token admits nobody.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// The node is out, for good.
    #[error("{}", TokenRefusal::NodeDead(*death))]
    Removed {
        /// Why.
        death: Death,
        /// What proves it to the node itself.
        proof: RemovalProof,
    },
    /// No such address to be had.
    #[error(transparent)]
    Address(#[from] AddressRefusal),
    /// No such name to be had.
    #[error(transparent)]
    Name(#[from] NameRefusal),
    /// A network cannot have this prefix or MTU.
    #[error(transparent)]
    Prefix(#[from] PrefixRefusal),
    /// A token cannot be made so.
    #[error(transparent)]
    Delegation(#[from] DelegationRefusal),
    /// A statement is broken, or by the wrong key.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The program stops, or starts anew on a restored state.
    #[error("the coordinator is stopping or restarting; try again in a moment")]
    Stopping,
    /// Whoever asks did not show who they are.
    #[error("{0}")]
    Unproven(&'static str),
    /// Two machines with one identity are alive.
    #[error("{sentence}")]
    Clone {
        /// Both machines, and what to do.
        sentence: String,
        /// Whether it may join anew by its template token.
        new_identity: bool,
    },
    /// A machine that was told to be a clone speaks for the original.
    #[error(
        "this machine is a clone of a node that is alive: it does not leave in that one's name; `meshctl leave` here forgets the copied identity"
    )]
    CloneLeaves,
    /// A record, or what the root signed, is not newer than the one held.
    #[error("the statement's serial {got} is not above {held}, which is held; sign a newer one")]
    StaleSerial {
        /// Its serial.
        got: u64,
        /// The serial held.
        held: u64,
    },
    /// Somebody else changed it since it was read.
    #[error(
        "it was changed meanwhile (serial {held}, and the request is based on {got}); read it and try again"
    )]
    StaleBase {
        /// On which the request is based.
        got: u64,
        /// The one held.
        held: u64,
    },
    /// The network has as many nodes as a map can hold.
    #[error(
        "this network has as many nodes as one network can have; remove those that are gone, or make another one"
    )]
    Full,
    /// A node says something new too often.
    #[error("this node says something new too often; wait some seconds")]
    TooOften,
    /// A record says another name or address than the coordinator allotted.
    #[error(
        "this node is \"{name}\" at {ipv4} here, and its record says otherwise; join again to learn what it is"
    )]
    Reallotted {
        /// The name allotted.
        name: String,
        /// The address allotted.
        ipv4: std::net::Ipv4Addr,
    },
    /// Nothing is known under this name or id.
    #[error("there is no {what} \"{name}\"; {hint}")]
    Unknown {
        /// Kind of thing.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// How to see what there is.
        hint: &'static str,
    },
    /// The thing is there already.
    #[error("{0}")]
    Conflict(String),
    /// The request contradicts itself, or what is held.
    #[error("{0}")]
    Invalid(String),
    /// The relay has no root key for this, and no signed statement came.
    #[error(
        "the root key of network \"{0}\" is kept elsewhere: run meshctl with --admin-key-file where the key is"
    )]
    RootElsewhere(String),
}

impl Refusal {
    /// Stable, lower case with hyphens.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(refusal) => match refusal {
                TokenRefusal::Unknown => "token-unknown",
                TokenRefusal::Expired { .. } => "token-expired",
                TokenRefusal::UsedUp(_) => "token-used-up",
                TokenRefusal::Revoked => "token-revoked",
                TokenRefusal::NodeDead(_) => "node-removed",
            },
            Self::Removed { .. } => "node-removed",
            Self::Address(AddressRefusal::Held { .. }) => "address-taken",
            Self::Address(AddressRefusal::Full(_)) => "network-full",
            Self::Address(_) => "address-refused",
            Self::Name(NameRefusal::Held { .. } | NameRefusal::OfHost { .. }) => "name-taken",
            Self::Name(NameRefusal::Blocked { .. }) => "name-blocked",
            Self::Name(_) => "name-refused",
            Self::Prefix(_) => "prefix-refused",
            Self::Delegation(_) => "token-refused",
            Self::Statement(_) => "statement-refused",
            Self::Store(_) => "store-failed",
            Self::Stopping => "stopping",
            Self::Unproven(_) => "unproven",
            Self::Clone {
                new_identity: true, ..
            } => "clone-new-identity",
            Self::Clone { .. } | Self::CloneLeaves => "clone",
            Self::Reallotted { .. } => "reallotted",
            Self::StaleSerial { .. } | Self::StaleBase { .. } => "stale-serial",
            Self::TooOften => "too-often",
            Self::Full => "network-full",
            Self::Unknown { what: "network", .. } => "unknown-network",
            Self::Unknown { what: "token", .. } => "unknown-token",
            Self::Unknown { .. } => "unknown-node",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::RootElsewhere(_) => "root-elsewhere",
        }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Unproven(_) => 401,
            Self::TooOften => 429,
            Self::Token(_) | Self::Removed { .. } => 403,
            Self::Unknown { .. } => 404,
            Self::Address(AddressRefusal::Held { .. })
            | Self::Name(
                NameRefusal::Held { .. } | NameRefusal::OfHost { .. } | NameRefusal::Blocked { .. },
            )
            | Self::Clone { .. }
            | Self::CloneLeaves
            | Self::Reallotted { .. }
            | Self::StaleSerial { .. }
            | Self::StaleBase { .. }
            | Self::Conflict(_)
            | Self::RootElsewhere(_) => 409,
            Self::Store(_) | Self::Stopping => 503,
            Self::Address(_)
            | Self::Full
            | Self::Name(_)
            | Self::Prefix(_)
            | Self::Delegation(_)
            | Self::Statement(_)
            | Self::Invalid(_) => 422,
        }
    }
}
