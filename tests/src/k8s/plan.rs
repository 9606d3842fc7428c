//! Where a cluster's machines are, and who decides on its pods' prefixes.

use super::guide;
use crate::nat::Nat;

/// Where a cluster's machines are. Each node has a network of its own; the first one has the control plane.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is between each node and the internet.
    pub nats: [(&'static str, Nat); 3],
    /// Whether the second and the third have no path but by relays.
    pub cut: bool,
    /// Whether the cloud host has one address alone.
    pub one_address: bool,
    /// Whether Kubernetes allots nodes' prefixes of pods' addresses, and not the mesh.
    pub kubernetes_allots: bool,
    /// Whether the relay is without the network's root key, as where it is kept elsewhere: here beside it, in a file that only
    /// `meshctl` reads.
    pub key_elsewhere: bool,
}

impl Plan {
    /// Public; behind a port-restricted NAT; behind a symmetric one. The last two reach each other by the relay only.
    pub const PUBLIC: Self = Self {
        nats: [
            ("cp", Nat::Open),
            ("w1", Nat::PortRestricted),
            ("w2", Nat::Symmetric),
        ],
        cut: true,
        one_address: false,
        kubernetes_allots: false,
        key_elsewhere: false,
    };
    /// The same, where Kubernetes allots nodes' prefixes.
    pub const ALLOTTED: Self = Self {
        kubernetes_allots: true,
        ..Self::PUBLIC
    };
    /// The same, where somebody with the root key has to sign them.
    pub const ALLOTTED_AND_SIGNED: Self = Self {
        key_elsewhere: true,
        ..Self::ALLOTTED
    };
    /// All behind NATs, of which one keeps a port open for everybody, and a cloud host with one address.
    pub const HOMES: Self = Self {
        nats: [
            ("cp", Nat::FullCone),
            ("w1", Nat::PortRestricted),
            ("w2", Nat::Symmetric),
        ],
        cut: false,
        one_address: true,
        ..Self::PUBLIC
    };

    /// The page's line that makes the network.
    pub(super) fn create(self) -> &'static str {
        match self.kubernetes_allots {
            false => guide::CREATE,
            true => guide::CREATE_ALLOTTED,
        }
    }

    /// Options of the controller manager besides the usual ones.
    pub(super) fn manager(self) -> Vec<&'static str> {
        match self.kubernetes_allots {
            true => guide::words(guide::ALLOTTING),
            false => Vec::new(),
        }
    }

    /// Options of `meshctl` for an admin.
    pub(super) fn key(self) -> &'static [&'static str] {
        match self.key_elsewhere {
            true => &["--admin-key-file", "/var/lib/prod.key"],
            false => &[],
        }
    }
}
