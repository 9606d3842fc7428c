//! What is wanted is put right whatever others did to it, and nothing else is touched.

mod support;

use ipnet::IpNet;
use meshd_net::netlink::{
    Address, Family, Netlink, OWN_PROTOCOL, Route, RouteFilter, RouteKind, Rule, RuleAction,
};
use meshd_net::sysctl::Setting;
use meshd_net::wanted::Wanted;
use support::{Namespace, configure};

const TABLE: u32 = 52_000;
const PREFERENCE: u32 = 5_200;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

async fn wanted(netlink: &Netlink) -> Wanted {
    let interface = netlink.link("d0").await.unwrap().unwrap().index;
    Wanted {
        interface,
        table: TABLE,
        preference: PREFERENCE,
        addresses: vec![
            Address::new(interface, "10.77.0.9".parse().unwrap(), 32),
            Address::new(interface, "fd77::9".parse().unwrap(), 128),
        ],
        routes: vec![
            Route::via_interface(net("10.77.0.0/16"), TABLE, interface),
            Route::via_interface(net("fd77::/64"), TABLE, interface),
            Route::without_target(net("10.77.5.0/24"), TABLE, RouteKind::Throw),
            Route::without_target(net("fd77::5:0/112"), TABLE, RouteKind::Throw),
        ],
        rules: Family::BOTH
            .map(|family| Rule::new(family, PREFERENCE, RuleAction::Table(TABLE)))
            .to_vec(),
    }
}

async fn state(netlink: &Netlink) -> (usize, Vec<Route>, Vec<Rule>) {
    let interface = netlink.link("d0").await.unwrap().unwrap().index;
    let filter = RouteFilter {
        table: Some(TABLE),
        ..RouteFilter::default()
    };
    let addresses = netlink.addresses(Some(interface)).await.unwrap();
    let global = addresses.iter().filter(|a| a.no_prefix_route).count();
    let mut routes = netlink.routes(filter).await.unwrap();
    routes.sort_by_key(|route| (route.destination, route.protocol));
    let rules = netlink
        .rules(None)
        .await
        .unwrap()
        .into_iter()
        .filter(|r| r.preference == PREFERENCE)
        .collect();
    (global, routes, rules)
}

#[test]
fn what_others_took_away_is_put_back_and_what_is_right_stays() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.block_on(|| async {
        make_interface().await;
        let netlink = Netlink::new().unwrap();
        let wanted = wanted(&netlink).await;
        wanted.apply(&netlink).await.unwrap();
        let whole = state(&netlink).await;
        assert_eq!((whole.0, whole.1.len(), whole.2.len()), (2, 4, 2));

        wanted.apply(&netlink).await.unwrap();
        assert_eq!(state(&netlink).await, whole);

        for route in &whole.1 {
            netlink.delete_route(route).await.unwrap();
        }
        for rule in &whole.2 {
            netlink.delete_rule(rule).await.unwrap();
        }
        netlink.delete_address(&wanted.addresses[0]).await.unwrap();
        wanted.apply(&netlink).await.unwrap();
        assert_eq!(state(&netlink).await, whole);
    });
}

#[test]
fn what_is_ours_and_no_longer_wanted_goes_and_foreign_routes_stay() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.block_on(|| async {
        make_interface().await;
        let netlink = Netlink::new().unwrap();
        let wanted = wanted(&netlink).await;
        wanted.apply(&netlink).await.unwrap();
        let mut foreign = Route::via_interface(net("10.99.0.0/24"), TABLE, wanted.interface);
        foreign.protocol = OWN_PROTOCOL + 1;
        netlink.replace_route(&foreign).await.unwrap();

        let nothing = Wanted {
            addresses: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            ..wanted
        };
        nothing.apply(&netlink).await.unwrap();
        let (_, routes, rules) = state(&netlink).await;
        assert_eq!(
            routes.iter().map(|r| r.destination).collect::<Vec<_>>(),
            [net("10.99.0.0/24")]
        );
        assert!(rules.is_empty());
    });
}

#[test]
fn where_ipv6_is_switched_off_our_interface_has_it_nevertheless() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.block_on(|| async {
        make_interface().await;
        let setting = |interface| Setting::new(Family::V6, interface, "disable_ipv6");
        for interface in ["d0", "d1", "lo"] {
            setting(interface).set("1").unwrap();
        }
        let netlink = Netlink::new().unwrap();
        wanted(&netlink).await.apply(&netlink).await.unwrap();
        let (addresses, routes, rules) = state(&netlink).await;
        assert_eq!((addresses, routes.len(), rules.len()), (2, 4, 2));
        assert_eq!(setting("d0").read().unwrap(), "0");
        assert_eq!(setting("d1").read().unwrap(), "1");
    });
}

async fn make_interface() {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    handle
        .link()
        .add(rtnetlink::LinkVeth::new("d0", "d1").build())
        .execute()
        .await
        .unwrap();
    configure("d1", &[]).await;
    configure("d0", &[]).await;
}
