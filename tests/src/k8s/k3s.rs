//! A cluster as a person makes it with `meshctl k8s --flavor k3s`: real k3s, with Debian's containerd for its own.
//!
//! A script of a few lines stands for systemd (`service-k3s.sh`): it runs what the unit says that meshctl writes. CNI plugins are where
//! k3s unpacks them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use super::{NET, Parts, Pod, ProxyMode, Worker, guide};
use crate::machine::Machine;
use crate::mesh::{Relay, program, words};
use crate::nat::Nat;
use crate::site::Site;
use crate::wait::poll;
use crate::world::World;

/// Where the lab's service manager is, before the computer's own in the `PATH`.
const TOOLS: &str = "/var/lib/tools";
/// Settings of every node, and of servers.
const OWN: [(&str, &str); 2] = [
    ("/etc/own.yaml", include_str!("own-k3s.yaml")),
    ("/etc/own-server.yaml", include_str!("own-k3s-server.yaml")),
];
/// The administrator's, on every server.
const ADMIN: &str = "/etc/rancher/k3s/k3s.yaml";
/// Time for nodes to reach one another, on a busy computer.
const SOON: Duration = Duration::from_secs(60);

/// A mesh whose machines are ready for k3s. Fields are dropped in this order.
pub struct K3s {
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
    /// For a server.
    pub server: String,
    /// For an agent.
    pub agent: String,
}

