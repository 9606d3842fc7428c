//! Real Kubernetes on the mesh: each test is a cluster of three nodes on three networks.

mod authority;
mod bed;
mod homes;
mod kinds;
mod nodes;
mod pods;
mod policies;
mod storm;
mod trouble;
mod watch;
