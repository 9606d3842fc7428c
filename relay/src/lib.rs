//! meshrelay: coordinator, STUN server and packet relay of a mesh, in one program on the host with a public address.
//!
//! What it decides, the core decided already: `meshd-core` says who may join as what, what a map is, what becomes of a
//! relay frame. This crate keeps that on disk, serves it over HTTPS, and moves the frames.
//!
//! | module | what it is | runs on |
//! |---|---|---|
//! | [`config`] | flags and file, parsed into one valid value before anything opens | |
//! | [`run`] | the program's life: open, serve, stop; anew after a restore | |
//! | [`store`] | durable tables of bytes; the redb file; backups | blocking threads |
//! | [`coordinator`] | networks, tokens, nodes, maps: one state behind one lock, changed in one way | blocking threads |
//! | [`serve`] | connections, TLS, HTTP, who asks, which handler | the event loop |
//! | [`tls`] | certificates issued by the identity key that tokens pin | |
//! | [`expose`] | public ports of this host, carried to nodes through the meshd beside it | threads of its own |
//! | [`outpost`] | the program as a relay only, for a coordinator elsewhere | |
//! | [`packets`] | STUN and relay frames, in batches | a plain thread of its own |
//!
//! ## A join's journey
//! TCP accepted, if its source has not too many guests -> the ClientHello is looked at, bounded in time and size -> TLS 1.3 ->
//! HTTP -> the proof of identity, bound to the session -> the state's lock, on a blocking thread -> the core admits, names and
//! allots -> one batch: the token's use, the node, the map's next version -> committed and synced -> the answer; a few
//! milliseconds later one delta to every open stream.
//!
//! ## What must hold
//! - Nothing is answered before it is on disk; nothing is told of a map whose version is not on disk.
//! - Whatever a stranger sends is bounded: bytes before TLS, time before a proof, connections of a source, size of a
//!   body. Whoever has proven an identity counts against that identity.
//! - Nobody waits for a slow reader, and packets never wait for the control side: the packet thread takes a read lock per
//!   batch, and a removed node's binding is gone when the removal returns.
//! - A state file that is damaged is an error that changes nothing. There is no silent fresh start.
#![forbid(unsafe_code)]

pub mod config;
pub mod coordinator;
pub mod expose;
pub mod outpost;
pub mod packets;
pub mod run;
pub mod serve;
pub mod store;
pub mod tls;
