//! meshd's Unix socket: HTTP/1.1 and JSON under `/v1`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `POST /v1/join` | [`JoinRequest`] | [`JoinReply`], when in (or pending) |
//! | `POST /v1/leave` | [`LeaveRequest`] | [`Done`] |
//! | `POST /v1/down` | | [`Done`]: interfaces, rules and names taken away, nothing forgotten |
//! | `POST /v1/up` | | [`Done`]: the opposite |
//! | `POST /v1/clean` | [`CleanRequest`] | [`Done`]: the machine as it was before meshd |
//! | `POST /v1/template` | [`TemplateRequest`] | [`Done`]: a token kept for the first boot of a clone |
//! | `POST /v1/netcheck` | [`NetcheckRequest`] | [`Netcheck`], within 6 s |
//! | `POST /v1/ping` | [`PeerRequest`] | [`PingReply`]: one pong, within 2 s |
//! | `POST /v1/why` | [`PeerRequest`] | [`Why`] |
//! | `POST /v1/pods/add` | [`PodRequest`] | [`PodLease`]: addresses and a name for the interface on the host |
//! | `POST /v1/pods/ready` | [`PodRequest`] | [`PodLease`]: the interface is there, and routed now |
//! | `POST /v1/pods/check` | [`PodRequest`] | [`PodLease`], where all of it is as it should be |
//! | `POST /v1/pods/del` | [`PodRequest`] | [`Done`], also where there was nothing |
//! | `POST /v1/pods/gc` | [`PodsKept`] | [`PodsForgotten`] |
//! | `POST /v1/pods/status` | [`PodNetwork`] | [`Done`], where another pod could be added |
//! | `POST /v1/pods/installed` | [`PodsInstalled`] | [`Done`]: that file goes when the node leaves the network |
//! | `POST /v1/kube/credentials` | [`KubeCredentials`] | [`Done`]: kept, and checked where the API server answers within 15 s |
//! | `POST /v1/kube/forget` | [`PodNetwork`] | [`Done`], also where there were none |
//! | `POST /v1/exit` | [`ExitRequest`] | [`Done`] |

mod endpoints;
mod kube;
mod paths;
mod pods;
mod requests;
mod status;

pub use crate::Done;
pub use endpoints::{EndpointMemberStatus, EndpointStatus};
pub use kube::{ClusterGround, KubeCredentials, KubeStatus};
pub use paths::{
    Attempt, ExitRequest, Nat, Netcheck, NetcheckRequest, PeerRequest, PingReply, PortMapping, RelayCheck,
    Why,
};
pub use pods::{
    NodePods, PodAttachment, PodLease, PodName, PodNetwork, PodPolicies, PodRequest, PodsForgotten,
    PodsInstalled, PodsKept,
};
pub use requests::{CleanRequest, JoinReply, JoinRequest, LeaveRequest, Membership, TemplateRequest};
pub use status::{
    NetworkStatus, Out, PathKind, PathStatus, PeerStatus, RangeStatus, RelayStatus, Status, Transport,
};

/// Where meshd listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/meshd/meshd.sock";
