//! Addresses of interfaces.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};

use super::{Family, Mode, Netlink, NetlinkError};

/// How far an address is valid (`ip address ... scope`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Everywhere.
    #[default]
    Universe,
    /// On the link: 169.254.0.0/16, fe80::/10.
    Link,
    /// On this machine only; never chosen as a source for others.
    Host,
    /// Any other number.
    Other(u8),
}

impl Scope {
    fn code(self) -> AddressScope {
        match self {
            Self::Universe => AddressScope::Universe,
            Self::Link => AddressScope::Link,
            Self::Host => AddressScope::Host,
            Self::Other(number) => AddressScope::from(number),
        }
    }

    fn from_code(code: AddressScope) -> Self {
        match code {
            AddressScope::Universe => Self::Universe,
            AddressScope::Link => Self::Link,
            AddressScope::Host => Self::Host,
            other => Self::Other(other.into()),
        }
    }
}

/// What the kernel says about an address that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressState {
    /// IPv6 privacy address: it goes away after a while.
    pub temporary: bool,
    /// Not to be used for anything new.
    pub deprecated: bool,
    /// Not usable: duplicate detection goes on or failed.
    pub tentative: bool,
    /// It came by DHCP or router advertisement and has a lifetime.
    pub dynamic: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's index.
    pub interface: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of its subnet's prefix in bits.
    pub prefix_len: u8,
    /// How far it is valid. IPv6 has only one scope for an address, which the kernel sets; [`Scope::Host`] adds it as one that is no
    /// source for anything new.
    pub scope: Scope,
    /// Whether the kernel shall not make a route to the subnet.
    pub no_prefix_route: bool,
    /// What the kernel says about it; not used when adding.
    pub state: AddressState,
}

impl Address {
    /// An address to be added, without a route to its subnet.
    pub fn new(interface: u32, ip: IpAddr, prefix_len: u8) -> Self {
        let state = AddressState::default();
        Self {
            interface,
            ip,
            prefix_len,
            scope: Scope::Universe,
            no_prefix_route: true,
            state,
        }
    }

    /// Whether both are the same address on the same interface, whatever its scope and state.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.interface, self.ip, self.prefix_len) == (other.interface, other.ip, other.prefix_len)
    }

    pub(super) fn read(message: &AddressMessage) -> Option<Self> {
        let mut address = None;
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        for attribute in &message.attributes {
            match attribute {
                // IFA_LOCAL is ours; IFA_ADDRESS is the other end's on a point-to-point link, and ours without IFA_LOCAL.
                AddressAttribute::Local(ip) => address = Some(*ip),
                AddressAttribute::Address(ip) if address.is_none() => address = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        let ip = address?;
        Some(Self {
            interface: message.header.index,
            ip,
            prefix_len: message.header.prefix_len,
            scope: Scope::from_code(message.header.scope),
            no_prefix_route: flags.contains(AddressFlags::Noprefixroute),
            state: AddressState {
                // On IPv4 the same bit means a second address of a subnet.
                temporary: ip.is_ipv6() && flags.contains(AddressFlags::Secondary),
                deprecated: flags.contains(AddressFlags::Deprecated),
                tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
                    && !flags.contains(AddressFlags::Optimistic),
                dynamic: !flags.contains(AddressFlags::Permanent),
            },
        })
    }

    fn write(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = if self.ip.is_ipv4() { Family::V4 } else { Family::V6 }.code();
        message.header.prefix_len = self.prefix_len;
        message.header.flags = AddressHeaderFlags::Permanent;
        message.header.scope = self.scope.code();
        message.header.index = self.interface;
        let mut flags = AddressFlags::Permanent;
        flags.set(AddressFlags::Noprefixroute, self.no_prefix_route);
        // Nobody else on a tunnel can have the address, so there is nothing to detect.
        flags.set(AddressFlags::Nodad, self.ip.is_ipv6());
        message.attributes = vec![
            AddressAttribute::Local(self.ip),
            AddressAttribute::Address(self.ip),
            AddressAttribute::Flags(flags),
        ];
        if self.ip.is_ipv6() && self.scope == Scope::Host {
            // valid for ever and never preferred: no source for anything new (RFC 4862 section 5.5.4)
            let mut lifetimes = CacheInfo::default();
            (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        message
    }
}

impl Netlink {
    /// The addresses of one interface (an index), or of all.
    pub async fn addresses(&self, interface: Option<u32>) -> Result<Vec<Address>, NetlinkError> {
        let mut request = AddressMessage::default();
        request.header.index = interface.unwrap_or(0);
        let messages = self
            .dump(RouteNetlinkMessage::GetAddress(request), "list the addresses")
            .await;
        let messages = match messages {
            Err(error) if error.code() == Some(libc::ENODEV) => Vec::new(),
            other => other?,
        };
        let addresses = messages.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(address) => Address::read(address),
            _ => None,
        });
        Ok(addresses
            .filter(|address| interface.is_none_or(|index| address.interface == index))
            .collect())
    }

    /// Gives an interface an address; no error where it has it.
    pub async fn add_address(&self, address: &Address) -> Result<(), NetlinkError> {
        let what = || {
            let Address {
                ip,
                prefix_len,
                interface,
                ..
            } = address;
            format!("add the address {ip}/{prefix_len} to interface {interface}")
        };
        let message = RouteNetlinkMessage::NewAddress(address.write());
        self.act(message, Mode::Create, &[libc::EEXIST], what).await
    }

    /// Takes an address away; no error where it is not there.
    pub async fn delete_address(&self, address: &Address) -> Result<(), NetlinkError> {
        let what = || {
            let Address {
                ip,
                prefix_len,
                interface,
                ..
            } = address;
            format!("delete the address {ip}/{prefix_len} of interface {interface}")
        };
        let message = RouteNetlinkMessage::DelAddress(address.write());
        self.act(message, Mode::Act, &[libc::EADDRNOTAVAIL, libc::ENODEV], what)
            .await
    }
}
