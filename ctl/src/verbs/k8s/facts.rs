//! What is so on this machine, and in its mesh: asked, and judged elsewhere.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meshd_api::local::{NetworkStatus, PeerRequest, PingReply, Status};
use meshd_core::cluster::{API_SERVER_PORT, Flavor, Ground, Lan, Machine, Mesh, Peer, System, Way};
use serde_json::{Value, json};

use super::made;
use super::settings::says;
use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;

/// Round trips to one control plane.
const ROUND_TRIPS: u32 = 5;
/// Where container runtimes answer; kubeadm looks there, too.
const RUNTIMES: [&str; 2] = ["/run/containerd/containerd.sock", "/var/run/crio/crio.sock"];
/// Programs that kubeadm and the kubelet are made of.
const NEEDED: [&str; 2] = ["kubeadm", "kubelet"];
/// What k3s is made of.
const NEEDED_K3S: [&str; 1] = ["k3s"];
/// Service managers that kubeadm knows.
const SERVICE_MANAGERS: [&str; 2] = ["systemctl", "rc-service"];
/// Files that a machine has which is in a cluster.
const FILES: [&str; 6] = [
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/rancher/k3s/config.yaml",
    "/etc/rancher/k3s/k3s.yaml",
    "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
];

/// The network that is meant, as the meshd of this machine has it.
pub async fn network(global: &Global, name: Option<&str>) -> Result<NetworkStatus, Failure> {
    let mut meshd = Local::connect(&global.socket).await?;
    let status: Status = meshd.get("status").await?;
    let mut all = status.networks;
    if let Some(name) = name {
        let found = all.into_iter().find(|network| network.name == name);
        return found.ok_or_else(|| {
            Failure::failed(format!(
                "this machine is not in a network \"{name}\", or it is down: `meshctl status` shows those it is in"
            ))
        });
    }
    if all.iter().any(|network| network.ground.is_some()) {
        all.retain(|network| network.ground.is_some());
    }
    match all.len() {
        1 => Ok(all.remove(0)),
        0 => Err(Failure::failed(
            "this machine is in no network, or it is down: a cluster stands on a mesh, so `meshctl join` first",
        )),
        _ => {
            let names: Vec<&str> = all.iter().map(|network| network.name.as_str()).collect();
            let names = names.join(" or ");
            Err(Failure::usage(format!(
                "there are several networks: say --network {names}"
            )))
        }
    }
}

/// This machine in the network.
pub fn machine(network: &NetworkStatus) -> Machine {
    Machine {
        name: network.hostname.clone(),
        ipv4: network.ipv4,
        ipv6: network.ipv6,
    }
}

/// The mesh as this machine knows it.
pub fn mesh(network: &NetworkStatus) -> Mesh {
    let ground = ground(network);
    let way = ground.as_ref().and_then(|ground| way(network, ground));
    Mesh {
        network: network.name.clone(),
        name: network.hostname.clone(),
        lans: lans(&network.interface),
        ground,
        way,
    }
}

/// Measures how far the other control planes are: the shortest of a few round trips each, because what is longer waited somewhere.
pub async fn measure(global: &Global, mesh: &mut Mesh) {
    for peer in mesh.way.iter_mut().flat_map(|way| &mut way.others) {
        let question = PeerRequest {
            network: Some(mesh.network.clone()),
            peer: peer.name.clone(),
        };
        peer.round_trip = shortest(global, &question).await;
    }
}

/// None where it does not answer.
async fn shortest(global: &Global, question: &PeerRequest) -> Option<f64> {
    let mut meshd = Local::connect(&global.socket).await.ok()?;
    let mut shortest: Option<f64> = None;
    for _ in 0..ROUND_TRIPS {
        let reply: Result<PingReply, Failure> = meshd.post("ping", question).await;
        let Some(took) = reply.ok().and_then(|reply| reply.path.rtt_ms) else {
            return shortest;
        };
        shortest = Some(shortest.map_or(took, |before| before.min(took)));
    }
    shortest
}

/// What a cluster would stand on.
pub fn ground(network: &NetworkStatus) -> Option<Ground> {
    let ground = network.ground.as_ref()?;
    let parsed =
        |texts: &[String]| -> Option<Vec<IpNet>> { texts.iter().map(|text| text.parse().ok()).collect() };
    Some(Ground {
        network: network.name.clone(),
        api: (ground.api, ground.api6),
        pods: parsed(&ground.pods)?,
        node_prefix: ground.node_prefix,
        services: parsed(&ground.services)?,
        mesh_allots: ground.authority == "mesh",
    })
}

/// The name of the endpoint at the address that every node holds.
pub fn endpoint<'a>(
    network: &'a NetworkStatus,
    ground: &Ground,
) -> Option<&'a meshd_api::local::EndpointStatus> {
    let at = ground.endpoint().to_string();
    network
        .endpoints
        .iter()
        .find(|endpoint| endpoint.at.contains(&at))
}

fn way(network: &NetworkStatus, ground: &Ground) -> Option<Way> {
    let endpoint = endpoint(network, ground)?;
    let members = endpoint
        .members
        .iter()
        .filter(|member| member.health != "leaving");
    let (own, others): (Vec<_>, Vec<_>) = members.partition(|member| member.node == network.hostname);
    let peer = |name: &str| {
        let peer = network.peers.iter().find(|peer| peer.name == name);
        Peer {
            name: name.to_owned(),
            round_trip: peer.and_then(|peer| peer.path.rtt_ms),
        }
    };
    Some(Way {
        own: own.iter().any(|member| member.port == API_SERVER_PORT),
        others: others.iter().map(|member| peer(&member.node)).collect(),
    })
}

