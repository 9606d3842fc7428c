//! A port of the router's, mapped to this node's UDP port: asked for by PCP, else NAT-PMP, else UPnP, renewed at half of its
//! life, given back when the node goes.
//!
//! 1. [`PortMapper::set_place`] says where the router and this node are; a round begins.
//! 2. Each way is asked up to three times; who answers in another way's version is asked that way at once. What is not
//!    answered by any is asked again after 5 min, and seldomer later.
//! 3. [`PortMapper::external`] is what the router granted. A grant that is not renewed ends with its life.
//! 4. [`PortMapper::release`] gives it back.
//!
//! Only the router is believed: datagrams count from its address, and a description on another machine is not fetched. The
//! nonce of a mapping follows from a secret, so that a node that starts again renews what it had.
//!
//! Vocabulary: one mutation, then drain [`PortMapper::poll_action`].

mod asking;
mod held;
mod natpmp;
mod pcp;
mod upnp;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::keys::blake2s;

use asking::{Asking, Step};
use held::Held;

pub use held::{Grant, Method};
pub use upnp::MAX_TEXT;

/// What is asked for, s.
const LIFETIME: u32 = 3600;
/// Outside ports that are tried by UPnP, which grants the one asked for or none.
const MAX_CONFLICTS: u16 = 4;
/// Between rounds in vain; the last one repeats.
const AGAIN: [Duration; 3] = [
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3600),
];

/// Where this node and its router are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The router: the next hop of the default route.
    pub router: Ipv4Addr,
    /// This node's address towards it, and its UDP port.
    pub own: SocketAddrV4,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this datagram, by a socket whose answers come back to [`PortMapper::handle_datagram`].
    Datagram {
        /// Where to.
        to: SocketAddrV4,
        /// The whole of it.
        bytes: Vec<u8>,
    },
    /// Connect, send this request, read at most [`MAX_TEXT`] bytes to the end, and bring them to [`PortMapper::handle_http`].
    Http {
        /// Where to.
        to: SocketAddrV4,
        /// The whole request.
        request: Vec<u8>,
    },
}

/// One port of one node at one router.
pub struct PortMapper {
    secret: [u8; 32],
    place: Option<Place>,
    asking: Option<Asking>,
    held: Option<Held>,
    again: Option<Instant>,
    failures: usize,
    /// Outside ports that turned out to be another's.
    conflicts: u16,
    actions: VecDeque<Action>,
}

