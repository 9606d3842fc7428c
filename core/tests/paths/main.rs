//! Relays and paths under a virtual clock: every test is a sentence about what a person would notice.

mod clock;
mod relay_client;
mod relay_server;
