//! Arguments, parsed once into valid types before anything is opened.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::num::NonZeroU64;
use std::path::PathBuf;

/// First routing table; each network of each instance has one of its own.
const FIRST_TABLE: u32 = 52_000;
/// First rule preference; each network has one of its own. Before the main table (32766) and after local (0).
const FIRST_PREFERENCE: u32 = 5_200;
/// Highest `--instance`.
const MAX_INSTANCE: u16 = 99;
/// Most networks of one instance.
pub const MAX_NETWORKS: u16 = 64;

/// The node's daemon of a meshd network.
#[derive(Debug, Parser)]
#[command(
    name = "meshd",
    version,
    about,
    after_help = "Example:\n  meshd run\n  meshctl join mesh1...\n\nPeople talk to it with meshctl. Logs go to stderr; MESHD_LOG sets the level (info, debug, meshd=trace)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground (the system service does this).
    Run(RunArgs),
    /// Take everything of a meshd that is not running away from this machine.
    Clean(CleanArgs),
    /// Keep descriptors for a meshd that restarts (started by meshd itself).
    #[command(hide = true)]
    Hold {
        /// Where to listen.
        socket: PathBuf,
    },
}

/// Arguments of `meshd run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where identities, maps and settings are kept [default: /var/lib/meshd, with --instance N /var/lib/meshd-N].
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
    /// The Unix socket for meshctl [default: /run/meshd/meshd.sock, with --instance N /run/meshd-N/meshd.sock].
    #[arg(long)]
    pub socket: Option<PathBuf>,
    /// The hosts file to write names into.
    #[arg(long, default_value = "/etc/hosts")]
    pub hosts_file: PathBuf,
    /// Lets several meshd live on one machine: scopes tables, rules, interfaces and the hosts block.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=MAX_INSTANCE as i64))]
    pub instance: u16,
    /// What to do where another firewall drops what comes in by our interfaces.
    #[arg(long, value_enum, default_value_t = FirewallMode::Accept)]
    pub firewall: FirewallMode,
    /// Mbit/s that each other node may send through this one where an admin made it a relay; 0 is no limit.
    #[arg(long, value_name = "MBIT", default_value_t = 100)]
    pub relay_limit: u32,
}

/// What to do about foreign firewalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FirewallMode {
    /// Add one commented accept for each of our interfaces to a chain that drops.
    Accept,
    /// Touch our own table only.
    OwnTable,
}

/// Arguments of `meshd clean`.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// The same places that the daemon was given.
    #[command(flatten)]
    pub run: RunArgs,
    /// Also forget identities and networks: the machine must join anew.
    #[arg(long)]
    pub forget: bool,
}

/// The valid form of [`RunArgs`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where identities, maps and settings are kept.
    pub state_dir: PathBuf,
    /// The Unix socket for meshctl.
    pub socket: PathBuf,
    /// The hosts file.
    pub hosts_file: PathBuf,
    /// Number of this meshd on this machine.
    pub instance: u16,
    /// What to do about foreign firewalls.
    pub firewall: FirewallMode,
    /// Bytes/s that each other node may send through this one where it is a relay; none is no limit.
    pub relay_limit: Option<NonZeroU64>,
}

impl From<RunArgs> for Config {
    fn from(args: RunArgs) -> Self {
        let suffix = if args.instance == 0 {
            String::new()
        } else {
            format!("-{}", args.instance)
        };
        Self {
            state_dir: args
                .state_dir
                .unwrap_or_else(|| format!("/var/lib/meshd{suffix}").into()),
            socket: args
                .socket
                .unwrap_or_else(|| format!("/run/meshd{suffix}/meshd.sock").into()),
            hosts_file: args.hosts_file,
            instance: args.instance,
            firewall: args.firewall,
            relay_limit: NonZeroU64::new(u64::from(args.relay_limit) * 125_000),
        }
    }
}

impl Config {
    /// The routing table that holds the routes of the network with this interface.
    pub fn table(&self, interface: u16) -> u32 {
        FIRST_TABLE + self.slot(interface)
    }

    /// The preference of its routing rules.
    pub fn rule_preference(&self, interface: u16) -> u32 {
        FIRST_PREFERENCE + self.slot(interface)
    }

    fn slot(&self, interface: u16) -> u32 {
        u32::from(self.instance) * u32::from(MAX_NETWORKS) + u32::from(interface % MAX_NETWORKS)
    }

    /// The name of the `index`-th interface, at most 15 bytes.
    pub fn interface(&self, index: u16) -> String {
        match self.instance {
            0 => format!("meshd{index}"),
            n => format!("meshd{n}-{index}"),
        }
    }

    /// The name of the nftables table of this instance (family inet).
    pub fn nft_table(&self) -> String {
        format!("meshd-{}", self.instance)
    }

    /// The socket of the small process that keeps descriptors over a restart.
    pub fn holder_socket(&self) -> PathBuf {
        self.socket.with_extension("hold")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Config {
        match Cli::try_parse_from(line.split(' '))
            .expect("valid arguments")
            .command
        {
            Command::Run(args) => args.into(),
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn instances_do_not_share_places() {
        let (first, second) = (parse("meshd run"), parse("meshd run --instance 2"));
        assert_eq!(first.state_dir, PathBuf::from("/var/lib/meshd"));
        assert_eq!(second.socket, PathBuf::from("/run/meshd-2/meshd.sock"));
        assert_ne!(first.table(63), second.table(0));
        assert_ne!(first.rule_preference(63), second.rule_preference(0));
        assert_ne!(first.interface(0), second.interface(0));
        assert_ne!(first.nft_table(), second.nft_table());
    }

    #[test]
    fn an_instance_out_of_range_is_refused() {
        assert!(Cli::try_parse_from(["meshd", "run", "--instance", "100"]).is_err());
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        assert!(parse("meshd run --instance 99").interface(u16::MAX).len() <= 15);
    }
}
