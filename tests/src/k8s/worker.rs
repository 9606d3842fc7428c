//! A node of a cluster: meshd, containerd, kubelet and kube-proxy on one machine.

use std::fs;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::files::{self, ProxyMode};
use super::{Host, NET, Parts, guide};
use crate::machine::Machine;
use crate::mesh::{Node, words};
use crate::process::Process;
use crate::wait::eventually;

/// Time for containerd to answer, on a busy computer.
const START: Duration = Duration::from_secs(60);

/// A node. Its programs end when it is dropped.
pub struct Worker {
    processes: Mutex<Vec<Process>>,
    host: Mutex<Option<Host>>,
    mesh: Node,
    parts: Parts,
    mode: Mutex<ProxyMode>,
}

impl Worker {
    /// Makes the machine able to run containers, and joins it to the mesh by the token.
    pub fn join(machine: &Machine, parts: &Parts, mode: ProxyMode, token: &str) -> Self {
        let host = Host::start(machine);
        let mesh = Node::start(machine);
        let join = guide::words(guide::JOIN);
        let join: Vec<&str> = join
            .into_iter()
            .map(|word| if word == "TOKEN" { token } else { word })
            .collect();
        mesh.ctl(&join);
        Self {
            processes: Mutex::default(),
            host: Mutex::new(Some(host)),
            mesh,
            parts: parts.clone(),
            mode: Mutex::new(mode),
        }
    }

    /// Its meshd.
    pub fn mesh(&self) -> &Node {
        &self.mesh
    }

    /// Its name, also in the cluster.
    pub fn name(&self) -> &str {
        self.mesh.name()
    }

    /// Its address: that of the mesh.
    pub fn address(&self) -> IpAddr {
        self.mesh.ipv4(NET)
    }

    /// Looks at the machine as what containers run on.
    ///
    /// # Panics
    /// If it is switched off.
    pub fn on_host<T>(&self, look: impl FnOnce(&Host) -> T) -> T {
        look(self.lock_host().as_ref().expect("the machine is on"))
    }

    /// Puts down the files by which kubelet and kube-proxy know their cluster.
    pub fn configure(&self, authority: &str, kubelet: &[u8], proxy: &[u8]) {
        let machine = self.mesh.machine();
        let write = |path: &str, text: &[u8]| {
            let file = machine.file(path);
            fs::create_dir_all(file.parent().expect("in a folder")).expect("the machine's own folder");
            fs::write(file, text).expect("the machine's own file");
        };
        write("/etc/kubernetes/pki/ca.crt", authority.as_bytes());
        write("/etc/kubernetes/kubelet.conf", kubelet);
        write("/etc/kubernetes/proxy.conf", proxy);
        write("/etc/kubernetes/kubelet.yaml", files::kubelet().as_bytes());
        write(
            "/etc/containerd/config.toml",
            files::containerd(self.snapshotter()).as_bytes(),
        );
    }

    /// Starts containerd, gives it the images and the CNI plugin, and starts kubelet and kube-proxy.
    pub fn start(&self) {
        self.start_containerd();
        self.import_images(&self.parts.images());
        self.install_cni();
        self.start_kubelet();
        self.start_proxy();
    }

    /// The same in the order in which a node comes up whose prefix Kubernetes allots: when its kubelet has told of it.
    pub fn start_kubelet_first(&self) {
        self.start_containerd();
        self.import_images(&self.parts.images());
        self.start_kubelet();
        self.install_cni();
        self.start_proxy();
    }

    /// Starts its programs over what is on its disk, as a service manager does.
    pub fn start_again(&self) {
        self.start_containerd();
        self.start_kubelet();
        self.start_proxy();
    }

    /// Starts containerd and gives it these images, and puts the usual plugins down: a machine as kubeadm wants it.
    pub fn prepare(&self, images: &[String]) {
        let machine = self.mesh.machine();
        let config = machine.file("/etc/containerd/config.toml");
        fs::create_dir_all(config.parent().expect("in a folder")).expect("the machine's own folder");
        let text = match self.parts.k3s() {
            None => files::containerd(self.snapshotter()),
            Some(_) => files::containerd_1(self.snapshotter()),
        };
        fs::write(config, text).expect("the machine's own file");
        self.start_containerd();
        self.import_images(images);
        self.put_plugins();
    }

    /// Starts containerd over what is on the machine's disk.
    pub fn start_containerd(&self) {
        let containerd = self.spawn(&["containerd", "--config", "/etc/containerd/config.toml"]);
        eventually(START, &format!("containerd on {} answers", self.name()), || {
            assert!(
                containerd.is_running(),
                "containerd on {} ended: {}",
                self.name(),
                containerd.log()
            );
            self.ctr(&["version"]).status.success().then_some(())
        });
        self.lock_processes().push(containerd);
    }

    /// Has kube-proxy make services by other means from now on.
    pub fn set_proxy_mode(&self, mode: ProxyMode) {
        // the last that was started
        drop(self.lock_processes().pop());
        *self.mode.lock().expect("not poisoned") = mode;
        self.start_proxy();
    }

