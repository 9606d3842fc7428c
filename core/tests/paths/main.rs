//! Relays and paths under a virtual clock: every test is a sentence about what a person would notice.

mod candidates;
mod clock;
mod estranged;
mod hostile;
mod lan;
mod limits;
mod lives;
mod lossless;
mod moving;
mod mtu;
mod mtu_search;
mod pace;
mod places;
mod punching;
mod quiet;
mod reaching;
mod relay_bench;
mod relay_client;
mod relay_limits;
mod relay_server;
mod searching;
mod switching;
mod trouble;
mod whereabouts;
mod worlds;
mod worlds_a_minute;
