//! Services of type LoadBalancer: reached from the Internet through the cloud host, and inside the mesh, by what a cluster may expose.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use meshd_tests::k8s::{Cluster, NET, ProxyMode, get, guide};
use meshd_tests::mesh::Node;
use meshd_tests::{CLOUD_V4, Machine, figure, keeps, poll};
use serde_json::Value;

use crate::bed::{self, Bed, LONG};

const MANIFEST: &str = include_str!("../../k8s/manifests/balancers.yaml");
/// The most that a node's death may cost new connections.
const FAILOVER: Duration = Duration::from_secs(3);
/// Time for one connection then.
const TRY: Duration = Duration::from_millis(500);

#[test]
fn services_get_public_and_private_addresses_outlive_nodes_and_controllers_and_close() {
    let Some(parts) = bed::parts("services of type LoadBalancer") else {
        return;
    };
    let bed = bed::start(&parts, ProxyMode::Nftables);
    let beside = Node::start(&bed.cluster.cloud);
    beside.join(&bed.cluster.relay.token(NET, &[]));
    bed.cluster.give_credentials();
    bed.cluster.give_controllers_credentials(&["cp", "w1"]);
    for step in [guide::ALLOW, guide::FIRST_TO_POOL, guide::SECOND_TO_POOL] {
        bed.cluster.admin(&guide::words(step));
    }
    let near = &bed.pods[1].name;
    bed.cluster.kubectl(&["label", "pod", near, "near=yes"]);
    bed.cluster
        .apply(&MANIFEST.replace("POD", &bed.pods[0].address().to_string()));
    statuses_say_where(&bed.cluster);
    clients_reach_pods(&bed);
    the_client_is_named(&bed);
    private_addresses_are_reached(&bed, &beside);
    a_node_dies(&bed);
    the_elected_one_dies(&bed.cluster);
    what_is_taken_away_closes(&bed);
}

fn public(port: u16) -> SocketAddr {
    SocketAddr::new(CLOUD_V4.parse().expect("an address"), port)
}

/// The addresses in a service's status.
fn status(cluster: &Cluster, service: &str) -> Option<Vec<String>> {
    let held = cluster.get(&["service", service])?["status"]["loadBalancer"]["ingress"].clone();
    let held = held.as_array().cloned().unwrap_or_default();
    Some(
        held.iter()
            .filter_map(|one| one["ip"].as_str().map(str::to_owned))
            .collect(),
    )
}

fn address(cluster: &Cluster, service: &str) -> IpAddr {
    cluster.wait(LONG, &format!("{service} has an address"), || {
        status(cluster, service)?.first()?.parse().ok()
    })
}

fn statuses_say_where(cluster: &Cluster) {
    for service in ["front", "near", "told"] {
        assert_eq!(address(cluster, service).to_string(), CLOUD_V4, "{service}");
    }
    assert_eq!(address(cluster, "fixed").to_string(), "10.88.0.77");
    assert!(address(cluster, "inside").to_string().starts_with("10.88.0."));
    cluster.wait(LONG, "it is said why one is not exposed", || {
        let events = cluster.get(&["events", "--field-selector", "involvedObject.name=greedy"])?;
        let told = events["items"].to_string();
        told.contains("port 22 (tcp) is none that").then_some(())
    });
    for nothing in ["greedy", "others"] {
        assert_eq!(status(cluster, nothing), Some(Vec::new()), "{nothing}");
    }
    let allowed: Value = cluster.relay.json(&["expose", "allowed"]);
    assert_eq!(allowed[0]["held"], 4, "{allowed}");
    assert!(
        allowed[0]["refused"].to_string().contains("default/greedy"),
        "{allowed}"
    );
    let page = cluster.admin(&guide::words(guide::ALLOWED));
    assert!(page.contains("cp,w1") && page.contains("10.88.0.0/24"), "{page}");
}

