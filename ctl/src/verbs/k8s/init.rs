//! `meshctl k8s init`

use std::path::Path;

use clap::{Args, ValueEnum};
use meshd_api::local::NetworkStatus;
use meshd_core::cluster::{
    BootstrapToken, CertificateKey, ClusterWord, Facts, Flavor as Kind, Ground, Init as Cluster, RESUMED,
    Role, Secrets, Timing,
};
use meshd_core::token::CoordinatorAddress;
use rand_core::{OsRng, RngCore};
use serde::Serialize;
use zeroize::Zeroizing;

use super::made::{Lock, Made};
use super::restore::Contents;
use super::settings::Settings;
use super::{facts, k3s, kubeadm, made, proceed, way};
use crate::cli::Global;
use crate::failure::Failure;
use crate::verbs::pem;

/// What to do where kubeadm fails.
const AGAIN: &str = "put it right and run `meshctl k8s init` again, which goes on where this ended; `meshctl k8s reset` takes it back";

/// Make a cluster, with this machine as its first control plane.
///
/// Prints two words: with one a machine of the mesh becomes another control plane (for two hours), with the other a worker (for
/// a day). Run again it makes nothing twice, goes on where it was interrupted, and prints new words.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl k8s init
  meshctl k8s init --dry-run              show every file, change nothing
  meshctl k8s init --patch own.yaml       with settings of your own")]
pub struct Init {
    /// What makes the cluster
    #[arg(long, value_enum, default_value_t = Flavor::Kubeadm)]
    flavor: Flavor,
    /// NodePorts on every address of the nodes, public ones too [default: on their mesh addresses]
    #[arg(long)]
    public_node_ports: bool,
    /// Of k3s: a database that has the cluster's state, by its URL [default: etcd on the servers]
    #[arg(long, value_name = "URL")]
    datastore: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Over the data of a backup.
    #[arg(skip)]
    pub restored: bool,
}

/// What makes a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flavor {
    /// kubeadm, with its control plane in static pods
    Kubeadm,
    /// k3s, with etcd in its servers, or a database beside them
    K3s,
}

/// The words, for a person and for a program.
#[derive(Debug, Serialize)]
struct Words {
    message: String,
    endpoint: String,
    control_plane: String,
    worker: String,
    notes: Vec<String>,
}

impl Init {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        if self.flavor == Flavor::K3s {
            return self.by_k3s(global).await;
        }
        self.make(global, None).await
    }

    /// By kubeadm, over the data of a backup where there is one.
    pub async fn make(self, global: &Global, backup: Option<&Contents>) -> Result<(), Failure> {
        if self.flavor == Flavor::K3s || self.datastore.is_some() {
            return Err(Failure::usage(
                "--datastore is for `meshctl k8s init --flavor k3s`, and a backup is of a cluster by kubeadm, which has etcd",
            ));
        }
        let patches = self.settings.patches()?;
        let mut network = facts::network(global, self.settings.network.name()).await?;
        proceed::is_not_another(Kind::Kubeadm, Role::ControlPlane, &network)?;
        let ground = facts::ground(&network);
        if let (Some(ground), false) = (&ground, self.settings.dry_run) {
            network = way::open(global, network, ground).await?;
        }
        let mut mesh = facts::mesh(&network);
        facts::measure(global, &mut mesh).await;
        let facts = Facts {
            role: Role::ControlPlane,
            system: facts::system(Kind::Kubeadm, &patches),
            mesh,
            word: None,
        };
        if !self.settings.dry_run {
            proceed::judge(&facts, &self.settings)?;
        }
        let Some(ground) = ground else {
            return proceed::show(global, &facts, &[], &[]);
        };
        let secrets = secrets();
        let files = proceed::merged(self.files(&network, &ground, &facts, &secrets), &patches)?;
        let configuration = proceed::configuration();
        let init = vec!["init", "--upload-certs", "--config", &configuration];
        if self.settings.dry_run {
            return proceed::show(global, &facts, &files, &[init]);
        }
        let lock = Lock::take()?;
        let made = proceed::begin(Kind::Kubeadm, Role::ControlPlane, &network)?;
        made::write(&files)?;
        if let Some(backup) = backup {
            backup.put(&facts::machine(&network), &ground)?;
        }
        start(&lock, made, &init, &configuration)?;
        let mut notes = vec![proceed::open_to_pods(global, &network.name, &ground, &self.settings).await?];
        notes.extend(way::check_by(global, &network, &ground, way::AUTHORITY).await?);
        let authority = pem::key_hash(Path::new(way::AUTHORITY))?;
        let words = words(Kind::Kubeadm, authority, &ground, secrets, notes)?;
        global.output().answer(&words, text)
    }

    fn files(
        &self,
        network: &NetworkStatus,
        ground: &Ground,
        facts: &Facts,
        secrets: &Secrets,
    ) -> Vec<meshd_core::cluster::File> {
        let mut ignored = self.settings.ignore_preflight_errors.clone();
        if made::read().is_some() || self.restored {
            ignored.extend(RESUMED.map(str::to_owned));
        }
        let others = facts.mesh.way.iter().flat_map(|way| &way.others);
        let version = kubeadm::version();
        let cluster = Cluster {
            ground,
            machine: &facts::machine(network),
            version: version.as_deref(),
            timing: Timing::of(others.filter_map(|peer| peer.round_trip)),
            secrets,
            ignored: &ignored,
            public_node_ports: self.public_node_ports,
        };
        cluster.files()
    }
}