impl PortMapper {
    /// One that asks nobody yet. The nonces of its mappings follow from `secret`, which a next life should have as well.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            place: None,
            asking: None,
            held: None,
            again: None,
            failures: 0,
            conflicts: 0,
            actions: VecDeque::new(),
        }
    }

    /// Where this node and its router are now. A change begins anew; what another router granted is no more.
    pub fn set_place(&mut self, now: Instant, place: Option<Place>) {
        if self.place == place {
            return;
        }
        self.place = place;
        (self.asking, self.held, self.again) = (None, None, None);
        (self.failures, self.conflicts) = (0, 0);
        self.actions.clear();
        if place.is_some() {
            self.begin(now, Step::Pcp);
        }
    }

    /// What is granted at present, and by what.
    pub fn external(&self) -> Option<(SocketAddrV4, Method)> {
        self.held.as_ref().map(|held| (held.external, held.method))
    }

    /// Gives the mapping back, and asks for none until the place changes.
    pub fn release(&mut self) {
        (self.asking, self.again) = (None, None);
        self.actions.clear();
        let (Some(held), Some(place)) = (self.held.take(), self.place.take()) else {
            self.place = None;
            return;
        };
        let to = SocketAddrV4::new(place.router, pcp::SERVER_PORT);
        let action = match (held.method, held.service) {
            (Method::Pcp, _) => Action::Datagram {
                to,
                bytes: self.map_of(place, held.external, 0).encode(),
            },
            (Method::NatPmp, _) => Action::Datagram {
                to,
                bytes: natpmp::map_request(place.own.port(), 0, 0).to_vec(),
            },
            (Method::Upnp, Some(service)) => Action::Http {
                to: service.server(),
                request: service.unmap(held.external.port()),
            },
            (Method::Upnp, None) => return,
        };
        self.actions.push_back(action);
    }

    /// What the driver is to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asking = self.asking.as_ref().map(Asking::next);
        let held = self.held.as_ref();
        let renew = held.filter(|_| self.asking.is_none()).map(Held::renew);
        [asking, renew, held.map(Held::ends), self.again]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.held.take_if(|held| now >= held.ends());
        if self.again.take_if(|at| now >= *at).is_some() {
            self.begin(now, Step::Pcp);
        }
        let due = self.held.as_ref().filter(|held| now >= held.renew());
        if let Some(step) = due.filter(|_| self.asking.is_none()).map(Held::renewal) {
            self.begin(now, step);
        }
        let Some(asking) = &mut self.asking else { return };
        if now < asking.next() {
            return;
        }
        if asking.is_over(now) {
            return self.silent(now);
        }
        asking.sends();
        self.ask();
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let (Some(place), SocketAddr::V4(from)) = (self.place, from) else {
            return;
        };
        let Some(asking) = self.asking.as_mut().filter(|_| *from.ip() == place.router) else {
            return;
        };
        match &mut asking.step {
            Step::Pcp if from.port() == pcp::SERVER_PORT => {
                let asked = self.map_of(place, self.wanted(place), LIFETIME);
                match pcp::parse(bytes, &asked) {
                    Some(pcp::Answer::Granted(grant)) => self.granted(now, Method::Pcp, grant, None),
                    Some(_) => self.begin(now, Step::nat_pmp()),
                    None => {}
                }
            }
            Step::NatPmp { address, granted } if from.port() == pcp::SERVER_PORT => {
                match natpmp::parse(bytes) {
                    Some(natpmp::Answer::Address(outside)) => *address = Some(outside),
                    Some(natpmp::Answer::Mapped { own, port, lifetime }) if own == place.own.port() => {
                        *granted = Some((port, lifetime));
                    }
                    Some(natpmp::Answer::Refused(_)) => return self.begin(now, Step::Search),
                    _ => {}
                }
                if let (Some(address), Some((port, lifetime))) = (*address, *granted)
                    && let Some(grant) = Grant::new(address, port, lifetime)
                {
                    self.granted(now, Method::NatPmp, grant, None);
                }
            }
            Step::Search => {
                if let Some(found) = upnp::location(bytes, place.router) {
                    self.begin(now, Step::Describe(found));
                }
            }
            _ => {}
        }
    }

    /// What an [`Action::Http`] brought; none where the router could not be reached.
    pub fn handle_http(&mut self, now: Instant, answer: Option<&[u8]>) {
        let (Some(asking), Some(place)) = (&self.asking, self.place) else {
            return;
        };
        let answer = answer.unwrap_or_default();
        match asking.step.clone() {
            Step::Describe(from) => match upnp::Service::of_description(answer, &from) {
                Some(service) => self.begin(now, Step::Address(service)),
                None => self.failed(now),
            },
            Step::Address(service) => match upnp::address_in(answer) {
                Some(address) => self.map(now, service, address, LIFETIME),
                None => self.failed(now),
            },
            Step::Map {
                service,
                address,
                lease,
            } => match upnp::done(answer) {
                Ok(()) => {
                    // a mapping without end is renewed all the same: the router may be started anew
                    let lifetime = if lease == 0 { LIFETIME } else { lease };
                    let port = self.wanted(place).port();
                    if let Some(grant) = Grant::new(address, port, lifetime) {
                        self.granted(now, Method::Upnp, grant, Some(service));
                    }
                }
                Err(upnp::ONLY_PERMANENT) if lease != 0 => {
                    self.map(now, service, address, 0);
                }
                Err(upnp::CONFLICT) if self.conflicts < MAX_CONFLICTS => {
                    self.conflicts += 1;
                    self.held = None; // it is another's by now
                    self.map(now, service, address, lease);
                }
                Err(_) => self.failed(now),
            },
            Step::Pcp | Step::NatPmp { .. } | Step::Search => {}
        }
    }

    /// Asks by UPnP for a mapping; a `lease` of 0 s has no end.
    fn map(&mut self, now: Instant, service: upnp::Service, address: Ipv4Addr, lease: u32) {
        let step = Step::Map {
            service,
            address,
            lease,
        };
        self.begin(now, step);
    }

    fn begin(&mut self, now: Instant, step: Step) {
        self.asking = Some(Asking::new(now, step));
        self.handle_timeout(now);
    }

    /// Sends what the present step asks.
    fn ask(&mut self) {
        let (Some(asking), Some(place)) = (&self.asking, self.place) else {
            return;
        };
        let to = SocketAddrV4::new(place.router, pcp::SERVER_PORT);
        let wanted = self.wanted(place);
        let datagram = |to, bytes: &[u8]| Action::Datagram {
            to,
            bytes: bytes.to_vec(),
        };
        let http = |to, request| Action::Http { to, request };
        let actions = match &asking.step {
            Step::Pcp => vec![datagram(to, &self.map_of(place, wanted, LIFETIME).encode())],
            Step::NatPmp { .. } => vec![
                datagram(to, &natpmp::ADDRESS_REQUEST),
                datagram(
                    to,
                    &natpmp::map_request(place.own.port(), wanted.port(), LIFETIME),
                ),
            ],
            Step::Search => vec![datagram(upnp::SEARCH_TO, &upnp::search())],
            Step::Describe(from) => vec![http(from.server, upnp::get(from))],
            Step::Address(service) => vec![http(service.server(), service.address())],
            Step::Map { service, lease, .. } => {
                vec![http(
                    service.server(),
                    service.map(place.own, wanted.port(), *lease),
                )]
            }
        };
        self.actions.extend(actions);
    }

    /// The outside that is wished for: the one held, else our own port, or one that follows from it where that is taken.
    fn wanted(&self, place: Place) -> SocketAddrV4 {
        let port = place.own.port();
        let other = 1024 + port.wrapping_add(self.conflicts.wrapping_mul(7919)) % 60_000;
        let port = if self.conflicts == 0 { port } else { other };
        let own = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        self.held.as_ref().map_or(own, |held| held.external)
    }

    fn map_of(&self, place: Place, wanted: SocketAddrV4, lifetime: u32) -> pcp::Map {
        let (ip, port) = (place.own.ip().octets(), place.own.port().to_be_bytes());
        let hash = blake2s(&[b"meshd pcp nonce v1", &self.secret, &ip, &port]);
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&hash[..12]);
        pcp::Map {
            nonce,
            own: place.own,
            wanted,
            lifetime,
        }
    }

    fn granted(&mut self, now: Instant, method: Method, grant: Grant, service: Option<upnp::Service>) {
        (self.asking, self.failures, self.again) = (None, 0, None);
        self.held = Some(Held::new(now, method, grant, service));
    }

    /// Nobody answered the present step: the next way is tried.
    fn silent(&mut self, now: Instant) {
        let next = self.asking.take().and_then(|asking| asking.step.after_silence());
        match next {
            Some(step) => self.begin(now, step),
            None => self.failed(now),
        }
    }

    /// No way led to a mapping.
    fn failed(&mut self, now: Instant) {
        self.asking = None;
        if let Some(held) = &mut self.held {
            held.postpone(now);
            self.again = Some(held.ends());
            return;
        }
        self.again = Some(now + AGAIN[self.failures.min(AGAIN.len() - 1)]);
        self.failures += 1;
    }
}
