//! The pure core of meshd: every wire format and every decision.
//!
//! This crate decides and never does. It opens no socket and no file, starts no thread, and reads neither clock nor
//! randomness: `now`, unix time and seeds are parameters. So every rule of the mesh runs in a test, a fuzzer or the
//! simulator exactly as it runs on a machine. (boringtun reads both inside; it is wrapped in [`wireguard`] alone.)
//!
//! # Who believes what
//! A network is its root key. The root delegates to tokens ([`token`]), a token's join key enrols identities, an identity
//! signs records: [`statement`] has each link, in its exact bytes. The coordinator gathers them in a [`map`] and decides
//! who is admitted and as what ([`admission`]), but a node believes the chain, not the coordinator. What a node once
//! believed is kept under its own key ([`sealed`]), so that nothing goes back.
//!
//! # How packets go
//! A datagram is told by its first bytes ([`demux`]). WireGuard packets go through [`wireguard`], inner packets through
//! [`packet`] and [`allowed_ips`], ranges behind a node by its [`gateway`], routes of other programs as far as they were granted ([`adopted`]), pods by their addresses ([`ipam`]) and by what a cluster allows them ([`policy`]), connections to one of several nodes by [`balance`], those from the Internet by what was let in ([`expose`]); [`relay`], [`path`] and [`stun`] find the way between two nodes. [`names`] is what a
//! person sees of it all.
//!
//! # The contract
//! Every state machine has one vocabulary. The caller makes one mutation (`handle_...`), then drains: `poll_transmit` until
//! there is nothing to send, `poll_event` until nothing happened; then it sleeps until `poll_timeout` and says
//! `handle_timeout(now)`. A machine never calls back, and forgets nothing while nobody calls.
//!
//! ```
//! use std::time::Instant;
//! use meshd_core::id::{NetworkId, NodeId, RelayId};
//! use meshd_core::keys::BindKey;
//! use meshd_core::relay::{RelayClient, RelayInfo};
//!
//! let now = Instant::now(); // the shell reads the clock
//! let info = RelayInfo {
//!     id: RelayId::from_bytes([1; 8]),
//!     addresses: vec!["203.0.113.1:3478".parse().unwrap()],
//!     key: BindKey::from_bytes([2; 32]),
//!     node: None,
//! };
//! let (network, node) = (NetworkId::from_bytes([3; 16]), NodeId::from_bytes([4; 16]));
//! let mut client = RelayClient::new(now, info, network, node, [5; 32]); // and draws the seed
//!
//! client.handle_timeout(now); // one mutation,
//! while let Some((to, frame)) = client.poll_transmit() { // then drain
//!     assert_eq!(to.port(), 3478); // the shell sends `frame` to `to`
//! }
//! while let Some(_event) = client.poll_event() {}
//! assert!(client.poll_timeout().unwrap() > now); // and sleeps
//! ```

pub mod admission;
pub mod adopted;
pub mod allowed_ips;
pub mod auth;
pub mod balance;
mod bytes;
mod cbor;
pub mod clienthello;
pub mod cluster;
pub mod demux;
pub mod expose;
pub mod firewall;
pub mod gateway;
pub mod id;
pub mod ipam;
pub mod keys;
pub mod map;
pub mod names;
pub mod nat;
pub mod netcheck;
pub mod netmaker;
pub mod packet;
pub mod path;
pub mod policy;
pub mod portmap;
pub mod ranges;
pub mod relay;
pub mod sealed;
pub mod sim;
pub mod statement;
pub mod stun;
pub mod token;
pub mod underlay;
pub mod wireguard;