    fn start_proxy(&self) {
        let mode = *self.mode.lock().expect("not poisoned");
        let file = self.mesh.machine().file("/etc/kubernetes/proxy.yaml");
        fs::write(file, files::kube_proxy(mode)).expect("the machine's own file");
        let name = format!("--hostname-override={}", self.name());
        let proxy = self.spawn(&["kube-proxy", "--config=/etc/kubernetes/proxy.yaml", &name]);
        self.lock_processes().push(proxy);
    }

    /// Starts the kubelet.
    fn start_kubelet(&self) {
        let name = format!("--hostname-override={}", self.name());
        let own = [
            "kubelet",
            "--config=/etc/kubernetes/kubelet.yaml",
            "--kubeconfig=/etc/kubernetes/kubelet.conf",
            &name,
        ];
        let words = guide::words_on(guide::KUBELET, self.address(), Some(self.mesh.ipv6(NET)));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let kubelet = self.spawn(&[&own[..], &words].concat());
        self.lock_processes().push(kubelet);
    }

    /// Power off and on, with the cable plugged in by `plug`. Its meshd runs again; see [`Self::start_again`] for the rest.
    pub fn reboot(&self, plug: impl FnOnce(&Machine)) {
        self.lock_processes().clear();
        *self.lock_host() = None;
        let machine = self.mesh.machine();
        machine.reboot();
        plug(machine);
        *self.lock_host() = Some(Host::start(machine));
        self.mesh.start_again();
    }

    /// Fails where one of its programs has ended.
    pub fn check(&self) {
        for process in self.lock_processes().iter() {
            assert!(
                process.is_running(),
                "a program on {} ended: {}",
                self.name(),
                process.log()
            );
        }
    }

    /// The plugins that follow in the chain, then meshd's own, and the configuration.
    fn install_cni(&self) {
        self.put_plugins();
        self.mesh.ctl(&guide::words(guide::INSTALL));
    }

    fn put_plugins(&self) {
        // k3s unpacks them where only it looks
        let (from, to) = match self.parts.k3s() {
            None => (self.parts.folder.join("bin"), "/var/lib/opt/cni/bin"),
            Some(k3s) => (k3s.join("cni"), "/var/lib/rancher/k3s/data/current/bin"),
        };
        let to = self.mesh.machine().file(to);
        fs::create_dir_all(&to).expect("the machine's own folder");
        for plugin in ["loopback", "portmap", "bandwidth"] {
            fs::copy(from.join(plugin), to.join(plugin)).expect("the machine's own folder");
        }
    }

    fn import_images(&self, images: &[String]) {
        for image in images {
            let local = self.parts.k3s().map_or(&["--local"][..], |_| &[]);
            let to = ["--snapshotter", self.snapshotter(), image];
            let output = self.ctr(&[&["images", "import"], local, &to].concat());
            assert!(
                output.status.success(),
                "{}: {image}: {}",
                self.name(),
                words(&output)
            );
        }
    }

    /// overlayfs where the machine's files lie on a file system that can be its upper layer.
    fn snapshotter(&self) -> &'static str {
        let machine = self.mesh.machine();
        let tried = machine.succeeds(&[
            "sh",
            "-ec",
            "cd /var/lib/containerd; mkdir -p try/l try/u try/w try/m; \
            mount -t overlay overlay -o lowerdir=try/l,upperdir=try/u,workdir=try/w try/m; umount try/m",
        ]);
        if tried { "overlayfs" } else { "native" }
    }

    fn ctr(&self, arguments: &[&str]) -> std::process::Output {
        let ctr = self.parts.program("ctr");
        let argv = [&[ctr.as_str(), "--namespace", "k8s.io"], arguments].concat();
        self.on_host(|host| host.output(&self.parts.programs(), &argv))
    }

    /// A container without Kubernetes, connected as the runtime's own client does it by the configuration that it finds; gives what
    /// the shell script in it printed, once it has ended and is gone.
    #[track_caller]
    pub fn container(&self, name: &str, script: &str) -> String {
        let image = "registry.k8s.io/e2e-test-images/agnhost:2";
        let run = [
            "run",
            "--rm",
            "--cni",
            "--snapshotter",
            self.snapshotter(),
            image,
            name,
        ];
        let output = self.ctr(&[&run[..], &["/bin/sh", "-c", script]].concat());
        assert!(
            output.status.success(),
            "{name} on {}: {}",
            self.name(),
            words(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn spawn(&self, argv: &[&str]) -> Process {
        let program = self.parts.program(argv[0]);
        let argv = [&[program.as_str()], &argv[1..]].concat();
        self.on_host(|host| host.spawn(&self.parts.programs(), &argv))
    }

    fn lock_processes(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes.lock().expect("not poisoned")
    }

    fn lock_host(&self) -> MutexGuard<'_, Option<Host>> {
        self.host.lock().expect("not poisoned")
    }
}
