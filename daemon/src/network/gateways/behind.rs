//! By which interfaces a gateway reaches its range.

use ipnet::IpNet;
use meshd_net::netlink::{MAIN_TABLE, Route, RouteKind};
use std::collections::BTreeSet;

/// The interfaces by which the main table leads into `range`: those of the narrowest route around it, and of routes inside
/// it. `own` is the tunnel's. For everything that is those of default routes.
pub fn interfaces(range: IpNet, routes: &[Route], own: u32) -> BTreeSet<u32> {
    let usable = |route: &&Route| {
        route.table == MAIN_TABLE
            && route.kind == RouteKind::Unicast
            && route.interface.is_some_and(|i| i != own)
    };
    let usable: Vec<&Route> = routes.iter().filter(usable).collect();
    let around = usable.iter().filter(|route| route.destination.contains(&range));
    let narrowest = around.clone().map(|route| route.destination.prefix_len()).max();
    let around = around.filter(|route| Some(route.destination.prefix_len()) == narrowest);
    let inside = usable
        .iter()
        .filter(|route| range.prefix_len() > 0 && range.contains(&route.destination));
    around.chain(inside).filter_map(|route| route.interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(range: &str) -> Vec<u32> {
        let route = |net: &str, interface| Route::via_interface(net.parse().unwrap(), MAIN_TABLE, interface);
        let routes = [
            route("0.0.0.0/0", 2),
            route("192.168.0.0/16", 3),
            route("192.168.50.0/24", 4),
            route("10.8.1.0/24", 5),
            route("10.8.2.0/24", 6),
            route("10.8.3.0/24", 9),
            Route::via_interface("192.168.50.0/25".parse().unwrap(), 77, 7),
        ];
        interfaces(range.parse().unwrap(), &routes, 9)
            .into_iter()
            .collect()
    }

    #[test]
    fn the_narrowest_route_around_and_those_inside() {
        assert_eq!(found("192.168.50.0/24"), [4]);
        assert_eq!(found("192.168.60.0/24"), [3]);
        assert_eq!(found("192.168.0.0/16"), [3, 4]);
        assert_eq!(found("10.8.0.0/16"), [2, 5, 6]);
        assert_eq!(found("0.0.0.0/0"), [2]);
        assert_eq!(found("fd00::/64"), [0; 0]);
    }
}
