//! `meshctl k8s node-ip`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use meshd_api::local::Done;
use meshd_core::cluster::with_node_ip;

use super::facts;
use crate::cli::{Global, OfNetwork};
use crate::failure::Failure;
use crate::files::replace;

/// Environment files of the kubelet's unit, as the packages have it: Debian's, Red Hat's.
const FILES: [&str; 2] = ["/etc/default/kubelet", "/etc/sysconfig/kubelet"];

/// Have the kubelet that is here known by this machine's mesh addresses.
///
/// For a cluster that was there before the mesh: writes --node-ip into the environment file of the kubelet's service, where
/// everything else stays as it is, and restarts the kubelet.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl k8s node-ip
  meshctl k8s node-ip --dry-run")]
pub struct NodeIp {
    /// The environment file [default: /etc/default/kubelet, or /etc/sysconfig/kubelet where that is there]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only the IPv4 address, for a cluster without IPv6
    #[arg(long)]
    ipv4_only: bool,
    /// Print the file as it would be; change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    network: OfNetwork,
}

impl NodeIp {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let network = facts::network(global, self.network.name()).await?;
        let addresses = match self.ipv4_only {
            true => network.ipv4.to_string(),
            false => facts::machine(&network).addresses(),
        };
        let file = self.file.clone().unwrap_or_else(usual);
        let before = fs::read_to_string(&file).unwrap_or_default();
        let after = with_node_ip(&before, &addresses);
        let message = match (self.dry_run, before == after) {
            (true, _) => format!("# {}\n{}", file.display(), after.trim_end()),
            (false, true) => format!("the kubelet here is known by {addresses} already"),
            (false, false) => {
                replace(&file, after.as_bytes(), 0o644)?;
                let restarted = restart();
                format!("{} has --node-ip={addresses}; {restarted}", file.display())
            }
        };
        global
            .output()
            .answer(&Done { message }, |done| format!("{}\n", done.message))
    }
}

fn usual() -> PathBuf {
    let there = FILES.into_iter().find(|file| Path::new(file).exists());
    there.unwrap_or(FILES[0]).into()
}

fn restart() -> &'static str {
    let restarted = Command::new("systemctl")
        .args(["restart", "kubelet"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match restarted {
        Ok(status) if status.success() => "the kubelet was restarted",
        _ => "restart the kubelet, which systemctl could not",
    }
}
