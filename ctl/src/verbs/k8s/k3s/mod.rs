//! The flavor k3s: one file that k3s reads, one unit, and k3s itself.
//!
//! k3s makes its certificates, joins and renews by itself, so that init and join are one thing: [`Task`] writes
//! /etc/rancher/k3s/config.yaml and starts k3s (`service`), and waits until it is a server that answers, or an agent whose node the
//! cluster knows.

mod reset;
mod service;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use meshd_api::local::NetworkStatus;
use meshd_core::cluster::k3s::{self, CONFIG, Datastore, Entry, Node, OLDEST, Release};
use meshd_core::cluster::{
    BootstrapToken, CertificateKey, ClusterWord, Facts, File, Flavor, Ground, Role, Secrets, Timing, overlay,
};
use serde_json::Value;

use super::made::{self, Lock, Made, role_name};
use super::proceed::{self, PlannedFile};
use super::settings::Settings;
use super::{facts, way};
use crate::cli::Global;
use crate::failure::Failure;
pub use reset::reset;

/// The administrator's kubeconfig, on servers.
pub const ADMIN: &str = "/etc/rancher/k3s/k3s.yaml";
/// What k3s calls its cluster's authority, on servers.
const AUTHORITY: &str = "/var/lib/rancher/k3s/server/tls/server-ca.crt";
/// What it lets others in by, on servers: it begins with the authority's hash.
const TOKEN: &str = "/var/lib/rancher/k3s/server/token";
/// A kubelet's own, also on agents.
const KUBELET: &str = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig";

/// A machine that becomes a node by k3s.
#[derive(Debug)]
pub struct Task<'a> {
    /// What init and join have in common.
    pub settings: &'a Settings,
    /// The database's URL, where it is not etcd.
    pub datastore: Option<&'a str>,
    /// NodePorts on every address.
    pub public_node_ports: bool,
    /// By this it comes in; none for the first server.
    pub word: Option<&'a ClusterWord>,
}

/// What came of it.
pub struct Done {
    /// What the cluster stands on.
    pub ground: Ground,
    /// For words.
    pub secrets: Option<Secrets>,
    /// Sentences for a person.
    pub notes: Vec<String>,
    /// The machine's network.
    pub network: NetworkStatus,
}

impl Task<'_> {
    /// Does it; none where it was only to be shown.
    pub async fn run(&self, global: &Global) -> Result<Option<Done>, Failure> {
        let role = self.word.map_or(Role::ControlPlane, ClusterWord::role);
        let patches = self.settings.patches()?;
        let mut network = facts::network(global, self.settings.network.name()).await?;
        proceed::is_not_another(Flavor::K3s, role, &network)?;
        let ground = facts::ground(&network);
        if let (Some(ground), Role::ControlPlane, false) = (&ground, role, self.settings.dry_run) {
            network = way::open(global, network, ground).await?;
        }
        let facts = self.facts(global, role, &network, &patches).await;
        if !self.settings.dry_run {
            proceed::judge(&facts, self.settings)?;
        }
        let Some(ground) = ground else {
            return proceed::show(global, &facts, &[], &[]).map(|()| None);
        };
        let secrets = kept().unwrap_or_else(super::init::secrets);
        let file = self.file(&network, &ground, &facts, &secrets, &patches)?;
        if self.settings.dry_run {
            let unit = service::Unit::of(role);
            let mut files = vec![PlannedFile::of(&file)?];
            files.extend(unit.wanted().map(|text| PlannedFile {
                path: unit.path(),
                mode: "0644".into(),
                content: text,
            }));
            return proceed::show_planned(global, &facts, files, unit.commands()).map(|()| None);
        }
        let _lock = Lock::take()?;
        let made = proceed::begin(Flavor::K3s, role, &network)?;
        if !made.done {
            start(global, made, role, &file).await?;
        }
        let mut notes = vec![proceed::open_to_pods(global, &network.name, &ground, self.settings).await?];
        if role == Role::ControlPlane {
            notes.extend(way::check_by(global, &network, &ground, AUTHORITY).await?);
        }
        Ok(Some(Done {
            ground,
            secrets: (role == Role::ControlPlane).then_some(secrets),
            notes,
            network,
        }))
    }

    async fn facts(&self, global: &Global, role: Role, network: &NetworkStatus, patches: &[Value]) -> Facts {
        let mut mesh = facts::mesh(network);
        if role == Role::ControlPlane {
            facts::measure(global, &mut mesh).await;
        }
        Facts {
            role,
            system: facts::system(Flavor::K3s, patches),
            mesh,
            word: self.word.map(|word| word.issued),
        }
    }

    fn file(
        &self,
        network: &NetworkStatus,
        ground: &Ground,
        facts: &Facts,
        secrets: &Secrets,
        patches: &[Value],
    ) -> Result<File, Failure> {
        let release = release().unwrap_or(Release::NEWEST);
        if release < OLDEST {
            return Err(Failure::failed(format!(
                "k3s {release} is here, which reads no file: install {OLDEST} or newer"
            )));
        }
        let patched = patches
            .iter()
            .rev()
            .find_map(|own| own["datastore-endpoint"].as_str());
        let datastore = self.datastore.or(patched);
        let others = facts.mesh.way.iter().flat_map(|way| &way.others);
        let node = Node {
            ground,
            machine: &facts::machine(network),
            release,
            timing: Timing::of(others.filter_map(|peer| peer.round_trip)),
            datastore: datastore.map_or(Datastore::Embedded, Datastore::External),
            entry: self.word.map_or(Entry::First(secrets), Entry::Word),
            public_node_ports: self.public_node_ports,
        };
        let mut file = node.file();
        for own in patches {
            if own.get("kind").is_some() || !own.is_object() {
                return Err(Failure::usage(
                    "--patch: settings for k3s are its options without their dashes, such as `node-label: [\"a=b\"]`; they have no `kind`",
                ));
            }
            overlay(&mut file.documents[0], own);
        }
        Ok(file)
    }
}

