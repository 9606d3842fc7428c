//! `meshctl network create|list|show|delete`; `network pods` is in a file of its own

use std::path::Path;

use clap::{Args, Subcommand};
use ipnet::{Ipv4Net, Ipv6Net};
use meshd_api::coordinator::admin::{Done, NetworkCreate, NetworkInfo};
use meshd_core::statement::{MTU_DEFAULT, MTU_MAX, MTU_MIN, MTU_STEP, mtu_is_valid};

use crate::admin::{self, Admin, AdminKey, Known};
use crate::cli::{Global, label};
use crate::failure::Failure;
use crate::table;
use crate::verbs::network_pods::{PodArguments, Pods};

/// Networks.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl network create prod --cidr 10.77.0.0/16")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Network {
    Create(Create),
    List(List),
    Show(Show),
    Delete(Delete),
    Pods(Pods),
}

/// Make a network.
///
/// Its root key is made on the relay, or, with --admin-key-file, here: then the relay can refuse service, but neither
/// add a node nor change a key, and every admin verb needs the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl network create prod --cidr 10.77.0.0/16
  meshctl network create lab --cidr 10.78.0.0/24 --admin-key-file ~/lab.key

From elsewhere meshrelay's settings must name the root key (network-key); the
first try makes it and says it:
  meshctl --relay https://vpn.example.net --relay-pin HEX \\
      --admin-key-file ~/lab.key network create lab --cidr 10.78.0.0/24")]
pub struct Create {
    /// Its name; nodes are called NODE.NAME.mesh
    #[arg(value_parser = label)]
    name: String,
    /// The IPv4 addresses of its nodes
    #[arg(long, value_name = "PREFIX", value_parser = prefix::<Ipv4Net>)]
    cidr: Ipv4Net,
    /// The IPv6 addresses of its nodes [default: a random fd00::/8 prefix]
    #[arg(long, value_name = "PREFIX", value_parser = prefix::<Ipv6Net>)]
    cidr6: Option<Ipv6Net>,
    /// The MTU of its interfaces: 1280 to 8912, a multiple of 16 [default: 1408, which always fits]
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    mtu: Option<u16>,
    #[command(flatten)]
    pods: PodArguments,
}

/// List the networks.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl network list")]
pub struct List {}

/// Show one network.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl network show prod")]
pub struct Show {
    /// Its name [default: the only one]
    #[arg(value_parser = label)]
    name: Option<String>,
}

/// Delete a network: the coordinator forgets it, its tokens and its nodes.
///
/// Nodes that are in keep what they know and go on without a coordinator until they leave; nobody can join any more. There
/// is no way back but a backup.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl network delete lab --yes")]
pub struct Delete {
    /// Its name
    #[arg(value_parser = label)]
    name: String,
    /// It is meant
    #[arg(long)]
    yes: bool,
}

fn prefix<P: std::str::FromStr>(text: &str) -> Result<P, String> {
    let example = if std::any::type_name::<P>().contains("Ipv6") {
        "fd12:3456:789a::/64"
    } else {
        "10.77.0.0/16"
    };
    text.parse()
        .map_err(|_| format!("write a prefix such as {example}"))
}

fn mtu(text: &str) -> Result<u16, String> {
    let wrong = || format!("write a multiple of {MTU_STEP} from {MTU_MIN} to {MTU_MAX}");
    text.parse()
        .ok()
        .filter(|mtu| mtu_is_valid(*mtu))
        .ok_or_else(wrong)
}

impl Network {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Create(verb) => verb.run(global).await,
            Self::List(_) => {
                let networks: Vec<NetworkInfo> = Admin::connect(global).await?.get("networks").await?;
                global.output().answer(&networks, |networks| list(networks))
            }
            Self::Show(verb) => {
                let network = Admin::connect(global)
                    .await?
                    .network(verb.name.as_deref())
                    .await?;
                global.output().answer(&network, show)
            }
            Self::Delete(verb) => verb.run(global).await,
            Self::Pods(verb) => verb.run(global).await,
        }
    }
}

impl Create {
    /// A network of this name and these ranges.
    pub fn of(name: String, cidr: Ipv4Net, cidr6: Option<Ipv6Net>) -> Self {
        Self {
            name,
            cidr,
            cidr6,
            mtu: None,
            pods: PodArguments::none(),
        }
    }

