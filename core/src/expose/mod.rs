//! What is exposed to the Internet: ports of the coordinator's host, and the nodes to which what comes there goes.
//!
//! The root says what is exposed ([`crate::statement::ExposeTerms`]). [`check`] says which of it breaks nothing: a port is one
//! exposure's, or several share it by the site that a TLS client asks for ([`Sites`]); what meshrelay itself listens on is its own. Who is let in
//! a [`Gate`] decides, and which flows of UDP there are a [`Flows`]; to whom one goes, a [`crate::balance::Balancer`]. How a target is told who the client is, [`proxy_header`] knows. None of them knows a socket.
//!
//! A cluster's control planes ask for ports themselves, where the root allowed it ([`crate::statement::IngressTerms`]): [`admit`] says which
//! of what they ask for is within that.

mod flows;
mod gate;
mod ingress;
mod proxy;
mod services;
mod sites;
mod terms;

pub use flows::Flows;
pub use gate::{Gate, Refused, source_of};
pub use ingress::{Asked, IngressError, MAX_LISTENERS, MAX_TARGETS, admit, most_ports, supersedes};
pub use proxy::{proxy_header, proxy_local};
pub use services::{
    CLASS, Endpoint, EndpointState, Ground, Plan, Planned, Service, ServicePort, Slice, is_ours, plan,
};
pub use sites::{Sites, is_site};
pub use terms::{
    ExposeError, Exposure, Limits, MAX_CONNECTIONS, MAX_EXPOSED, NODE_PORTS, OwnPort, check, check_place,
};