/// Who answers a client of the Internet.
fn answer(client: &Machine, to: SocketAddr, path: &str) -> Option<String> {
    get(client, to, path).ok()
}

fn clients_reach_pods(bed: &Bed) {
    let client = bed.cluster.world.internet();
    let mut met = BTreeSet::new();
    bed.cluster.wait(LONG, "every pod answers the Internet", || {
        met.extend(answer(client, public(8000), "/hostname"));
        (met == bed.names()).then_some(())
    });
    let said = bed.cluster.wait(LONG, "a pod answers over UDP", || {
        ask_udp_word(client, public(5300))
    });
    assert!(bed.names().contains(&said), "{said}");
    // the pod that the policy is about, and it sees no other node in between
    let near = bed.pods[1].name.clone();
    for _ in 0..4 {
        let said = bed.cluster.wait(LONG, "the near one answers", || {
            answer(client, public(8002), "/hostname")
        });
        assert_eq!(said, near);
    }
    let cloud = bed.cluster.relay.json(&["node", "show", "cloud"])["ipv4"].clone();
    let seen = answer(client, public(8002), "/clientip").expect("it answers");
    let cloud = cloud.as_str().expect("an address");
    assert!(seen.starts_with(&format!("{cloud}:")), "{seen} is not {cloud}");
}

/// What netexec answers to `hostname` over UDP.
fn ask_udp_word(client: &Machine, to: SocketAddr) -> Option<String> {
    client.inside(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        socket.send_to(b"hostname", to).ok()?;
        let mut buffer = [0; 256];
        let (count, _) = socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).trim().to_owned())
    })
}

