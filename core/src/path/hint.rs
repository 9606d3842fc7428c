//! What is worth remembering over a restart.

use std::net::SocketAddr;

use crate::id::NodeId;

/// Where a peer was last reached; an address in it is tried, not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The peer.
    pub peer: NodeId,
    /// Its addresses, the latest first; at most four.
    pub addresses: Vec<SocketAddr>,
    /// Whether packets went to it lately: then it is tried at once after a restart, and a handshake is started.
    pub active: bool,
}
