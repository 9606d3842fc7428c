//! A cluster as a person makes it: real kubeadm, by `meshctl k8s`, with its control plane in static pods.
//!
//! What kubeadm finds on a node is what it finds on any: containerd with the images that it asks for, a kubelet, and a
//! service manager that starts it (`service.sh`). Besides the lines of docs/kubernetes.md nothing is done.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use super::{NET, Parts, ProxyMode, Worker, guide};
use crate::machine::Machine;
use crate::mesh::{Relay, program, words};
use crate::nat::Nat;
use crate::site::Site;
use crate::wait::poll;
use crate::world::World;

/// The administrator's, on every control plane.
pub const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// Where the lab's service manager is, before the computer's own in the `PATH`.
const TOOLS: &str = "/var/lib/tools";
/// Settings for kubelets on this kernel, and for nodes that share one disk and two processors.
const OWN: &str = include_str!("own.yaml");
/// Settings for a cluster of such nodes.
const OWN_CLUSTER: &str = include_str!("own-cluster.yaml");
/// Settings for a machine that comes in.
const OWN_JOIN: &str = include_str!("own-join.yaml");
/// What of kubeadm's checks this kernel does not pass: control groups of version 1.
const IGNORED: [&str; 2] = ["--ignore-preflight-errors", "SystemVerification,NumCPU,Mem"];
/// Time for nodes to reach one another, on a busy computer.
const SOON: Duration = Duration::from_secs(60);

/// A mesh whose machines are ready for kubeadm. Fields are dropped in this order.
pub struct Kubeadm {
    /// The machines.
    pub nodes: Vec<Worker>,
    /// The cloud host's meshrelay.
    pub relay: Relay,
    /// The machines' networks.
    pub sites: Vec<Site>,
    /// The cloud host.
    pub cloud: Machine,
    /// Everything between them.
    pub world: World,
    parts: Parts,
}

/// The words that `meshctl k8s init` prints.
#[derive(Clone, Debug)]
pub struct Words {
    /// For a control plane.
    pub control_plane: String,
    /// For a worker.
    pub worker: String,
}

/// The folder of images that `tests/kubeadm/build` made; an error says what is missing.
pub fn images() -> Result<PathBuf, String> {
    let folder = std::env::var_os("MESHD_KUBEADM_IMAGES").map(PathBuf::from);
    let folder =
        folder.ok_or("MESHD_KUBEADM_IMAGES is not set: ./test --k8s makes kubeadm's images and sets it")?;
    match folder.join("done").exists() {
        true => Ok(folder.join("images")),
        false => Err(format!("{} is not complete", folder.display())),
    }
}

impl Kubeadm {
    /// Machines of these names, each in a network of its own behind this NAT, all in one mesh network. Those whose names begin
    /// with `n` are to be control planes.
    ///
    /// # Panics
    /// If something of it does not come up.
    pub fn start(parts: &Parts, machines: &[(&str, Nat)]) -> Self {
        let images = images().expect("looked for before");
        let world = World::new();
        let cloud = world.cloud();
        let relay = Relay::start(&cloud);
        relay.ctl(&guide::words(guide::CREATE));
        let token = relay.ctl(&guide::words(guide::TOKEN)).trim().to_owned();
        let sites: Vec<Site> = machines.iter().map(|(_, nat)| world.site(*nat)).collect();
        let places = machines.iter().zip(&sites);
        let nodes: Vec<Worker> = places
            .map(|((name, _), site)| Worker::join(&site.machine(name, 2), parts, ProxyMode::Nftables, &token))
            .collect();
        std::thread::scope(|scope| {
            for node in &nodes {
                let archives = archives(parts, &images, node.name().starts_with('n'));
                scope.spawn(move || {
                    node.prepare(&archives);
                    put_tools(node.mesh().machine());
                });
            }
        });
        let cluster = Self {
            nodes,
            relay,
            sites,
            cloud,
            world,
            parts: parts.clone(),
        };
        cluster.wait_for_the_mesh();
        cluster
    }

    /// A machine by its name.
    ///
    /// # Panics
    /// If there is none.
    pub fn node(&self, name: &str) -> &Worker {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.expect("a machine of the cluster")
    }

