//! A program under measurement, emulated, and its peer.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use meshd_tests::mesh::program;
use meshd_tests::{Machine, Nat, Process, World, eventually};

use crate::counts::Counts;
use crate::table::Cost;
use crate::traffic::Workload;

/// Addresses inside the tunnel.
pub const OURS: &str = "10.99.0.1";
pub const THEIRS: &str = "10.99.0.2";
const PORT: u16 = 51820;
const MTU: u16 = 1408;
/// For what qemu does in a second or two.
const SOON: Duration = Duration::from_secs(60);
/// How long idleness is watched.
const IDLE: Duration = Duration::from_secs(4);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// meshd's packet path.
    Meshd,
    /// The same on a kernel without offloads.
    MeshdFallback,
    /// boringtun-cli.
    Boringtun,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Meshd, Self::Boringtun, Self::MeshdFallback];

    pub fn name(self) -> &'static str {
        match self {
            Self::Meshd => "meshd",
            Self::MeshdFallback => "meshd, no offloads",
            Self::Boringtun => "boringtun-cli",
        }
    }
}

/// The emulated program and its peer, talking.
pub struct Subject {
    kind: Kind,
    pub node: Machine,
    pub peer: Machine,
    emulated: Process,
    _peer: Process,
    counts: PathBuf,
}

/// Idleness, for each second.
pub struct Idle(Counts);

impl Subject {
    pub fn start(world: &World, kind: Kind, parts: &Path) -> Self {
        let site = world.site(Nat::Open);
        let (node, peer) = (site.machine("arm", 2), site.machine("peer", 3));
        let keys = [&node, &peer].map(|machine| {
            machine
                .sh("umask 077; wg genkey > /run/key; wg pubkey < /run/key")
                .trim()
                .to_owned()
        });
        let native = program("static-node");
        let (port, ours, theirs) = (PORT.to_string(), format!("{OURS}/32"), format!("{THEIRS}/32"));
        let of_peer = peer.spawn(&[&native, "wg0", &port, "/run/key", &keys[0], &ours], &[]);
        let (counts, endpoint) = (node.file("/run/counts"), format!("{}:{PORT}", site.v4(3)));
        let emulated = match kind {
            Kind::Boringtun => {
                let wanted = ["-f", "--disable-drop-privileges", "wg0"];
                emulate(&node, parts, "boringtun-cli", &wanted, None)
            }
            Kind::Meshd | Kind::MeshdFallback => {
                let refuse = (kind == Kind::MeshdFallback).then(|| parts.join("refuse.so"));
                let wanted = ["wg0", &port, "/run/key", &keys[1], &theirs, &endpoint];
                emulate(&node, parts, "static-node", &wanted, refuse)
            }
        };
        eventually(SOON, "both interfaces exist", || {
            let exists = |machine: &Machine| machine.succeeds(&["test", "-e", "/sys/class/net/wg0"]);
            (exists(&node) && exists(&peer)).then_some(())
        });
        let up = |machine: &Machine, address: &str| {
            machine.sh(&format!(
                "ip addr add {address}/24 dev wg0; ip link set dev wg0 mtu {MTU} up"
            ));
        };
        if kind == Kind::Boringtun {
            eventually(SOON, "boringtun-cli takes its configuration", || {
                node.succeeds(&["wg", "show", "wg0"]).then_some(())
            });
            node.sh(&format!(
                "wg set wg0 private-key /run/key listen-port {PORT} peer {} allowed-ips {theirs} endpoint {endpoint}",
                keys[1]
            ));
        }
        up(&node, OURS);
        up(&peer, THEIRS);
        eventually(SOON, "the tunnel is up", || {
            node.succeeds(&["ping", "-q", "-c1", "-W2", THEIRS]).then_some(())
        });
        Self {
            kind,
            node,
            peer,
            emulated,
            _peer: of_peer,
            counts,
        }
    }

    /// Which offloads the emulator passed.
    pub fn offloads(&self) -> String {
        let log = self.emulated.log();
        let said = log.lines().find_map(|line| line.strip_prefix("offloads: "));
        format!("{}: {}", self.kind.name(), said.unwrap_or("uses none"))
    }

    /// What it runs while there is nothing to do.
    pub fn idle(&self) -> Idle {
        let (before, begin) = (Counts::read(&self.counts), Instant::now());
        thread::sleep(IDLE);
        let (now, seconds) = (Counts::read(&self.counts), begin.elapsed().as_secs_f64());
        Idle(now.since(&before, &Counts::default(), 0.0, seconds))
    }

    /// What a packet of this workload costs.
    pub fn cost(&self, workload: &Workload, idle: &Idle) -> Cost {
        let (before, begin) = (Counts::read(&self.counts), Instant::now());
        let packets = workload.run(self);
        let (now, seconds) = (Counts::read(&self.counts), begin.elapsed().as_secs_f64());
        assert!(
            self.emulated.is_running(),
            "the emulated program ended: {}",
            self.emulated.log()
        );
        Cost::of(&now.since(&before, &idle.0, seconds, packets))
    }
}

/// qemu reads the program's symbols only where it logs.
fn emulate(
    node: &Machine,
    parts: &Path,
    name: &str,
    arguments: &[&str],
    preload: Option<PathBuf>,
) -> Process {
    let plugin = format!(
        "{},out={}",
        parts.join("count.so").display(),
        node.file("/run/counts").display()
    );
    let (program, preload) = (
        parts.join(name).display().to_string(),
        preload.map(|library| format!("LD_PRELOAD={}", library.display())),
    );
    let mut argv = vec![
        "qemu-aarch64",
        "-L",
        "/usr/aarch64-linux-gnu",
        "-d",
        "plugin",
        "-D",
        "/dev/null",
    ];
    argv.extend(["-plugin", &plugin]);
    if let Some(preload) = &preload {
        argv.extend(["-E", preload]);
    }
    argv.push(&program);
    argv.extend(arguments);
    node.spawn(&argv, &[])
}
