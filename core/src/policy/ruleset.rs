//! What the kernel should hold: sets of addresses, a chain for each policy, two for each isolated pod.
//!
//! Groups, named ports and policies carry numbers that a [`super::Compiler`] gave them and gives nothing else for its life,
//! so that two rule sets of one compiler can be compared part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::model::{Direction, Name, Protocol};

/// What the kernel should hold for the pods of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Addresses of the pods that a rule's selectors select.
    pub groups: BTreeMap<u32, Arc<BTreeSet<IpAddr>>>,
    /// Addresses of pods that have a port of some name and protocol, with its number.
    pub ports: BTreeMap<u32, Arc<BTreeSet<(IpAddr, u16)>>>,
    /// What each policy allows.
    pub policies: BTreeMap<(u32, Direction), Allowed>,
    /// The isolated pods, by the host's side of their interface.
    pub pods: BTreeMap<String, PodRules>,
}

/// What one policy allows in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The policy, for people.
    pub name: Name,
    /// Any of these.
    pub rules: Arc<Vec<Rule>>,
}

/// The policies that allow a pod something; none: it is not isolated for that direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRules {
    /// For what comes to it.
    pub ingress: Option<Vec<u32>>,
    /// For what it sends.
    pub egress: Option<Vec<u32>>,
}

impl PodRules {
    /// For one direction.
    pub fn of(&self, direction: Direction) -> Option<&[u32]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// Whether it is isolated for neither direction.
    pub fn is_open(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }
}

/// A packet that both parts match is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The other side: the source of what comes in, the destination of what goes out.
    pub peer: Match,
    /// Protocol and destination port.
    pub ports: Ports,
}

/// Which other sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// All.
    Anybody,
    /// The addresses of a group.
    Group(u32),
    /// A prefix without some of it.
    Block {
        /// The prefix.
        cidr: IpNet,
        /// Parts of it, none within another.
        except: Vec<IpNet>,
    },
}

/// Which protocols and destination ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All, and protocols without ports.
    Every,
    /// All of a protocol.
    Protocol(Protocol),
    /// Of a protocol, these ranges, which neither touch nor overlap; at least one.
    Numbers(Protocol, Vec<(u16, u16)>),
    /// Of a protocol, the destination's port of a name.
    Named(Protocol, u32),
}
