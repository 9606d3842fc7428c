//! Three nodes on three networks, and `kubectl`.

use std::fs;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::control_plane::ADMIN;
use super::{ControlPlane, Parts, Plan, Pod, ProxyMode, Worker, guide};
use crate::machine::Machine;
use crate::mesh::{Relay, words};
use crate::process::Process;
use crate::site::Site;
use crate::wait::{eventually, poll};
use crate::world::{CLOUD_V4, World};

/// Name of the mesh's network.
pub const NET: &str = "prod";
/// Time for every kubelet to have told of its node, on a busy computer.
const PARTS: Duration = Duration::from_secs(240);
/// Time for nodes to reach one another, on a busy computer.
const SOON: Duration = Duration::from_secs(30);

/// A cluster. Fields are dropped in this order: programs, then the world.
pub struct Cluster {
    control_plane: Option<ControlPlane>,
    /// Its nodes: `cp`, `w1`, `w2`.
    pub nodes: Vec<Worker>,
    /// The cloud host's meshrelay.
    pub relay: Relay,
    /// The nodes' networks.
    pub sites: Vec<Site>,
    /// The cloud host.
    pub cloud: Machine,
    /// Everything between them.
    pub world: World,
    plan: Plan,
    parts: Parts,
    manifests: AtomicU32,
}

impl Cluster {
    /// A mesh of three nodes, of which two reach each other by the relay only, and a cluster on top.
    pub fn start(parts: &Parts, mode: ProxyMode) -> Self {
        Self::start_as(parts, mode, Plan::PUBLIC)
    }

    /// A mesh of three nodes as planned, and a cluster on top.
    pub fn start_as(parts: &Parts, mode: ProxyMode, plan: Plan) -> Self {
        let world = World::new();
        let cloud = world.cloud();
        let relay = match plan.one_address {
            false => Relay::start(&cloud),
            true => {
                cloud.sh("ip addr del 203.0.113.2/24 dev eth0; ip -6 addr flush dev eth0 scope global");
                Relay::start_with(&cloud, &["--public-addr", CLOUD_V4])
            }
        };
        let admin = |words: &[&str]| relay.ctl(&[plan.key(), words].concat()).trim().to_owned();
        admin(&guide::words(plan.create()));
        let token = admin(&guide::words(guide::TOKEN));
        let sites: Vec<Site> = plan.nats.iter().map(|(_, nat)| world.site(*nat)).collect();
        if plan.cut {
            world.cut_between(&sites[1], &sites[2]);
        }
        let tags = [&guide::words(guide::TOKEN)[..], &["--tags", "control-plane"]].concat();
        let tagged = plan.kubernetes_allots.then(|| admin(&tags));
        let tokens = tagged.iter().chain(std::iter::repeat(&token));
        let places = plan.nats.iter().zip(&sites).zip(tokens);
        let nodes =
            places.map(|(((name, _), site), token)| Worker::join(&site.machine(name, 2), parts, mode, token));
        let mut cluster = Self {
            control_plane: None,
            nodes: nodes.collect(),
            relay,
            sites,
            cloud,
            world,
            plan,
            parts: parts.clone(),
            manifests: AtomicU32::new(0),
        };
        cluster.wait_for_the_mesh();
        cluster.bring_up();
        cluster
    }

    /// A node by its name.
    ///
    /// # Panics
    /// If there is none.
    pub fn node(&self, name: &str) -> &Worker {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.expect("a node of the cluster")
    }

    /// Power off and on for one node; what ran on it runs again.
    pub fn reboot(&self, name: &str) {
        let place = self.nodes.iter().position(|node| node.name() == name);
        let place = place.expect("a node of the cluster");
        self.nodes[place].reboot(|machine| self.sites[place].plug(machine, 2));
        self.nodes[place].start_again();
    }

