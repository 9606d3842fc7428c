//! `meshctl cni install|uninstall`; `credentials` is in a file of its own

mod borrowed;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use meshd_api::local::{DEFAULT_SOCKET, Done, PodNetwork, PodsInstalled, Status};
use serde_json::{Value, json};

use crate::cli::{Global, label};
use crate::failure::Failure;
use crate::files::{failed, replace};
use crate::local::Local;
use crate::verbs::cni_credentials::Credentials;
use crate::verbs::cni_host_ports;

/// Name of the plugin.
const PLUGIN: &str = "mesh-cni";
/// Name of the configuration: the kubelet's runtime takes the first of the folder.
const CONFLIST: &str = "10-mesh.conflist";
/// The versions of the CNI specification that a configuration may have.
const OLD: &str = "1.0.0";
/// The newer one, with STATUS.
const NEW: &str = "1.1.0";
/// Where packages put the plugin, beside meshctl's own folder.
const FOLDERS: [&str; 3] = ["/usr/libexec/meshd", "/usr/lib/meshd", "/usr/bin"];
/// Where container runtimes look for plugins.
const BIN_DIR: &str = "/opt/cni/bin";
/// Where they look for configurations.
const CONF_DIR: &str = "/etc/cni/net.d";
/// Between looks at whether the node is ready.
const PAUSE: Duration = Duration::from_millis(250);

/// The CNI plugin, for Kubernetes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl cni install")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Cni {
    Install(Install),
    Uninstall(Uninstall),
    Credentials(Credentials),
}

/// Where the runtime looks.
#[derive(Debug, Clone, Args)]
pub struct Places {
    /// Where the container runtime looks for plugins
    #[arg(long, value_name = "DIR", default_value = BIN_DIR)]
    bin_dir: PathBuf,
    /// Where it looks for configurations
    #[arg(long, value_name = "DIR", default_value = CONF_DIR)]
    conf_dir: PathBuf,
}

impl Places {
    fn usual() -> Self {
        Self {
            bin_dir: BIN_DIR.into(),
            conf_dir: CONF_DIR.into(),
        }
    }
}

/// Put plugin and configuration where the container runtime looks: the node becomes ready for pods.
///
/// The configuration comes last, when meshd can give pods addresses. portmap and bandwidth follow in the chain where they are
/// in the plugins' folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl cni install
  meshctl cni install --bin-dir /usr/lib/cni --wait 300")]
pub struct Install {
    #[command(flatten)]
    places: Places,
    /// The plugin [default: the one beside meshctl, or of the package]
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// The mesh network [default: the only one that has prefixes for pods]
    #[arg(long, value_name = "NAME", value_parser = label)]
    network: Option<String>,
    /// The version of the CNI specification [default: 1.1.0 where portmap or bandwidth are there and speak it, else 1.0.0]
    ///
    /// With 1.1.0 the runtime asks whether the node can take pods (STATUS), and the node is not ready while it cannot. It
    /// needs containerd 2.0 and plugins that speak it.
    #[arg(long, value_name = "VERSION", value_parser = [OLD, NEW])]
    cni_version: Option<String>,
    /// Where pods' host ports are
    #[arg(long, value_name = "WHERE", value_enum, default_value_t = HostPorts::Everywhere)]
    host_ports: HostPorts,
    /// How many seconds to wait until meshd can give pods addresses
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

/// Where pods' host ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HostPorts {
    /// On every address of the machine
    Everywhere,
    /// On its mesh addresses
    Mesh,
}

/// Take configuration, plugin and credentials away.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl cni uninstall")]
pub struct Uninstall {
    #[command(flatten)]
    places: Places,
    /// Although pods are left, which only a reboot will disconnect then
    #[arg(long)]
    force: bool,
}

impl Cni {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let message = match self {
            Self::Install(verb) => verb.run(global).await?,
            Self::Uninstall(verb) => verb.run(global).await?,
            Self::Credentials(verb) => verb.run(global).await?,
        };
        global
            .output()
            .answer(&Done { message }, |done| format!("{}\n", done.message))
    }
}

