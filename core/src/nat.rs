//! What is known of the NAT in front of a node (RFC 4787 sections 4 and 5; measured as in RFC 5780): it decides which ways
//! to a direct path can work at all. Each part may be unknown; what is unknown never rules a way out.

use std::net::{IpAddr, SocketAddr};

/// Whether others may see a node at this address. What an observer says is refused where that cannot be: unspecified, "this
/// network", loopback, link-local, multicast and broadcast addresses (RFC 6890), and port 0. Private ones may be: an observer inside
/// a carrier's or a company's network sees them.
pub fn may_be_seen(address: SocketAddr) -> bool {
    address.port() != 0
        && match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let this_network = ip.octets()[0] == 0;
                !(this_network
                    || ip.is_loopback()
                    || ip.is_link_local()
                    || ip.is_multicast()
                    || ip.is_broadcast())
            }
            IpAddr::V6(ip) => {
                !(ip.is_unspecified() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast())
            }
        }
}

/// Whether, and how, a NAT maps one socket to external ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// Not measured, or not to be told from here.
    #[default]
    Unknown,
    /// There is no NAT: the socket is seen at its own address.
    NoNat,
    /// One external port for all remote addresses.
    EndpointIndependent,
    /// Another one for each remote IP address.
    AddressDependent,
    /// Another one for each remote IP address and port.
    AddressAndPortDependent,
}

/// From whom a NAT or firewall lets packets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Filtering {
    /// Not measured, or not to be told from here.
    #[default]
    Unknown,
    /// From everybody, once there is a mapping (or without one, where there is no filter).
    EndpointIndependent,
    /// From every port of IP addresses that were sent to.
    AddressDependent,
    /// From addresses and ports that were sent to.
    AddressAndPortDependent,
}

/// How external ports are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// Not measured, or no rule was seen.
    #[default]
    Unknown,
    /// The socket's own port, where it is free.
    Preserving,
    /// Each new mapping gets the port so many after the last one.
    Sequential {
        /// The difference; never 0.
        step: i8,
    },
    /// No relation from one to the next.
    Random,
}

/// All that is known of the NAT in front of a node. It travels to the peer in a call (docs/wire.md section 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NatBehaviour {
    /// How it maps.
    pub mapping: Mapping,
    /// From whom it lets packets in.
    pub filtering: Filtering,
    /// How it chooses ports.
    pub allocation: Allocation,
    /// UDP does not leave at all.
    pub udp_blocked: bool,
}

impl NatBehaviour {
    /// Size on the wire, in bytes.
    pub const LEN: usize = 4;

    /// Another external port for each remote: the address that an observer saw is not the one that a peer sees.
    pub fn is_dependent(&self) -> bool {
        matches!(
            self.mapping,
            Mapping::AddressDependent | Mapping::AddressAndPortDependent
        )
    }

    /// The address that an observer saw holds for everybody.
    pub fn is_independent(&self) -> bool {
        matches!(self.mapping, Mapping::NoNat | Mapping::EndpointIndependent)
    }

    /// The difference from one mapping's port to the next, where there is a rule.
    pub fn step(&self) -> Option<i8> {
        match self.allocation {
            Allocation::Sequential { step } if self.is_dependent() => Some(step),
            _ => None,
        }
    }

    /// As on the wire: mapping, filtering, allocation and UDP, step. Unknown is 0.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let (allocation, step) = match self.allocation {
            Allocation::Unknown => (0, 0),
            Allocation::Preserving => (1, 0),
            Allocation::Sequential { step } => (2, step),
            Allocation::Random => (3, 0),
        };
        let blocked = u8::from(self.udp_blocked) << 7;
        [
            self.mapping as u8,
            self.filtering as u8,
            allocation | blocked,
            step as u8,
        ]
    }

    /// Total: a value that this version does not know is unknown.
    pub fn from_bytes([mapping, filtering, allocation, step]: [u8; Self::LEN]) -> Self {
        let mapping = match mapping {
            1 => Mapping::NoNat,
            2 => Mapping::EndpointIndependent,
            3 => Mapping::AddressDependent,
            4 => Mapping::AddressAndPortDependent,
            _ => Mapping::Unknown,
        };
        let filtering = match filtering {
            1 => Filtering::EndpointIndependent,
            2 => Filtering::AddressDependent,
            3 => Filtering::AddressAndPortDependent,
            _ => Filtering::Unknown,
        };
        let udp_blocked = allocation & 0x80 != 0;
        let allocation = match (allocation & 0x7f, step as i8) {
            (1, _) => Allocation::Preserving,
            (2, step) if step != 0 => Allocation::Sequential { step },
            (3, _) => Allocation::Random,
            _ => Allocation::Unknown,
        };
        Self {
            mapping,
            filtering,
            allocation,
            udp_blocked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_went_and_strange_bytes_are_unknown() {
        let behaviour = NatBehaviour {
            mapping: Mapping::AddressAndPortDependent,
            filtering: Filtering::AddressDependent,
            allocation: Allocation::Sequential { step: -2 },
            udp_blocked: true,
        };
        assert_eq!(NatBehaviour::from_bytes(behaviour.to_bytes()), behaviour);
        assert_eq!(behaviour.step(), Some(-2));
        assert_eq!(NatBehaviour::from_bytes([0; 4]), NatBehaviour::default());
        assert_eq!(NatBehaviour::from_bytes([9, 9, 9, 9]), NatBehaviour::default());
        assert_eq!(
            NatBehaviour::from_bytes([0, 0, 2, 0]),
            NatBehaviour::default(),
            "a step of 0"
        );
    }
}
