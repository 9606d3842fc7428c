//! The choice of the way: what is asked of the router, how long for, and what comes after silence.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::upnp;

/// When a question is asked, counted from the first time, and when silence counts.
const AT_MS: [u64; 3] = [0, 250, 750];
const SILENCE: Duration = Duration::from_millis(1_500);
/// UPnP routers answer a search within the second that they are given, and some talk slowly.
const SLOW: Duration = Duration::from_secs(4);
/// What is being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Pcp,
    NatPmp {
        address: Option<Ipv4Addr>,
        granted: Option<(u16, u32)>,
    },
    Search,
    Describe(upnp::Place),
    Address(upnp::Service),
    Map {
        service: upnp::Service,
        address: Ipv4Addr,
        lease: u32,
    },
}

/// A question under way.
pub(super) struct Asking {
    pub(super) step: Step,
    begun: Instant,
    sent: usize,
}

impl Step {
    /// The first question of that way.
    pub(super) fn nat_pmp() -> Self {
        Self::NatPmp {
            address: None,
            granted: None,
        }
    }

    /// What is asked where nobody answers this; none where that was the last way.
    pub(super) fn after_silence(&self) -> Option<Self> {
        match self {
            Self::Pcp => Some(Self::nat_pmp()),
            Self::NatPmp { .. } => Some(Self::Search),
            _ => None,
        }
    }

    /// Whether the question is asked again where no answer comes: datagrams are lost.
    fn is_datagram(&self) -> bool {
        matches!(self, Self::Pcp | Self::NatPmp { .. } | Self::Search)
    }
}

impl Asking {
    pub(super) fn new(now: Instant, step: Step) -> Self {
        Self {
            step,
            begun: now,
            sent: 0,
        }
    }

    /// One more question goes out.
    pub(super) fn sends(&mut self) {
        self.sent += 1;
    }

    fn tries(&self) -> &'static [u64] {
        if self.step.is_datagram() {
            &AT_MS
        } else {
            &AT_MS[..1]
        }
    }

    fn patience(&self) -> Duration {
        match self.step {
            Step::Pcp | Step::NatPmp { .. } => SILENCE,
            _ => SLOW,
        }
    }

    /// When the next question is due, or silence counts.
    pub(super) fn next(&self) -> Instant {
        let next = self.tries().get(self.sent).map(|ms| Duration::from_millis(*ms));
        self.begun + next.unwrap_or(self.patience())
    }

    /// Whether nobody answered.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.sent >= self.tries().len() && now >= self.begun + self.patience()
    }
}