impl Install {
    /// As it is without options, in this network, with host ports there.
    pub fn usual(network: &str, host_ports: HostPorts) -> Self {
        Self {
            places: Places::usual(),
            plugin: None,
            network: Some(network.to_owned()),
            cni_version: None,
            host_ports,
            wait: 60,
        }
    }

    /// Does it; gives a sentence.
    pub async fn run(self, global: &Global) -> Result<String, Failure> {
        let plugin = match &self.plugin {
            Some(plugin) => plugin.clone(),
            None => find()?,
        };
        let binary = fs::read(&plugin).map_err(|error| failed("read", &plugin, &error))?;
        let Places { bin_dir, conf_dir } = &self.places;
        replace(&bin_dir.join(PLUGIN), &binary, 0o755)?;
        borrowed::borrow_from_k3s(bin_dir)?;
        self.wait_until_ready(global).await?;
        let chained: Vec<Chained> = CHAIN
            .into_iter()
            .filter(|chained| bin_dir.join(chained.name).exists())
            .collect();
        let version = match &self.cni_version {
            Some(version) => version,
            None => newest(bin_dir, &chained),
        };
        let mut conflist = self.conflist(global, version, &chained);
        if self.host_ports == HostPorts::Mesh {
            cni_host_ports::on_the_mesh(global, self.network.as_deref(), &mut conflist).await?;
        }
        let mut text = serde_json::to_string_pretty(&conflist).unwrap_or_default();
        text.push('\n');
        self.tell(global, &conf_dir.join(CONFLIST)).await?;
        replace(&conf_dir.join(CONFLIST), text.as_bytes(), 0o644)?;
        let mut said = format!(
            "{} is in place: this node is ready for pods",
            conf_dir.join(CONFLIST).display()
        );
        for missing in CHAIN
            .iter()
            .filter(|all| !chained.iter().any(|c| c.name == all.name))
        {
            said += &format!(
                "\n! {} is not in {}: without it {}; install the CNI plugins there, and run this again",
                missing.name,
                bin_dir.display(),
                missing.lost
            );
        }
        Ok(said)
    }

