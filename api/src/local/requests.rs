//! What a person asks of the meshd on this machine.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Join the network that a token names.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The join word. A secret: it is not shown by `Debug`.
    pub token: String,
    /// Wanted host name; the machine's own where absent.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Wanted IPv4 address inside the network.
    #[serde(default)]
    pub ip: Option<Ipv4Addr>,
    /// Wanted UDP port; 51820 or the next free one where absent.
    #[serde(default)]
    pub listen_port: Option<u16>,
    /// Join although the network's range collides with one that this machine has.
    #[serde(default)]
    pub force: bool,
}

impl JoinRequest {
    /// By this token, nothing else wanted.
    pub fn by(token: String) -> Self {
        Self {
            token,
            hostname: None,
            ip: None,
            listen_port: None,
            force: false,
        }
    }
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest")
            .field("token", &"[redacted]")
            .field("hostname", &self.hostname)
            .field("ip", &self.ip)
            .field("listen_port", &self.listen_port)
            .field("force", &self.force)
            .finish()
    }
}

/// Whether a node is in, or waits for an admin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Membership {
    /// In: it has a map.
    Joined,
    /// Known, without a map until `meshctl node approve`.
    Pending,
}

/// The answer to a join.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinReply {
    /// The network's name.
    pub network: String,
    /// The name allotted, e.g. `web-2`.
    pub hostname: String,
    /// IPv4 address in the network.
    pub ipv4: Ipv4Addr,
    /// IPv6 address in the network.
    pub ipv6: Ipv6Addr,
    /// The interface, e.g. `meshd0`.
    pub interface: String,
    /// In, or waiting for approval.
    pub state: Membership,
}

/// Leave a network for good.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    /// Its name.
    pub network: String,
    /// Although pods are connected here; they are disconnected.
    #[serde(default)]
    pub force: bool,
}

/// Take everything of meshd's away from this machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanRequest {
    /// Also forget identities and networks (the machine must join anew).
    #[serde(default)]
    pub forget: bool,
}

/// Keep a token for the first boot of a clone of this machine.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateRequest {
    /// The join word. A secret.
    pub token: String,
}
