//! Signed statements (docs/wire.md section 2): what a key says, in the exact bytes over which it said it.
//!
//! A statement is `[payload, signature]`. [`Signed`] keeps these bytes, since they are what the map hashes and what
//! the next reader verifies; nothing is ever encoded anew. Each kind of statement names, in its types, the key that
//! may sign it, so that a record cannot be checked against the root by mistake.
//!
//! Decoding is total and bounded, and takes each statement in one form only: an envelope that is not the shortest
//! CBOR is refused, so that the same statement cannot have two keys in a map.

mod act;
mod delegation;
mod departure;
mod endpoint;
mod enrolment;
mod expose;
mod grant;
mod ingress;
mod map_header;
mod params;
mod pods;
mod record;
mod signed;
pub(crate) mod text;

pub use act::{Act, Deed, GatewayTerms, HostName, MAX_NAMES, MAX_REACH};
pub use delegation::{Delegation, Fixed, Limits, MAX_TAGS, Terms};
pub use departure::Departure;
pub use endpoint::{EndpointTerms, MAX_AUTHORITIES, MAX_AUTHORITY, MAX_MEMBERS, Member};
pub use enrolment::Enrolment;
pub use expose::{ExposeLimits, ExposeTerms, MAX_SITES, Protocol, ProxyVersion};
pub use grant::{Grant, Grantee};
pub use ingress::{IngressTerms, MAX_POOLS, MAX_RANGES, PortRange};
pub use map_header::{Digest, MapHeader};
pub use params::{MTU_DEFAULT, MTU_MAX, MTU_MIN, MTU_STEP, Params, mtu_is_valid};
pub use pods::{MAX_SERVICES, PodPrefixes, PodTerms, Tellers};
pub use record::{Candidate, CandidateKind, MAX_CANDIDATES, Record};
pub use signed::{MAX_PAYLOAD, Signed, Statement, StatementError};

#[cfg(test)]
mod tests;
