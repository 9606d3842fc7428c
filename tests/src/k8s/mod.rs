//! A real Kubernetes cluster on the mesh: kubelets, a control plane, containerd and runc on machines of the lab.
//!
//! [`Parts`] are the programs and images that `tests/k8s/build` made; [`Host`] is a machine that can run containers;
//! [`Worker`] is a node: meshd, containerd, kubelet, kube-proxy; [`ControlPlane`] is etcd and what watches it;
//! [`Cluster`] is three nodes behind different NATs, and `kubectl`. [`Kubeadm`] is machines of which `meshctl k8s` makes a cluster,
//! [`K3s`] the same with k3s.

pub mod cgroups;
mod cluster;
mod control_plane;
mod conversation;
mod credentials;
mod files;
pub mod guide;
mod host;
pub mod k3s;
pub mod kubeadm;
mod plan;
mod pods;
mod show;
mod worker;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};

pub use cluster::{Cluster, NET};
pub use control_plane::ControlPlane;
pub use conversation::Conversation;
pub use credentials::KUBECONFIG;
pub use files::ProxyMode;
pub use host::Host;
pub use k3s::K3s;
pub use kubeadm::Kubeadm;
pub use plan::Plan;
pub use pods::{Pod, get};
pub use show::{Outcome, Show};
pub use worker::Worker;
pub use writer::Writer;

/// Programs and images of one release, in a folder outside the tree.
#[derive(Clone, Debug)]
pub struct Parts {
    folder: PathBuf,
    /// What `tests/k3s/build` made.
    k3s: Option<PathBuf>,
}

impl Parts {
    /// Those that `MESHD_K8S_PARTS` names; an error says what is missing for a cluster on this computer.
    pub fn find() -> Result<Self, String> {
        let folder = std::env::var_os("MESHD_K8S_PARTS").map(PathBuf::from);
        let folder =
            folder.ok_or("MESHD_K8S_PARTS is not set: ./test --k8s builds Kubernetes and sets it")?;
        if !folder.join("done").exists() {
            return Err(format!("{} is not complete", folder.display()));
        }
        if !cgroups::usable() {
            return Err(
                "the lab's kubelets need the hierarchies of cgroup v1, which are not mounted here".into(),
            );
        }
        Ok(Self { folder, k3s: None })
    }

    /// The same with k3s, and the containerd that it can use, from the folder that `MESHD_K3S` names; an error says what is missing.
    pub fn with_k3s(self) -> Result<Self, String> {
        let folder = std::env::var_os("MESHD_K3S").map(PathBuf::from);
        let folder = folder.ok_or("MESHD_K3S is not set: ./test --k8s builds k3s and sets it")?;
        match folder.join("done").exists() {
            true => Ok(Self {
                k3s: Some(folder),
                ..self
            }),
            false => Err(format!("{} is not complete", folder.display())),
        }
    }

    /// The folder of k3s.
    fn k3s(&self) -> Option<&Path> {
        self.k3s.as_deref()
    }

    /// The folder of programs, for a `PATH`.
    pub fn programs(&self) -> String {
        let usual = self.folder.join("bin").display().to_string();
        match &self.k3s {
            Some(k3s) => format!("{}/bin:{usual}", k3s.display()),
            None => usual,
        }
    }

    /// A program's path.
    pub fn program(&self, name: &str) -> String {
        let k3s = self.k3s.iter().map(|folder| folder.join("bin").join(name));
        let own = k3s.into_iter().find(|program| program.exists());
        let program = own.unwrap_or_else(|| self.folder.join("bin").join(name));
        program.display().to_string()
    }

    /// Archives for `ctr images import`.
    pub fn images(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join("images"))
            .into_iter()
            .flatten()
            .flatten();
        let mut images: Vec<String> = entries.map(|entry| entry.path().display().to_string()).collect();
        images.sort();
        images
    }

    /// The release, such as `v1.36.3`.
    pub fn version(&self) -> String {
        read(&self.folder.join("done")).trim().to_owned()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
