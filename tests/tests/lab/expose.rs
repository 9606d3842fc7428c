//! What is exposed: clients of the Internet reach nodes behind NATs by ports of the cloud host.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use meshd_tests::echo::{Echo, Said, ask_tcp, ask_udp, ask_udp_by, client_hello};
use meshd_tests::mesh::{Node, words};
use meshd_tests::{CLOUD_V4, CLOUD_V6, Greeted, Greeter, Machine, Nat, eventually, figure, keeps};
use serde_json::Value;

use crate::bed::{self, Bed, NET, SOON};

/// Most time without service when a target dies.
const FAILOVER: Duration = Duration::from_secs(3);
const ASKED: &[u8] = b"is anybody there\n";

/// A cloud host with a meshd beside meshrelay, nodes `n1` and `n2` behind NATs, and a client on the Internet.
struct Public {
    bed: Bed,
    beside: Node,
}

impl Public {
    fn new() -> Self {
        let bed = bed::apart(&[("n1", Nat::PortRestricted), ("n2", Nat::Symmetric)]);
        let beside = Node::start(&bed.cloud);
        beside.join(&bed.relay.token(NET, &[]));
        for node in ["n1", "n2"] {
            beside.reaches(node, SOON);
        }
        Self { bed, beside }
    }

    fn client(&self) -> &Machine {
        self.bed.world.internet()
    }

    fn node(&self, name: &str) -> &Node {
        let mut nodes = self.bed.nodes.iter();
        nodes.find(|node| node.name() == name).expect("a node of the bed")
    }

    fn expose(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.bed.relay.ctl(&[&["expose"], &words[..]].concat())
    }

    fn refused(&self, line: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = self.bed.relay.try_ctl(&[&["expose"], &arguments[..]].concat());
        assert!(!output.status.success(), "{line}: {}", words(&output));
        words(&output)
    }

    fn listed(&self, name: &str) -> Value {
        let all = self.bed.relay.json(&["expose", "list"]);
        let all = all.as_array().expect("an array").clone();
        let found = all.into_iter().find(|exposure| exposure["name"] == name);
        found.unwrap_or(Value::Null)
    }

    fn health(&self, name: &str, node: &str) -> Option<String> {
        let targets = self.listed(name)["targets"].as_array()?.clone();
        let target = targets.into_iter().find(|target| target["node"] == node)?;
        target["health"].as_str().map(str::to_owned)
    }

    fn eventually_is(&self, name: &str, node: &str, health: &str) {
        eventually(SOON, &format!("{node} behind {name} is {health}"), || {
            (self.health(name, node)? == health).then_some(())
        });
    }
}

fn public(port: u16) -> SocketAddr {
    SocketAddr::new(CLOUD_V4.parse().expect("an address"), port)
}

fn public6(port: u16) -> SocketAddr {
    SocketAddr::new(CLOUD_V6.parse().expect("an address"), port)
}

fn tcp(client: &Machine, to: SocketAddr) -> Said {
    eventually(SOON, &format!("{to} answers over TCP"), || {
        ask_tcp(client, to, ASKED, FAILOVER)
    })
}

fn udp(client: &Machine, to: SocketAddr) -> Said {
    eventually(SOON, &format!("{to} answers over UDP"), || {
        ask_udp(client, to, ASKED, Duration::from_secs(1))
    })
}