    /// `meshctl` on a machine, as an administrator types it there.
    pub fn try_ctl(&self, name: &str, arguments: &[&str]) -> Output {
        let meshctl = program("meshctl");
        self.on(name, &[&[meshctl.as_str()], arguments].concat())
    }

    /// The same, which must succeed; gives its stdout.
    #[track_caller]
    pub fn ctl(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.try_ctl(name, arguments);
        assert!(
            output.status.success(),
            "{name}$ meshctl {} failed: {}\n{}",
            arguments.join(" "),
            words(&output),
            self.kubelet_log(name)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A program on a machine, with Kubernetes' own and the lab's service manager in the `PATH`.
    pub fn on(&self, name: &str, argv: &[&str]) -> Output {
        let path = format!("{TOOLS}:{}", self.parts.programs());
        self.node(name).on_host(|host| host.output(&path, argv))
    }

    /// The arguments of an init.
    pub fn init_words() -> Vec<&'static str> {
        let own = [
            "--json",
            "--patch",
            "/etc/own.yaml",
            "--patch",
            "/etc/own-cluster.yaml",
        ];
        [&guide::words(guide::CLUSTER_INIT), &own[..], &IGNORED].concat()
    }

    /// `meshctl k8s init` on a machine; the words that it printed.
    #[track_caller]
    pub fn init(&self, name: &str) -> Words {
        let said = self.ctl(name, &Self::init_words());
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let word = |field: &str| {
            said[field]
                .as_str()
                .unwrap_or_else(|| panic!("{said:#}"))
                .to_owned()
        };
        Words {
            control_plane: word("control_plane"),
            worker: word("worker"),
        }
    }

    /// The arguments of a restore of this file.
    pub fn restore_words(file: &str) -> Vec<&str> {
        let mut words = Self::init_words();
        // k8s init ...
        words.splice(1..2, ["restore", file]);
        words
    }

    /// The arguments of a join by this word.
    pub fn join_words(word: &str) -> Vec<&str> {
        let step = guide::words(guide::WORKER_JOIN).into_iter();
        let step: Vec<&str> = step
            .map(|typed| if typed == "WORD" { word } else { typed })
            .collect();
        let own = ["--patch", "/etc/own.yaml", "--patch", "/etc/own-join.yaml"];
        [&step[..], &own, &IGNORED].concat()
    }

    /// `meshctl k8s join` on a machine.
    #[track_caller]
    pub fn join(&self, name: &str, word: &str) -> String {
        self.ctl(name, &Self::join_words(word))
    }

    /// `meshctl k8s` typed on a machine and killed, with the kubeadm that it started, after this time, as by somebody who lost patience.
    pub fn interrupted(&self, name: &str, arguments: &[&str], after: Duration) {
        let (seconds, meshctl) = (format!("{:.1}", after.as_secs_f64()), program("meshctl"));
        let timeout = ["timeout", "--signal=KILL", &seconds, &meshctl];
        self.on(name, &[&timeout[..], arguments].concat());
    }

    /// Takes a machine's cable out: nobody hears of it any more.
    pub fn cut_off(&self, name: &str) {
        let (node, site) = self.place(name);
        site.unplug(node.mesh().machine());
    }

    /// Power off and on, with the cable in; what ran on it runs again.
    pub fn power_on(&self, name: &str) {
        let (node, site) = self.place(name);
        node.reboot(|machine| site.plug(machine, 2));
        node.start_containerd();
        let started = self.on(name, &["systemctl", "start", "kubelet"]);
        assert!(started.status.success(), "{}", words(&started));
    }

    fn place(&self, name: &str) -> (&Worker, &Site) {
        let found = self
            .nodes
            .iter()
            .zip(&self.sites)
            .find(|(node, _)| node.name() == name);
        found.expect("a machine of the cluster")
    }

    /// How a control plane is, as the endpoint on a machine sees it.
    pub fn health(&self, from: &str, control_plane: &str) -> Option<String> {
        let endpoints = self.node(from).mesh().network(NET)?["endpoints"].clone();
        let members = endpoints.as_array()?.first()?["members"].clone();
        let member = members
            .as_array()?
            .iter()
            .find(|member| member["node"] == control_plane)?
            .clone();
        member["health"].as_str().map(str::to_owned)
    }

    /// `kubectl` on a control plane, whatever becomes of it.
    pub fn try_kubectl(&self, name: &str, arguments: &[&str]) -> Output {
        let own = [
            "kubectl",
            "--kubeconfig",
            ADMIN,
            "--cache-dir",
            "/var/lib/kubectl",
            "--request-timeout=20s",
        ];
        self.on(name, &[&own[..], arguments].concat())
    }

    /// `kubectl get ... -o json` on a control plane; `None` where it fails.
    pub fn get(&self, name: &str, arguments: &[&str]) -> Option<Value> {
        let output = self.try_kubectl(name, &[&["get", "-o", "json"], arguments].concat());
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Names of the nodes that are ready, as a control plane has them.
    pub fn ready(&self, name: &str) -> Vec<String> {
        let is_ready = |node: &Value| {
            let conditions = node["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Ready" && one["status"] == "True")
            })
        };
        self.nodes_where(name, is_ready)
    }