impl K3s {
    /// Machines of these names, each in a network of its own behind this NAT, all in one mesh network.
    ///
    /// # Panics
    /// If something of it does not come up.
    pub fn start(parts: &Parts, machines: &[(&str, Nat)]) -> Self {
        let world = World::new();
        let cloud = world.cloud();
        let relay = Relay::start(&cloud);
        relay.ctl(&guide::words(guide::CREATE));
        let token = relay.ctl(&guide::words(guide::TOKEN)).trim().to_owned();
        let sites: Vec<Site> = machines.iter().map(|(_, nat)| world.site(*nat)).collect();
        let places = machines.iter().zip(&sites);
        let nodes: Vec<Worker> = places
            .map(|((name, _), site)| Worker::join(&site.machine(name, 2), parts, ProxyMode::Iptables, &token))
            .collect();
        let images = parts.images();
        std::thread::scope(|scope| {
            for node in &nodes {
                let images = &images;
                scope.spawn(move || {
                    node.prepare(images);
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

    /// A program on a machine, with k3s and the lab's service manager in the `PATH`.
    pub fn on(&self, name: &str, argv: &[&str]) -> Output {
        let path = format!("{TOOLS}:{}", self.parts.programs());
        self.node(name).on_host(|host| host.output(&path, argv))
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
            self.log(name)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `meshctl k8s init` on a machine, with more options; the words that it printed.
    #[track_caller]
    pub fn init(&self, name: &str, more: &[&str]) -> Words {
        let own = [
            "--json",
            "--patch",
            "/etc/own.yaml",
            "--patch",
            "/etc/own-server.yaml",
        ];
        let said = self.ctl(name, &[&guide::words(guide::K3S_INIT), &own[..], more].concat());
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let word = |field: &str| {
            let word = said[field].as_str();
            word.unwrap_or_else(|| panic!("{said:#}")).to_owned()
        };
        Words {
            server: word("control_plane"),
            agent: word("worker"),
        }
    }

    /// `meshctl k8s join` on a machine.
    #[track_caller]
    pub fn join(&self, name: &str, word: &str, more: &[&str]) -> String {
        let step = guide::words(guide::K3S_AGENT_JOIN).into_iter();
        let step: Vec<&str> = step
            .map(|typed| if typed == "WORD" { word } else { typed })
            .collect();
        let mut own = vec!["--patch", "/etc/own.yaml"];
        if word.starts_with("meshkc1") {
            own.extend(["--patch", "/etc/own-server.yaml"]);
        }
        self.ctl(name, &[&step[..], &own, more].concat())
    }

    /// `kubectl` on a server, whatever becomes of it.
    pub fn try_kubectl(&self, name: &str, arguments: &[&str]) -> Output {
        let own = [
            "k3s",
            "kubectl",
            "--kubeconfig",
            ADMIN,
            "--cache-dir",
            "/var/lib/kubectl",
            "--request-timeout=20s",
        ];
        self.on(name, &[&own[..], arguments].concat())
    }

    /// `kubectl get ... -o json` on a server; `None` where it fails.
    pub fn get(&self, name: &str, arguments: &[&str]) -> Option<Value> {
        let output = self.try_kubectl(name, &[&["get", "-o", "json"], arguments].concat());
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Has the cluster have what a manifest says.
    #[track_caller]
    pub fn apply(&self, name: &str, manifest: &str) {
        let file = "/var/lib/manifest.yaml";
        fs::write(self.node(name).mesh().machine().file(file), manifest).expect("the machine's own file");
        let said = self.try_kubectl(name, &["apply", "-f", file]);
        assert!(said.status.success(), "{}", words(&said));
    }

    /// Waits until these nodes, and no others, are ready.
    #[track_caller]
    pub fn wait_ready(&self, from: &str, bound: Duration, names: &[&str]) {
        let mut last = Vec::new();
        let found = poll(bound, || {
            last = self.ready(from);
            (last == names).then_some(())
        });
        let seconds = bound.as_secs();
        assert!(
            found.is_some(),
            "not within {seconds} s: {names:?} are ready, but {last:?}\n{}",
            self.description(from)
        );
    }

    fn ready(&self, name: &str) -> Vec<String> {
        let list = self.get(name, &["nodes"]).unwrap_or_default();
        let nodes = list["items"].as_array().cloned().unwrap_or_default();
        let ready = |node: &&Value| {
            let all = node["status"]["conditions"].as_array();
            let is = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
            all.is_some_and(|all| all.iter().any(is))
        };
        let name = |node: &Value| node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut names: Vec<String> = nodes.iter().filter(ready).map(name).collect();
        names.sort();
        names
    }

    /// Waits until so many pods with this label are ready.
    #[track_caller]
    pub fn wait_for_pods(&self, from: &str, bound: Duration, label: &str, count: usize) -> Vec<Pod> {
        let pods = poll(bound, || {
            let list = self.get(from, &["pods", "-l", label])?;
            let pods: Vec<Pod> = list["items"].as_array()?.iter().filter_map(Pod::ready).collect();
            (pods.len() == count).then_some(pods)
        });
        pods.unwrap_or_else(|| panic!("{count} pods {label} are not ready\n{}", self.description(from)))
    }

    /// How a server is, as the endpoint on a machine sees it.
    pub fn health(&self, from: &str, server: &str) -> Option<String> {
        let endpoints = self.node(from).mesh().network(NET)?["endpoints"].clone();
        let members = endpoints.as_array()?.first()?["members"].clone();
        let members = members.as_array()?;
        let member = members.iter().find(|member| member["node"] == server)?;
        member["health"].as_str().map(str::to_owned)
    }

    /// Takes a machine's cable out: nobody hears of it any more.
    pub fn cut_off(&self, name: &str) {
        let place = self
            .nodes
            .iter()
            .zip(&self.sites)
            .find(|(node, _)| node.name() == name);
        let (node, site) = place.expect("a machine of the cluster");
        site.unplug(node.mesh().machine());
    }

    /// Nodes, pods and events, and the logs of k3s, for a person.
    pub fn description(&self, from: &str) -> String {
        let asked: [&[&str]; 3] = [
            &["get", "nodes", "-o", "wide"],
            &["get", "pods", "-A", "-o", "wide"],
            &["get", "events", "-A"],
        ];
        let said = asked.map(|arguments| last(&words(&self.try_kubectl(from, arguments)), 40));
        let logs = self.nodes.iter().map(|node| self.log(node.name()));
        format!("{}\n{}", said.join("\n\n"), logs.collect::<String>())
    }

    fn log(&self, name: &str) -> String {
        let machine = self.node(name).mesh().machine();
        let log = ["k3s", "k3s-agent"].map(|unit| {
            fs::read_to_string(machine.file(&format!("/var/lib/log/{unit}.log"))).unwrap_or_default()
        });
        format!("-- k3s on {name}:\n{}\n", last(&log.concat(), 60))
    }

    fn wait_for_the_mesh(&self) {
        for node in &self.nodes {
            for peer in self.nodes.iter().filter(|peer| peer.name() != node.name()) {
                node.mesh().reaches(peer.name(), SOON);
            }
            let known = poll(SOON, || node.mesh().network(NET)?["ground"].as_object().map(drop));
            assert!(known.is_some(), "{} knows the network's prefixes", node.name());
        }
    }
}

fn put_tools(machine: &Machine) {
    let folder = machine.file(TOOLS);
    fs::create_dir_all(&folder).expect("the machine's own folder");
    let systemctl = folder.join("systemctl");
    fs::write(&systemctl, include_str!("service-k3s.sh")).expect("the machine's own file");
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("the machine's own file");
    for (path, text) in OWN {
        fs::write(machine.file(path), text).expect("the machine's own file");
    }
}

fn last(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
