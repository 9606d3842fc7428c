//! Addresses of pods: which part of the pods' prefixes a node has, and which pod has which address of it.
//!
//! The root signs a network's pod prefixes and each node's part of them ([`crate::statement::PodTerms`],
//! [`crate::statement::PodPrefixes`]); a node takes pods' packets from a peer only where such a statement says so.
//!
//! 1. [`check_terms`] refuses pod and service prefixes that cannot work, each in its own sentence;
//! 2. [`next_prefixes`] finds the first part that touches nothing in use: at the coordinator, or where the root key is;
//! 3. [`Leases`] hands out one node's addresses, a pod's interface at a time.

mod leases;
mod prefixes;

pub use leases::{Attachment, Lease, LeaseError, Leases, MAX_LEASES, QUARANTINE, UNSEEN, host_interface};
pub use prefixes::{MAX_PARTS, TermsError, check_terms, fits, next_prefixes};

/// Beginning of the names of pods' interfaces on the host's side.
pub const HOST_PREFIX: &str = "mpod";