    async fn run(self, global: &Global) -> Result<(), Failure> {
        let network = self.make(global).await?;
        let kept = global.admin_key_file.is_some();
        global.output().answer(&network, |network| created(network, kept))
    }

    /// Makes it.
    pub async fn make(&self, global: &Global) -> Result<NetworkInfo, Failure> {
        let Some(path) = &global.admin_key_file else {
            let request = self.request(None)?;
            let network: NetworkInfo = Admin::connect(global).await?.post("networks", &request).await?;
            return self.with_pods(global, None, network).await;
        };
        let (mut key, new) = AdminKey::for_new_network(path, &self.name)?;
        // from elsewhere the key must be told to the relay, so that it is kept for the next try
        let keep = global.relay.is_some() || !new;
        let made = self.made_with(global, &key).await;
        let network = match made {
            Ok(network) => network,
            Err(failure) if keep && failure.is_uninvited() => return Err(self.uninvited(&key, path)),
            Err(failure) if keep => return Err(failure),
            // without an answer the network may exist, and then this is its only key
            Err(failure) if failure.is_unanswered() => {
                let kept = format!(
                    "whether the network was made is not known, so {} was kept",
                    path.display()
                );
                return Err(failure.and(&kept));
            }
            Err(failure) => {
                key.discard();
                return Err(failure);
            }
        };
        key.must_be_of(&network)?;
        key.remember(Known::of(&network)?)?;
        self.with_pods(global, Some(key), network).await
    }

    async fn made_with(&self, global: &Global, key: &AdminKey) -> Result<NetworkInfo, Failure> {
        let mut admin = Admin::connect_with(global, Some(key.clone())).await?;
        admin.post("networks", &self.request(Some(key))?).await
    }

    /// What to do where the meshrelay elsewhere was not told of this root key.
    fn uninvited(&self, key: &AdminKey, path: &Path) -> Failure {
        Failure::failed(format!(
            "that meshrelay makes networks from elsewhere only for root keys that its settings name. Write \
             network-key = [\"{}\"] into /etc/meshrelay/config.toml on its host, restart it there, and run this again: {} keeps the \
             key. Or make the network over its own socket, forwarded: `ssh -L ./forwarded.sock:/run/meshrelay/admin.sock HOST`, \
             then `meshctl --relay-socket ./forwarded.sock --admin-key-file {} network create {} --cidr {}`",
            key.root().public(),
            path.display(),
            path.display(),
            self.name,
            self.cidr
        ))
    }

    /// Gives the new network's pods their prefixes, where that was asked for.
    async fn with_pods(
        &self,
        global: &Global,
        key: Option<AdminKey>,
        made: NetworkInfo,
    ) -> Result<NetworkInfo, Failure> {
        if !self.pods.are_given() {
            return Ok(made);
        }
        let mut admin = Admin::connect_with(global, key).await?;
        self.pods.set(&mut admin, &made).await.map_err(|failure| {
            let sentence = format!(
                "the network was made; `meshctl network pods {}` gives its pods prefixes",
                made.name
            );
            failure.and(&sentence)
        })?;
        Ok(NetworkInfo {
            warnings: made.warnings,
            ..admin.network(Some(&made.name)).await?
        })
    }

    fn request(&self, key: Option<&AdminKey>) -> Result<NetworkCreate, Failure> {
        let (cidr, cidr6) = (self.cidr.trunc(), self.cidr6.map(|cidr6| cidr6.trunc()));
        let mut request = NetworkCreate {
            name: self.name.clone(),
            cidr: cidr.to_string(),
            cidr6: cidr6.map(|cidr6| cidr6.to_string()),
            mtu: self.mtu,
            statement: None,
        };
        if let Some(key) = key {
            let mtu = self.mtu.unwrap_or(MTU_DEFAULT);
            let (statement, cidr6) = admin::params(key, &self.name, cidr, cidr6, mtu)?;
            request.cidr6 = Some(cidr6.to_string());
            request.mtu = Some(mtu);
            request.statement = Some(statement);
        }
        Ok(request)
    }
}

