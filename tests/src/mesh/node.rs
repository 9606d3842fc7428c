//! `meshd` on a machine.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::sandbox::Sandbox;
use super::{json, program, words};
use crate::machine::Machine;
use crate::process::Process;
use crate::wait::eventually;

/// Time for meshd to answer after its start, on a busy computer.
const START: Duration = Duration::from_secs(20);

/// A machine with meshd on it.
pub struct Node {
    machine: Machine,
    setting: Setting,
    process: Mutex<Process>,
}

/// How meshd is started, at first and again.
#[derive(Default)]
struct Setting {
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    managed: bool,
    /// `--instance`, in the sandbox of its own unit.
    instance: u16,
    /// An aarch64 meshd, run by qemu's user-mode emulation and without the sandbox.
    emulated: Option<PathBuf>,
}

impl Node {
    /// An aarch64 `meshd`, emulated and without the sandbox. Its C library is the cross compiler's.
    pub fn start_emulated(machine: &Machine, meshd: &Path) -> Self {
        let emulated = Some(meshd.to_owned());
        Self::start_as(
            machine,
            Setting {
                emulated,
                ..Setting::default()
            },
        )
    }

    /// Starts `meshd run` in its unit's sandbox and waits until its socket answers.
    pub fn start(machine: &Machine) -> Self {
        Self::start_with(machine, &[], &[])
    }

    /// The same with flags of `meshd run` and additional variables.
    pub fn start_with(machine: &Machine, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self::start_as(
            machine,
            Setting {
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
                environment: environment.iter().map(pair).collect(),
                ..Setting::default()
            },
        )
    }

    /// One of several meshd on a machine: `--instance N` (1..=99).
    pub fn start_instance(machine: &Machine, instance: u16) -> Self {
        let flags = vec!["--instance".to_owned(), instance.to_string()];
        Self::start_as(
            machine,
            Setting {
                flags,
                instance,
                ..Setting::default()
            },
        )
    }

    /// The same under a service manager, which keeps descriptors for it and starts it again whenever it ends.
    pub fn start_managed(machine: &Machine) -> Self {
        Self::start_as(
            machine,
            Setting {
                managed: true,
                ..Setting::default()
            },
        )
    }

