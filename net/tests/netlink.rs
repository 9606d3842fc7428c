//! Addresses, routes, rules and the monitor, against the real kernel in a namespace of the test.

mod support;

use std::time::Duration;

use meshd_net::netlink::{
    Address, Change, Family, LinkChange, Monitor, Netlink, OWN_PROTOCOL, Route, RouteFilter, RouteKind, Rule,
    RuleAction, Scope,
};
use support::{Namespace, configure};

const TABLE: u32 = 51_820;

/// A namespace with a veth pair `d0` and `d1`, both up; `d0` has 10.1.0.1/24 and fd01::1/64.
fn with_interface() -> Option<Namespace> {
    let namespace = Namespace::new()?;
    namespace.block_on(|| async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        handle
            .link()
            .add(rtnetlink::LinkVeth::new("d0", "d1").build())
            .execute()
            .await
            .unwrap();
        configure("d1", &[]).await;
        configure("d0", &["10.1.0.1/24", "fd01::1/64"]).await;
    });
    Some(namespace)
}

#[test]
fn lists_asked_for_at_once_all_come_also_where_some_are_given_up() {
    let Some(namespace) = with_interface() else { return };
    namespace.block_on(|| async {
        let netlink = Netlink::new().unwrap();
        for number in 0..2000 {
            let rule = Rule::new(Family::V4, 1000 + number, RuleAction::Table(TABLE));
            netlink.add_rule(&rule).await.unwrap();
        }
        let lists: Vec<_> = (0..16)
            .map(|_| {
                let netlink = netlink.clone();
                tokio::spawn(async move { netlink.rules(None).await.map(|rules| rules.len()) })
            })
            .collect();
        lists[3].abort();
        for (number, list) in lists.into_iter().enumerate().filter(|(number, _)| *number != 3) {
            let listed = list.await.unwrap();
            assert!(
                listed.as_ref().is_ok_and(|count| *count >= 2000),
                "{number}: {listed:?}"
            );
        }
    });
}

#[test]
fn links_are_listed_found_and_changed() {
    let Some(namespace) = with_interface() else { return };
    namespace.block_on(|| async {
        let netlink = Netlink::new().unwrap();
        let links = netlink.links().await.unwrap();
        let names: std::collections::BTreeSet<_> = links.iter().map(|link| link.name.as_str()).collect();
        assert!(names.into_iter().eq(["d0", "d1", "lo"]));
        let link = netlink.link("d0").await.unwrap().unwrap();
        assert_eq!(
            (link.kind.as_deref(), link.up, link.loopback),
            (Some("veth"), true, false)
        );
        assert_eq!(netlink.link("d2").await.unwrap(), None);

        let change = LinkChange {
            up: Some(false),
            mtu: Some(1408),
            queue_len: Some(2000),
        };
        netlink.set_link(link.index, change).await.unwrap();
        let link = netlink.link("d0").await.unwrap().unwrap();
        assert_eq!((link.up, link.mtu, link.queue_len), (false, 1408, 2000));
        let error = netlink.set_link(9999, change).await.unwrap_err().to_string();
        assert!(
            error.contains("interface 9999") && error.contains("No such device"),
            "{error}"
        );
        netlink.delete_link(link.index).await.unwrap();
        netlink.delete_link(link.index).await.unwrap();
        assert_eq!(netlink.link("d0").await.unwrap(), None);
    });
}

#[test]
fn addresses_come_and_go_and_repeating_is_no_error() {
    let Some(namespace) = with_interface() else { return };
    namespace.block_on(|| async {
        let netlink = Netlink::new().unwrap();
        let index = netlink.link("d0").await.unwrap().unwrap().index;
        let host = Address {
            scope: Scope::Host,
            ..Address::new(index, "10.77.255.254".parse().unwrap(), 32)
        };
        let v6 = Address::new(index, "fd77::9".parse().unwrap(), 64);
        for address in [host, v6, host, v6] {
            netlink.add_address(&address).await.unwrap();
        }
        let there = netlink.addresses(Some(index)).await.unwrap();
        assert!(there.contains(&host) && there.contains(&v6), "{there:?}");
        // noprefixroute: the subnets of the others have routes, this one has none.
        let main = netlink
            .routes(RouteFilter {
                table: Some(254),
                ..RouteFilter::default()
            })
            .await
            .unwrap();
        let has = |net: &str| main.iter().any(|route| route.destination.to_string() == net);
        assert!(
            has("10.1.0.0/24") && has("fd01::/64") && !has("fd77::/64"),
            "{main:?}"
        );
        for address in [host, v6, host, v6] {
            netlink.delete_address(&address).await.unwrap();
        }
        let there = netlink.addresses(Some(index)).await.unwrap();
        assert!(
            !there
                .iter()
                .any(|address| address.is_same(&host) || address.is_same(&v6)),
            "{there:?}"
        );
        assert_eq!(netlink.addresses(Some(4711)).await.unwrap(), []);
    });
}

