//! k3s as a service: the unit that its own installer would write, where there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meshd_core::cluster::Role;

use super::{ADMIN, KUBELET, kubectl};
use crate::cli::Global;
use crate::failure::Failure;
use crate::files::{failed, replace};
use crate::verbs::k8s::facts::in_path;

/// Where units of the machine's owner are.
const FOLDER: &str = "/etc/systemd/system";
/// In units that we wrote.
const MARK: &str = "# made by meshctl k8s\n";
/// Where k3s' installer puts it.
const USUAL: &str = "/usr/local/bin/k3s";
/// For k3s to come up, on slow machines.
const LONG: Duration = Duration::from_secs(600);
/// Between looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The service of a server or of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    role: Role,
}

impl Unit {
    /// A role's.
    pub fn of(role: Role) -> Self {
        Self { role }
    }

    /// Its name, as k3s' installer has it.
    pub fn name(self) -> &'static str {
        match self.role {
            Role::ControlPlane => "k3s",
            Role::Worker => "k3s-agent",
        }
    }

    /// Its file.
    pub fn path(self) -> String {
        format!("{FOLDER}/{}.service", self.name())
    }

    /// k3s' own verb.
    fn verb(self) -> &'static str {
        match self.role {
            Role::ControlPlane => "server",
            Role::Worker => "agent",
        }
    }

    /// The unit's text, where systemd is here and the installer has left none.
    pub fn wanted(self) -> Option<String> {
        let theirs = fs::read_to_string(self.path()).is_ok_and(|text| !text.starts_with(MARK));
        (in_path("systemctl") && !theirs).then(|| self.text())
    }

    fn text(self) -> String {
        let program = program().display().to_string();
        let verb = self.verb();
        format!(
            "{MARK}[Unit]\nDescription=k3s {verb}\nWants=network-online.target\nAfter=network-online.target meshd.service\n\n[Service]\nType=notify\nExecStart={program} {verb}\nKillMode=process\nDelegate=yes\nLimitNOFILE=1048576\nLimitNPROC=infinity\nLimitCORE=infinity\nTasksMax=infinity\nTimeoutStartSec=0\nRestart=always\nRestartSec=5s\n\n[Install]\nWantedBy=multi-user.target\n"
        )
    }

    /// Writes it, where it is wanted.
    pub fn write(self) -> Result<(), Failure> {
        match self.wanted() {
            Some(text) => replace(Path::new(&self.path()), text.as_bytes(), 0o644),
            None => Ok(()),
        }
    }

    /// What is run, as a person would type it.
    pub fn commands(self) -> Vec<String> {
        if !in_path("systemctl") {
            return vec![format!("{} {}", program().display(), self.verb())];
        }
        let all = self.steps().map(|words| format!("systemctl {}", words.join(" ")));
        all.to_vec()
    }

    fn steps(self) -> [Vec<&'static str>; 3] {
        [
            vec!["daemon-reload"],
            vec!["enable", self.name()],
            vec!["restart", "--no-block", self.name()],
        ]
    }

    /// Has systemd start it, or says what to start.
    pub fn start(self, global: &Global) {
        if in_path("systemctl") && self.steps().iter().all(|words| systemctl(words)) {
            return;
        }
        if !global.json {
            eprintln!(
                "! start it now, and keep it running: {} {}",
                program().display(),
                self.verb()
            );
        }
    }

    /// Until the server's API answers, or the cluster knows the agent's node.
    pub async fn wait(self, node: &str) -> Result<(), Failure> {
        let end = Instant::now() + LONG;
        while Instant::now() < end {
            if self.is_up(node) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let (name, verb) = (self.name(), self.verb());
        let minutes = LONG.as_secs() / 60;
        Err(Failure::failed(format!(
            "k3s {verb} did not come up in {minutes} minutes: `journalctl -u {name}` says why; put it right and run the same command again, which goes on; `meshctl k8s reset` takes it back"
        )))
    }

    fn is_up(self, node: &str) -> bool {
        let asked = match self.role {
            Role::ControlPlane => kubectl(ADMIN, &["get", "--raw", "/readyz"]),
            Role::Worker => kubectl(KUBELET, &["get", "--raw", &format!("/api/v1/nodes/{node}")]),
        };
        asked.is_some()
    }

    /// Ends it for good; the unit goes where it is ours.
    pub fn stop(self) -> Result<(), Failure> {
        if !in_path("systemctl") {
            return Ok(());
        }
        systemctl(&["stop", self.name()]);
        systemctl(&["disable", self.name()]);
        let path = self.path();
        let ours = fs::read_to_string(&path).is_ok_and(|text| text.starts_with(MARK));
        if ours {
            fs::remove_file(&path).map_err(|error| failed("remove", Path::new(&path), &error))?;
            systemctl(&["daemon-reload"]);
        }
        Ok(())
    }
}

/// Where k3s is.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&path).map(|folder| folder.join("k3s"));
    all.find(|file| file.is_file()).unwrap_or_else(|| USUAL.into())
}

fn systemctl(words: &[&str]) -> bool {
    let status = Command::new("systemctl")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
