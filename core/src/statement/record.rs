//! A node record: what a node says of itself.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use minicbor::{Decode, Decoder, Encode, Encoder};

use super::Statement;
use super::text::{self, MAX_LABEL};
use crate::id::{NetworkId, NodeId, RelayId};
use crate::keys::{DiscoveryPublic, IdentityPublic, IdentitySecret, WireGuardPublic};

/// Most candidates of one node.
pub const MAX_CANDIDATES: usize = 16;

/// A node's keys, addresses and name, signed by its identity.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// The network.
    #[n(0)]
    pub network: NetworkId,
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// Counts this node's records; one counts only with a serial above the one held.
    #[n(2)]
    pub serial: u64,
    /// Its WireGuard key.
    #[n(3)]
    pub wireguard: WireGuardPublic,
    /// Its discovery key.
    #[n(4)]
    pub discovery: DiscoveryPublic,
    /// Its IPv4 address in the network.
    #[n(5)]
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address in the network.
    #[n(6)]
    pub ipv6: Ipv6Addr,
    /// Its host name: a DNS label.
    #[n(7)]
    pub host_name: String,
    /// Where it may be reached outside the network.
    #[cbor(n(8), with = "candidates")]
    pub candidates: Vec<Candidate>,
    /// The relay that it is bound to.
    #[n(9)]
    pub home_relay: Option<RelayId>,
    /// Its system, e.g. `linux/x86_64`.
    #[n(10)]
    pub system: String,
    /// Its version of meshd.
    #[n(11)]
    pub version: String,
}

/// A transport address at which a node may be reached (RFC 8445 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// How the node knows of it.
    pub kind: CandidateKind,
    /// The address and UDP port.
    pub addr: SocketAddr,
}

/// How a node knows of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// An address of one of its interfaces.
    Host = 1,
    /// Seen by a STUN server or relay.
    ServerReflexive = 2,
    /// Seen by a peer.
    PeerReflexive = 3,
    /// Given by a router (PCP, NAT-PMP, UPnP).
    PortMapped = 4,
}

impl CandidateKind {
    fn of(kind: u64) -> Option<Self> {
        [
            Self::Host,
            Self::ServerReflexive,
            Self::PeerReflexive,
            Self::PortMapped,
        ]
        .into_iter()
        .find(|known| *known as u64 == kind)
    }
}

impl fmt::Display for CandidateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Host => "host",
            Self::ServerReflexive => "server-reflexive",
            Self::PeerReflexive => "peer-reflexive",
            Self::PortMapped => "port-mapped",
        })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.addr)
    }
}

impl Statement for Record {
    const LABEL: &'static str = "meshd/record/v1";
    const WHAT: &'static str = "node record";
    const SIGNER: &'static str = "the node's identity";
    type Secret = IdentitySecret;
    type Public = IdentityPublic;

    fn check(&self) -> Result<(), String> {
        text::check("the host name", &self.host_name, MAX_LABEL)?;
        text::check("the system", &self.system, MAX_LABEL)?;
        text::check("the version", &self.version, MAX_LABEL)?;
        if self.candidates.len() > MAX_CANDIDATES {
            return Err(format!(
                "{} candidates; at most {MAX_CANDIDATES} are allowed",
                self.candidates.len()
            ));
        }
        Ok(())
    }
}

/// `[[kind, text address], ...]`; a kind that this release does not know is skipped.
mod candidates {
    use super::*;

    pub fn encode<Ctx, W: minicbor::encode::Write>(
        candidates: &[Candidate],
        e: &mut Encoder<W>,
        ctx: &mut Ctx,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(candidates.len() as u64)?;
        for candidate in candidates {
            e.array(2)?.u8(candidate.kind as u8)?;
            text::encode(&candidate.addr, e, ctx)?;
        }
        Ok(())
    }

    pub fn decode<Ctx>(
        d: &mut Decoder<'_>,
        ctx: &mut Ctx,
    ) -> Result<Vec<Candidate>, minicbor::decode::Error> {
        let refused = |why| minicbor::decode::Error::message(why);
        let count = d
            .array()?
            .ok_or_else(|| refused("candidates of no stated number"))?;
        if count > MAX_CANDIDATES as u64 {
            return Err(refused("more than 16 candidates"));
        }
        let mut candidates = Vec::new();
        for _ in 0..count {
            if d.array()? != Some(2) {
                return Err(refused("a candidate is [kind, address]"));
            }
            match CandidateKind::of(d.u64()?) {
                Some(kind) => candidates.push(Candidate {
                    kind,
                    addr: text::decode(d, ctx)?,
                }),
                None => d.skip()?,
            }
        }
        Ok(candidates)
    }
}
