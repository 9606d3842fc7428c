//! The demonstration behind `./demo`: a relay and three nodes behind different networks, on this computer.
//!
//! Every line with a `$` is what a person types on that machine, and is what runs here. `--once` ends after the first
//! status table; otherwise the table is shown anew until Ctrl-C. `--sweep` ends what an interrupted run left behind.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{Nat, World, eventually, sweep};

/// How long each step may take, on a small and busy computer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two status tables.
const REFRESH: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("--sweep") => sweep::stale(),
        Some("--once") => show(true),
        None => show(false),
        Some(other) => {
            eprintln!("error: unknown argument {other}: it is ./demo or ./demo --once");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn show(once: bool) {
    step("three sites, one cloud host, everything in network namespaces of its own");
    let world = World::new();
    let cloud = world.cloud();
    let sites = [
        (
            "db1",
            "a home, behind a port-restricted NAT",
            world.site(Nat::PortRestricted),
        ),
        (
            "web",
            "an office, behind a symmetric NAT",
            world.site(Nat::Symmetric),
        ),
        (
            "pi",
            "a mobile uplink, behind a carrier's NAT",
            world.site(Nat::CarrierFullCone),
        ),
    ];
    println!("  cloud: 203.0.113.1");
    let machines = sites.each_ref().map(|(name, place, site)| {
        println!("  {name}: {} in {place}", site.v4(2));
        site.machine(name, 2)
    });

    step("the coordinator and relay on the cloud host");
    typed("cloud", "meshrelay run --public-addr 203.0.113.1");
    let relay = Relay::start_with(&cloud, &["--public-addr", "203.0.113.1"]);
    on_cloud(&relay, &["network", "create", "prod", "--cidr", "10.77.0.0/16"]);
    let token = on_cloud(
        &relay,
        &[
            "token",
            "create",
            "--network",
            "prod",
            "--uses",
            "20",
            "--expires",
            "7d",
        ],
    );

    step("three machines join with the one token");
    let nodes = machines.each_ref().map(|machine| {
        typed(machine.name(), "meshd run");
        let node = Node::start(machine);
        typed(machine.name(), &format!("meshctl join {}", token.trim()));
        said(&node.ctl(&["join", token.trim()]));
        node
    });

    step("everybody reaches everybody by name");
    for node in &nodes {
        for peer in nodes.iter().filter(|peer| peer.name() != node.name()) {
            eventually(
                PATIENCE,
                &format!("{} pings {}", node.name(), peer.name()),
                || node.pings(peer.name()).then_some(()),
            );
        }
    }
    for (node, name) in [(&nodes[1], "db1"), (&nodes[2], "web.prod.mesh")] {
        typed(node.name(), &format!("ping -c1 {name}"));
        said(
            node.machine()
                .run(&["ping", "-c1", "-W5", name])
                .lines()
                .nth(1)
                .unwrap_or_default(),
        );
    }

    step("who sees whom, and how");
    table(&nodes[1]);
    if once {
        println!("\nall of it works; taking everything away again");
    } else {
        watch(&nodes[1]);
    }
}

/// Shows the table anew until the process is ended. On a terminal it stays in place.
fn watch(node: &Node) {
    println!(
        "\nCtrl-C ends it. Enter one of the machines with: sudo nsenter --net --mount --uts --target {}",
        node.machine().pid()
    );
    let lines = table_text(node).lines().count() + 1;
    loop {
        std::thread::sleep(REFRESH);
        if std::io::stdout().is_terminal() {
            let text = table_text(node);
            // save the cursor, go up over the last table, write, come back
            print!("\x1b7\x1b[{}A\r", lines + 1);
            for line in text.lines() {
                print!("{line}\x1b[K\n\r");
            }
            print!("\x1b8");
            let _ = std::io::stdout().flush();
        }
    }
}

fn table(node: &Node) {
    typed(node.name(), "meshctl status");
    print!("{}", table_text(node));
}

fn table_text(node: &Node) -> String {
    String::from_utf8_lossy(&node.try_ctl(&["status"]).stdout).into_owned()
}

fn on_cloud(relay: &Relay, arguments: &[&str]) -> String {
    typed("cloud", &format!("meshctl {}", arguments.join(" ")));
    let text = relay.ctl(arguments);
    said(&text);
    text
}

fn step(what: &str) {
    println!("\n== {what}");
}

fn typed(machine: &str, line: &str) {
    println!("{machine}$ {line}");
}

fn said(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}