impl Init {
    async fn by_k3s(&self, global: &Global) -> Result<(), Failure> {
        let task = k3s::Task {
            settings: &self.settings,
            datastore: self.datastore.as_deref(),
            public_node_ports: self.public_node_ports,
            word: None,
        };
        let Some(done) = task.run(global).await? else {
            return Ok(());
        };
        let k3s::Done { ground, notes, .. } = done;
        let secrets = done.secrets.unwrap_or_else(secrets);
        let words = words(Kind::K3s, k3s::authority()?, &ground, secrets, notes)?;
        global.output().answer(&words, text_k3s)
    }
}

/// kubeadm, or of it only what lets others in where the cluster is made already.
fn start(lock: &Lock, made: Made, init: &[&str], configuration: &str) -> Result<(), Failure> {
    if made.done {
        let phase = [
            "init",
            "phase",
            "upload-certs",
            "--upload-certs",
            "--config",
            configuration,
        ];
        kubeadm::run(lock, &phase, AGAIN)?;
        return kubeadm::run(lock, &["token", "create", "--config", configuration], AGAIN);
    }
    kubeadm::run(lock, init, AGAIN)?;
    proceed::finish(made)
}

pub fn secrets() -> Secrets {
    let mut seed = Zeroizing::new([0; 44]);
    let mut key = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *seed);
    OsRng.fill_bytes(&mut *key);
    Secrets {
        token: BootstrapToken::from_seed(&seed),
        key: CertificateKey::new(key),
    }
}

fn words(
    flavor: Kind,
    authority: [u8; 32],
    ground: &Ground,
    secrets: Secrets,
    notes: Vec<String>,
) -> Result<Words, Failure> {
    let endpoint = ground.endpoint();
    let address = CoordinatorAddress::new(&endpoint.ip().to_string(), endpoint.port());
    let word = ClusterWord {
        flavor,
        token: secrets.token,
        authority,
        issued: facts::unix_time(),
        endpoint: address.map_err(|error| Failure::failed(error.to_string()))?,
        key: Some(secrets.key),
    };
    Ok(Words {
        message: format!("this machine is a control plane of the cluster at {endpoint}"),
        endpoint: endpoint.to_string(),
        control_plane: word.encode().to_string(),
        worker: word.for_worker().encode().to_string(),
        notes,
    })
}

fn text_k3s(words: &Words) -> String {
    said(words)
        + &format!(
            "\nAnother server:\n  meshctl k8s join {}\n\nAn agent:\n  meshctl k8s join {}\n\nThese are secrets, and k3s' secrets have no end: `meshctl k8s init --flavor k3s` prints the same words at any time.\n",
            words.control_plane, words.worker
        )
}

fn said(words: &Words) -> String {
    let mut text = format!("{}\n", words.message);
    for note in &words.notes {
        text += &format!("{note}\n");
    }
    text
}

fn text(words: &Words) -> String {
    let mut text = said(words);
    text += &format!(
        "\nAnother control plane, within two hours:\n  meshctl k8s join {}\n\nA worker, within a day:\n  meshctl k8s join {}\n\n`meshctl k8s init` prints new words at any time. They are secrets.\n",
        words.control_plane, words.worker
    );
    text
}
