//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};

use super::{Family, Mode, Netlink, NetlinkError, OWN_PROTOCOL};

/// The metric that the kernel gives an IPv6 route without one (IP6_RT_PRIO_USER).
const IPV6_DEFAULT_METRIC: u32 = 1024;

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Ends the look-up in this table; the next rule is tried.
    Throw,
    /// Drops it and says so to the sender.
    Unreachable,
    /// Drops it in silence.
    Blackhole,
    /// Any other number (local, broadcast, prohibit, ...).
    Other(u8),
}

impl RouteKind {
    fn code(self) -> RouteType {
        match self {
            Self::Unicast => RouteType::Unicast,
            Self::Throw => RouteType::Throw,
            Self::Unreachable => RouteType::Unreachable,
            Self::Blackhole => RouteType::BlackHole,
            Self::Other(number) => RouteType::from(number),
        }
    }

    fn from_code(code: RouteType) -> Self {
        match code {
            RouteType::Unicast => Self::Unicast,
            RouteType::Throw => Self::Throw,
            RouteType::Unreachable => Self::Unreachable,
            RouteType::BlackHole => Self::Blackhole,
            other => Self::Other(other.into()),
        }
    }
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; `0.0.0.0/0` or `::/0` for all.
    pub destination: IpNet,
    /// The table it is in.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// The interface packets leave by; none for throw and its like. Of a route with several next hops, the first.
    pub interface: Option<u32>,
    /// The next hop, if it is not on the link.
    pub gateway: Option<IpAddr>,
    /// The source address for what this machine sends.
    pub source: Option<IpAddr>,
    /// Lower is preferred; 0 leaves it to the kernel.
    pub metric: u32,
    /// Largest packet in bytes, where the route limits it.
    pub mtu: Option<u32>,
    /// Who made it (`ip route ... proto`).
    pub protocol: u8,
}

/// Which routes to list; `None` takes all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Only of this IP version.
    pub family: Option<Family>,
    /// Only in this table.
    pub table: Option<u32>,
    /// Only made by this protocol.
    pub protocol: Option<u8>,
}

impl Route {
    /// A route of ours to `destination` through `interface`.
    pub fn via_interface(destination: IpNet, table: u32, interface: u32) -> Self {
        Self {
            interface: Some(interface),
            ..Self::without_target(destination, table, RouteKind::Unicast)
        }
    }

    /// A route of ours that sends nothing on: throw, unreachable, blackhole.
    pub fn without_target(destination: IpNet, table: u32, kind: RouteKind) -> Self {
        Self {
            destination: destination.trunc(),
            table,
            kind,
            interface: None,
            gateway: None,
            source: None,
            metric: 0,
            mtu: None,
            protocol: OWN_PROTOCOL,
        }
    }

    /// The route as the kernel reports it back: host bits of the destination cleared, the default metric filled in. Two routes
    /// with equal canonical forms do the same.
    pub fn canonical(&self) -> Self {
        let metric = match (self.destination, self.metric) {
            (IpNet::V6(_), 0) => IPV6_DEFAULT_METRIC,
            (_, metric) => metric,
        };
        Self {
            destination: self.destination.trunc(),
            metric,
            ..*self
        }
    }

    /// Whether `other` takes the place of this one when it is set: same destination, table and metric.
    pub fn has_key_of(&self, other: &Self) -> bool {
        let (a, b) = (self.canonical(), other.canonical());
        (a.destination, a.table, a.metric) == (b.destination, b.table, b.metric)
    }