    async fn wait_until_ready(&self, global: &Global) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(self.wait);
        loop {
            let question = PodNetwork {
                network: self.network.clone(),
            };
            let asked = match Local::connect(&global.socket).await {
                Ok(mut meshd) => meshd.post::<_, Done>("pods/status", &question).await,
                Err(failure) => Err(failure),
            };
            match asked {
                Ok(_) => return Ok(()),
                Err(failure) if Instant::now() >= end => {
                    return Err(
                        failure.and("the CNI configuration was not written: this node is not ready for pods")
                    );
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// meshd takes the configuration away when this machine leaves the network.
    async fn tell(&self, global: &Global, path: &Path) -> Result<(), Failure> {
        let installed = PodsInstalled {
            network: self.network.clone(),
            path: std::path::absolute(path).map_err(|error| failed("name", path, &error))?,
        };
        let mut meshd = Local::connect(&global.socket).await?;
        meshd
            .post::<_, Done>("pods/installed", &installed)
            .await
            .map(drop)
    }

    fn conflist(&self, global: &Global, version: &str, chained: &[Chained]) -> Value {
        let mut first = json!({"type": PLUGIN});
        if global.socket != Path::new(DEFAULT_SOCKET) {
            first["socket"] = json!(global.socket);
        }
        if let Some(network) = &self.network {
            first["network"] = json!(network);
        }
        let chained = chained.iter().map(|chained| {
            let capability = chained.capability;
            json!({"type": chained.name, "capabilities": {capability: true}})
        });
        let plugins: Vec<Value> = [first].into_iter().chain(chained).collect();
        json!({"cniVersion": version, "name": "mesh", "plugins": plugins})
    }
}

/// The newest version that all of the chain speaks. mesh-cni alone tells nothing of the runtime's age: the older one then.
fn newest(folder: &Path, chained: &[Chained]) -> &'static str {
    let all = chained
        .iter()
        .all(|chained| speaks(&folder.join(chained.name), NEW));
    if all && !chained.is_empty() { NEW } else { OLD }
}

/// Whether a plugin says that it speaks a version of the specification (VERSION, section 2).
fn speaks(plugin: &Path, version: &str) -> bool {
    let started = Command::new(plugin)
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut started) = started else { return false };
    if let Some(mut input) = started.stdin.take() {
        let _ = input.write_all(json!({"cniVersion": version}).to_string().as_bytes());
    }
    let said = started
        .wait_with_output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let said: Value = serde_json::from_slice(&said).unwrap_or_default();
    let versions = said["supportedVersions"].as_array();
    versions.is_some_and(|versions| versions.iter().any(|one| one == version))
}

/// A plugin that follows in the chain.
#[derive(Debug, Clone, Copy)]
struct Chained {
    name: &'static str,
    capability: &'static str,
    /// What is lost without it.
    lost: &'static str,
}

const CHAIN: [Chained; 2] = [
    Chained {
        name: "portmap",
        capability: "portMappings",
        lost: "hostPort does not work",
    },
    Chained {
        name: "bandwidth",
        capability: "bandwidth",
        lost: "bandwidth annotations do nothing",
    },
];

impl Uninstall {
    /// As it is without options, also where pods are left.
    pub fn forced() -> Self {
        Self {
            places: Places::usual(),
            force: true,
        }
    }

    /// Does it; gives a sentence.
    pub async fn run(self, global: &Global) -> Result<String, Failure> {
        let pods = pods(global).await;
        if pods > 0 && !self.force {
            return Err(Failure::failed(format!(
                "{pods} pod interface(s) are left on this node: drain it first (kubectl drain), or add --force"
            )));
        }
        self.forget_credentials(global).await?;
        let Places { bin_dir, conf_dir } = &self.places;
        for path in [conf_dir.join(CONFLIST), bin_dir.join(PLUGIN)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path, &error));
                }
                _ => {}
            }
        }
        borrowed::give_back(bin_dir)?;
        Ok("the CNI configuration and plugin are gone: this node takes no more pods".to_owned())
    }
}

impl Uninstall {
    /// Without meshd, or without a network that has pods, there is nothing to ask.
    async fn forget_credentials(&self, global: &Global) -> Result<(), Failure> {
        let Ok(mut meshd) = Local::connect(&global.socket).await else {
            return Ok(());
        };
        let status = meshd.get::<Status>("status").await?;
        for network in status
            .networks
            .into_iter()
            .filter(|network| network.kube.is_some())
        {
            let question = PodNetwork {
                network: Some(network.name),
            };
            let _: Done = meshd.post("kube/forget", &question).await?;
        }
        Ok(())
    }
}

/// How many pods' interfaces have addresses; none where meshd does not answer.
async fn pods(global: &Global) -> usize {
    let Ok(mut meshd) = Local::connect(&global.socket).await else {
        return 0;
    };
    let status = meshd.get::<Status>("status").await;
    let networks = status.map(|status| status.networks).unwrap_or_default();
    networks
        .iter()
        .filter_map(|network| network.pods.as_ref())
        .map(|pods| pods.leases)
        .sum()
}

/// The plugin beside this program, or where packages put it.
fn find() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let folders = own.into_iter().chain(FOLDERS.map(PathBuf::from));
    let mut candidates = folders.map(|folder| folder.join(PLUGIN));
    candidates.find(|path| path.is_file()).ok_or_else(|| {
        Failure::failed(format!(
            "{PLUGIN} is neither beside meshctl nor in {}: say where with --plugin",
            FOLDERS.join(", ")
        ))
    })
}