#[test]
fn a_client_of_the_internet_reaches_a_node_behind_a_nat_also_after_a_restart() {
    let public_lab = Public::new();
    let (client, n1, n2) = (public_lab.client(), public_lab.node("n1"), public_lab.node("n2"));
    let _web = Echo::tcp(n1.machine(), n1.at(NET, 8080), "n1");
    let _dns = Echo::udp(n2.machine(), n2.at(NET, 5353), "n2");
    let said = public_lab.expose("web --tcp 80 --to n1:8080");
    assert!(
        said.contains("port 80 (tcp)") && said.contains("n1:8080"),
        "{said}"
    );
    assert!(!said.contains("nothing can be forwarded"), "{said}");
    public_lab.expose("dns --udp 53 --to n2:5353");
    for to in [public(80), public6(80)] {
        assert_eq!(tcp(client, to).saw, ASKED);
    }
    for to in [public(53), public6(53)] {
        let said = udp(client, to);
        assert_eq!((said.name.as_str(), &said.saw[..]), ("n2", ASKED));
    }
    public_lab.eventually_is("web", "n1", "ready");
    let listed = public_lab.listed("web");
    assert_eq!(listed["at"][0], "203.0.113.1:80", "{listed}");
    assert_eq!(listed["through"], "cloud", "{listed}");
    assert!(listed["counts"]["accepted"].as_u64() >= Some(2), "{listed}");
    assert_eq!(listed["troubles"], Value::Array(Vec::new()), "{listed}");

    public_lab.bed.relay.kill();
    public_lab.bed.relay.start_again();
    assert_eq!(tcp(client, public(80)).name, "n1", "it is in the store");
    assert_eq!(udp(client, public(53)).name, "n2");
    public_lab.beside.kill();
    public_lab.beside.start_again();
    assert_eq!(tcp(client, public(80)).name, "n1", "and meshd comes back, too");

    public_lab.expose("remove web");
    eventually(SOON, "the port is closed", || {
        ask_tcp(client, public(80), ASKED, FAILOVER)
            .is_none()
            .then_some(())
    });
    assert_eq!(public_lab.listed("web"), Value::Null);
    assert_eq!(udp(client, public(53)).name, "n2", "the other one goes on");
}

#[test]
fn a_node_is_told_by_the_proxy_protocol_who_the_client_is() {
    let lab = Public::new();
    let (client, n1) = (lab.client(), lab.node("n1"));
    let _tcp = Echo::tcp(n1.machine(), n1.at(NET, 8080), "n1");
    let _udp = Echo::udp(n1.machine(), n1.at(NET, 5353), "n1");
    lab.expose("one --tcp 81 --to n1:8080 --proxy-protocol v1");
    lab.expose("two --tcp 82 --to n1:8080 --proxy-protocol v2");
    lab.expose("dns --udp 53 --to n1:5353 --proxy-protocol v2");
    let said = tcp(client, public(81));
    let line = format!("PROXY TCP4 203.0.113.254 {CLOUD_V4} {} 81\r\n", said.from.port());
    assert_eq!(said.saw, [line.as_bytes(), ASKED].concat());
    let said = tcp(client, public6(81));
    let line = format!("PROXY TCP6 2001:db8:f::fe {CLOUD_V6} {} 81\r\n", said.from.port());
    assert_eq!(said.saw, [line.as_bytes(), ASKED].concat());

    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let addresses = [203, 0, 113, 254, 203, 0, 113, 1];
    for (said, family, port) in [
        (tcp(client, public(82)), 0x11, 82u16),
        (udp(client, public(53)), 0x12, 53),
    ] {
        let ports = [said.from.port().to_be_bytes(), port.to_be_bytes()].concat();
        let header = [&signature[..], &[0x21, family, 0, 12], &addresses, &ports].concat();
        assert_eq!(said.saw, [&header[..], ASKED].concat());
    }
}

/// The site that answers a ClientHello at a port.
fn site(client: &Machine, port: u16, name: &str) -> Option<String> {
    let hello = client_hello(name, "http/1.1");
    let said = ask_tcp(client, public(port), &hello, Duration::from_secs(2))?;
    assert_eq!(said.saw, hello, "every byte of it is passed through");
    Some(said.name)
}

