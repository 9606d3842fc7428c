//! A mapping that is held: by what it was made, and so is renewed and given back; when that is due.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::asking::Step;
use super::upnp;

/// No grant counts for longer, and none is renewed more often than twice in this.
const LONGEST: u32 = 24 * 3600;
const SHORTEST: u32 = 2;
/// By what a mapping was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
    /// UPnP's internet gateway device.
    Upnp,
}

impl Method {
    /// As people and JSON call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
            Self::Upnp => "upnp",
        }
    }
}

/// What a router granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The outside.
    pub external: SocketAddrV4,
    /// For how long, s.
    pub lifetime: u32,
}

impl Grant {
    pub(super) fn new(address: Ipv4Addr, port: u16, lifetime: u32) -> Option<Self> {
        let usable = port != 0 && lifetime != 0 && !address.is_unspecified();
        usable.then(|| Self {
            external: SocketAddrV4::new(address, port),
            lifetime: lifetime.clamp(SHORTEST, LONGEST),
        })
    }
}

/// A mapping that is held.
pub(super) struct Held {
    pub(super) method: Method,
    pub(super) external: SocketAddrV4,
    pub(super) service: Option<upnp::Service>,
    renew: Instant,
    ends: Instant,
}

impl Held {
    pub(super) fn new(now: Instant, method: Method, grant: Grant, service: Option<upnp::Service>) -> Self {
        let life = Duration::from_secs(grant.lifetime.into());
        Self {
            method,
            external: grant.external,
            service,
            renew: now + life / 2,
            ends: now + life,
        }
    }

    /// When it is renewed.
    pub(super) fn renew(&self) -> Instant {
        self.renew
    }

    /// When it is no more, unless it was renewed.
    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    /// How its renewal begins.
    pub(super) fn renewal(&self) -> Step {
        match self.method {
            Method::Pcp => Step::Pcp,
            Method::NatPmp => Step::nat_pmp(),
            Method::Upnp => Step::Search,
        }
    }

    /// It could not be renewed: it is tried again after half of what is left, while that is something.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.renew = (now + self.ends.saturating_duration_since(now) / 2).max(now + Duration::from_secs(1));
    }
}
