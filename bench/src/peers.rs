//! Connected sessions, ours and boringtun's own.

use std::time::Instant;

use boringtun::noise::{Tunn, TunnResult};
use meshd_core::keys::WireGuardSecret;
use meshd_core::wireguard::{HandshakeDone, PeerKeys, Session, WireGuard};

/// Two sessions with each other, ready both ways.
///
/// # Panics
/// If the handshake fails.
pub fn sessions() -> (Session, Session) {
    let [a, b] = [1, 2].map(|byte| WireGuard::new(WireGuardSecret::from_seed(&[byte; 32])));
    let keys = |public| PeerKeys {
        public,
        preshared: None,
        keepalive: None,
    };
    let (mut left, mut right) = (a.session(keys(b.public()), 1), b.session(keys(a.public()), 2));
    let (now, mut one, mut two) = (Instant::now(), [0; 148], [0; 148]);
    let length = left.initiate(now, &mut one).expect("an initiation");
    let Ok(HandshakeDone::Respond(length)) = right.handle_handshake(now, &one[..length], &mut two) else {
        panic!("no response")
    };
    let Ok(HandshakeDone::Established(length)) = left.handle_handshake(now, &two[..length], &mut one) else {
        panic!("no session")
    };
    right.open(&one[..length], &mut two).expect("the first packet");
    right.confirm(now);
    (left, right)
}

/// Two tunnels of boringtun's own, connected: the baseline.
///
/// # Panics
/// If the handshake fails.
pub fn tunnels() -> (Tunn, Tunn) {
    let [a, b] = [1, 2].map(|byte| WireGuardSecret::from_seed(&[byte; 32]));
    let mut left = Tunn::new(a.as_dalek().clone(), b.public().to_dalek(), None, None, 1, None);
    let mut right = Tunn::new(b.as_dalek().clone(), a.public().to_dalek(), None, None, 2, None);
    let (mut one, mut two) = ([0; 148], [0; 148]);
    let TunnResult::WriteToNetwork(message) = left.format_handshake_initiation(&mut one, false) else {
        panic!("no initiation")
    };
    let TunnResult::WriteToNetwork(message) = right.decapsulate(None, message, &mut two) else {
        panic!("no response")
    };
    let TunnResult::WriteToNetwork(message) = left.decapsulate(None, message, &mut one) else {
        panic!("no session")
    };
    right.decapsulate(None, message, &mut two);
    (left, right)
}
