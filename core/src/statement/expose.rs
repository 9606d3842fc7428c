//! What is exposed to the Internet, as the network's root signs it: a port of the coordinator's host, and the nodes behind it.

use super::endpoint::{MAX_MEMBERS, Member};
use super::text::{self, MAX_LABEL, MAX_TEXT};

/// Most names of sites (SNI) of one exposure.
pub const MAX_SITES: usize = 16;

/// A public port, and to whom what comes there goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposeTerms {
    /// Whether the port is one of TCP or of UDP.
    pub protocol: Protocol,
    /// The public port.
    pub port: u16,
    /// The nodes behind it, and their ports.
    pub targets: Vec<Member>,
    /// Names of sites (TLS server name indication), lower case; `*.` in front stands for one label. Where there are some, only
    /// connections that ask for one of them come here, and others share the port; where there are none, the port is its own.
    pub sites: Vec<String>,
    /// By which header a target is told who the client is; none where it is not told.
    pub proxy: Option<ProxyVersion>,
    /// What is let in; an absent limit is the default one.
    pub limits: ExposeLimits,
}

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// A word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A version of HAProxy's PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// Limits of an exposure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExposeLimits {
    /// Connections, or flows of UDP, at once.
    pub connections: Option<u32>,
    /// New ones in a second.
    pub per_second: Option<u32>,
    /// Seconds without a byte after which one ends.
    pub idle: Option<u32>,
}

impl ExposeTerms {
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        text::check("the exposure's name", name, MAX_LABEL)?;
        if self.port == 0 || self.targets.iter().any(|target| target.port == 0) {
            return Err("port 0 is none".into());
        }
        let (targets, sites) = (self.targets.len(), self.sites.len());
        if targets > MAX_MEMBERS {
            return Err(format!(
                "the exposure has {targets} targets; at most {MAX_MEMBERS} are allowed"
            ));
        }
        if sites > MAX_SITES {
            return Err(format!(
                "the exposure has {sites} sites; at most {MAX_SITES} are allowed"
            ));
        }
        let ExposeLimits {
            connections,
            per_second,
            idle,
        } = self.limits;
        if [connections, per_second, idle].contains(&Some(0)) {
            return Err("a limit of 0 lets nothing in".into());
        }
        self.sites
            .iter()
            .try_for_each(|site| text::check("a site's name", site, MAX_TEXT))
    }
}
