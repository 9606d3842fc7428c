//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use meshd_api::coordinator::DEFAULT_ADMIN_SOCKET;
use meshd_api::local::DEFAULT_SOCKET;

use crate::failure::Failure;
use crate::output::Output;
use crate::verbs::{
    backup, clean, cni, completion, down, endpoint, exit, expose, gateway, import, inventory, join, k8s,
    leave, man, name, network, node, relay, restore, status,
};
use crate::verbs::{netcheck, ping, template, token, up, version, why};

/// Joins machines into meshes and looks after them.
#[derive(Debug, Parser)]
#[command(
    name = "meshctl",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = "\
Example:
  meshctl join mesh1ae4tq...     join this machine to a network
  meshctl status                 see who is there, and by which path

Exit codes: 0 done, 1 failed or refused, 2 wrong command line, 3 meshd or meshrelay cannot be reached.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Answer in JSON; errors, too, on stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// The socket of the meshd on this machine
    #[arg(long, global = true, value_name = "PATH", env = "MESHD_SOCKET", hide_env_values = true, default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// The admin socket of the meshrelay on this machine
    #[arg(long, global = true, value_name = "PATH", env = "MESHRELAY_SOCKET", hide_env_values = true, default_value = DEFAULT_ADMIN_SOCKET)]
    pub relay_socket: PathBuf,
    /// Ask a meshrelay elsewhere, e.g. `https://vpn.example.net`; needs --admin-key-file
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MESHRELAY_URL",
        hide_env_values = true
    )]
    pub relay: Option<String>,
    /// The identity key of the meshrelay at --relay (64 hex digits), where the admin key file does not tell it yet
    #[arg(
        long,
        global = true,
        value_name = "HEX",
        env = "MESHRELAY_PIN",
        hide_env_values = true
    )]
    pub relay_pin: Option<String>,
    /// The network's root key, where it is kept off the relay; `network create` makes the file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MESHCTL_ADMIN_KEY_FILE",
        hide_env_values = true
    )]
    pub admin_key_file: Option<PathBuf>,
}

impl Global {
    /// How answers are given.
    pub fn output(&self) -> Output {
        Output { json: self.json }
    }
}

/// `--network`, where a verb is about one network.
#[derive(Debug, Clone, Args)]
pub struct OfNetwork {
    /// The network [default: the only one]
    #[arg(long, value_name = "NAME", value_parser = label)]
    network: Option<String>,
}

impl OfNetwork {
    /// This one.
    pub fn of(name: &str) -> Self {
        Self {
            network: Some(name.to_owned()),
        }
    }

    /// The name that was given.
    pub fn name(&self) -> Option<&str> {
        self.network.as_deref()
    }
}

impl From<OfNetwork> for Option<String> {
    fn from(given: OfNetwork) -> Self {
        given.network
    }
}

/// The verbs; each is described where it is.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Verb {
    Join(join::Join),
    Status(status::Status),
    Netcheck(netcheck::Netcheck),
    Ping(ping::Ping),
    Why(why::Why),
    Leave(leave::Leave),
    Down(down::Down),
    Up(up::Up),
    Clean(clean::Clean),
    /// Networks: create, list, show, delete, pods
    #[command(subcommand)]
    Network(network::Network),
    /// Join tokens: create, list, revoke
    #[command(subcommand)]
    Token(token::Token),
    /// Nodes: list, show, rename, approve, remove, replace, grant
    #[command(subcommand)]
    Node(node::Node),
    /// Egress gateways, ranges behind a node: add, list, remove
    #[command(subcommand)]
    Gateway(gateway::Gateway),
    /// Addresses that every node balances, e.g. of the API servers: add, list, remove
    #[command(subcommand)]
    Endpoint(endpoint::Endpoint),
    Expose(expose::Expose),
    Inventory(inventory::Inventory),
    /// Networks of other programs: netmaker
    #[command(subcommand)]
    Import(import::Import),
    /// The exit node that this machine uses: use
    #[command(subcommand)]
    Exit(exit::Exit),
    /// The CNI plugin, for Kubernetes: install, uninstall, credentials
    #[command(subcommand)]
    Cni(cni::Cni),
    /// A Kubernetes cluster: init, join, status, reset, kubeconfig, backup, restore, node-ip
    #[command(subcommand)]
    K8s(k8s::K8s),
    /// Names of removed nodes: free
    #[command(subcommand)]
    Name(name::Name),
    /// Relays on other hosts: create, list, remove
    #[command(subcommand)]
    Relay(relay::Relay),
    /// Images for virtual machines: seal
    #[command(subcommand)]
    Template(template::Template),
    Backup(backup::Backup),
    Restore(restore::Restore),
    #[command(alias = "completions")]
    Completion(completion::Completion),
    Version(version::Version),
    #[command(hide = true)]
    Man(man::Man),
}

impl Cli {
    /// Does what was typed.
    pub async fn run(self) -> Result<(), Failure> {
        let global = &self.global;
        match self.verb {
            Verb::Join(verb) => verb.run(global).await,
            Verb::Status(verb) => verb.run(global).await,
            Verb::Netcheck(verb) => verb.run(global).await,
            Verb::Ping(verb) => verb.run(global).await,
            Verb::Why(verb) => verb.run(global).await,
            Verb::Leave(verb) => verb.run(global).await,
            Verb::Down(verb) => verb.run(global).await,
            Verb::Up(verb) => verb.run(global).await,
            Verb::Clean(verb) => verb.run(global).await,
            Verb::Network(verb) => verb.run(global).await,
            Verb::Token(verb) => verb.run(global).await,
            Verb::Node(verb) => verb.run(global).await,
            Verb::Gateway(verb) => verb.run(global).await,
            Verb::Endpoint(verb) => verb.run(global).await,
            Verb::Expose(verb) => verb.run(global).await,
            Verb::Inventory(verb) => verb.run(global).await,
            Verb::Import(verb) => verb.run(global).await,
            Verb::Exit(verb) => verb.run(global).await,
            Verb::Cni(verb) => verb.run(global).await,
            Verb::K8s(verb) => verb.run(global).await,
            Verb::Name(verb) => verb.run(global).await,
            Verb::Relay(verb) => verb.run(global).await,
            Verb::Template(verb) => verb.run(global).await,
            Verb::Backup(verb) => verb.run(global).await,
            Verb::Restore(verb) => verb.run(global).await,
            Verb::Completion(verb) => verb.run(),
            Verb::Version(verb) => verb.run(global).await,
            Verb::Man(verb) => verb.run(),
        }
    }

    /// The whole command, for completions and manual pages.
    pub fn tree() -> clap::Command {
        let mut command = Self::command();
        command.build();
        command
    }
}

/// A name as it stands in a request's path: a network's or a node's name, or a node's id.
pub fn label(text: &str) -> Result<String, String> {
    if meshd_core::names::is_label(text) {
        return Ok(text.to_owned());
    }
    match meshd_core::names::to_label(text) {
        Some(label) => Err(format!(
            "write 1 to 63 small letters, digits and hyphens, such as \"{label}\""
        )),
        None => Err("write 1 to 63 small letters, digits and hyphens".to_owned()),
    }
}

#[cfg(test)]
mod tests;
