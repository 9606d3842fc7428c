//! The lab: real binaries in real network namespaces.
//!
//! A [`World`] is an internet router, a cloud host with public addresses and any number of [`Site`]s behind NATs, each
//! with machines on one LAN. A [`Machine`] is a set of Linux namespaces (network, mount, UTS) with its own `/etc`,
//! `/run`, `/var/lib` and host name, so that many nodes live on one computer without seeing one another. Nothing has a
//! name in the computer's own namespaces: a machine's namespaces are held by one process and end with it, every process
//! is killed when the test runner dies ([`machine`]), and what escapes that (a process that forked itself away) is found
//! by a mark in its environment and swept at the end of the test, and again at the start of the next ([`sweep`]).
//!
//! Measuring: [`nat_probe`] says how a NAT maps and filters, [`UdpFlow`] sends numbered packets and finds silence, loss
//! and duplicates, [`TcpFlow`] sends bytes whose every one is checked, [`capture`] says
//! whether packets came out of a tunnel whole, in order and once, [`Snapshot`] is a machine's network configuration
//! as a bystander sees it, [`DelayBox`] is a link with a delay, loss and reordering (in user space: not every kernel has netem).
//! The programs are driven as a person drives them: [`mesh`] starts `meshrelay` and `meshd` and types `meshctl`.
//!
//! Tests wait for conditions with a bound ([`eventually`]), never for time to pass. What a test measures it prints with
//! [`figure`]; what it cannot do on this computer it says with [`skip`]. Both end up in the summary of `./test`.
//! Needs root, iproute2, nftables, util-linux and iputils; reads no file outside the tree but the system's programs.

mod advertise;
pub mod beside;
mod cable;
pub mod capture;
mod copies;
mod delay;
pub mod echo;
mod flow;
mod greeter;
pub mod hostile;
pub mod idlers;
pub mod k8s;
pub mod liar;
pub mod machine;
pub mod matrix;
pub mod measure;
pub mod member;
pub mod mesh;
pub mod meter;
mod nat;
pub mod nat_probe;
pub mod pods;
mod process;
mod report;
pub mod scan;
mod site;
mod snapshot;
mod spawner;
pub mod storage;
pub mod sweep;
mod tcp;
mod wait;
mod world;

pub use advertise::advertise;
pub use copies::Copies;
pub use delay::{DelayBox, Weather};
pub use flow::{FlowReport, UdpFlow};
pub use greeter::{Greeted, Greeter};
pub use machine::Machine;
pub use nat::Nat;
pub use process::{Process, cpu_of};
pub use report::{figure, keeps, keeps_all, skip};
pub use site::Site;
pub use snapshot::Snapshot;
pub use tcp::{TcpFlow, TcpReport};
pub use wait::{eventually, eventually_or_last, poll, timed};
pub use world::{CLOUD_V4, CLOUD_V6, World};
