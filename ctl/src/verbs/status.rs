//! `meshctl status`

mod peers;

use clap::Args;
use meshd_api::local::{
    self, EndpointMemberStatus, EndpointStatus, KubeStatus, NetworkStatus, PeerStatus, RangeStatus,
    RelayStatus, Transport,
};

use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;
use crate::table::wrap;
use crate::units;
use peers::Columns;

/// Show the networks of this machine, the nodes in them and the paths to them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl status\n  watch -n1 meshctl status\n  \
    meshctl status --json | jq '.networks[].peers[] | select(.path.kind != \"direct\").name'")]
pub struct Status {}

impl Status {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let status: local::Status = Local::connect(&global.socket).await?.get("status").await?;
        global.output().answer(&status, render)
    }
}

/// The whole page.
fn render(status: &local::Status) -> String {
    let mut out = String::new();
    for warning in &status.warnings {
        out += &wrap(&format!("! {warning}"), 2);
    }
    for name in &status.down {
        out += &wrap(&format!("{name} is down; `meshctl up` brings it back"), 2);
    }
    for local::Out { name, why } in &status.out {
        out += &wrap(&format!("! no longer in {name}: {why}"), 2);
    }
    if status.networks.is_empty() && status.down.is_empty() {
        out += "this machine is in no network; join one with\n  meshctl join TOKEN\n";
    }
    for (n, network) in status.networks.iter().enumerate() {
        if n > 0 {
            out.push('\n');
        }
        out += &render_network(network);
    }
    out
}

fn render_network(network: &NetworkStatus) -> String {
    let NetworkStatus {
        name,
        hostname,
        ipv4,
        ipv6,
        interface,
        coordinator,
        ..
    } = network;
    let mut out = wrap(
        &format!("{name}: this is {hostname}, {ipv4}, {ipv6}, on {interface}"),
        2,
    );
    out += &wrap(&format!("coordinator: {coordinator}"), 2);
    if network.relays.len() > 1 {
        let relays: Vec<String> = network.relays.iter().map(relay).collect();
        out += &wrap(&format!("relays: {}", relays.join(", ")), 2);
    }
    for warning in &network.warnings {
        out += &wrap(&format!("! {warning}"), 2);
    }
    if let Some(kube) = &network.kube {
        out += &wrap(&kubernetes(kube), 2);
        for warning in &kube.warnings {
            out += &wrap(&format!("! {warning}"), 2);
        }
    }
    for range in &network.ranges {
        out += &wrap(&range_line(range), 2);
    }
    for endpoint in &network.endpoints {
        out += &wrap(&endpoint_line(endpoint), 2);
    }
    if network.peers.is_empty() {
        return out + "nobody else is in yet\n";
    }
    let mut peers: Vec<&PeerStatus> = network.peers.iter().collect();
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    let columns = Columns::of(&peers);
    out += &columns.line("NAME", "ADDRESSES", ["PATH", "RTT", "HANDSHAKE", "RECEIVED/SENT"]);
    out + &peers
        .into_iter()
        .map(|peer| columns.peer(peer))
        .collect::<String>()
}

/// Where an endpoint is, and how those behind it are.
fn endpoint_line(endpoint: &EndpointStatus) -> String {
    let member = |member: &EndpointMemberStatus| {
        let EndpointMemberStatus { node, health, .. } = member;
        format!("{node} {health}")
    };
    let members: Vec<String> = endpoint.members.iter().map(member).collect();
    let whither = match members.is_empty() {
        true => "leads to nobody yet".to_owned(),
        false => format!("leads to {}", members.join(", ")),
    };
    format!(
        "endpoint {} at {} {whither}",
        endpoint.name,
        endpoint.at.join(" and ")
    )
}

/// Whether the API server is heard, and what is known of the cluster.
fn kubernetes(kube: &KubeStatus) -> String {
    let KubeStatus {
        server,
        state,
        namespaces,
        pods,
        policies,
        ..
    } = kube;
    let known = format!("{pods} pods, {namespaces} namespaces, {policies} network policies");
    if kube.connected {
        return format!("kubernetes: connected to {server}; {known}");
    }
    let since = units::seconds(kube.seconds);
    format!("! kubernetes: {state} ({since} ago); known from before: {known}")
}