/// The machine. `patches` say what its kubelet is told to bear.
pub fn system(flavor: Flavor, patches: &[Value]) -> System {
    let bears = |setting: &str| says(patches, "KubeletConfiguration", setting, &json!(false));
    let known = made::read().is_some();
    let absent = |path: &&str| !Path::new(path).exists();
    // k3s brings a runtime, and a kubelet that bears swap
    let (needed, k3s): (&[&str], bool) = match flavor {
        Flavor::Kubeadm => (&NEEDED, false),
        Flavor::K3s => (&NEEDED_K3S, true),
    };
    System {
        flavor,
        root: is_root(),
        time: unix_time(),
        hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
        missing: needed
            .iter()
            .filter(|name| !in_path(name))
            .map(|name| (*name).to_owned())
            .collect(),
        no_runtime: (!k3s && RUNTIMES.iter().all(&absent)).then(|| RUNTIMES[0].to_owned()),
        swap: match k3s || bears("failSwapOn") {
            true => Vec::new(),
            false => swap(&read("/proc/swaps")),
        },
        old_cgroups: !k3s && absent(&"/sys/fs/cgroup/cgroup.controllers") && !bears("failCgroupV1"),
        // where we began before they are ours
        listening: match known {
            true => Vec::new(),
            false => ["tcp", "tcp6"]
                .iter()
                .flat_map(|name| listening(&read(&format!("/proc/net/{name}"))))
                .collect(),
        },
        foreign: match known {
            true => Vec::new(),
            false => FILES
                .iter()
                .filter(|path| !absent(path))
                .map(|path| (*path).to_owned())
                .collect(),
        },
        service_manager: SERVICE_MANAGERS.iter().any(|name| in_path(name)),
    }
}

/// The time, in unix time.
pub fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Whether a program is where programs are looked for.
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// By the effective user id (proc_pid_status(5)).
fn is_root() -> bool {
    let status = read("/proc/self/status");
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// proc_swaps(5): a heading, then one line for each, its name first.
fn swap(text: &str) -> Vec<String> {
    let names = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Ports in state 0A (LISTEN) of /proc/net/tcp: `sl local_address rem_address st ...`.
fn listening(text: &str) -> Vec<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let (_, port) = local.rsplit_once(':')?;
        (state == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    };
    text.lines().skip(1).filter_map(port).collect()
}

/// What is routed by other interfaces than the mesh's and those of pods.
fn lans(mesh: &str) -> Vec<Lan> {
    let all = lans4(&read("/proc/net/route"))
        .into_iter()
        .chain(lans6(&read("/proc/net/ipv6_route")));
    let ours = |interface: &str| interface == mesh || interface == "lo" || interface.starts_with("mpod");
    all.filter(|lan| !ours(&lan.interface)).collect()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, addresses in hex as the machine has them in memory.
fn lans4(text: &str) -> Vec<Lan> {
    let lan = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hex = |text: &str| {
            u32::from_str_radix(text, 16)
                .ok()
                .map(|word| Ipv4Addr::from(word.to_ne_bytes()))
        };
        let (to, mask) = (hex(fields.get(1)?)?, hex(fields.get(7)?)?);
        Some(Lan {
            interface: (*fields.first()?).to_owned(),
            prefix: Ipv4Net::with_netmask(to, mask).ok()?.into(),
        })
    };
    text.lines().skip(1).filter_map(lan).collect()
}

/// `destination length source length next metric references use flags interface`; link-local and multicast are nobody's network.
fn lans6(text: &str) -> Vec<Lan> {
    let lan = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let to = Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?);
        let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        let usual = !to.is_unicast_link_local() && !to.is_multicast() && length < 128;
        usual.then_some(Lan {
            interface: (*fields.last()?).to_owned(),
            prefix: Ipv6Net::new(to, length).ok()?.into(),
        })
    };
    text.lines().filter_map(lan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let swaps =
            "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n/dev/sda2               partition\t999\t0\t-2\n";
        assert_eq!(swap(swaps), ["/dev/sda2"]);
        assert_eq!(swap("Filename Type\n"), [""; 0]);
        let tcp = "  sl  local_address rem_address   st tx_queue\n   0: 0100007F:192B 00000000:0000 0A 0:0\n   1: 0100007F:0016 0100007F:8000 01 0:0\n";
        assert_eq!(listening(tcp), [6443]);
    }

    #[test]
    fn routes_are_networks() {
        let [a, b, c, d] = [192, 168, 7, 0];
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let v4 = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t{}\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n",
            word([192, 168, 7, 1]),
            word([a, b, c, d]),
            word([255, 255, 255, 0]),
        );
        let found: Vec<String> = lans4(&v4).iter().map(|lan| lan.prefix.to_string()).collect();
        assert_eq!(found, ["0.0.0.0/0", "192.168.7.0/24"]);
        let v6 = "20010db8000f00000000000000000000 40 0 00 0 00000100 00000001 00000000 00000001     eth0\nfe800000000000000000000000000000 40 0 00 0 00000100 00000001 00000000 00000001     eth0\n";
        let found = lans6(v6);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].prefix.to_string().as_str(), found[0].interface.as_str()),
            ("2001:db8:f::/64", "eth0")
        );
    }
}