/// A program in a pod is told by the header who the client is.
fn the_client_is_named(bed: &Bed) {
    let pod = &bed.pods[0];
    let inside = pod.namespace(bed.cluster.node(&pod.node).mesh().machine());
    let at = SocketAddr::new(pod.address(), 9100);
    let listener = inside.inside(|| TcpListener::bind(at)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let client = bed.cluster.world.internet();
    let mut sent = None;
    let line = bed.cluster.wait(LONG, "the pod is told who the client is", || {
        if sent.is_none() {
            sent = client.inside(|| TcpStream::connect_timeout(&public(8001), TRY).ok());
        }
        let (mut stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let mut text = [0; 107];
        let count = stream.read(&mut text).ok()?;
        let line = String::from_utf8_lossy(&text[..count]).into_owned();
        // probes are nobody's
        (!line.starts_with("PROXY UNKNOWN")).then_some(line)
    });
    let port = sent
        .and_then(|stream| stream.local_addr().ok())
        .expect("it is connected")
        .port();
    assert_eq!(
        line,
        format!("PROXY TCP4 203.0.113.254 {CLOUD_V4} {port} 8001\r\n")
    );
}

/// From a machine that is in the mesh and not in the cluster, through the gateways.
fn private_addresses_are_reached(bed: &Bed, outside: &Node) {
    for service in ["inside", "fixed"] {
        let at = SocketAddr::new(address(&bed.cluster, service), 80);
        bed.cluster
            .wait(LONG, &format!("{at} is reached from outside the cluster"), || {
                answer(outside.machine(), at, "/hostname")
            });
    }
}

/// The node of a pod, and of the gateway in use, dies: others serve within the bar.
fn a_node_dies(bed: &Bed) {
    let client = bed.cluster.world.internet();
    let connect = || exchange(client, public(8000));
    bed.cluster.wait(LONG, "all three serve", || {
        let listed = bed.cluster.relay.json(&["expose", "list"]);
        let front = listed
            .as_array()?
            .iter()
            .find(|one| one["name"] == "default/front:8000/tcp")?
            .clone();
        let ready = front["targets"]
            .as_array()?
            .iter()
            .filter(|target| target["health"] == "ready");
        (ready.count() == 3).then_some(())
    });
    let victim = bed.cluster.node("w2").mesh();
    victim.kill();
    let killed = Instant::now();
    let (mut last, mut longest) = (killed, Duration::ZERO);
    while killed.elapsed() < Duration::from_secs(10) {
        if connect() {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest = longest.max(last.elapsed());
    figure(
        "a service of type LoadBalancer: no new connection when the node of a pod dies",
        format!("{} ms", longest.as_millis()),
        "3,000 ms",
    );
    victim.start_again();
    assert!(keeps(longest, FAILOVER), "{longest:?}");
}

/// Whether a pod answers a new connection.
fn exchange(client: &Machine, to: SocketAddr) -> bool {
    let asked = client.inside(|| -> std::io::Result<usize> {
        let mut stream = TcpStream::connect_timeout(&to, TRY)?;
        stream.set_read_timeout(Some(FAILOVER))?;
        stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
        stream.read(&mut [0; 64])
    });
    asked.is_ok_and(|count| count > 0)
}

fn elected(cluster: &Cluster, node: &str) -> bool {
    let network = cluster.node(node).mesh().network(NET);
    network.is_some_and(|network| network["kube"]["elected"] == true)
}

/// Another control plane serves what changes then; what is exposed goes on.
fn the_elected_one_dies(cluster: &Cluster) {
    let (leader, other) = match elected(cluster, "cp") {
        true => ("cp", "w1"),
        false => ("w1", "cp"),
    };
    assert!(
        elected(cluster, leader) && !elected(cluster, other),
        "one of them is elected"
    );
    if leader == "cp" {
        // the API server is reached through cp's mesh: its meshd is not killed, it may serve no longer
        cluster.kubectl(&[
            "patch",
            "lease",
            "meshd-ingress",
            "--namespace",
            "kube-system",
            "--type",
            "merge",
            "--patch",
            r#"{"spec":{"holderIdentity":"somebody-who-is-gone","leaseDurationSeconds":1}}"#,
        ]);
    } else {
        cluster.node(leader).mesh().kill();
    }
    let died = Instant::now();
    let next = cluster.wait(LONG, "somebody is elected again", || {
        let mut all = ["cp", "w1"]
            .into_iter()
            .filter(|node| leader == "cp" || *node != leader);
        all.find(|node| elected(cluster, node) && died.elapsed() > Duration::from_secs(1))
    });
    cluster.kubectl(&[
        "patch",
        "service",
        "front",
        "--type",
        "json",
        "--patch",
        r#"[{"op":"replace","path":"/spec/ports/0/port","value":8004}]"#,
    ]);
    let client = cluster.world.internet();
    cluster.wait(LONG, &format!("{next} serves what changes"), || {
        exchange(client, public(8004)).then_some(())
    });
    cluster.wait(LONG, "the former port is closed", || {
        (!exchange(client, public(8000))).then_some(())
    });
    if leader != "cp" {
        cluster.node(leader).mesh().start_again();
    }
}

fn what_is_taken_away_closes(bed: &Bed) {
    let client = bed.cluster.world.internet();
    bed.cluster.kubectl(&["delete", "service", "front"]);
    let gone = Instant::now();
    let closed = poll(LONG, || (!exchange(client, public(8004))).then_some(()));
    assert!(closed.is_some());
    figure(
        "a service of type LoadBalancer is deleted: its port is closed",
        format!("after {} ms", gone.elapsed().as_millis()),
        "none",
    );
    assert!(
        answer(client, public(8002), "/hostname").is_some(),
        "others go on"
    );
    bed.cluster.admin(&["expose", "disallow", "cluster"]);
    bed.cluster
        .wait(LONG, "nothing is exposed, and no status says so", || {
            let listed = bed.cluster.relay.json(&["expose", "list"]);
            let none = listed.as_array()?.is_empty() && status(&bed.cluster, "near")?.is_empty();
            (none && !exchange(client, public(8002))).then_some(())
        });
}
