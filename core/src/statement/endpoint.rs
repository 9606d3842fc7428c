//! What is balanced, as the network's root signs it: an address that every node holds, and the nodes behind it.

use std::net::IpAddr;

use super::text::{self, MAX_LABEL};
use crate::id::NodeId;

/// Most nodes behind one endpoint.
pub const MAX_MEMBERS: usize = 32;
/// Most certificates of authorities: one, and its successor while it is replaced.
pub const MAX_AUTHORITIES: usize = 2;
/// Most bytes of one of them (DER), so that an act with all of its members has room for two.
pub const MAX_AUTHORITY: usize = 1_400;

/// An address that every node holds for itself, and to whom connections to it go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTerms {
    /// The address; the network's reserved ones (IPv4 and IPv6) where absent.
    pub address: Option<IpAddr>,
    /// The TCP port there.
    pub port: u16,
    /// The nodes behind it.
    pub members: Vec<Member>,
    /// Certificates (DER) of who issues the members': where there is one, a member is well that answers `GET /readyz` over TLS
    /// under it; where there is none, one that takes a connection.
    pub authorities: Vec<Vec<u8>>,
}

/// A node behind an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// The TCP port on its mesh address.
    pub port: u16,
}

impl EndpointTerms {
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        text::check("the endpoint's name", name, MAX_LABEL)?;
        if self.port == 0 || self.members.iter().any(|member| member.port == 0) {
            return Err("port 0 is none".into());
        }
        if self.members.len() > MAX_MEMBERS {
            let count = self.members.len();
            return Err(format!(
                "the endpoint has {count} members; at most {MAX_MEMBERS} are allowed"
            ));
        }
        if self.authorities.len() > MAX_AUTHORITIES {
            let count = self.authorities.len();
            return Err(format!(
                "the endpoint has {count} certificates; at most {MAX_AUTHORITIES} are allowed"
            ));
        }
        match self.authorities.iter().map(Vec::len).max() {
            Some(length) if length > MAX_AUTHORITY => Err(format!(
                "a certificate has {length} bytes; at most {MAX_AUTHORITY} are allowed"
            )),
            _ => Ok(()),
        }
    }
}