impl Delete {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let network = admin.network(Some(&self.name)).await?;
        if !self.yes {
            return Err(Failure::usage(format!(
                "network {} has {} nodes, and the coordinator would forget them for good; if that is meant, add --yes",
                network.name, network.nodes
            )));
        }
        let done: Done = admin.delete(&format!("networks/{}", network.name)).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}

fn created(network: &NetworkInfo, kept: bool) -> String {
    let NetworkInfo {
        name,
        cidr,
        cidr6,
        mtu,
        ..
    } = network;
    let mut text = format!("network {name} made: {cidr}, {cidr6}, MTU {mtu}\n");
    if kept {
        text += "its root key is in the admin key file and nowhere else: keep a copy\n";
    }
    for warning in &network.warnings {
        text += &table::wrap(&format!("! {warning}"), 2);
    }
    text + &format!("next: meshctl token create --network {name}\n")
}

fn list(networks: &[NetworkInfo]) -> String {
    if networks.is_empty() {
        return "there is no network yet; make one with\n  meshctl network create NAME --cidr PREFIX\n"
            .into();
    }
    let rows = |network: &NetworkInfo| {
        let nodes = format!("{} of {}", network.connected, network.nodes);
        let first = vec![network.name.clone(), network.cidr.clone(), nodes];
        [first, vec![String::new(), network.cidr6.clone(), String::new()]]
    };
    let rows: Vec<_> = networks.iter().flat_map(rows).collect();
    table::render(&["NAME", "PREFIXES", "CONNECTED"], &rows, 16)
}

fn show(network: &NetworkInfo) -> String {
    table::fields(&[
        ("name", network.name.clone()),
        ("id", network.id.clone()),
        ("ipv4", network.cidr.clone()),
        ("ipv6", network.cidr6.clone()),
        ("mtu", network.mtu.to_string()),
        ("pods", pods(network)),
        (
            "nodes",
            format!("{}, {} connected", network.nodes, network.connected),
        ),
        (
            "map",
            format!("epoch {}, version {}", network.epoch, network.version),
        ),
        ("root", network.root.clone()),
        (
            "root key",
            if network.root_on_relay {
                "on the relay"
            } else {
                "in an admin key file"
            }
            .into(),
        ),
        ("coordinator", network.coordinator.clone()),
        ("reached at", network.addresses.join(", ")),
    ])
}

fn pods(network: &NetworkInfo) -> String {
    let Some(pods) = &network.pods else {
        return "no prefix".to_owned();
    };
    let cidr6 = pods.cidr6.iter().map(|cidr6| format!(", {cidr6}"));
    let services = pods
        .services
        .iter()
        .map(|services| format!(", services {services}"));
    format!(
        "{}, /{} a node{}{}",
        pods.cidr,
        pods.node_prefix,
        cidr6.collect::<String>(),
        services.collect::<String>()
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn info() -> NetworkInfo {
        NetworkInfo {
            name: "prod".into(),
            id: "0a".repeat(16),
            root: "0b".repeat(32),
            root_on_relay: true,
            cidr: "10.77.0.0/16".into(),
            cidr6: "fd12:3456:789a:1234::/64".into(),
            mtu: 1408,
            pods: None,
            epoch: 1,
            version: 42,
            nodes: 20,
            connected: 19,
            coordinator: "0c".repeat(32),
            addresses: vec!["vpn.example.net:443".into()],
            last_serial: 7,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn networks_fit_eighty_columns() {
        let mut long = info();
        long.name = "n".repeat(63);
        long.cidr6 = "fd12:3456:789a:1234:1234:1234:1234:1230/124".into();
        let text = list(&[info(), long]);
        let start = "NAME  PREFIXES                                     CONNECTED
\
                     prod  10.77.0.0/16                                 19 of 20
      \
                     fd12:3456:789a:1234::/64
";
        assert!(text.starts_with(start), "{text}");
        for text in [text, show(&info()), created(&info(), true), list(&[])] {
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }

    #[test]
    fn the_new_network_is_told_with_what_to_do_next() {
        assert_eq!(
            created(&info(), false),
            "network prod made: 10.77.0.0/16, fd12:3456:789a:1234::/64, MTU 1408\n\
             next: meshctl token create --network prod\n"
        );
    }
}