    /// Names of all nodes, as a control plane has them.
    pub fn listed(&self, name: &str) -> Vec<String> {
        self.nodes_where(name, |_| true)
    }

    fn nodes_where(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
        let list = self.get(name, &["nodes"]).unwrap_or_default();
        let nodes = list["items"].as_array().cloned().unwrap_or_default();
        let name = |node: &Value| node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut names: Vec<String> = nodes.iter().filter(|node| wanted(node)).map(name).collect();
        names.sort();
        names
    }

    /// Waits until these nodes, and no others, are ready.
    #[track_caller]
    pub fn wait_ready(&self, from: &str, bound: Duration, names: &[&str]) {
        let mut last = Vec::new();
        let found = poll(bound, || {
            last = self.ready(from);
            (last == names).then_some(())
        });
        assert!(
            found.is_some(),
            "not within {} s: {names:?} are ready, but {last:?}\n{}",
            bound.as_secs(),
            self.description(from)
        );
    }

    /// Nodes, pods and events, for a person.
    pub fn description(&self, from: &str) -> String {
        let asked: [&[&str]; 3] = [
            &["get", "nodes", "-o", "wide"],
            &["get", "pods", "-A", "-o", "wide"],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        ];
        let said = asked.map(|arguments| last(&words(&self.try_kubectl(from, arguments)), 40));
        let logs = self.nodes.iter().map(|node| self.kubelet_log(node.name()));
        format!("{}\n{}", said.join("\n\n"), logs.collect::<String>())
    }

    fn kubelet_log(&self, name: &str) -> String {
        let log = self.node(name).mesh().machine().read("/var/lib/log/kubelet.log");
        format!("-- the kubelet on {name}:\n{}\n", last(&log, 25))
    }

    fn wait_for_the_mesh(&self) {
        for node in &self.nodes {
            for peer in self.nodes.iter().filter(|peer| peer.name() != node.name()) {
                node.mesh().reaches(peer.name(), SOON);
            }
            let ground = || node.mesh().network(NET)?["ground"].as_object().map(drop);
            let known = poll(SOON, ground);
            assert!(known.is_some(), "{} knows the network's prefixes", node.name());
        }
    }
}

/// What a machine needs; control planes more.
fn archives(parts: &Parts, images: &std::path::Path, control_plane: bool) -> Vec<String> {
    let common = ["pause", "kube-proxy", "coredns"];
    let more = [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ];
    let more = more.iter().filter(|_| control_plane);
    let archive = |name: &&str| images.join(format!("{name}.tar")).display().to_string();
    let own = parts.images();
    // containerd's own configuration pins another release of the pause image than kubeadm's
    let own = own.into_iter().filter(|path| path.ends_with("/pause.tar"));
    common.iter().chain(more).map(archive).chain(own).collect()
}

fn put_tools(machine: &Machine) {
    let folder = machine.file(TOOLS);
    fs::create_dir_all(&folder).expect("the machine's own folder");
    let systemctl = folder.join("systemctl");
    fs::write(&systemctl, include_str!("service.sh")).expect("the machine's own file");
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("the machine's own file");
    for (path, text) in [
        ("/etc/own.yaml", OWN),
        ("/etc/own-cluster.yaml", OWN_CLUSTER),
        ("/etc/own-join.yaml", OWN_JOIN),
    ] {
        fs::write(machine.file(path), text).expect("the machine's own file");
    }
}

fn last(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
