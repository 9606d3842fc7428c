//! A map header: the coordinator says which entries make up a version of the map.

use std::fmt;

use data_encoding::HEXLOWER;
use minicbor::{Decode, Encode};

use super::Statement;
use crate::cbor::byte_string;
use crate::id::NetworkId;
use crate::keys::{CoordinatorPublic, CoordinatorSecret};

/// Hash over the keys of a map's entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// The head of a map, signed by the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MapHeader {
    /// The network.
    #[n(0)]
    pub network: NetworkId,
    /// Opened anew when a backup is restored.
    #[n(1)]
    pub epoch: u32,
    /// Counts maps within an epoch.
    #[n(2)]
    pub version: u64,
    /// Over the entries.
    #[n(3)]
    pub digest: Digest,
}

impl MapHeader {
    /// What never goes back.
    pub fn at(&self) -> (u32, u64) {
        (self.epoch, self.version)
    }
}

impl Statement for MapHeader {
    const LABEL: &'static str = "meshd/map/v1";
    const WHAT: &'static str = "map header";
    const SIGNER: &'static str = "the coordinator";
    type Secret = CoordinatorSecret;
    type Public = CoordinatorPublic;

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

byte_string!(Digest, 32);
