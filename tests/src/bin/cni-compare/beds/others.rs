//! Pods by other means: Flannel's VXLAN backend over an interface, and wireguard-go with the pods' prefixes as allowed IPs.
//!
//! Pods are connected as Flannel's CNI plugin has the reference plugin `bridge` do it: a bridge with the subnet's first address, a
//! veth pair per pod, the MTU that flanneld says.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use data_encoding::BASE64;
use meshd_tests::measure::wireguard::{INTERFACE, WireGuard};
use meshd_tests::pods::Pod;
use meshd_tests::{CLOUD_V4, Machine, Process, eventually};
use serde_json::json;

use super::SOON;

/// Where etcd listens on the cloud host.
const ETCD_PORT: u16 = 2379;
/// Of wireguard-go's interface, and of pods behind it.
const MTU: u16 = 1420;

/// etcd on the cloud host, where flanneld keeps who has which subnet.
pub fn etcd(cloud: &Machine, program: &str) -> Process {
    let url = format!("http://{CLOUD_V4}:{ETCD_PORT}");
    let etcd = cloud.spawn(
        &[
            program,
            "--data-dir=/var/lib/etcd",
            &format!("--listen-client-urls={url}"),
            &format!("--advertise-client-urls={url}"),
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            "--log-level=error",
        ],
        &[],
    );
    let healthy = || exchange(cloud, "GET /health HTTP/1.0\r\n\r\n").filter(|answer| answer.contains("true"));
    eventually(SOON, "etcd answers", || {
        assert!(etcd.is_running(), "etcd ended: {}", etcd.log());
        healthy().map(drop)
    });
    etcd
}

fn exchange(cloud: &Machine, request: &str) -> Option<String> {
    let mut stream = cloud.inside(|| TcpStream::connect((CLOUD_V4, ETCD_PORT))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A Flannel network: its name in etcd, its backend's configuration.
pub struct Flannel<'a> {
    /// The program.
    pub flanneld: &'a str,
    /// Of its keys and files.
    pub name: &'a str,
    /// The interface that it goes over.
    pub interface: &'a str,
    /// The pods' prefix.
    pub network: &'a str,
    /// `vxlan` or `wireguard`.
    pub backend: &'a str,
}

impl Flannel<'_> {
    /// Tells etcd of the network.
    pub fn announce(&self, cloud: &Machine) {
        let config = json!({"Network": self.network, "Backend": {"Type": self.backend}}).to_string();
        let key = format!("/{}/config", self.name);
        let body = json!({"key": BASE64.encode(key.as_bytes()), "value": BASE64.encode(config.as_bytes())});
        let body = body.to_string();
        let request = format!(
            "POST /v3/kv/put HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(cloud, &request).expect("etcd answers");
        assert!(answer.contains(" 200 "), "{answer}");
    }

    /// Starts flanneld on a machine.
    pub fn start(&self, machine: &Machine) -> Process {
        machine.sh("mkdir -p /run/flannel; echo 1 > /proc/sys/net/ipv4/ip_forward");
        machine.spawn(
            &[
                self.flanneld,
                &format!("--etcd-endpoints=http://{CLOUD_V4}:{ETCD_PORT}"),
                &format!("--etcd-prefix=/{}", self.name),
                &format!("--iface={}", self.interface),
                &format!("--subnet-file=/run/flannel/{}.env", self.name),
                "--iptables-forward-rules=false",
            ],
            &[],
        )
    }

    /// Waits for the subnet that flanneld got, and connects a pod in it.
    pub fn pod(&self, machine: &Machine, flanneld: &Process, name: &str) -> (Pod, IpAddr) {
        let file = format!("/run/flannel/{}.env", self.name);
        let values = eventually(SOON, "flanneld has a subnet", || {
            assert!(flanneld.is_running(), "flanneld ended: {}", flanneld.log());
            Some(machine.read(&file)).filter(|text| text.contains("FLANNEL_MTU"))
        });
        let value = |name: &str| {
            let found = values
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.expect("flanneld writes it").to_owned()
        };
        bridged(machine, name, &value("FLANNEL_SUBNET"), &value("FLANNEL_MTU"))
    }
}

/// A pod at the second address of `subnet`, whose first, with its length, is the bridge's.
fn bridged(machine: &Machine, name: &str, subnet: &str, mtu: &str) -> (Pod, IpAddr) {
    let (gateway, _) = subnet.split_once('/').expect("with its length");
    let (prefix, _) = gateway.rsplit_once('.').expect("an IPv4 address");
    let own = format!("{prefix}.2");
    let pod = Pod::new(machine, name);
    machine.sh(&format!(
        "bridged=/proc/sys/net/bridge/bridge-nf-call-iptables; if [ -e $bridged ]; then echo 0 > $bridged; fi
         ip link add cni0 mtu {mtu} type bridge
         ip addr add {subnet} dev cni0
         ip link set cni0 up
         ip link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}
         ip link set {name} master cni0 up"
    ));
    pod.run(&["ip", "addr", "add", &format!("{own}/24"), "dev", "eth0"]);
    pod.run(&["ip", "link", "set", "eth0", "up"]);
    pod.run(&["ip", "route", "add", "default", "via", gateway]);
    (pod, own.parse().expect("an address"))
}

/// wireguard-go between two machines, with pods in 10.104.1.0/24 and 10.104.2.0/24.
pub fn wireguard_go(machines: &[Machine; 2], program: &str) -> ([WireGuard; 2], [(Pod, IpAddr); 2]) {
    let started = machines.each_ref().map(|machine| {
        machine.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
        // as Flannel's wireguard backend sets the MTU: 80 bytes for headers
        WireGuard::start(machine, &[program, "-f", INTERFACE], MTU)
    });
    let [one, other] = &started;
    for (own, peer, (machine, far), subnet) in [
        (one, other, (&machines[0], &machines[1]), 2),
        (other, one, (&machines[1], &machines[0]), 1),
    ] {
        let address = far.sh("ip -o -4 addr show dev eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'");
        let prefix = format!("10.104.{subnet}.0/24");
        own.add_peer(peer, address.trim().parse().expect("an address"), &prefix);
        machine.run(&["ip", "route", "add", &prefix, "dev", INTERFACE]);
    }
    let mut number = 0;
    let pods = machines.each_ref().map(|machine| {
        number += 1;
        let (name, subnet) = (format!("wgpod{number}"), format!("10.104.{number}.1/24"));
        bridged(machine, &name, &subnet, &MTU.to_string())
    });
    (started, pods)
}
