//! Other WireGuard programs as `wg` configures them: an interface `wg0` that listens on 51820.

use std::net::IpAddr;
use std::time::Duration;

use crate::machine::Machine;
use crate::process::Process;
use crate::wait::poll;

/// Its name.
pub const INTERFACE: &str = "wg0";
/// Where it listens.
pub const PORT: u16 = 51820;
/// How often a program is started before it is given up.
const STARTS: usize = 4;
/// For it to take its configuration.
const SOON: Duration = Duration::from_secs(10);

/// A program that is there, and its interface.
pub struct WireGuard {
    machine: Machine,
    process: Process,
    key: String,
}

impl WireGuard {
    /// Starts `argv`, a program in the foreground with its interface's name, and brings the interface up with a key of its own.
    ///
    /// # Panics
    /// If it takes no configuration.
    pub fn start(machine: &Machine, argv: &[&str], mtu: u16) -> Self {
        let process = started(machine, argv);
        let key = machine.sh(&format!(
            "umask 077; wg genkey > /run/wg.key; wg set {INTERFACE} private-key /run/wg.key listen-port {PORT}
             ip link set {INTERFACE} mtu {mtu} up; wg pubkey < /run/wg.key"
        ));
        Self {
            machine: machine.clone(),
            process,
            key: key.trim().to_owned(),
        }
    }

    /// Its public key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Tells it of a peer at `address`, with these prefixes.
    pub fn add_peer(&self, peer: &Self, address: IpAddr, allowed: &str) {
        let (key, endpoint) = (&peer.key, format!("{address}:{PORT}"));
        let set = [
            "wg",
            "set",
            INTERFACE,
            "peer",
            key,
            "endpoint",
            &endpoint,
            "allowed-ips",
            allowed,
        ];
        self.machine.run(&set);
    }
}

/// Starts a program and waits until it takes its configuration. Now and then one does not after a start; it is then started again,
/// as a service manager would.
///
/// # Panics
/// If it never does.
pub fn started(machine: &Machine, argv: &[&str]) -> Process {
    machine.sh("mkdir -p /run/wireguard");
    let quiet = [
        ("WG_PROCESS_FOREGROUND", "1"),
        ("LOG_LEVEL", "error"),
        ("WG_LOG_LEVEL", "error"),
    ];
    let mut said = String::new();
    for _ in 0..STARTS {
        let process = machine.spawn(argv, &quiet);
        let answers = || machine.succeeds(&["wg", "show", INTERFACE]).then_some(());
        if poll(SOON, || {
            (!process.is_running())
                .then_some(false)
                .or_else(|| answers().map(|()| true))
        }) == Some(true)
        {
            return process;
        }
        process.kill();
        said = process.log();
    }
    panic!(
        "{} does not take its configuration, started {STARTS} times: {said}",
        argv[0]
    );
}