#[test]
fn routes_in_an_own_table_are_set_replaced_and_deleted() {
    let Some(namespace) = with_interface() else { return };
    namespace.block_on(|| async {
        let netlink = Netlink::new().unwrap();
        let index = netlink.link("d0").await.unwrap().unwrap().index;
        let ours = RouteFilter {
            table: Some(TABLE),
            protocol: Some(OWN_PROTOCOL),
            ..RouteFilter::default()
        };
        assert_eq!(
            netlink.routes(ours).await.unwrap(),
            [],
            "a table that does not exist is empty"
        );

        let mut wanted = vec![
            Route {
                source: Some("10.1.0.1".parse().unwrap()),
                ..Route::via_interface("10.77.0.0/16".parse().unwrap(), TABLE, index)
            },
            Route {
                source: Some("fd01::1".parse().unwrap()),
                ..Route::via_interface("fd77::/48".parse().unwrap(), TABLE, index)
            },
            Route::without_target("10.77.3.0/24".parse().unwrap(), TABLE, RouteKind::Throw),
            Route::without_target("fd77:0:0:3::/64".parse().unwrap(), TABLE, RouteKind::Throw),
            Route {
                mtu: Some(1280),
                ..Route::via_interface("0.0.0.0/0".parse().unwrap(), TABLE, index)
            },
        ];
        for route in wanted.iter().chain(&wanted) {
            netlink.replace_route(route).await.unwrap();
        }
        assert_same(netlink.routes(ours).await.unwrap(), &wanted);
        // Replaced in place: another source, and a throw route becomes a unicast one.
        wanted[0].source = None;
        wanted[2] = Route::via_interface(wanted[2].destination, TABLE, index);
        for route in [&wanted[0], &wanted[2]] {
            netlink.replace_route(route).await.unwrap();
        }
        assert_same(netlink.routes(ours).await.unwrap(), &wanted);

        let foreign = Route {
            protocol: 4,
            ..wanted[4]
        };
        netlink.delete_route(&foreign).await.unwrap();
        assert_same(netlink.routes(ours).await.unwrap(), &wanted);
        for route in wanted.iter().chain(&wanted) {
            netlink.delete_route(route).await.unwrap();
        }
        assert_eq!(netlink.routes(ours).await.unwrap(), []);
    });
}

fn assert_same(there: Vec<Route>, wanted: &[Route]) {
    let sorted = |routes: &[Route]| {
        let mut routes: Vec<_> = routes.iter().map(Route::canonical).collect();
        routes.sort_by_key(|route| route.destination);
        routes
    };
    assert_eq!(sorted(&there), sorted(wanted));
}

#[test]
fn rules_are_added_once_listed_whole_and_deleted() {
    let Some(namespace) = with_interface() else { return };
    namespace.block_on(|| async {
        let netlink = Netlink::new().unwrap();
        let before = netlink.rules(None).await.unwrap();
        for family in Family::BOTH {
            let net = match family {
                Family::V4 => "10.77.0.0/16",
                Family::V6 => "fd77::/48",
            };
            let lookup = Rule {
                to: Some(net.parse().unwrap()),
                ..Rule::new(family, 5210, RuleAction::Table(TABLE))
            };
            let suppress = Rule {
                suppress_prefix_len: Some(0),
                ..Rule::new(family, 5200, RuleAction::Table(254))
            };
            let marked = Rule {
                mark: Some((0x6d00, 0xff00)),
                invert: true,
                input: Some("lo".to_owned()),
                ..Rule::new(family, 5220, RuleAction::Table(TABLE))
            };
            let rules = [suppress, lookup, marked];
            for rule in rules.iter().chain(&rules) {
                netlink.add_rule(rule).await.unwrap();
            }
            let there = netlink.rules(Some(family)).await.unwrap();
            let own: Vec<_> = there
                .into_iter()
                .filter(|rule| rule.protocol == OWN_PROTOCOL)
                .collect();
            assert_eq!(own, rules);
            for rule in rules.iter().chain(&rules) {
                netlink.delete_rule(rule).await.unwrap();
            }
        }
        assert_eq!(netlink.rules(None).await.unwrap(), before);
    });
}

