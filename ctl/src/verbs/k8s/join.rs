//! `meshctl k8s join`

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use meshd_core::cluster::{ClusterWord, Facts, Flavor, Join as Joining, Mesh, RESUMED, Role, Timing};

use super::made::{self, Lock, Made, role_name};
use super::settings::Settings;
use super::{facts, k3s, kubeadm, proceed, way};
use crate::cli::Global;
use crate::failure::Failure;
use crate::files::failed;
use crate::verbs::token_source;

/// What to do where kubeadm fails.
const AGAIN: &str = "put it right and run `meshctl k8s join` again, which goes on where this ended; `meshctl k8s reset` takes it back";
/// A kubelet has it when it is in.
const KUBELET: &str = "/etc/kubernetes/kubelet.conf";
/// By this it asked for it, and needs it no more.
const BOOTSTRAP: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
/// How a control plane's etcd is started.
const ETCD: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// Make this machine a node of a cluster, by a word of `meshctl k8s init`.
///
/// The word says whether it becomes a control plane (meshkc1...) or a worker (meshkw1...). Run again it makes nothing twice, and
/// goes on where it was interrupted.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshctl k8s join meshkw1ae4tq...
  meshctl k8s join --word-file /run/word --dry-run")]
pub struct Join {
    /// The word; `-` reads it from stdin
    #[arg(value_name = "WORD", required_unless_present = "word_file")]
    word: Option<String>,
    /// Read the word from a file, so that it does not show in the list of processes
    #[arg(long, value_name = "FILE", conflicts_with = "word")]
    word_file: Option<PathBuf>,
    /// Of another k3s server: the database that has the cluster's state, by its URL [default: etcd on the servers]
    #[arg(long, value_name = "URL")]
    datastore: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join")
            .field("word_file", &self.word_file)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Join {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let word = token_source::word(self.word.as_deref(), self.word_file.as_deref())?;
        let word: ClusterWord = word.parse().map_err(|error| {
            let error: meshd_core::cluster::ClusterWordError = error;
            Failure::usage(error.to_string())
        })?;
        let role = word.role();
        if word.flavor == Flavor::K3s {
            return self.by_k3s(global, &word).await;
        }
        if self.datastore.is_some() {
            return Err(Failure::usage(
                "--datastore is for k3s, and this word is of a cluster by kubeadm",
            ));
        }
        let patches = self.settings.patches()?;
        let mut network = facts::network(global, self.settings.network.name()).await?;
        proceed::is_not_another(Flavor::Kubeadm, role, &network)?;
        let ground = facts::ground(&network);
        if let (Some(ground), Role::ControlPlane, false) = (&ground, role, self.settings.dry_run) {
            network = way::open(global, network, ground).await?;
        }
        let mut mesh = facts::mesh(&network);
        if role == Role::ControlPlane {
            facts::measure(global, &mut mesh).await;
        }
        let facts = Facts {
            role,
            system: facts::system(Flavor::Kubeadm, &patches),
            mesh,
            // who is in already needs no word any more
            word: (!is_done()).then_some(word.issued),
        };
        if !self.settings.dry_run {
            proceed::judge(&facts, &self.settings)?;
        }
        let mut ignored = self.settings.ignore_preflight_errors.clone();
        if made::read().is_some() {
            ignored.extend(RESUMED.map(str::to_owned));
        }
        let joining = Joining {
            machine: &facts::machine(&network),
            word: &word,
            ignored: &ignored,
        };
        let files = proceed::merged(joining.files(), &patches)?;
        let configuration = proceed::configuration();
        let join = vec!["join", "--config", &configuration];
        let (false, Some(ground)) = (self.settings.dry_run, ground) else {
            return proceed::show(global, &facts, &files, &[join]);
        };
        let lock = Lock::take()?;
        let made = proceed::begin(Flavor::Kubeadm, role, &network)?;
        if !made.done {
            made::write(&files)?;
            start(&lock, made, role, &join)?;
        }
        let pods = proceed::open_to_pods(global, &network.name, &ground, &self.settings).await?;
        let mut message = format!(
            "{} is a {} of the cluster at {}\n{pods}",
            network.hostname,
            role_name(role),
            word.endpoint
        );
        if let Some(advice) = advice(&facts.mesh) {
            message += &format!("\n{advice}");
        }
        let done = meshd_api::local::Done { message };
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}

impl Join {
    async fn by_k3s(&self, global: &Global, word: &ClusterWord) -> Result<(), Failure> {
        let task = k3s::Task {
            settings: &self.settings,
            datastore: self.datastore.as_deref(),
            public_node_ports: false,
            word: Some(word),
        };
        let Some(done) = task.run(global).await? else {
            return Ok(());
        };
        let done = meshd_api::local::Done {
            message: k3s::joined(&done, word),
        };
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}

/// Where etcd's timeouts are those of a cluster whose control planes are nearer to one another.
fn advice(mesh: &Mesh) -> Option<String> {
    let held = Timing::in_manifest(&fs::read_to_string(ETCD).ok()?);
    let others = mesh.way.iter().flat_map(|way| &way.others);
    held.advice(others.filter_map(|peer| peer.round_trip))
}

fn is_done() -> bool {
    made::read().is_some_and(|made| made.done)
}

/// kubeadm; a worker whose kubelet has its certificate was in before it was interrupted, and kubeadm would refuse it.
fn start(lock: &Lock, made: Made, role: Role, join: &[&str]) -> Result<(), Failure> {
    if role == Role::ControlPlane || !Path::new(KUBELET).exists() {
        kubeadm::run(lock, join, AGAIN)?;
    }
    // what kubeadm does at its end
    match fs::remove_file(BOOTSTRAP) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(failed("remove", Path::new(BOOTSTRAP), &error));
        }
        _ => {}
    }
    proceed::finish(made)
}
