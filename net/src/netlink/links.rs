//! Interfaces.

use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Mode, Netlink, NetlinkError};

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index, which never changes and is not given away again soon.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What made it (`tun`, `veth`, `bridge`, ...); `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// Packets that may wait to be sent.
    pub queue_len: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether its lower layer is there (a cable, a peer, an open TUN descriptor).
    pub carrier: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Whether its link layer is Ethernet (wired or wireless).
    pub ethernet: bool,
    /// The bridge, bond or VRF that it is a port of.
    pub controller: Option<u32>,
    /// Whether a device of a bus (PCI, USB, virtio, ...) is behind it. Kernels before 5.14 never say so.
    pub on_bus: bool,
}

/// What to change about an interface; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Switch it on or off.
    pub up: Option<bool>,
    /// Bytes of the largest packet.
    pub mtu: Option<u32>,
    /// Packets that may wait to be sent; for a TUN device, in each queue while nobody reads.
    pub queue_len: Option<u32>,
}

impl Netlink {
    /// All interfaces of the namespace.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let messages = self.dump(request, "list the interfaces").await?;
        let links = messages.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(Link::read(link)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// The interface called `name`, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let what = || format!("look up the interface {name}");
        let flags = netlink_packet_core::NLM_F_REQUEST;
        match self
            .exchange(RouteNetlinkMessage::GetLink(request), flags, &what)
            .await
        {
            Ok(messages) => Ok(messages.iter().find_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(Link::read(link)),
                _ => None,
            })),
            Err(error) if error.code() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes the interface `index`.
    pub async fn set_link(&self, index: u32, change: LinkChange) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        if let Some(up) = change.up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        }
        message.attributes.extend(change.mtu.map(LinkAttribute::Mtu));
        message
            .attributes
            .extend(change.queue_len.map(LinkAttribute::TxQueueLen));
        let what = || format!("change interface {index} ({change:?})");
        self.act(RouteNetlinkMessage::SetLink(message), Mode::Act, &[], what)
            .await
    }

    /// Deletes the interface `index`; no error where there is none.
    pub async fn delete_link(&self, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let what = || format!("delete interface {index}");
        self.act(
            RouteNetlinkMessage::DelLink(message),
            Mode::Act,
            &[libc::ENODEV],
            what,
        )
        .await
    }
}

impl Link {
    /// Reads an interface message of the kernel.
    pub(super) fn read(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::TxQueueLen(len) => link.queue_len = *len,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::ParentDevBusName(_) => link.on_bus = true,
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }

    /// Whether the message is about an interface as such, and not about a bridge's port.
    pub(super) fn is_plain(message: &LinkMessage) -> bool {
        message.header.interface_family == AddressFamily::Unspec
    }
}