    fn start_as(machine: &Machine, setting: Setting) -> Self {
        let process = Mutex::new(run(machine, &setting));
        let node = Self {
            machine: machine.clone(),
            setting,
            process,
        };
        node.wait_until_it_answers();
        node
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine's name, which is the node's where nothing else was asked for.
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// `meshctl join TOKEN`; gives what it printed as JSON.
    #[track_caller]
    pub fn join(&self, token: &str) -> Value {
        self.json(&["join", token])
    }

    /// `meshctl` on this machine; gives its stdout.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.try_ctl(arguments);
        assert!(
            output.status.success(),
            "{}: meshctl {} failed: {}",
            self.name(),
            arguments.join(" "),
            words(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `meshctl` on this machine, whatever becomes of it.
    pub fn try_ctl(&self, arguments: &[&str]) -> Output {
        let socket = match self.setting.instance {
            0 => "/run/meshd/meshd.sock".to_owned(),
            number => format!("/run/meshd-{number}/meshd.sock"),
        };
        let meshctl = program("meshctl");
        self.machine
            .output(&[&[meshctl.as_str(), "--socket", &socket], arguments].concat())
    }

    /// `meshctl ... --json` on this machine.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        json(
            &arguments.join(" "),
            &self.try_ctl(&[arguments, &["--json"]].concat()),
        )
    }

    /// `meshctl status --json`; `None` where meshd does not answer.
    pub fn status(&self) -> Option<Value> {
        let output = self.try_ctl(&["status", "--json"]);
        if output.status.success() {
            serde_json::from_slice(&output.stdout).ok()
        } else {
            None
        }
    }

    /// One network of the status.
    pub fn network(&self, name: &str) -> Option<Value> {
        let status = self.quick_status()?;
        let networks = status["networks"].as_array()?;
        networks.iter().find(|network| network["name"] == name).cloned()
    }

    /// One peer of a network of the status.
    pub fn peer(&self, network: &str, name: &str) -> Option<Value> {
        let network = self.network(network)?;
        network["peers"]
            .as_array()?
            .iter()
            .find(|peer| peer["name"] == name)
            .cloned()
    }

    /// The same as [`Self::status`] from meshd's socket, without a process for it: for what looks often.
    pub fn quick_status(&self) -> Option<Value> {
        let folder = match self.setting.instance {
            0 => "/run/meshd".to_owned(),
            number => format!("/run/meshd-{number}"),
        };
        let socket = self.machine.file(&format!("{folder}/meshd.sock"));
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = "GET /v1/status HTTP/1.1\r\nhost: meshd\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// How packets go to a peer now: `direct`, `relay` or `none`.
    pub fn path_kind(&self, network: &str, peer: &str) -> String {
        let kind = self.peer(network, peer).map(|peer| peer["path"]["kind"].clone());
        kind.and_then(|kind| kind.as_str().map(str::to_owned))
            .unwrap_or_else(|| "unknown".into())
    }

    /// Its own IPv4 address in a network.
    ///
    /// # Panics
    /// If it is not in that network.
    pub fn ipv4(&self, network: &str) -> IpAddr {
        self.address(network, "ipv4")
    }

    /// Its own IPv6 address in a network.
    ///
    /// # Panics
    /// If it is not in that network.
    pub fn ipv6(&self, network: &str) -> IpAddr {
        self.address(network, "ipv6")
    }

    /// Its own IPv4 address in a network with a port, for flows.
    pub fn at(&self, network: &str, port: u16) -> SocketAddr {
        SocketAddr::new(self.ipv4(network), port)
    }

    fn address(&self, network: &str, field: &str) -> IpAddr {
        let network = self.network(network).expect("the node is in the network");
        network[field]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("the status has an address")
    }

    /// Whether one ping by name or address is answered within a second.
    pub fn pings(&self, name: &str) -> bool {
        self.machine.succeeds(&["ping", "-n", "-q", "-c1", "-W1", name])
    }

    /// The same, by IPv6.
    pub fn pings6(&self, name: &str) -> bool {
        self.machine
            .succeeds(&["ping", "-6", "-n", "-q", "-c1", "-W1", name])
    }

    /// Waits until a ping by name is answered; says how long it took.
    #[track_caller]
    pub fn reaches(&self, name: &str, bound: Duration) -> Duration {
        let what = format!("{} reaches {name}", self.name());
        crate::wait::timed(bound, &what, || self.pings(name).then_some(())).1
    }

    /// SIGKILL to meshd alone, whatever holds its descriptors. A service manager starts it again by itself.
    pub fn kill(&self) {
        self.end_by(Signal::KILL);
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// If it does not end within 10 s.
    pub fn stop(&self) {
        self.end_by(Signal::TERM);
    }

    /// Sends meshd itself a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid().cast_signed()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The pid of meshd itself, also under a service manager.
    pub fn pid(&self) -> u32 {
        let process = self.process.lock().expect("not poisoned");
        let started = process
            .log()
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("started ")?.parse().ok());
        if self.setting.managed {
            started.unwrap_or_else(|| process.pid())
        } else {
            process.pid()
        }
    }

    fn end_by(&self, signal: Signal) {
        let ends = || {
            let process = self.process.lock().expect("not poisoned");
            let noted = process
                .log()
                .lines()
                .filter(|line| line.starts_with("ended "))
                .count();
            noted + usize::from(!process.is_running())
        };
        let before = ends();
        self.signal(signal);
        let what = format!("meshd on {} ends by {signal:?}", self.name());
        eventually(Duration::from_secs(10), &what, || {
            (ends() > before || before > 0 && !self.setting.managed).then_some(())
        });
    }

    /// Starts it again after a kill, a stop or a reboot, and waits until it answers. Under a service manager, which has
    /// done so already, it only waits.
    pub fn start_again(&self) {
        if !self.setting.managed || !self.with_process(Process::is_running) {
            self.spawn_again();
        }
        self.wait_until_it_answers();
    }

    /// Starts it again without waiting.
    pub fn spawn_again(&self) {
        let mut process = self.process.lock().expect("not poisoned");
        process.kill();
        *process = run(&self.machine, &self.setting);
    }

    /// Looks at the process.
    pub fn with_process<T>(&self, look: impl FnOnce(&Process) -> T) -> T {
        look(&self.process.lock().expect("not poisoned"))
    }

    fn wait_until_it_answers(&self) {
        eventually(START, &format!("meshd on {} answers", self.name()), || {
            let running = self.with_process(Process::is_running);
            assert!(
                running,
                "meshd on {} ended: {}",
                self.name(),
                self.with_process(Process::log)
            );
            self.status().map(|_| ())
        });
    }
}

impl AsRef<Machine> for Node {
    fn as_ref(&self) -> &Machine {
        &self.machine
    }
}

fn run(machine: &Machine, setting: &Setting) -> Process {
    let environment: Vec<(&str, &str)> = setting
        .environment
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    if let Some(meshd) = &setting.emulated {
        return run_emulated(machine, meshd, &environment);
    }
    let (binary, manager) = (program("meshd"), program("service-manager"));
    let mut argv = vec![binary.as_str(), "run"];
    argv.extend(setting.flags.iter().map(String::as_str));
    let sandbox = match setting.instance {
        0 => Sandbox::of_unit("meshd"),
        number => Sandbox::of_instance(number),
    };
    let sandboxed = sandbox.wrap(&argv);
    let mut argv = if setting.managed {
        vec![manager.as_str(), "/run/notify"]
    } else {
        Vec::new()
    };
    argv.extend(sandboxed.iter().map(String::as_str));
    machine.spawn_as("meshd", &argv, &environment)
}

/// The folder of an aarch64 meshd also holds `netlink.so` (`emulation/netlink.c`), without which qemu would refuse some of
/// its netlink messages.
fn run_emulated(machine: &Machine, meshd: &Path, environment: &[(&str, &str)]) -> Process {
    let (carrier, shim) = (program("netlink-carrier"), meshd.with_file_name("netlink.so"));
    let (preload, meshd) = (
        format!("LD_PRELOAD={}", shim.display()),
        meshd.display().to_string(),
    );
    let emulator = [
        "qemu-aarch64-static",
        "-L",
        "/usr/aarch64-linux-gnu",
        "-E",
        &preload,
    ];
    let argv = [&[carrier.as_str()][..], &emulator, &[&meshd, "run"]].concat();
    machine.spawn_as("meshd-aarch64", &argv, environment)
}
