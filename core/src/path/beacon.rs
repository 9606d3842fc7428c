//! LAN beacons (docs/wire.md section 8): "here I am", sealed under the network's LAN key, total both ways.
//!
//! Every member has the key, and a beacon can be replayed, so it is believed in one thing only: that it is worth to
//! send a ping to the address that it came from.

use std::net::{Ipv4Addr, Ipv6Addr};

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::bytes::Reader;
use crate::demux::BEACON_MAGIC;
use crate::id::{BootNonce, NodeId};
use crate::keys::{LanKey, blake2s};

use super::MapVersion;

/// UDP port of beacons.
pub const BEACON_PORT: u16 = 7440;
/// The IPv4 group.
pub const BEACON_GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 68);
/// The IPv6 group, link-local.
pub const BEACON_GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x6d73, 0x6864);
/// Size of every beacon.
pub const BEACON_LEN: usize = HEADER_LEN + PLAIN_LEN + TAG_LEN;

const HEADER_LEN: usize = 4 + 8 + 24;
const PLAIN_LEN: usize = 16 + 8 + 2 + 4 + 8 + 1;
const TAG_LEN: usize = 16;
const ANSWER_WANTED: u8 = 1;

/// What a beacon says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Who.
    pub node: NodeId,
    /// In which life.
    pub boot: BootNonce,
    /// The UDP port of its WireGuard socket.
    pub port: u16,
    /// The map that it holds.
    pub map: MapVersion,
    /// Whether the others should send a beacon too.
    pub answer_wanted: bool,
}

/// Which network a beacon is of, without saying so to others.
pub fn hint(key: &LanKey) -> [u8; 8] {
    let hash = blake2s(&[b"meshd beacon v1", key.as_bytes()]);
    [
        hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7],
    ]
}

/// A sealed beacon. `nonce` is fresh randomness.
pub fn seal(beacon: &Beacon, key: &LanKey, nonce: [u8; 24]) -> Vec<u8> {
    let mut out = Vec::with_capacity(BEACON_LEN);
    out.extend(BEACON_MAGIC);
    out.extend(hint(key));
    out.extend(nonce);
    out.extend(beacon.node.as_bytes());
    out.extend(beacon.boot.as_bytes());
    out.extend(beacon.port.to_le_bytes());
    out.extend(beacon.map.epoch.to_le_bytes());
    out.extend(beacon.map.version.to_le_bytes());
    out.push(if beacon.answer_wanted { ANSWER_WANTED } else { 0 });
    let cipher = XChaCha20Poly1305::new(key.as_bytes().into());
    let nonce = XNonce::from_slice(&nonce);
    // fails for plain texts of 256 GiB only
    if let Ok(tag) = cipher.encrypt_in_place_detached(nonce, &[], &mut out[HEADER_LEN..]) {
        out.extend(tag);
    }
    out
}

/// Opens a beacon; none where it is not exactly one of this network.
pub fn open(datagram: &[u8], key: &LanKey) -> Option<Beacon> {
    let mut header = Reader::new(datagram);
    let ours = datagram.len() == BEACON_LEN && header.take()? == BEACON_MAGIC && header.take()? == hint(key);
    ours.then_some(())?;
    let nonce: [u8; 24] = header.take()?;
    let mut plain: [u8; PLAIN_LEN] = header.take()?;
    let tag: [u8; TAG_LEN] = header.take()?;
    XChaCha20Poly1305::new(key.as_bytes().into())
        .decrypt_in_place_detached(XNonce::from_slice(&nonce), &[], &mut plain, &tag.into())
        .ok()?;
    let mut r = Reader::new(&plain);
    Some(Beacon {
        node: r.take()?.into(),
        boot: r.take()?.into(),
        port: r.u16()?,
        map: MapVersion {
            epoch: r.u32()?,
            version: r.u64()?,
        },
        answer_wanted: r.u8()? & ANSWER_WANTED != 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> LanKey {
        LanKey::from_bytes([1; 32])
    }

    fn beacon(answer_wanted: bool) -> Beacon {
        let map = MapVersion { epoch: 4, version: 5 };
        Beacon {
            node: [2; 16].into(),
            boot: [3; 8].into(),
            port: 51820,
            map,
            answer_wanted,
        }
    }

    #[test]
    fn a_beacon_comes_back_inside_its_network_only() {
        for answer_wanted in [false, true] {
            let sealed = seal(&beacon(answer_wanted), &key(), [6; 24]);
            assert_eq!(sealed.len(), BEACON_LEN);
            assert_eq!(open(&sealed, &key()), Some(beacon(answer_wanted)));
            assert_eq!(open(&sealed, &LanKey::from_bytes([9; 32])), None);
            assert_eq!(open(&sealed[..BEACON_LEN - 1], &key()), None);
        }
    }

    #[test]
    fn the_groups_are_those_of_the_wire_page() {
        assert_eq!(BEACON_GROUP_V4.to_string(), "239.255.77.68");
        assert_eq!(BEACON_GROUP_V6.to_string(), "ff02::6d73:6864");
    }

    proptest! {
        #[test]
        fn a_changed_beacon_does_not_open(at in 0..BEACON_LEN, to in any::<u8>()) {
            let mut sealed = seal(&beacon(true), &key(), [6; 24]);
            prop_assume!(sealed[at] != to);
            sealed[at] = to;
            prop_assert_eq!(open(&sealed, &key()), None);
        }
    }
}
