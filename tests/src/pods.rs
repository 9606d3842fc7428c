//! Pods without Kubernetes: network namespaces on a node, and the CNI plugin run by its own contract.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Output;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::mesh::program;
use crate::process::Process;
use crate::tcp::TcpFlow;

/// Name of the CNI network of every configuration here.
pub const CNI_NETWORK: &str = "mesh";
/// Interface name inside every pod.
pub const INTERFACE: &str = "eth0";
/// Time to connect.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network namespace on a machine; its name is the container's id.
#[derive(Clone)]
pub struct Pod {
    machine: Machine,
    /// Container id, and name of the namespace.
    pub name: String,
}

/// What became of a run of the plugin.
#[derive(Debug)]
pub struct CniOutput {
    /// Whether it succeeded.
    pub success: bool,
    /// What it printed; null where that was nothing.
    pub document: Value,
}

impl CniOutput {
    /// The error code.
    pub fn code(&self) -> Option<u64> {
        self.document["code"].as_u64()
    }

    /// The addresses of a result, without their lengths.
    pub fn ips(&self) -> Vec<IpAddr> {
        let ips = self.document["ips"].as_array().cloned().unwrap_or_default();
        let bare = |ip: &Value| ip["address"].as_str()?.split('/').next()?.parse().ok();
        ips.iter().filter_map(bare).collect()
    }
}

impl Pod {
    /// An empty namespace with its loopback on.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(machine: &impl AsRef<Machine>, name: &str) -> Self {
        let machine = machine.as_ref().clone();
        machine.sh(&format!(
            "ip netns add {name}; ip netns exec {name} ip link set lo up"
        ));
        Self {
            machine,
            name: name.to_owned(),
        }
    }

    /// The same, connected: ADD must succeed. Gives its addresses, IPv4 first.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn added(machine: &impl AsRef<Machine>, name: &str) -> (Self, Vec<IpAddr>) {
        let pod = Self::new(machine, name);
        let output = pod.cni("ADD", &json!({}));
        assert!(output.success, "ADD of {name}: {output:?}");
        let ips = output.ips();
        (pod, ips)
    }

    /// A namespace that somebody else made and named on the machine: a container runtime.
    pub fn of(machine: &Machine, name: &str) -> Self {
        Self {
            machine: machine.clone(),
            name: name.to_owned(),
        }
    }

    /// Deletes the namespace, as a runtime does after DEL.
    pub fn delete(&self) {
        self.machine.run(&["ip", "netns", "delete", &self.name]);
    }

    /// The path of the namespace on its machine.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs the plugin for this pod with `more` in its configuration (null takes a field out).
    pub fn cni(&self, command: &str, more: &Value) -> CniOutput {
        self.cni_with(command, more, &[])
    }

    /// The same with variables set, or (empty) not set.
    pub fn cni_with(&self, command: &str, more: &Value, variables: &[(&str, &str)]) -> CniOutput {
        let path = self.path();
        let own = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", &self.name),
            ("CNI_NETNS", &path),
            ("CNI_IFNAME", INTERFACE),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        let all: Vec<(&str, &str)> = own.iter().chain(variables).copied().collect();
        run_plugin(&self.machine, &configuration(more).to_string(), &all)
    }

    /// Runs a program inside that must succeed; gives its stdout.
    #[track_caller]
    pub fn run(&self, argv: &[&str]) -> String {
        self.machine.run(&self.entered(argv))
    }

    /// Runs a program inside, whatever becomes of it.
    pub fn output(&self, argv: &[&str]) -> Output {
        self.machine.output(&self.entered(argv))
    }

    /// Starts a program inside, in the background.
    pub fn spawn(&self, argv: &[&str]) -> Process {
        self.machine.spawn_as(argv[0], &self.entered(argv), &[])
    }

    fn entered<'a>(&'a self, argv: &[&'a str]) -> Vec<&'a str> {
        [&["ip", "netns", "exec", &self.name], argv].concat()
    }

    /// Whether one ping is answered within a second.
    pub fn pings(&self, to: IpAddr) -> bool {
        let to = to.to_string();
        self.output(&["ping", "-n", "-q", "-c1", "-W1", &to])
            .status
            .success()
    }

    /// Runs `work` on a thread of its own inside; sockets opened there stay there.
    ///
    /// # Panics
    /// If the namespace is gone.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/root{}", self.machine.pid(), self.path());
        let namespace = File::open(path).expect("the namespace is there");
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("needs root");
                work()
            });
            worker.join().expect("the work inside the pod did not panic")
        })
    }

    /// A TCP flow of checked bytes to another pod's address.
    ///
    /// # Panics
    /// If the connection cannot be made.
    pub fn streams_to(&self, pod: &Self, to: SocketAddr, rate: u32) -> TcpFlow {
        let listener = pod.inside(|| TcpListener::bind(to).expect("the pod has its address"));
        let outgoing =
            self.inside(|| TcpStream::connect_timeout(&to, PATIENCE).expect("the connection is made"));
        let (incoming, _) = listener.accept().expect("the connection arrived");
        TcpFlow::over(outgoing, incoming, rate)
    }
}

/// The configuration of every pod here, with `more`.
fn configuration(more: &Value) -> Value {
    let mut configuration = json!({"cniVersion": "1.1.0", "name": CNI_NETWORK, "type": "mesh-cni"});
    for (key, value) in more.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(
                configuration
                    .as_object_mut()
                    .and_then(|fields| fields.remove(key)),
            ),
            value => configuration[key] = value.clone(),
        }
    }
    configuration
}

/// Runs the plugin on a machine with this text on its standard input and these variables; of two of one name the later
/// counts, and an empty one is not set.
///
/// # Panics
/// If it prints what is no JSON.
pub fn run_plugin(machine: &Machine, configuration: &str, variables: &[(&str, &str)]) -> CniOutput {
    let assignments: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let plugin = program("mesh-cni");
    let script = "c=$1; shift; printf %s \"$c\" | exec env \"$@\"";
    let mut argv = vec!["sh", "-c", script, "cni", configuration];
    argv.extend(assignments.iter().map(String::as_str));
    argv.push(&plugin);
    let output = machine.output(&argv);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = match text.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")),
    };
    CniOutput {
        success: output.status.success(),
        document,
    }
}

/// Whether an IPv4 address is in a prefix.
pub fn within(ip: IpAddr, prefix: &str) -> bool {
    let Some((network, bits)) = prefix.split_once('/') else {
        return false;
    };
    let (Ok(IpAddr::V4(network)), Ok(bits), IpAddr::V4(ip)) = (network.parse(), bits.parse::<u32>(), ip)
    else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(ip) & mask == u32::from(network) & mask
}
