//! Routes with all their next hops on one interface: single and multipath ones, those of next hop objects, and IPv4 over an IPv6
//! next hop.
//!
//! The kernel spells next hop objects out in each route (`net.ipv4.nexthop_compat_mode`, 1 unless somebody changed it), and
//! tells of their change as of a change of the routes.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteVia};

use super::routes::ip;
use super::{Family, MAIN_TABLE, Netlink, NetlinkError, Route, RouteKind};

/// A unicast route with next hops on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOver {
    /// Where to.
    pub destination: IpNet,
    /// The table it is in.
    pub table: u32,
    /// Lower is preferred.
    pub metric: u32,
    /// Who made it (`ip route ... proto`).
    pub protocol: u8,
    /// Its next hops on the interface, in the kernel's order; none where the destination is on the link.
    pub next_hops: Vec<IpAddr>,
}

impl RouteOver {
    /// Of a message about a route, as far as it goes over `interface`.
    fn read(message: &RouteMessage, interface: u32) -> Option<Self> {
        let route = Route::read(message).filter(|route| route.kind == RouteKind::Unicast)?;
        let attributes = &message.attributes;
        let hops = attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops),
            _ => None,
        });
        let next_hops = match hops {
            Some(hops) => hops
                .iter()
                .filter(|hop| {
                    hop.interface_index == interface && !hop.flags.contains(RouteNextHopFlags::Dead)
                })
                .filter_map(|hop: &RouteNextHop| gateway(&hop.attributes))
                .collect(),
            None if route.interface == Some(interface) => gateway(attributes).into_iter().collect(),
            None => return None,
        };
        Some(Self {
            destination: route.destination,
            table: route.table,
            metric: route.metric,
            protocol: route.protocol,
            next_hops,
        })
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::Via(RouteVia::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}

impl Netlink {
    /// The unicast routes with a next hop over `interface`, in all tables: for each destination those that the kernel prefers
    /// first, the main table before others. The kernel filters, so routes of other interfaces cost nothing.
    pub async fn routes_over(&self, interface: u32) -> Result<Vec<RouteOver>, NetlinkError> {
        let mut routes = Vec::new();
        for family in Family::BOTH {
            let mut request = RouteMessage::default();
            request.header.address_family = family.code();
            request.attributes.push(RouteAttribute::Oif(interface));
            let what = "list the routes of an interface";
            let messages = self.dump(RouteNetlinkMessage::GetRoute(request), what).await?;
            // A kernel without IPv6 answers for IPv4 again.
            routes.extend(messages.iter().filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(route) if route.header.address_family == family.code() => {
                    RouteOver::read(route, interface)
                }
                _ => None,
            }));
        }
        routes.retain(|route| !route.next_hops.is_empty());
        routes.sort_by_key(|route| {
            (
                route.destination,
                route.table != MAIN_TABLE,
                route.table,
                route.metric,
            )
        });
        Ok(routes)
    }
}
