//! What a machine with containers looks like.

mod support;

use meshd_net::interfaces::{Interface, list};
use meshd_net::netlink::{MAIN_TABLE, Netlink, Route, RouteKind};
use support::{Namespace, configure};

#[test]
fn interfaces_come_with_addresses_routes_and_owners() {
    let (Some(here), Some(other)) = (Namespace::new(), Namespace::new()) else {
        return;
    };
    here.connect(&other, "eth0", &["192.0.2.5/24", "2001:db8::5/64"], &[]);
    here.block_on(|| async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let bridge = rtnetlink::LinkBridge::new("docker0").build();
        handle.link().add(bridge).execute().await.unwrap();
        configure("docker0", &["172.17.0.1/16"]).await;
        let netlink = Netlink::new().unwrap();
        let index = netlink.link("eth0").await.unwrap().unwrap().index;
        let via = |net: &str| Route::via_interface(net.parse().unwrap(), MAIN_TABLE, index);
        for route in [via("10.244.0.0/16"), via("0.0.0.0/0"), via("::/0")] {
            netlink.replace_route(&route).await.unwrap();
        }
        let throw = Route::without_target("10.9.0.0/16".parse().unwrap(), MAIN_TABLE, RouteKind::Throw);
        netlink.replace_route(&throw).await.unwrap();

        let all = list(&netlink).await.unwrap();
        let find = |name: &str| all.iter().find(|interface| interface.link.name == name).unwrap();
        let routed = |interface: &Interface| {
            interface
                .routed
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let eth0 = find("eth0");
        assert_eq!(
            (eth0.owner(), eth0.has_default_route, eth0.link.carrier),
            (None, true, true)
        );
        assert!(
            eth0.addresses
                .iter()
                .any(|address| address.ip.to_string() == "2001:db8::5")
        );
        let over = routed(eth0);
        for net in ["10.244.0.0/16", "192.0.2.0/24", "2001:db8::/64"] {
            assert!(over.iter().any(|other| other == net), "{net}: {over:?}");
        }
        assert!(
            !over.iter().any(|net| net.ends_with("/0") || net == "10.9.0.0/16"),
            "{over:?}"
        );
        let docker = find("docker0");
        assert_eq!(
            (docker.owner(), docker.has_default_route),
            (Some("Docker"), false)
        );
        assert_eq!(routed(docker)[0], "172.17.0.0/16");
        assert!(find("lo").link.loopback);
    });
}
