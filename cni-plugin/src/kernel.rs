//! Netlink, one request after the other, without threads of its own: a socket speaks to the network namespace in which it
//! was opened, wherever its user is later.

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Longest answer of the kernel in bytes (NLMSG_GOODSIZE is far less).
const BUFFER: usize = 64 << 10;

/// A hardware address.
pub type Mac = [u8; 6];

/// One namespace's network configuration.
pub struct Kernel {
    socket: Socket,
    sequence: u32,
}

/// A veth pair that is to be made.
pub struct Veth<'a> {
    /// Name of this end.
    pub name: &'a str,
    /// Hardware address of this end.
    pub mac: Mac,
    /// Name of the other end.
    pub peer: &'a str,
    /// Hardware address of the other end.
    pub peer_mac: Mac,
    /// The namespace of the other end.
    pub peer_namespace: RawFd,
    /// MTU of both in bytes.
    pub mtu: u16,
}

impl Kernel {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes a veth pair: both ends at once, or none.
    pub fn make_veth(&mut self, veth: &Veth<'_>) -> io::Result<()> {
        let end = |name: &str, mac: Mac| {
            let mut message = LinkMessage::default();
            message.attributes = vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::Mtu(veth.mtu.into()),
                LinkAttribute::Address(mac.to_vec()),
            ];
            message
        };
        let mut peer = end(veth.peer, veth.peer_mac);
        peer.attributes.push(LinkAttribute::NetNsFd(veth.peer_namespace));
        let mut message = end(veth.name, veth.mac);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(message))
    }

    /// The index of an interface, and whether it is up; none where it is not there.
    pub fn link(&mut self, name: &str) -> io::Result<Option<(u32, bool)>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.exchange(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST) {
            Ok(answers) => Ok(answers.into_iter().find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => {
                    Some((link.header.index, link.header.flags.contains(LinkFlags::Up)))
                }
                _ => None,
            })),
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Switches an interface on.
    pub fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.act(RouteNetlinkMessage::SetLink(message))
    }

    /// Deletes an interface, and with it the other end of its cable.
    pub fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.act(RouteNetlinkMessage::DelLink(message)) {
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Gives an interface an address of its own, without a subnet and without asking around whether it is free.
    pub fn add_address(&mut self, index: u32, ip: IpAddr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(ip);
        message.header.prefix_len = bits(ip);
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        let mut flags = AddressFlags::Permanent | AddressFlags::Noprefixroute;
        flags.set(AddressFlags::Nodad, ip.is_ipv6());
        message.attributes = vec![
            AddressAttribute::Local(ip),
            AddressAttribute::Address(ip),
            AddressAttribute::Flags(flags),
        ];
        self.create(RouteNetlinkMessage::NewAddress(message))
    }

    /// The addresses of an interface, with their prefix lengths.
    pub fn addresses(&mut self, index: u32) -> io::Result<Vec<(IpAddr, u8)>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.exchange(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut found = Vec::new();
        for answer in answers {
            let RouteNetlinkMessage::NewAddress(message) = answer else {
                continue;
            };
            if message.header.index != index {
                continue;
            }
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) | AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            found.extend(local.map(|ip| (ip, message.header.prefix_len)));
        }
        Ok(found)
    }

    /// Says for good which hardware address a neighbour has.
    pub fn add_neighbour(&mut self, index: u32, ip: IpAddr, mac: Mac) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(ip);
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(match ip {
                IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
                IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
            }),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.exchange(RouteNetlinkMessage::NewNeighbour(message), flags)
            .map(drop)
    }

    /// Sends everything to `gateway`, which is on the link whatever the addresses say.
    pub fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(gateway);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.header.flags = RouteFlags::Onlink;
        message.attributes = vec![
            RouteAttribute::Oif(index),
            RouteAttribute::Gateway(match gateway {
                IpAddr::V4(ip) => RouteAddress::Inet(ip),
                IpAddr::V6(ip) => RouteAddress::Inet6(ip),
            }),
        ];
        self.create(RouteNetlinkMessage::NewRoute(message))
    }

    /// Whether there is a default route over an interface.
    pub fn has_default_route(&mut self, index: u32, v4: bool) -> io::Result<bool> {
        let mut request = RouteMessage::default();
        request.header.address_family = if v4 {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let answers = self.exchange(RouteNetlinkMessage::GetRoute(request), NLM_F_REQUEST | NLM_F_DUMP)?;
        Ok(answers.iter().any(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => {
                route.header.destination_prefix_length == 0
                    && route.header.kind == RouteType::Unicast
                    && route.attributes.contains(&RouteAttribute::Oif(index))
            }
            _ => false,
        }))
    }

    fn create(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.exchange(message, flags).map(drop)
    }

    fn act(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK).map(drop)
    }

    /// Sends a request and reads until its acknowledgement, or the end of the list, or the one answer.
    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.socket.recv(&mut &mut buffer[..], 0)?;
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                let step = (answer.header.length as usize).next_multiple_of(4).max(16);
                rest = rest.get(step..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::InnerMessage(message) => {
                        answers.push(message);
                        if flags & (NLM_F_ACK | NLM_F_DUMP) == 0 {
                            return Ok(answers);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The kernel's word for "no such device" (asm-generic/errno-base.h).
const ENODEV: i32 = 19;

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The length of an address in bits: a prefix of one host.
pub fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}