/// The next change that `wanted` accepts; the others pass.
async fn next(monitor: &mut Monitor, wanted: impl Fn(&Change) -> bool) -> Change {
    let search = async {
        loop {
            let change = monitor.next().await.unwrap();
            if wanted(&change) {
                return change;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), search)
        .await
        .expect("the change is reported")
}

#[test]
fn the_monitor_tells_what_others_change() {
    let Some(namespace) = with_interface() else { return };
    namespace.block_on(|| async {
        let mut monitor = Monitor::new().unwrap();
        let netlink = Netlink::new().unwrap();
        let index = netlink.link("d0").await.unwrap().unwrap().index;

        let address = Address::new(index, "10.77.0.9".parse().unwrap(), 32);
        netlink.add_address(&address).await.unwrap();
        let added = Change::Address { address, gone: false };
        next(&mut monitor, |change| *change == added).await;

        let route = Route::via_interface("10.77.0.0/16".parse().unwrap(), TABLE, index);
        netlink.replace_route(&route).await.unwrap();
        next(&mut monitor, |change| {
            *change == Change::Route { route, gone: false }
        })
        .await;
        netlink.delete_route(&route).await.unwrap();
        next(&mut monitor, |change| {
            *change == Change::Route { route, gone: true }
        })
        .await;

        let rule = Rule::new(Family::V6, 5200, RuleAction::Table(TABLE));
        netlink.add_rule(&rule).await.unwrap();
        let added = Change::Rule {
            rule: rule.clone(),
            gone: false,
        };
        next(&mut monitor, |change| *change == added).await;
        netlink.delete_rule(&rule).await.unwrap();
        let deleted = Change::Rule { rule, gone: true };
        next(&mut monitor, |change| *change == deleted).await;

        let down = LinkChange {
            up: Some(false),
            ..LinkChange::default()
        };
        netlink.set_link(index, down).await.unwrap();
        next(
            &mut monitor,
            |change| matches!(change, Change::Link { link, gone: false } if !link.up),
        )
        .await;
        netlink.delete_link(index).await.unwrap();
        next(
            &mut monitor,
            |change| matches!(change, Change::Link { link, gone: true } if link.name == "d0"),
        )
        .await;
    });
}

#[test]
fn a_monitor_that_is_not_asked_says_that_it_missed_something() {
    let Some(namespace) = with_interface() else { return };
    namespace.block_on(|| async {
        let mut monitor = Monitor::new().unwrap();
        let netlink = Netlink::new().unwrap();
        let index = netlink.link("d0").await.unwrap().unwrap().index;
        for number in 0..12_000u32 {
            let ip = std::net::Ipv4Addr::from(0x0a4d_0000 + number / 2);
            let route = Route::via_interface(ipnet::IpNet::new(ip.into(), 32).unwrap(), TABLE, index);
            match number % 2 {
                0 => netlink.replace_route(&route).await.unwrap(),
                _ => netlink.delete_route(&route).await.unwrap(),
            }
        }
        next(&mut monitor, |change| *change == Change::Missed).await;
        // And it goes on working.
        netlink.delete_link(index).await.unwrap();
        next(
            &mut monitor,
            |change| matches!(change, Change::Link { link, gone: true } if link.name == "d0"),
        )
        .await;
    });
}

#[test]
fn requests_may_be_made_on_any_thread_of_a_runtime() {
    fn is_send<T: Send>(_: &T) {}
    let Some(namespace) = with_interface() else { return };
    namespace.block_on(|| async {
        let netlink = Netlink::new().unwrap();
        let route = Route::via_interface("10.0.0.0/8".parse().unwrap(), TABLE, 1);
        let requests = async {
            netlink
                .replace_route(&route)
                .await
                .and(netlink.link("lo").await.map(drop))
        };
        is_send(&requests);
        requests.await.unwrap();
        let mut monitor = Monitor::new().unwrap();
        is_send(&monitor.next());
    });
}
