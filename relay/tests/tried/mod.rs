//! Every operation of the API, tried once on a running meshrelay, its answer held against the document.

mod by_admins;
mod by_nodes;

pub use by_admins::{admins, ends, relays};
pub use by_nodes::{control_planes, nodes};
