//! From a plain packet to a sealed datagram in an outbox; shared by all threads that send.

use std::time::Instant;

use meshd_core::packet::{DropReason, ecn};
use meshd_core::wireguard::{DATA_OVERHEAD, Sealer};

use super::outbox::{Outbox, Route};
use super::peer::{Peer, PeerState};
use super::shared::Shared;

/// Plain text is padded with zeros to a multiple of this (paper section 5.4.6), but never beyond the MTU.
const PADDING: usize = 16;

/// Length in bytes of a packet with its padding, at most 15 more.
#[inline]
pub(super) fn padded(length: usize, mtu: usize) -> usize {
    length.next_multiple_of(PADDING).min(mtu.max(length))
}

/// Seals the packet of `length` bytes at the start of `packet` towards `route`, with a copy of the datagram towards
/// `duplicate`. `packet` has 15 bytes more, which become padding. Gives the datagram's length.
#[inline]
pub(super) fn seal(
    sealer: &mut Sealer<'_>,
    (route, duplicate): (&Route, Option<(&Route, &mut Outbox)>),
    packet: &mut [u8],
    (length, mtu): (usize, usize),
    outbox: &mut Outbox,
) -> Result<usize, DropReason> {
    let padded = padded(length, mtu);
    packet[length..padded].fill(0);
    let packet = &packet[..padded];
    let mark = ecn::outer(packet);
    let sealed = outbox.put(route, mark, padded + DATA_OVERHEAD, |space| {
        sealer.seal(packet, space)
    })?;
    if let Some((route, copies)) = duplicate {
        // a copy that finds no room is a copy less, no more
        let _ = copies.copy(route, mark, outbox.last(sealed));
    }
    Ok(sealed)
}

/// Sends what waits for the peer, as long as there is a session, a path and room in the outbox. `packet` holds one packet of
/// MTU size and 16 bytes.
pub(super) fn send_staged(
    shared: &Shared,
    peer: &Peer,
    state: &mut PeerState,
    packet: &mut [u8],
    outbox: &mut Outbox,
    now: Instant,
) {
    if !state.staged {
        return;
    }
    let Some(route) = state.route() else { return };
    let Some(mut sealer) = state.session.sealer() else {
        return;
    };
    let mtu = usize::from(shared.mtu);
    let (mut staging, mut bytes, mut packets) = (shared.staging(), 0, 0);
    while outbox.has_room(mtu + DATA_OVERHEAD) {
        let Some(length) = staging.pop(peer.index, packet) else {
            break;
        };
        match seal(&mut sealer, (&route, None), packet, (length, mtu), outbox) {
            Ok(sealed) => (bytes, packets) = (bytes + sealed, packets + 1),
            Err(reason) => shared.drops.count(reason),
        }
    }
    state.staged = staging.holds(peer.index);
    drop(staging);
    state.sent(bytes, packets, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_to_sixteen_within_the_mtu() {
        for (length, mtu, expected) in [
            (0, 1408, 0),
            (1, 1408, 16),
            (1393, 1408, 1408),
            (1408, 1408, 1408),
        ] {
            assert_eq!(padded(length, mtu), expected);
        }
        assert_eq!(padded(1411, 1412), 1412);
        assert_eq!(padded(1500, 1408), 1500);
    }
}
