//! Other programs beside the mesh: pods as another CNI plugin connects them, Flannel, BIRD.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;

use crate::machine::Machine;
use crate::mesh::Node;
use crate::pods::Pod;
use crate::process::Process;
use crate::wait::eventually;

/// For a program to start and answer, on a busy computer.
const START: Duration = Duration::from_secs(30);
/// Where etcd takes requests.
const ETCD: u16 = 2379;

/// The page.
const PAGE: &str = include_str!("../../docs/beside.md");

/// The line of docs/beside.md that begins so.
///
/// # Panics
/// If there is none.
pub fn line(begin: &str) -> &'static str {
    let mut lines = PAGE.lines();
    lines
        .find(|line| line.starts_with(begin))
        .unwrap_or_else(|| panic!("docs/beside.md has no line that begins with {begin:?}"))
}

/// The same in words, without host, program and the three dots for what has nothing to do with the mesh.
///
/// # Panics
/// As [`line()`].
pub fn words(begin: &str) -> Vec<&'static str> {
    let words = line(begin).split_whitespace().skip(2);
    words.filter(|word| *word != "...").collect()
}

/// A bridge `cni0` with the first address of `prefix` (such as `10.244.3`, a /24), and a pod on it with the address `.5`; pods'
/// packets are forwarded, and no larger than `mtu`.
///
/// # Panics
/// If it cannot be made.
pub fn bridged_pod(machine: &impl AsRef<Machine>, prefix: &str, mtu: u32) -> (Pod, IpAddr) {
    let pod = Pod::new(machine, "pod");
    machine.as_ref().sh(&format!(
        "ip link add name cni0 type bridge; ip addr add {prefix}.1/24 dev cni0; ip link set dev cni0 up; \
         ip link add name vethpod type veth peer name eth0 netns pod; ip link set dev vethpod mtu {mtu} master cni0 up; \
         ip -n pod addr add {prefix}.5/24 dev eth0; ip -n pod link set dev eth0 mtu {mtu} up; \
         ip -n pod route add default via {prefix}.1; echo 1 > /proc/sys/net/ipv4/ip_forward"
    ));
    let address = format!("{prefix}.5");
    (pod, address.parse().expect("an address"))
}

/// Takes the bridge and the pod away again.
pub fn remove_bridged_pod(machine: &impl AsRef<Machine>) {
    machine.as_ref().sh("ip netns delete pod; ip link del dev cni0");
}

/// The folder of a program of `tests/flannel/build`; `None` where that could not be had.
fn part(name: &str) -> Option<String> {
    let path = PathBuf::from(std::env::var_os("MESHD_LAB_FLANNEL")?)
        .join("bin")
        .join(name);
    path.exists().then(|| path.display().to_string())
}

/// Whether Flannel and etcd are there.
pub fn has_flannel() -> bool {
    part("flanneld").is_some() && part("etcd").is_some()
}

/// etcd on a node's mesh address, with Flannel's configuration in it.
pub struct Etcd {
    _process: Process,
    at: SocketAddr,
    url: String,
}

