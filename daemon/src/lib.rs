//! meshd: joins the pure core, the Linux edge and the APIs into the node's daemon.
//!
//! Two worlds that never wait for each other:
//!
//! - **Packets** (`dataplane`): plain threads with epoll, batches from TUN to UDP and back, one data plane for each
//!   joined network. What is not a data packet leaves them through bounded queues.
//! - **Control**: one tokio thread. `supervisor` owns the joined networks and answers the Unix socket (`serve`);
//!   each `network` is one task that owns its map, its path agent and its interface, and is told of
//!   coordinator, data plane and kernel by bounded channels. One loop, one owner.
//!
//! `state` is what survives: identities and settings under a MAC, always the last good generation beside the
//! present one. `hosts` writes names. Nothing on the packet path waits for the control side, and nothing on the
//! control side waits for the coordinator.

pub mod clean;
pub mod config;
pub mod dataplane;
pub mod descriptors;
pub mod dns;
pub mod endpoint;
pub mod firewall;
pub mod hosts;
pub mod join;
pub mod kube;
pub mod logging;
pub mod machine;
pub mod names;
pub mod netcheck;
pub mod network;
pub mod pods;
pub mod policy;
pub mod run;
pub mod serve;
pub mod state;
pub mod supervisor;