/// Writes the files, starts k3s and waits until it is there.
async fn start(global: &Global, made: Made, role: Role, file: &File) -> Result<(), Failure> {
    made::write(std::slice::from_ref(file))?;
    let unit = service::Unit::of(role);
    unit.write()?;
    unit.start(global);
    unit.wait(&made.node).await?;
    proceed::finish(made)
}

/// The release that is here; none where k3s is not, or says it not.
fn release() -> Option<Release> {
    let output = k3s(&["--version"])?;
    Release::parse(&String::from_utf8_lossy(&output.stdout))
}

/// k3s, run to its end; none where it could not be started or failed.
fn k3s(arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("k3s");
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then_some(output)
}

/// The secrets of a file that was written before; those of the cluster that this server is in.
fn kept() -> Option<Secrets> {
    made::read().filter(|made| made.flavor == made::flavor_name(Flavor::K3s))?;
    let text = zeroize::Zeroizing::new(fs::read_to_string(CONFIG).ok()?);
    let options: Value = serde_saphyr::from_str(&text).ok()?;
    let server = options["token"].as_str()?;
    let (_, server) = server.rsplit_once(':').unwrap_or(("", server));
    Some(Secrets {
        token: BootstrapToken::parse(options["agent-token"].as_str()?)?,
        key: CertificateKey::parse(server)?,
    })
}

/// The hash by which others know this server's cluster.
pub fn authority() -> Result<[u8; 32], Failure> {
    let read = fs::read_to_string(TOKEN).ok();
    read.and_then(|token| k3s::authority(&token)).ok_or_else(|| {
        Failure::failed(format!(
            "{TOKEN} has no token that could be read: is k3s running here? run `meshctl k8s init --flavor k3s` again"
        ))
    })
}

/// Whether k3s made the cluster that this machine is in.
pub fn is_here() -> bool {
    made::read().is_some_and(|made| made.flavor == made::flavor_name(Flavor::K3s))
}

/// The administrator's kubeconfig, leading to the endpoint.
pub fn kubeconfig(endpoint: &str) -> Option<String> {
    let text = fs::read_to_string(ADMIN).ok()?;
    let line = |line: &str| match line.trim_start().strip_prefix("server: ") {
        Some(_) => format!(
            "{}server: https://{endpoint}\n",
            &line[..line.len() - line.trim_start().len()]
        ),
        None => format!("{line}\n"),
    };
    Some(text.lines().map(line).collect())
}

/// What a joined machine says.
pub fn joined(done: &Done, word: &ClusterWord) -> String {
    let role = role_name(word.role());
    let notes = done.notes.join("\n");
    let Done { network, .. } = done;
    format!(
        "{} is a {role} of the cluster at {}\n{notes}",
        network.hostname, word.endpoint
    )
}

/// `kubectl` with one of k3s' kubeconfig files.
fn kubectl(kubeconfig: &str, arguments: &[&str]) -> Option<Output> {
    if !Path::new(kubeconfig).exists() {
        return None;
    }
    let own = ["kubectl", "--kubeconfig", kubeconfig, "--request-timeout=5s"];
    k3s(&[&own, arguments].concat())
}
