//! Network parameters: what every node of a network must agree on.

use ipnet::{Ipv4Net, Ipv6Net};
use minicbor::{Decode, Encode};

use super::text::{self, MAX_LABEL};
use super::{Signed, Statement};
use crate::id::NetworkId;
use crate::keys::{LanKey, RootPublic, RootSecret};

/// Smallest MTU in bytes (RFC 8200 section 5).
pub const MTU_MIN: u16 = 1280;
/// Largest MTU in bytes: what fits a 9000-byte underlay.
pub const MTU_MAX: u16 = 8912;
/// An MTU is a multiple of this, since WireGuard pads to 16 bytes.
pub const MTU_STEP: u16 = 16;
/// Fits 1500 bytes over IPv6 through a relay.
pub const MTU_DEFAULT: u16 = 1408;

/// Whether `mtu` may be a network's.
pub const fn mtu_is_valid(mtu: u16) -> bool {
    mtu >= MTU_MIN && mtu <= MTU_MAX && mtu.is_multiple_of(MTU_STEP)
}

/// Network parameters, signed by the root that they name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Params {
    /// The network's root key.
    #[n(0)]
    pub root: RootPublic,
    /// Counts root-signed statements; of two parameters the higher serial is in force.
    #[n(1)]
    pub serial: u64,
    /// The network's name: a DNS label.
    #[n(2)]
    pub name: String,
    /// IPv4 prefix of the nodes.
    #[cbor(n(3), with = "text")]
    pub ipv4: Ipv4Net,
    /// IPv6 prefix of the nodes.
    #[cbor(n(4), with = "text")]
    pub ipv6: Ipv6Net,
    /// MTU of the interfaces in bytes.
    #[n(5)]
    pub mtu: u16,
    /// Seals LAN beacons.
    #[n(6)]
    pub lan_key: LanKey,
}

impl Params {
    /// The network's id.
    pub fn network(&self) -> NetworkId {
        NetworkId::of_root(&self.root)
    }
}

impl Signed<Params> {
    /// Parameters name their own signer; good where it did sign, and a network's own where its id is the one wanted.
    pub fn verify_self(&self) -> Result<&Params, super::StatementError> {
        self.verify(&self.value().root)
    }
}

impl Statement for Params {
    const LABEL: &'static str = "meshd/params/v1";
    const WHAT: &'static str = "network parameters";
    const SIGNER: &'static str = "the network's root";
    type Secret = RootSecret;
    type Public = RootPublic;

    fn check(&self) -> Result<(), String> {
        text::check("the network's name", &self.name, MAX_LABEL)?;
        if !mtu_is_valid(self.mtu) {
            return Err(format!(
                "MTU {} is not a multiple of {MTU_STEP} in {MTU_MIN}..={MTU_MAX}",
                self.mtu
            ));
        }
        Ok(())
    }
}