    pub(super) fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let unspecified: IpAddr = match Family::from_code(header.address_family)? {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut destination = unspecified;
        let kind = RouteKind::from_code(header.kind);
        let mut route = Self {
            destination: IpNet::new(unspecified, 0).ok()?,
            table: header.table.into(),
            kind,
            interface: None,
            gateway: None,
            source: None,
            metric: 0,
            mtu: None,
            protocol: header.protocol.into(),
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Oif(index) => route.interface = Some(*index),
                RouteAttribute::Gateway(address) => route.gateway = ip(address),
                RouteAttribute::PrefSource(address) => route.source = ip(address),
                RouteAttribute::Priority(metric) => route.metric = *metric,
                RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
                RouteAttribute::MultiPath(hops) => {
                    route.interface = hops.first().map(|hop| hop.interface_index);
                }
                _ => {}
            }
        }
        // IPv6 ties routes that send nothing on to `lo`.
        if matches!(
            kind,
            RouteKind::Throw | RouteKind::Unreachable | RouteKind::Blackhole
        ) {
            route.interface = None;
        }
        route.destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
        Some(route)
    }

    fn write(&self, delete: bool) -> RouteMessage {
        let mut message = RouteMessage::default();
        let family = if self.destination.addr().is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        message.header.address_family = family.code();
        message.header.destination_prefix_length = self.destination.prefix_len();
        // The attribute carries the number, which may be larger; RT_TABLE_COMPAT stands for those.
        message.header.table = u8::try_from(self.table).unwrap_or(252);
        message.header.protocol = RouteProtocol::from(self.protocol);
        message.header.kind = self.kind.code();
        message.header.scope = match (delete, self.kind, self.gateway) {
            (true, ..) => RouteScope::NoWhere,
            (false, RouteKind::Unicast, None) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let address = |ip: IpAddr| RouteAddress::from(ip);
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(self.table));
        if self.destination.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(address(self.destination.network())));
        }
        attributes.extend(self.interface.map(RouteAttribute::Oif));
        attributes.extend(self.gateway.map(|ip| RouteAttribute::Gateway(address(ip))));
        attributes.extend(self.source.map(|ip| RouteAttribute::PrefSource(address(ip))));
        if self.metric != 0 {
            attributes.push(RouteAttribute::Priority(self.metric));
        }
        if let (Some(mtu), false) = (self.mtu, delete) {
            attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        }
        message
    }
}

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

impl Netlink {
    /// The routes that match; the kernel filters, so tables of others cost nothing.
    pub async fn routes(&self, filter: RouteFilter) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in Family::BOTH {
            if filter.family.is_some_and(|wanted| wanted != family) {
                continue;
            }
            let mut request = RouteMessage::default();
            request.header.address_family = family.code();
            request.attributes.extend(filter.table.map(RouteAttribute::Table));
            request.header.protocol = RouteProtocol::from(filter.protocol.unwrap_or(0));
            let messages = self
                .dump(RouteNetlinkMessage::GetRoute(request), "list the routes")
                .await?;
            // A kernel without IPv6 answers for IPv4 again.
            routes.extend(messages.iter().filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(route) if route.header.address_family == family.code() => {
                    Route::read(route)
                }
                _ => None,
            }));
        }
        let table = |route: &Route| filter.table.is_none_or(|table| table == route.table);
        let protocol = |route: &Route| filter.protocol.is_none_or(|protocol| protocol == route.protocol);
        routes.retain(|route| table(route) && protocol(route));
        Ok(routes)
    }

    /// Sets a route, in the place of one with the same destination, table and metric.
    pub async fn replace_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let what = || format!("set the route to {} in table {}", route.destination, route.table);
        self.act(
            RouteNetlinkMessage::NewRoute(route.write(false)),
            Mode::Replace,
            &[],
            what,
        )
        .await
    }

    /// Deletes a route that matches in all that is given; no error where there is none.
    pub async fn delete_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let what = || {
            format!(
                "delete the route to {} in table {}",
                route.destination, route.table
            )
        };
        let fine = [libc::ESRCH, libc::ENOENT, libc::ENODEV];
        self.act(
            RouteNetlinkMessage::DelRoute(route.write(true)),
            Mode::Act,
            &fine,
            what,
        )
        .await
    }
}