#[test]
fn one_port_443_serves_two_sites_the_coordinator_and_a_node_without_udp() {
    let mut lab = Public::new();
    let (n1, n2) = (lab.node("n1"), lab.node("n2"));
    let _shop = Echo::tcp(n1.machine(), n1.at(NET, 8443), "shop");
    let _blog = Echo::tcp(n2.machine(), n2.at(NET, 8443), "blog");
    lab.expose("shop --tcp 443 --sni shop.example.org --to n1:8443");
    lab.expose("blog --tcp 443 --sni *.example.net --to n2:8443");
    let client = lab.client();
    let answers = |name: &str| eventually(SOON, name, || site(client, 443, name));
    assert_eq!(answers("shop.example.org"), "shop");
    assert_eq!(answers("blog.example.net"), "blog");
    for nobodys in ["example.net", "a.b.example.net", "other.example.org"] {
        assert_eq!(site(client, 443, nobodys), None, "{nobodys}");
    }
    // a node without UDP joins, speaks to the coordinator and to another node, all by that port
    let blocked = lab.bed.world.site(Nat::UdpBlocked);
    lab.bed.add(&blocked, "n3", 2);
    lab.bed.sites.push(blocked);
    let n3 = lab.node("n3");
    n3.reaches("n1", SOON);
    let path = n3.peer(NET, "n1").expect("it is known")["path"].clone();
    assert_eq!(
        (&path["transport"], &path["endpoint"]),
        (&Value::from("tls"), &Value::from("203.0.113.1:443"))
    );
    let client = lab.client();
    for round in 0..5 {
        assert_eq!(
            site(client, 443, "shop.example.org").as_deref(),
            Some("shop"),
            "{round}"
        );
        assert!(n3.pings("n1"), "{round}");
        assert_eq!(
            site(client, 443, "x.example.net").as_deref(),
            Some("blog"),
            "{round}"
        );
    }
    let meshd = client_hello("shop.example.org", "meshd/1");
    let said = ask_tcp(client, public(443), &meshd, Duration::from_secs(2));
    assert_eq!(
        said, None,
        "what offers meshd/1 is the coordinator's, whatever site it names"
    );

    lab.expose("wiki --tcp 8443 --sni wiki.example.org --to n1:8443");
    eventually(SOON, "sites share other ports as well", || {
        site(client, 8443, "wiki.example.org")
    });
    assert_eq!(site(client, 8443, "shop.example.org"), None);
}