fn range_line(range: &RangeStatus) -> String {
    let RangeStatus { prefix, gateway, .. } = range;
    match (range.served, gateway) {
        (true, _) => format!("range {prefix}: this node is its gateway"),
        (false, Some(gateway)) => format!("range {prefix}: through {gateway}"),
        (false, None) => format!("range {prefix}: no gateway answers"),
    }
}

/// Where a relay is reached, how far it is, and whether it is home.
fn relay(relay: &RelayStatus) -> String {
    let node = relay.node.as_ref().map(|node| format!("node {node}"));
    let Some(endpoint) = &relay.endpoint else {
        let name = node.as_ref().unwrap_or(&relay.id);
        return format!("{name} (does not answer)");
    };
    let scheme = if relay.transport == Some(Transport::Tls) {
        "tls://"
    } else {
        ""
    };
    let home = if relay.home { "home" } else { "spare" };
    let home = node.as_deref().unwrap_or(home);
    let rtt = relay
        .rtt_ms
        .map_or_else(String::new, |rtt| format!(", {}", units::milliseconds(rtt)));
    format!("{scheme}{endpoint} ({home}{rtt})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::WIDTH;
    use meshd_api::local::{PathKind, PathStatus};

    fn peer(name: &str, last: u8, kind: PathKind, endpoint: Option<&str>) -> PeerStatus {
        PeerStatus {
            name: name.into(),
            node: "00112233445566778899aabbccddeeff".into(),
            ipv4: [10, 77, 0, last].into(),
            ipv6: format!("fd5c:8a1:77::{last:x}").parse().unwrap(),
            public_key: "x".repeat(44),
            path: PathStatus {
                kind,
                endpoint: endpoint.map(str::to_owned),
                transport: endpoint.map(|_| Transport::Udp),
                rtt_ms: endpoint.map(|_| 12.34),
                mtu: endpoint.map(|_| 1468),
            },
            last_handshake: endpoint.map(|_| 14),
            rx_bytes: 1_234_567,
            tx_bytes: 340_000,
        }
    }

    fn network(peers: Vec<PeerStatus>) -> NetworkStatus {
        NetworkStatus {
            name: "prod".into(),
            id: "00112233445566778899aabbccddeeff".into(),
            node: "00112233445566778899aabbccddeeff".into(),
            hostname: "db1".into(),
            interface: "meshd0".into(),
            ipv4: "10.77.0.1".parse().unwrap(),
            ipv6: "fd5c:8a1:77::1".parse().unwrap(),
            public_key: "x".repeat(44),
            listen_port: 51820,
            mtu: 1408,
            coordinator: "connected".into(),
            home_relay: None,
            epoch: 1,
            map_version: 42,
            relays: Vec::new(),
            peers,
            ranges: Vec::new(),
            endpoints: Vec::new(),
            pods: None,
            ground: None,
            kube: None,
            warnings: Vec::new(),
            drops: Default::default(),
            discovery: Default::default(),
        }
    }

    fn status(networks: Vec<NetworkStatus>) -> local::Status {
        local::Status {
            version: "0.1.0".into(),
            instance: 0,
            networks,
            down: Vec::new(),
            out: Vec::new(),
            dns: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn an_api_server_that_is_away_is_said_with_what_is_known() {
        let mut network = network(Vec::new());
        let kube = KubeStatus {
            server: "https://10.77.0.1:6443".into(),
            state: "the API server is away".into(),
            connected: false,
            seconds: 70,
            node: None,
            namespaces: 4,
            pods: 12,
            policies: 1,
            elected: false,
            warnings: vec!["too many".into()],
        };
        network.kube = Some(kube.clone());
        let said = render(&status(vec![network.clone()])).replace("\n  ", " ");
        assert!(
            said.contains("! kubernetes: the API server is away (1 min ago)"),
            "{said}"
        );
        assert!(
            said.contains("12 pods, 4 namespaces, 1 network policies") && said.contains("! too many"),
            "{said}"
        );
        network.kube = Some(KubeStatus {
            connected: true,
            ..kube
        });
        let said = render(&status(vec![network]));
        assert!(
            said.contains("kubernetes: connected to https://10.77.0.1:6443"),
            "{said}"
        );
    }

    #[test]
    fn a_network_that_is_down_is_not_forgotten() {
        let mut nothing_up = status(Vec::new());
        nothing_up.down = vec!["prod".into()];
        assert_eq!(render(&nothing_up), "prod is down; `meshctl up` brings it back\n");
    }

    #[test]
    fn who_was_put_out_reads_why() {
        let mut page = status(Vec::new());
        page.out = vec![local::Out {
            name: "prod".into(),
            why: "an admin removed this node".into(),
        }];
        let said = render(&page);
        assert!(
            said.starts_with("! no longer in prod: an admin removed this node\n"),
            "{said}"
        );
    }

    #[test]
    fn the_page_of_a_usual_network() {
        let peers = vec![
            peer("web", 2, PathKind::Direct, Some("203.0.113.7:51820")),
            peer("edge", 3, PathKind::Relay, Some("198.51.100.1:3478")),
            peer("off", 4, PathKind::None, None),
        ];
        let page = render(&status(vec![network(peers)]));
        assert_eq!(
            page,
            "\
prod: this is db1, 10.77.0.1, fd5c:8a1:77::1, on meshd0
coordinator: connected
NAME  ADDRESSES       PATH    RTT      HANDSHAKE  RECEIVED/SENT
edge  10.77.0.3       relay   12.3 ms  14 s       1.2 MB/340 kB
      fd5c:8a1:77::3  198.51.100.1:3478
off   10.77.0.4       none    -        never      1.2 MB/340 kB
      fd5c:8a1:77::4
web   10.77.0.2       direct  12.3 ms  14 s       1.2 MB/340 kB
      fd5c:8a1:77::2  203.0.113.7:51820
"
        );
    }

    #[test]
    fn the_longest_of_everything_fits_eighty_columns_and_nothing_is_cut() {
        let endpoint = "[2001:db8:1111:2222:3333:4444:5555:6666]:51820";
        let mut long = peer(&"n".repeat(63), 200, PathKind::Direct, Some(endpoint));
        long.ipv4 = "100.100.100.200".parse().unwrap();
        long.ipv6 = "fd5c:8a1:77ff:1234:5678:9abc:def0:1234".parse().unwrap();
        long.path.rtt_ms = Some(9999.0);
        (long.last_handshake, long.rx_bytes, long.tx_bytes) = (Some(86_400 * 999), 999_000, 999_000_000);
        let fitting = peer(&"m".repeat(13), 2, PathKind::Relay, Some(endpoint));
        let mut net = network(vec![long, fitting]);
        net.coordinator = "cannot reach vpn.example.net:443: connection refused; trying again in 8 s".into();
        net.warnings = vec!["the LAN 10.77.0.0/24 of eth0 overlaps 10.77.0.0/16 of prod; ".repeat(3)];
        let page = render(&status(vec![net]));
        let wide: Vec<&str> = page.lines().filter(|line| line.chars().count() > WIDTH).collect();
        assert!(wide.is_empty(), "{page}");
        for part in [
            endpoint,
            "fd5c:8a1:77ff:1234:5678:9abc:def0:1234",
            &"n".repeat(63),
            "999 kB/999 MB",
        ] {
            assert!(page.contains(part), "{part} is missing:\n{page}");
        }
    }

    #[test]
    fn a_machine_without_networks_and_a_network_without_peers_say_so() {
        let page = render(&status(Vec::new()));
        assert_eq!(
            page,
            "this machine is in no network; join one with\n  meshctl join TOKEN\n"
        );
        let mut two = status(vec![network(Vec::new()), network(Vec::new())]);
        two.warnings.push("/etc/hosts cannot be written".into());
        let page = render(&two);
        assert!(
            page.starts_with("! /etc/hosts cannot be written\nprod: "),
            "{page}"
        );
        assert_eq!(page.matches("nobody else is in yet\n").count(), 2);
        assert!(page.contains("yet\n\nprod"), "{page}");
    }
}