    /// Power off and on for every node, the control plane's too.
    pub fn power_cycle(&mut self) {
        let manager = &self.plan.manager()[..];
        self.control_plane = None;
        for (node, site) in self.nodes.iter().zip(&self.sites) {
            node.reboot(|machine| site.plug(machine, 2));
        }
        let (first, parts) = (&self.nodes[0], &self.parts);
        let control_plane = first.on_host(|host| ControlPlane::start(host, parts, first.address(), manager));
        self.control_plane = Some(control_plane);
        self.nodes.iter().for_each(Worker::start_again);
    }

    /// Looks at the cluster while its API server is killed; returns when it is ready again.
    pub fn without_api_server(&mut self, look: impl FnOnce(&Self)) {
        if let Some(control_plane) = &mut self.control_plane {
            control_plane.kill_api_server();
        }
        look(self);
        let (first, parts) = (&self.nodes[0], &self.parts);
        let control_plane = self.control_plane.as_mut().expect("the cluster is on");
        first.on_host(|host| control_plane.start_api_server(host, parts, first.address()));
    }

    /// `kubectl` on the first node, whatever becomes of it.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        let kubectl = self.parts.program("kubectl");
        let own = [
            kubectl.as_str(),
            "--kubeconfig",
            ADMIN,
            "--cache-dir",
            "/var/lib/kubectl",
        ];
        self.nodes[0]
            .mesh()
            .machine()
            .output(&[&own[..], arguments].concat())
    }

    /// `kubectl port-forward` from a port of the first node's loopback to one of a pod, while the process lives.
    pub fn port_forward(&self, pod: &str, local: u16, port: u16) -> Process {
        let (pod, port) = (format!("pod/{pod}"), format!("{local}:{port}"));
        let argv = [
            self.parts.program("kubectl"),
            "--kubeconfig".into(),
            ADMIN.into(),
            "port-forward".into(),
            pod,
            port,
        ];
        let argv = argv.each_ref().map(String::as_str);
        self.nodes[0].mesh().machine().spawn(&argv, &[])
    }

    /// `kubectl` that must succeed; gives its stdout.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(
            output.status.success(),
            "kubectl {} failed: {}",
            arguments.join(" "),
            words(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A shell script on the first node, with `kubectl` as an administrator has it. It must succeed.
    #[track_caller]
    pub fn script(&self, text: &str) {
        let shown = format!(
            "export PATH={}:$PATH KUBECONFIG={ADMIN}\n{text}",
            self.parts.programs()
        );
        self.nodes[0].mesh().machine().sh(&shown);
    }

    /// `kubectl get ... -o json`; `None` where it fails.
    pub fn get(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.try_kubectl(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_slice(&output.stdout).ok()
    }

    /// `kubectl apply` of a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        self.apply_as(manifest, &[]);
    }

    /// The same with more flags.
    #[track_caller]
    pub fn apply_as(&self, manifest: &str, flags: &[&str]) {
        let number = self.manifests.fetch_add(1, Ordering::Relaxed);
        let path = format!("/etc/kubernetes/manifest-{number}.yaml");
        fs::write(self.nodes[0].mesh().machine().file(&path), manifest).expect("a file of the machine");
        self.kubectl(&[&["apply", "--filename", &path], flags].concat());
    }

    /// The ready pods of a label, such as `app=web`, ordered by node.
    pub fn pods(&self, label: &str) -> Vec<Pod> {
        let list = self.get(&["pods", "--all-namespaces", "--selector", label]);
        let items = list.as_ref().and_then(|list| list["items"].as_array());
        let mut pods: Vec<Pod> = items.into_iter().flatten().filter_map(Pod::ready).collect();
        pods.sort_by(|a, b| a.node.cmp(&b.node));
        pods
    }

    /// Waits until so many pods of a label are ready.
    ///
    /// # Panics
    /// If `bound` passes: with the cluster's pods and events.
    #[track_caller]
    pub fn wait_for_pods(&self, bound: Duration, label: &str, count: usize) -> Vec<Pod> {
        self.wait(bound, &format!("{count} pods with {label} are ready"), || {
            let pods = self.pods(label);
            (pods.len() == count).then_some(pods)
        })
    }

    /// Waits until `probe` gives a value, at most `bound`.
    ///
    /// # Panics
    /// If the bound passes, or a program ended: with the cluster's pods and events.
    #[track_caller]
    pub fn wait<T>(&self, bound: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let found = poll(bound, || {
            self.check();
            probe()
        });
        found.unwrap_or_else(|| panic!("not within {} s: {what}\n{}", bound.as_secs(), self.description()))
    }

    /// Fails where a program of the cluster has ended.
    pub fn check(&self) {
        self.control_plane.iter().for_each(ControlPlane::check);
        self.nodes.iter().for_each(Worker::check);
    }

    /// Nodes, pods and the last events, for a person.
    pub fn description(&self) -> String {
        let parts: [&[&str]; 3] = [
            &["get", "nodes", "-o", "wide"],
            &["get", "pods", "-A", "-o", "wide"],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        ];
        let said = parts.map(|arguments| {
            let text = words(&self.try_kubectl(arguments));
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        });
        said.join("\n\n")
    }

    fn wait_for_the_mesh(&self) {
        for node in &self.nodes {
            for peer in self.nodes.iter().filter(|peer| peer.name() != node.name()) {
                node.mesh().reaches(peer.name(), SOON);
            }
        }
        if !self.plan.cut {
            return;
        }
        let relayed = || self.nodes[1].mesh().path_kind(NET, self.nodes[2].name()) == "relay";
        eventually(SOON, "w1 and w2 reach each other by the relay", || {
            relayed().then_some(())
        });
    }

    /// Whoever has the root key signs what Kubernetes allots, as often as there is something new, until every node has its part.
    fn sign_parts(&self) {
        let held = |node: &Worker| node.mesh().network(NET)?["pods"]["cidr"].as_str().map(drop);
        self.wait(PARTS, "every node's part is signed", || {
            self.admin(&["network", "pods", NET]);
            self.nodes.iter().all(|node| held(node).is_some()).then_some(())
        });
    }

    /// `meshctl` on the cloud host, with the root key where that is kept elsewhere.
    #[track_caller]
    pub fn admin(&self, arguments: &[&str]) -> String {
        self.relay.ctl(&[self.plan.key(), arguments].concat())
    }

    /// Certificates, control plane, and each node's programs.
    fn bring_up(&mut self) {
        let manager = &self.plan.manager()[..];
        let (first, parts) = (&self.nodes[0], &self.parts);
        let control_plane = first.on_host(|host| {
            ControlPlane::init(host, parts, first.address());
            let authority = host.machine().read("/etc/kubernetes/pki/ca.crt");
            let proxy = ControlPlane::credentials(host, parts, "system:kube-proxy", "");
            for node in &self.nodes {
                let name = format!("system:node:{}", node.name());
                let kubelet = ControlPlane::credentials(host, parts, &name, "system:nodes");
                node.configure(&authority, &kubelet, &proxy);
            }
            ControlPlane::start(host, parts, first.address(), manager)
        });
        self.control_plane = Some(control_plane);
        // since 1.36 the API server's own client is nobody special to a kubelet
        self.kubectl(&[
            "create",
            "clusterrolebinding",
            "api-server-to-kubelets",
            "--clusterrole=system:kubelet-api-admin",
            "--user=kube-apiserver-kubelet-client",
        ]);
        if self.plan.kubernetes_allots {
            self.give_credentials();
        }
        std::thread::scope(|scope| {
            for node in &self.nodes {
                scope.spawn(|| match self.plan.kubernetes_allots {
                    true => node.start_kubelet_first(),
                    false => node.start(),
                });
            }
            if self.plan.key_elsewhere {
                self.sign_parts();
            }
        });
    }
}
