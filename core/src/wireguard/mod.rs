//! WireGuard (the protocol of J. A. Donenfeld's paper, NDSS 2017), by boringtun as published, behind types of our own.
//!
//! This is the one place of the core that is not pure: boringtun reads the clock and draws randomness inside. What it
//! does by itself, and what follows from it here:
//! - A local session index is `index << 8 | n`: [`receiver`] and a shift find the peer that a message is for.
//! - It counts handshakes in a limiter that it asks for each message. Ours never refuses; the [`HandshakeGate`] in
//!   front of all sessions does.
//! - It repeats an unanswered initiation after 5 s. A peer that is wanted now gets ours sooner ([`Session::demand`]).
//! - Its timers know the time of their last call only: call [`Session::handle_timeout`] at least every 250 ms.
//! - The wall clock is read when its tunnel is made, and never again: tunnels are made at their first use, and
//!   [`Session::rebuild`] makes a new one.
//! - A tunnel without a session would queue packets, allocating: [`Session::sealer`] does not let it come to that.
//! - It has eight slots for sessions and overwrites the one in use without a look: `slots.rs` passes over that. Of two
//!   sessions that began between two calls of its timers it goes back to the older one: they are called before each handshake.

mod gate;
mod schedule;
mod session;
mod slots;

use std::fmt;
use std::sync::Arc;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::{WireGuardPublic, WireGuardSecret};
use crate::packet::DropReason;

pub use gate::{Admission, HandshakeGate, Origin};
pub use session::{HandshakeDone, Opened, Sealer, Session, TimeoutDone};

/// Bytes that a data message has more than the packet in it: header 16, authentication tag 16.
pub const DATA_OVERHEAD: usize = 32;
/// A data message that is this many counters behind the newest one is refused as a replay: boringtun's window.
pub const REPLAY_WINDOW: usize = 1024;
/// Length in bytes of a handshake initiation: the longest message that is no data.
pub const INITIATION_LEN: usize = 148;
/// Length in bytes of a cookie reply.
pub const COOKIE_REPLY_LEN: usize = 64;
/// Peers that one key can have: an index has 24 bits.
pub const MAX_PEERS: usize = 1 << 24;

/// A preshared key (paper section 5.4.2), mixed into each handshake with one peer.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; 32]);

impl PresharedKey {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(redacted)")
    }
}

/// What a session with one peer is made of.
#[derive(Clone, Debug)]
pub struct PeerKeys {
    /// The peer's key.
    pub public: WireGuardPublic,
    /// The preshared key with this peer.
    pub preshared: Option<PresharedKey>,
    /// Seconds between keepalives that go out whatever happens.
    pub keepalive: Option<u16>,
}

/// Our own key: makes sessions, and reads who an initiation is from.
#[derive(Clone)]
pub struct WireGuard {
    secret: WireGuardSecret,
    public: WireGuardPublic,
    unlimited: Arc<RateLimiter>,
}

impl WireGuard {
    /// For this key.
    pub fn new(secret: WireGuardSecret) -> WireGuard {
        let public = secret.public();
        let unlimited = Arc::new(RateLimiter::new(&public.to_dalek(), u64::MAX));
        WireGuard {
            secret,
            public,
            unlimited,
        }
    }

    /// The public half.
    pub fn public(&self) -> WireGuardPublic {
        self.public
    }

    /// A session with a peer, known by `index` (less than [`MAX_PEERS`], of no other session). Nothing is computed yet.
    pub fn session(&self, keys: PeerKeys, index: u32) -> Session {
        Session::new(self.clone(), keys, index)
    }

    /// The key that a handshake initiation is from: one Diffie-Hellman. That the sender holds it is not shown yet.
    ///
    /// # Errors
    /// [`DropReason::HandshakeInvalid`] where it is no initiation to our key.
    pub fn initiator(&self, datagram: &[u8]) -> Result<WireGuardPublic, DropReason> {
        let Ok(Packet::HandshakeInit(message)) = Tunn::parse_incoming_packet(datagram) else {
            return Err(DropReason::HandshakeInvalid);
        };
        parse_handshake_anon(self.secret.as_dalek(), &self.public.to_dalek(), &message)
            .map(|half| WireGuardPublic::from_bytes(half.peer_static_public))
            .map_err(|_| DropReason::HandshakeInvalid)
    }
}

impl fmt::Debug for WireGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireGuard")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The receiver index of a response, cookie reply or data message; `>> 8` it is the index of our session.
#[inline]
pub fn receiver(datagram: &[u8]) -> Option<u32> {
    let at = match datagram.first()? {
        2 => 8,
        3 | 4 => 4,
        _ => return None,
    };
    u32_at(datagram, at)
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..at + 4)?.first_chunk()?))
}