#[test]
fn a_target_that_dies_costs_new_clients_three_seconds_at_most() {
    let lab = Public::new();
    let (client, n1, n2) = (lab.client(), lab.node("n1"), lab.node("n2"));
    let _first = Greeter::start(n1.machine(), n1.at(NET, 8080), "n1");
    let _second = Greeter::start(n2.machine(), n2.at(NET, 8080), "n2");
    let _dns = [n1, n2].map(|node| Echo::udp(node.machine(), node.at(NET, 5353), node.name()));
    lab.expose("web --tcp 80 --to n1:8080 --to n2:8080");
    lab.expose("dns --udp 53 --to n1:5353,n2:5353");
    for node in ["n1", "n2"] {
        lab.eventually_is("web", node, "ready");
        lab.eventually_is("dns", node, "ready");
    }
    let connect = || Greeted::connect(client, public(80), FAILOVER);
    let to = |name: &str| {
        eventually(SOON, &format!("a connection goes to {name}"), || {
            connect().filter(|greeted| greeted.name == name)
        })
    };
    let (mut to_dead, mut to_other) = (to("n1"), to("n2"));
    let socket = eventually(SOON, "a flow goes to n1", || {
        let socket = client.inside(|| UdpSocket::bind("0.0.0.0:0")).ok()?;
        let said = ask_udp_by(&socket, public(53), ASKED, FAILOVER)?;
        (said.name == "n1").then_some(socket)
    });

    n1.kill();
    let killed = Instant::now();
    let (mut last, mut longest, mut moved) = (killed, Duration::ZERO, None);
    while lab.health("web", "n1").as_deref() != Some("dead") || moved.is_none() {
        assert!(killed.elapsed() < SOON, "n1 is found dead, and its flow moves");
        if connect().is_some() {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        let asked = Duration::from_millis(100);
        if moved.is_none() && ask_udp_by(&socket, public(53), ASKED, asked).is_some() {
            moved = Some(killed.elapsed());
        }
    }
    let moved = moved.expect("the loop ended");
    for (what, took) in [("connection", longest), ("flow of UDP", moved)] {
        let what = format!("no new {what} through what is exposed when a target dies");
        figure(&what, format!("{} ms", took.as_millis()), "3 s");
    }
    assert!(
        keeps(longest, FAILOVER) && keeps(moved, FAILOVER),
        "{longest:?} {moved:?}"
    );
    assert!(to_dead.ends(SOON), "the connection to the dead one ends");
    assert!(to_other.is_alive(), "the other one goes on");

    n1.start_again();
    lab.eventually_is("web", "n1", "ready");
    let mut back = to("n1");
    lab.expose("web --tcp 80 --to n2:8080");
    lab.eventually_is("web", "n1", "leaving");
    assert!(back.is_alive(), "who is taken out is drained");
    assert!(
        (0..6)
            .filter_map(|_| connect())
            .all(|greeted| greeted.name == "n2")
    );
    drop(back);
    eventually(SOON, "it is gone when its last connection ends", || {
        lab.health("web", "n1").is_none().then_some(())
    });
}

#[test]
fn a_port_that_somebody_has_is_refused_with_the_owners_name() {
    let lab = Public::new();
    let _held = lab
        .bed
        .cloud
        .inside(|| TcpListener::bind("203.0.113.1:8080").expect("a free port"));
    lab.expose("mail --tcp 25 --to n1:25");
    for (line, words) in [
        (
            "web --tcp 443 --to n1:80",
            "meshrelay's own: the coordinator; with --sni HOST",
        ),
        ("stun --udp 3478 --to n1:80", "meshrelay's own: relay and STUN"),
        (
            "smtp --tcp 25 --to n1:80",
            "the exposure \"mail\"'s of network prod",
        ),
        ("app --tcp 8080 --to n1:80", "in use by lab"),
        ("app --tcp 81 --to nobody:80", "nobody"),
    ] {
        let said = lab.refused(line);
        assert!(said.contains(words), "{line}: {said}");
    }
    let wireguard = lab.beside.network(NET).expect("it is joined")["listen_port"].clone();
    let said = lab.refused(&format!("wg --udp {wireguard} --to n1:80"));
    assert!(said.contains("in use by meshd"), "{said}");
    assert_eq!(
        lab.bed.relay.json(&["expose", "list"]).as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn without_a_meshd_beside_it_meshrelay_says_so_and_nothing_leaves_by_another_way() {
    let bed = bed::apart(&[("n1", Nat::PortRestricted)]);
    let n1 = &bed.nodes[0];
    let _web = Echo::tcp(n1.machine(), n1.at(NET, 8080), "n1");
    let said = bed
        .relay
        .ctl(&["expose", "web", "--tcp", "80", "--to", "n1:8080"]);
    assert!(
        said.contains("nothing can be forwarded: no meshd of network prod"),
        "{said}"
    );
    let listed = bed.relay.json(&["expose", "list"])[0].clone();
    assert_eq!(listed["through"], Value::Null, "{listed}");
    assert!(
        listed["troubles"].to_string().contains("meshctl join"),
        "{listed}"
    );
    let client = bed.world.internet();
    let watch = bed.world.internet();
    watch.sh(
        "nft 'add table ip leak; add chain ip leak through { type filter hook prerouting priority -300; }; \
              add rule ip leak through ip daddr 10.77.0.0/16 counter'",
    );
    assert_eq!(ask_tcp(client, public(80), ASKED, FAILOVER), None);
    let counted = watch.run(&["nft", "list", "table", "ip", "leak"]);
    assert!(counted.contains("packets 0"), "{counted}");

    let beside = Node::start(&bed.cloud);
    beside.join(&bed.relay.token(NET, &[]));
    assert_eq!(
        tcp(client, public(80)).name,
        "n1",
        "it works as soon as there is one"
    );
}

#[test]
fn a_listeners_limits_hold_and_one_source_leaves_room_for_others() {
    let lab = Public::new();
    let n1 = lab.node("n1");
    let _web = Greeter::start(n1.machine(), n1.at(NET, 8080), "n1");
    lab.expose("web --tcp 80 --to n1:8080 --max-connections 8 --idle 2s");
    let (client, other) = (lab.client(), lab.node("n2").machine());
    let connect = |from: &Machine| Greeted::connect(from, public(80), Duration::from_secs(2));
    let mut held = vec![eventually(SOON, "the first is served", || connect(client))];
    held.extend((0..9).filter_map(|_| connect(client)));
    assert_eq!(held.len(), 4, "one source takes half of the places");
    assert!(connect(other).is_some(), "another one finds room");
    let counts = lab.listed("web")["counts"].clone();
    assert!(counts["refused"].as_u64() >= Some(6), "{counts}");
    assert!(held[0].ends(SOON), "who says nothing for too long is ended");
    eventually(SOON, "all of them are", || {
        let counts = lab.listed("web")["counts"].clone();
        (counts["open"] == 0 && counts["idle"].as_u64() >= Some(4)).then_some(())
    });
    lab.expose("web --tcp 80 --to n1:8080 --max-per-second 2");
    let served = (0..12).filter(|_| connect(client).is_some()).count();
    assert!((2..12).contains(&served), "{served} of twelve in a row");
}
