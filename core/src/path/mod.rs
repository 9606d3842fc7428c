//! Paths: how packets reach each peer, decided from what is seen and nothing else.
//!
//! # What it does
//! A pair of nodes talks through a relay from the first packet, and directly as soon as an address of the peer has
//! answered. An address counts as proven by a pong to our own ping only; until then it gets at most eight small datagrams
//! a minute, so that nobody can be made a reflector. A direct way beats any relay; while it is in doubt both are used.
//! Idle peers cost nothing: what is kept up is the binding at the relays, by which anybody can call.
//!
//! # How it is driven
//! One [`Agent`] per network. Its driver owns the sockets and the clock and does, for ever: **one mutation, then drain.**
//!
//! 1. Mutate: one of `set_*`, `handle_datagram`, `handle_activity`, `note_received`, `initiation_sent`,
//!    `handshake_done`, `network_changed`, `handle_timeout`, each with the present `Instant`, which never goes back.
//! 2. Drain [`Agent::poll_event`] until it gives none, and do what each says.
//! 3. Drain [`Agent::poll_transmit`] until it gives none, and send each datagram: by the socket that it names, some of which
//!    an event may just have asked for, or by the beacon socket to both groups on every interface. A datagram that cannot be
//!    sent is dropped.
//! 4. Wait for input until [`Agent::poll_timeout`]; when that comes, call [`Agent::handle_timeout`].
//!
//! What the packet path has to tell:
//! - Everything that is not WireGuard ([`crate::demux::classify`]) goes to [`Agent::handle_datagram`] with its [`Source`].
//!   A WireGuard packet in a relay frame is the packet path's own: the session id in the header is the one with which to
//!   answer, so `Endpoint::Relay { relay: source, session }` is where it came from.
//! - [`Agent::handle_activity`] for each peer to which packets were sent, or for which packets wait because there is no
//!   path, and [`Agent::note_received`] for each peer and endpoint from which authenticated packets came: the first of
//!   each at once, then while they last every 50 to 100 ms. Doubt about a path is as exact as these notes.
//! - [`Agent::initiation_sent`] and [`Agent::handshake_done`]: a handshake that comes to nothing although the peer is there
//!   makes the agent ask it to initiate.
//!
//! What the packet path has to do: send to `primary` of the last [`Event::PathChanged`] (when [`Switch`] says so) and, where
//! it says so, to `duplicate` as well; receive by any endpoint; answer a handshake to where it came from; start one on
//! [`Event::Initiate`] (WireGuard's own limits on initiations stay in force).
//!
//! Order at start: `set_local`, `set_map`, `set_relays`, `set_peers`, `import_hints`. [`Agent::hints`] is what to store,
//! every minute or so and at the end. A new `Agent` needs a fresh seed: its boot nonce comes from it.
//!
//! ```
//! use std::time::Instant;
//! use meshd_core::path::{Agent, Event, Source, Transmit};
//!
//! /// Called with what has happened since it last returned; gives the time at which it wants to be called again.
//! fn step(
//!     agent: &mut Agent,
//!     now: Instant,
//!     datagram: Option<(Source, &[u8])>,
//!     send: &mut dyn FnMut(Transmit),
//!     follow: &mut dyn FnMut(Event),
//! ) -> Option<Instant> {
//!     match datagram {
//!         Some((source, bytes)) => agent.handle_datagram(now, source, bytes),
//!         None => agent.handle_timeout(now),
//!     }
//!     while let Some(event) = agent.poll_event() {
//!         follow(event);
//!     }
//!     while let Some(transmit) = agent.poll_transmit() {
//!         send(transmit);
//!     }
//!     agent.poll_timeout()
//! }
//! ```
//!
//! # Its parts
//! - [`discovery`], [`beacon`]: the wire formats.
//! - `peer/`: one peer's state; its handlers, one per message; `watch.rs` says when a direct way is in doubt.
//! - `mtu.rs`: how large a datagram may be on one way.
//! - `choice.rs`: the ranking. `candidate.rs`: which addresses make sense. `limits.rs`: what strangers may get.
//! - `relays.rs`, `reflexive.rs`, `beaconing.rs`: relays, own addresses as others see them, beacons.

pub mod beacon;
pub mod discovery;
pub mod limits;

mod agent;
mod beaconing;
mod candidate;
mod choice;
mod counters;
mod endpoint;
mod event;
mod explanation;
mod hint;
mod mtu;
mod peer;
mod reflexive;
mod relays;
mod shared;
mod socket_ids;
mod switch;
mod timers;
mod window;

pub use agent::{Agent, AgentConfig};
pub use candidate::Local;
pub use counters::Counters;
pub use discovery::MapVersion;
pub use endpoint::{Destination, Endpoint, Remote, SocketId, Source, Transmit};
pub use event::{Event, Path, PathKind};
pub use explanation::{Attempt, Explanation, Help, Method, Outcome};
pub use hint::Hint;
pub use limits::{PER_ADDRESS, PER_HOST, PER_SECOND, PER_SECOND_BIRTHDAY};
pub use mtu::MtuSearch;
pub use peer::{PeerInfo, PeerView};
pub use relays::{MAX_RELAYS, RelayView};
pub use switch::Switch;
