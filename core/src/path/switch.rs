//! When packets change from a relay to a direct path so that none is lost.
//!
//! A receiver drops what is 1,024 or more counters behind the highest it has seen in a session (boringtun's replay window).
//! Where the direct path is 50 ms faster than the relay, at 20,000 packets/s, what is sent directly after the change gets a
//! thousand counters ahead of what is still under way through the relay: the last packets by the relay would come too late.
//! A marker that is sent through the relay behind the last packet and echoed would tell when they have arrived, but what is
//! to be sent meanwhile had to be held back for a round trip, or to go through the relay, and so behind the marker; and
//! copies on both ways run ahead in the same way.
//!
//! So the marker is a handshake. Each session has counters and a replay window of its own, and the old one goes on to receive
//! beside the new one. Packets go by the relay until a session that began after the choice of the direct path is confirmed,
//! which is the echo: the peer has its keys. From then on they go directly, in the new session, at once and without a gap,
//! and those of the old one may be as late as they like. Each direction changes for itself.
//!
//! Where nothing went through the relay lately there is nothing to overtake, and the change is made at once. Where no
//! handshake comes to an end, it is made after two seconds: a path that works is worth more than a few packets.

use std::time::{Duration, Instant};

use super::Path;

/// A packet that was sent longer ago has arrived, or never will.
const IN_FLIGHT: Duration = Duration::from_secs(1);
/// The change waits no longer for a new session.
const PATIENCE: Duration = Duration::from_secs(2);

/// The path that packets to one peer take, and the one that they take next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switch {
    current: Path,
    next: Option<(Path, Instant)>,
}

impl Switch {
    /// The path in use.
    #[inline]
    pub fn path(&self) -> Path {
        self.current
    }

    /// A path was chosen. `last_sent` is when a packet last went out in the present session, none where there is no session.
    /// Whether a handshake is to be started now: the change waits for it.
    pub fn set(&mut self, now: Instant, path: Path, last_sent: Option<Instant>) -> bool {
        let relayed = |path: &Path| path.primary.is_some_and(|primary| primary.is_relay());
        let direct = |path: &Path| path.primary.is_some_and(|primary| !primary.is_relay());
        let in_flight = last_sent.is_some_and(|at| now.saturating_duration_since(at) < IN_FLIGHT);
        match self.next {
            Some((_, deadline)) if direct(&path) && now < deadline => {
                self.next = Some((path, deadline));
                false
            }
            // what was sent on both ways has not to be waited for
            None if relayed(&self.current)
                && direct(&path)
                && in_flight
                && self.current.duplicate != path.primary =>
            {
                self.next = Some((path, now + PATIENCE));
                true
            }
            _ => {
                (self.current, self.next) = (path, None);
                false
            }
        }
    }

    /// A new session is confirmed: what is sent from now on is sealed in it.
    pub fn session_began(&mut self) {
        if let Some((path, _)) = self.next.take() {
            self.current = path;
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_some_and(|(_, deadline)| now >= deadline) {
            self.session_began();
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next.map(|(_, deadline)| deadline)
    }
}
