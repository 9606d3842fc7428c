//! What `init` and `join` do alike: judge, show or write, start kubeadm, make the node ready for pods.

use meshd_api::local::NetworkStatus;
use meshd_core::cluster::{FOLDER, Facts, File, Finding, Flavor, Ground, Role, Severity, check, merge};
use serde::Serialize;
use serde_json::Value;

use super::kubeadm;
use super::made::{self, Made, flavor_name, role_name};
use super::settings::Settings;
use crate::cli::Global;
use crate::failure::Failure;
use crate::verbs::cni;

/// What would be done.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// What is wrong, or worth knowing.
    pub findings: Vec<Said>,
    /// The files that would be written.
    pub files: Vec<PlannedFile>,
    /// What would be run.
    pub commands: Vec<String>,
}

/// A finding.
#[derive(Debug, Serialize)]
pub struct Said {
    /// `fault`, `risk` or `warning`.
    pub severity: &'static str,
    /// What it is, and what to do.
    pub sentence: String,
}

/// A file.
#[derive(Debug, Serialize)]
pub struct PlannedFile {
    /// Where.
    pub path: String,
    /// Permissions, in octal.
    pub mode: String,
    /// Its text.
    pub content: String,
}

/// The file that kubeadm is given.
pub fn configuration() -> String {
    format!("{FOLDER}/kubeadm.yaml")
}

/// Says warnings; an error where something has to be put right first, one line for each.
pub fn judge(facts: &Facts, settings: &Settings) -> Result<(), Failure> {
    let findings = check(facts);
    let (against, heard): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| match finding.severity {
            Severity::Fault => true,
            Severity::Risk => !settings.force,
            Severity::Warning => false,
        });
    for finding in heard {
        eprintln!("! {}", finding.sentence);
    }
    let against: Vec<String> = against.into_iter().map(|finding| finding.sentence).collect();
    match against.is_empty() {
        true => Ok(()),
        false => Err(Failure::failed(against.join("\nmeshctl: "))),
    }
}

/// The person's settings over ours.
pub fn merged(mut files: Vec<File>, patches: &[Value]) -> Result<Vec<File>, Failure> {
    merge(&mut files, patches).map_err(|error| Failure::usage(format!("--patch: {error}")))?;
    Ok(files)
}

/// Shows what would be done.
pub fn show(global: &Global, facts: &Facts, files: &[File], commands: &[Vec<&str>]) -> Result<(), Failure> {
    let files = files.iter().map(PlannedFile::of).collect::<Result<_, _>>()?;
    let commands = commands.iter().map(|words| kubeadm::shown(words)).collect();
    show_planned(global, facts, files, commands)
}

/// The same with the files' texts, and commands as a person would type them.
pub fn show_planned(
    global: &Global,
    facts: &Facts,
    files: Vec<PlannedFile>,
    commands: Vec<String>,
) -> Result<(), Failure> {
    let planned = Planned {
        findings: check(facts).into_iter().map(said).collect(),
        files,
        commands,
    };
    global.output().answer(&planned, text)
}

impl PlannedFile {
    /// A file as it would be.
    pub fn of(file: &File) -> Result<Self, Failure> {
        Ok(Self {
            path: file.path.clone(),
            mode: format!("{:04o}", file.mode),
            content: made::yaml(&file.documents)?,
        })
    }
}

fn said(finding: Finding) -> Said {
    Said {
        severity: match finding.severity {
            Severity::Fault => "fault",
            Severity::Risk => "risk",
            Severity::Warning => "warning",
        },
        sentence: finding.sentence,
    }
}

fn text(planned: &Planned) -> String {
    let mut text = String::new();
    for Said { severity, sentence } in &planned.findings {
        text += &format!("# {severity}: {sentence}\n");
    }
    for file in &planned.files {
        text += &format!("# {} ({})\n{}\n", file.path, file.mode, file.content);
    }
    for command in &planned.commands {
        text += &format!("# then: {command}\n");
    }
    text
}

/// An error where this machine was made something else.
pub fn is_not_another(flavor: Flavor, role: Role, network: &NetworkStatus) -> Result<(), Failure> {
    made::read().map_or(Ok(()), |made| made.must_be(flavor, role, &network.name))
}

/// Notes that it is begun.
pub fn begin(flavor: Flavor, role: Role, network: &NetworkStatus) -> Result<Made, Failure> {
    if let Some(made) = made::read() {
        return Ok(made);
    }
    let made = Made {
        flavor: flavor_name(flavor).into(),
        role: role_name(role).into(),
        network: network.name.clone(),
        node: network.hostname.clone(),
        done: false,
    };
    made.write()?;
    Ok(made)
}

/// Notes that kubeadm, or k3s, came to its end.
pub fn finish(mut made: Made) -> Result<(), Failure> {
    made.done = true;
    made.write()
}

/// Puts the CNI plugin in place; gives what it said.
pub async fn open_to_pods(
    global: &Global,
    network: &str,
    ground: &Ground,
    settings: &Settings,
) -> Result<String, Failure> {
    if ground.mesh_allots {
        let host_ports = match settings.public_host_ports {
            true => cni::HostPorts::Everywhere,
            false => cni::HostPorts::Mesh,
        };
        return cni::Install::usual(network, host_ports).run(global).await;
    }
    Ok(
        "this node is ready for pods after `meshctl cni credentials --kubeconfig FILE` and `meshctl cni install`: Kubernetes gives nodes their parts of the pods' prefixes in this network"
            .to_owned(),
    )
}