impl Etcd {
    /// Starts it, and writes `config` (JSON, as flanneld reads it).
    ///
    /// # Panics
    /// If etcd is not there or does not answer.
    pub fn start(node: &Node, network: &str, config: &str) -> Self {
        let at = node.at(network, ETCD);
        let url = format!("http://{at}");
        let argv = [
            part("etcd").expect("asked before"),
            "--data-dir=/run/etcd".into(),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            "--listen-peer-urls=http://127.0.0.1:2380".into(),
        ];
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let process = node.machine().spawn(&argv, &[]);
        let pair = format!(
            "{{\"key\":\"{}\",\"value\":\"{}\"}}",
            BASE64.encode(b"/coreos.com/network/config"),
            BASE64.encode(config.as_bytes())
        );
        eventually(START, "etcd takes Flannel's configuration", || {
            let answer = node.machine().inside(|| post(at, "/v3/kv/put", &pair));
            answer.filter(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        Self {
            _process: process,
            at,
            url,
        }
    }
}

impl Etcd {
    /// Ends the lease of the subnet that begins with `subnet` (three bytes): its node is gone for the others.
    ///
    /// # Panics
    /// If etcd does not answer.
    pub fn release(&self, node: &Node, subnet: &str) {
        let key = format!("/coreos.com/network/subnets/{subnet}.0-24");
        let question = format!("{{\"key\":\"{}\"}}", BASE64.encode(key.as_bytes()));
        let answer = node
            .machine()
            .inside(|| post(self.at, "/v3/kv/deleterange", &question));
        let answer = answer.expect("etcd answers");
        assert!(answer.contains("\"deleted\":\"1\""), "{answer}");
    }
}

/// A running flanneld.
pub struct Flannel {
    process: Process,
    machine: Machine,
}

impl Flannel {
    /// Starts it on a node, as the page says, and waits until it has a subnet.
    ///
    /// # Panics
    /// If it ends or gets no subnet.
    pub fn start(node: &Node, etcd: &Etcd) -> Self {
        let argv = [
            part("flanneld").expect("asked before"),
            format!("--etcd-endpoints={}", etcd.url),
            "--subnet-file=/run/flannel/subnet.env".into(),
        ];
        let of_page = words("node$ flanneld");
        let argv: Vec<&str> = argv.iter().map(String::as_str).chain(of_page).collect();
        let machine = node.machine().clone();
        let process = machine.spawn(&argv, &[]);
        let flannel = Self { process, machine };
        eventually(START, "flanneld has a subnet", || {
            assert!(flannel.process.is_running(), "flanneld ended");
            flannel.setting("FLANNEL_SUBNET")
        });
        flannel
    }

    /// The node's subnet without its last byte, and the MTU of its pods.
    ///
    /// # Panics
    /// If flanneld wrote none.
    pub fn subnet(&self) -> (String, u32) {
        let subnet = self.setting("FLANNEL_SUBNET").expect("a subnet");
        let mtu = self.setting("FLANNEL_MTU").and_then(|mtu| mtu.parse().ok());
        let prefix = subnet.rsplit_once('.').expect("an IPv4 subnet").0.to_owned();
        (prefix, mtu.expect("an MTU"))
    }

    /// Ends it; its routes stay, as with every daemon that ends.
    pub fn stop(&self) {
        assert!(self.process.stop(START).is_some(), "flanneld ends");
    }

    fn setting(&self, name: &str) -> Option<String> {
        let text = self.machine.read("/run/flannel/subnet.env");
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    }
}

/// A running BIRD.
pub struct Bird {
    process: Process,
}

impl Bird {
    /// Whether Debian's bird2 is there.
    pub fn is_there() -> bool {
        let found = std::process::Command::new("sh")
            .args(["-c", "command -v bird"])
            .output();
        found.is_ok_and(|output| output.status.success())
    }

    /// Starts it with this configuration.
    ///
    /// # Panics
    /// If it does not take it.
    pub fn start(machine: &impl AsRef<Machine>, configuration: &str) -> Self {
        let machine = machine.as_ref();
        std::fs::write(machine.file("/etc/bird.conf"), configuration).expect("the lab's folder is writable");
        machine.run(&["bird", "-p", "-c", "/etc/bird.conf"]);
        let process = machine.spawn(
            &["bird", "-f", "-c", "/etc/bird.conf", "-s", "/run/bird.ctl"],
            &[],
        );
        eventually(START, "bird listens", || {
            assert!(process.is_running(), "bird ended");
            machine.file("/run/bird.ctl").exists().then_some(())
        });
        Self { process }
    }

    /// Ends it in order: its routes go with it.
    pub fn stop(&self) {
        assert!(self.process.stop(START).is_some(), "bird ends");
    }

    /// Ends it at once: its peers notice by their own timers, its routes stay.
    pub fn kill(&self) {
        self.process.kill();
    }
}

fn post(to: SocketAddr, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
