//! Any WireGuard speaks to meshd's data plane: two that others wrote, as initiator and as responder, roaming, under load.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use meshd_tests::measure::wireguard::{PORT, started};
use meshd_tests::mesh::program;
use meshd_tests::{Machine, Nat, Process, Site, TcpFlow, World, eventually, figure, skip};

use crate::bed::SOON;

/// Addresses inside the tunnel.
const OURS: &str = "10.99.0.1";
const THEIRS: &str = "10.99.0.2";

/// Another WireGuard program, if it could be had: its command line for an interface `wg0` in the foreground. boringtun-cli
/// binds a socket for each peer to its first own address, and would not survive losing that.
fn peer_program(name: &str) -> Option<Vec<String>> {
    let path = PathBuf::from(std::env::var_os("MESHD_LAB_PEERS")?).join(name);
    let flags: &[&str] = if name == "boringtun-cli" {
        &["--disable-drop-privileges", "--disable-connected-udp"]
    } else {
        &[]
    };
    let argv = [path.display().to_string(), "-f".into()]
        .into_iter()
        .chain(flags.iter().map(|flag| (*flag).to_owned()));
    path.exists().then(|| argv.chain(["wg0".to_owned()]).collect())
}

/// Two machines on one LAN: meshd's data plane on one, the other program on the other.
struct Pair {
    ours: Process,
    _theirs: Process,
    node: Machine,
    peer: Machine,
    site: Site,
    we_begin: bool,
    _world: World,
}

/// `we_begin`: only we know the other's endpoint, or only they know ours.
fn pair(argv: &[String], we_begin: bool) -> Pair {
    let world = World::new();
    let site = world.site(Nat::Open);
    let (node, peer) = (site.machine("node", 2), site.machine("stock", 3));
    let keys = [&node, &peer].map(|machine| {
        machine
            .sh("umask 077; wg genkey > /run/key; wg pubkey < /run/key")
            .trim()
            .to_owned()
    });
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let theirs = started(&peer, &argv);
    let endpoint = if we_begin {
        String::new()
    } else {
        format!("endpoint {}:{PORT}", site.v4(2))
    };
    peer.sh(&format!(
        "wg set wg0 private-key /run/key listen-port {PORT} peer {} allowed-ips {OURS}/32 {endpoint}\n\
         ip addr add {THEIRS}/24 dev wg0; ip link set dev wg0 mtu 1408 up",
        keys[0]
    ));
    let (binary, prefix, port) = (program("static-node"), format!("{THEIRS}/32"), PORT.to_string());
    let mut command = vec![binary.as_str(), "wg0", &port, "/run/key", &keys[1], &prefix];
    let endpoint = format!("{}:{PORT}", site.v4(3));
    if we_begin {
        command.push(&endpoint);
    }
    let ours = node.spawn(&command, &[]);
    eventually(SOON, "our data plane is up", || {
        ours.log().contains("ready").then_some(())
    });
    node.sh(&format!(
        "ip addr add {OURS}/24 dev wg0; ip link set dev wg0 mtu 1408 up"
    ));
    Pair {
        ours,
        _theirs: theirs,
        node,
        peer,
        site,
        we_begin,
        _world: world,
    }
}

impl Pair {
    fn pings(&self) {
        // whoever knows the other's endpoint has to begin
        for (machine, address) in [(&self.peer, OURS), (&self.node, THEIRS), (&self.peer, OURS)]
            .into_iter()
            .skip(usize::from(self.we_begin))
        {
            let what = format!("{} reaches {address}", machine.name());
            eventually(SOON, &what, || {
                machine
                    .succeeds(&["ping", "-q", "-c1", "-W1", address])
                    .then_some(())
            });
        }
    }

    fn handshakes(&self) -> usize {
        self.ours
            .log()
            .lines()
            .filter(|line| line.starts_with("handshake"))
            .count()
    }

    /// Moves `bytes` each way over TCP.
    fn load(&self, bytes: u64) {
        let ways = [(&self.node, &self.peer, THEIRS), (&self.peer, &self.node, OURS)];
        for (number, (from, at, address)) in ways.into_iter().enumerate() {
            let to = SocketAddr::new(
                address.parse().expect("an address"),
                9000 + u16::try_from(number).expect("small"),
            );
            let begin = Instant::now();
            let flow = TcpFlow::start(from, at, to, 0);
            let mut through = 0;
            while through < bytes {
                through = eventually(SOON, "more bytes come through", || {
                    Some(flow.received()).filter(|now| *now > through)
                });
            }
            let report = flow.stop();
            assert_eq!(
                report.broken,
                None,
                "{} -> {}: {report:?}",
                from.name(),
                at.name()
            );
            println!("{} MB in {:?}", report.bytes / 1_000_000, begin.elapsed());
        }
    }
}

fn speaks_with(name: &str, test: &str) {
    let Some(argv) = peer_program(name) else {
        return skip(test, &format!("{name} is not built; ./test builds it"));
    };
    // as responder: they begin
    pair(&argv, false).pings();
    // as initiator: we begin, and their answer comes by the same way
    let pair = pair(&argv, true);
    pair.node.output(&["ping", "-q", "-c1", "-W1", THEIRS]);
    pair.pings();
    pair.load(50_000_000);
    pair.site.readdress(&pair.peer, 77);
    pair.peer.output(&["ping", "-q", "-c1", "-W1", OURS]);
    pair.pings();
    assert!(
        pair.ours
            .log()
            .contains(&format!("roamed {}:{PORT}", pair.site.v4(77))),
        "it roamed: {}",
        pair.ours.log()
    );
}

#[test]
fn boringtun_cli_and_meshd_speak_in_both_roles_roam_and_carry_load() {
    speaks_with(
        "boringtun-cli",
        "boringtun_cli_and_meshd_speak_in_both_roles_roam_and_carry_load",
    );
}

#[test]
fn wireguard_go_and_meshd_speak_in_both_roles_roam_and_carry_load() {
    speaks_with(
        "wireguard-go",
        "wireguard_go_and_meshd_speak_in_both_roles_roam_and_carry_load",
    );
}

#[test]
#[ignore = "three rekeys take seven minutes: ./test --long"]
fn three_rekeys_and_a_gigabyte_pass_with_either() {
    const BYTES: u64 = 1_000_000_000;
    std::thread::scope(|scope| {
        for name in ["boringtun-cli", "wireguard-go"] {
            scope.spawn(move || {
                let Some(argv) = peer_program(name) else {
                    return skip(
                        "three_rekeys_and_a_gigabyte_pass_with_either",
                        &format!("{name} is not built"),
                    );
                };
                let pair = pair(&argv, true);
                pair.pings();
                pair.load(BYTES);
                let flow = meshd_tests::UdpFlow::start(
                    &pair.node,
                    &pair.peer,
                    SocketAddr::new(THEIRS.parse().expect("an address"), 9100),
                    100,
                );
                eventually(Duration::from_secs(500), "three rekeys", || {
                    (pair.handshakes() >= 4).then_some(())
                });
                let flow = flow.stop();
                figure(
                    &format!("{name}: packets lost over three rekeys"),
                    format!("{} of {}", flow.lost(), flow.sent),
                    "0",
                );
                assert_eq!(flow.lost(), 0, "{flow:?}");
            });
        }
    });
}
