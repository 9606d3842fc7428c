//! `meshctl expose NAME | list | remove`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use meshd_api::coordinator::admin::{Done, ExposeInfo, ExposeRemove, ExposeSet, ExposeTarget, NetworkInfo};
use meshd_core::expose::is_site;
use meshd_core::statement::{Deed, ExposeLimits, ExposeTerms, Member, Protocol, ProxyVersion};

use crate::admin::{self, Admin};
use crate::cli::{Global, OfNetwork, label};
use crate::failure::Failure;
use crate::table;
use crate::units::parse_duration;
use crate::verbs::expose_allow::{self, Allow, Allowed, Disallow};
use crate::verbs::place::{Place, members, place};

/// How often a change is made anew because others were quicker.
const MAX_TRIES: u32 = 20;

/// Public ports of meshrelay's machine, carried to nodes.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
#[command(after_help = "\
Examples:
  meshctl expose mail --tcp 25 --to mx1:25 --to mx2:25
  meshctl expose shop --tcp 443 --sni shop.example.org --to web1:8443
  meshctl expose dns --udp 53 --to ns1:53 --to ns2:53
  meshctl expose list
  meshctl expose remove shop
  meshctl expose allow cluster --from cp1,cp2 --ports 80,443   services of Kubernetes

What is said of a name replaces what was said of it before; connections go on.")]
pub struct Expose {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    set: Set,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Remove(Remove),
    Allow(Allow),
    Allowed(Allowed),
    Disallow(Disallow),
}

#[derive(Debug, Args)]
struct Set {
    /// Its name
    #[arg(value_parser = label, required = true)]
    name: Option<String>,
    /// The public port of TCP
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    tcp: Option<u16>,
    /// The public port of UDP
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "tcp", required_unless_present = "tcp")]
    udp: Option<u16>,
    /// A node and the port on its mesh address; may be given several times
    #[arg(long, value_name = "NODE:PORT", value_delimiter = ',', value_parser = place, required = true)]
    to: Vec<Place>,
    /// Share the port: only TLS connections that ask for this site come here (*.example.org: any label); may be given several times
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = site, conflicts_with = "udp")]
    sni: Vec<String>,
    /// Tell nodes who the client is by HAProxy's PROXY protocol
    #[arg(long, value_name = "VERSION")]
    proxy_protocol: Option<Version>,
    /// Connections, or flows of UDP, at once [default: 4096, of UDP 1024]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// New connections, or flows of UDP, in a second [default: 1000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_per_second: Option<u32>,
    /// A connection without a byte for so long ends [default: 1h, of UDP 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    idle: Option<Duration>,
    #[command(flatten)]
    network: OfNetwork,
}

/// List what is exposed, and how it goes on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl expose list --json")]
struct List {
    #[command(flatten)]
    network: OfNetwork,
}

/// Expose something no longer.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl expose remove shop   its connections end")]
struct Remove {
    /// Its name
    #[arg(value_parser = label)]
    name: String,
    #[command(flatten)]
    network: OfNetwork,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Version {
    /// One line of text
    V1,
    /// Binary; of UDP before each datagram
    V2,
}

impl Expose {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let done = match (self.what, self.set) {
            (Some(What::List(verb)), _) => {
                let network = admin.network(verb.network.name()).await?;
                let all = held(&mut admin, &network).await?;
                return global.output().answer(&all, |all| list(all));
            }
            (Some(What::Remove(verb)), _) => verb.run(&mut admin).await?,
            (Some(What::Allow(verb)), _) => verb.run(&mut admin).await?,
            (Some(What::Disallow(verb)), _) => verb.run(&mut admin).await?,
            (Some(What::Allowed(verb)), _) => {
                let all = verb.held(&mut admin).await?;
                return global.output().answer(&all, |all| expose_allow::list(all));
            }
            (None, verb) => verb.run(&mut admin).await?,
        };
        global
            .output()
            .answer(&done, |done: &Done| format!("{}\n", done.message))
    }
}

impl Set {
    /// Reads what there is and writes what is to be; where somebody else changed it, or signed something, in between: anew.
    async fn run(self, admin: &mut Admin) -> Result<Done, Failure> {
        let Some(name) = &self.name else {
            return Err(Failure::usage("name what is to be exposed; --help has examples"));
        };
        let network = admin.network(self.network.name()).await?;
        let mut targets = members(admin, &network.name, &self.to).await?;
        // as the coordinator has them, which compares a signed statement with what it makes of the request
        targets.sort();
        targets.dedup();
        let terms = self.terms(targets);
        let path = format!("networks/{}/exposures", network.name);
        let mut tries = 1;
        loop {
            let network = admin.network(Some(&network.name)).await?;
            let before = held(admin, &network).await?;
            let before = before.into_iter().find(|exposure| exposure.name == *name);
            let mut request = request(name, &terms, before.map_or(0, |before| before.serial));
            if let Some(key) = admin.key() {
                let deed = Deed::Expose {
                    name: name.clone(),
                    terms: terms.clone(),
                };
                request.statement = Some(admin::act(key, &network, deed)?);
            }
            match admin.post(&path, &request).await {
                Err(failure) if failure.is_stale() && tries < MAX_TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    fn terms(&self, targets: Vec<Member>) -> ExposeTerms {
        let (protocol, port) = match (self.tcp, self.udp) {
            (Some(port), _) => (Protocol::Tcp, port),
            (None, port) => (Protocol::Udp, port.unwrap_or(0)),
        };
        ExposeTerms {
            protocol,
            port,
            targets,
            sites: self.sni.clone(),
            proxy: self.proxy_protocol.map(|version| match version {
                Version::V1 => ProxyVersion::V1,
                Version::V2 => ProxyVersion::V2,
            }),
            limits: limits(self.max_connections, self.max_per_second, self.idle),
        }
    }
}

impl Remove {
    async fn run(self, admin: &mut Admin) -> Result<Done, Failure> {
        let network = admin.network(self.network.name()).await?;
        let path = format!("networks/{}/exposures/remove", network.name);
        let (done, ()): (Done, ()) = admin
            .post_signed(&network, &path, |key, network| {
                let name = self.name.clone();
                let deed = Deed::WithdrawExpose { name: name.clone() };
                let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
                Ok((ExposeRemove { name, statement }, ()))
            })
            .await?;
        Ok(done)
    }
}

async fn held(admin: &mut Admin, network: &NetworkInfo) -> Result<Vec<ExposeInfo>, Failure> {
    admin.get(&format!("networks/{}/exposures", network.name)).await
}

fn request(name: &str, terms: &ExposeTerms, based_on: u64) -> ExposeSet {
    let target = |target: &Member| ExposeTarget {
        node: target.node.to_string(),
        port: target.port,
        ..ExposeTarget::default()
    };
    let version = |version| match version {
        ProxyVersion::V1 => "v1".to_owned(),
        ProxyVersion::V2 => "v2".to_owned(),
    };
    ExposeSet {
        name: name.to_owned(),
        protocol: terms.protocol.word().to_owned(),
        port: terms.port,
        targets: terms.targets.iter().map(target).collect(),
        sites: terms.sites.clone(),
        proxy_protocol: terms.proxy.map(version),
        max_connections: terms.limits.connections,
        max_per_second: terms.limits.per_second,
        idle_seconds: terms.limits.idle,
        based_on,
        statement: None,
    }
}

fn list(all: &[ExposeInfo]) -> String {
    if all.is_empty() {
        return "nothing is exposed yet; `meshctl expose NAME --tcp PORT --to NODE:PORT` does it\n".into();
    }
    let mut rows = Vec::new();
    for exposure in all {
        let port = format!("{}/{}", exposure.port, exposure.protocol);
        let open = format!("{}/{}", exposure.counts.open, exposure.limits.connections);
        let mut first = Some([exposure.name.clone(), port, exposure.sites.join(","), open]);
        for target in &exposure.targets {
            let mut row = first.take().unwrap_or_default().to_vec();
            row.push(target.health.clone());
            row.push(format!("{}:{}", target.node, target.port));
            rows.push(row);
        }
    }
    let mut text = table::render(&["NAME", "PORT", "SITES", "OPEN", "STATE", "NODE"], &rows, 20);
    for exposure in all {
        for trouble in &exposure.troubles {
            text.push_str(&format!("{}: {trouble}\n", exposure.name));
        }
    }
    text
}

/// Limits as they are typed; what is not typed is left to meshrelay.
pub fn limits(connections: Option<u32>, per_second: Option<u32>, idle: Option<Duration>) -> ExposeLimits {
    ExposeLimits {
        connections,
        per_second,
        idle: idle.map(|idle| u32::try_from(idle.as_secs()).unwrap_or(u32::MAX)),
    }
}

/// The name of a site.
pub fn site(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    match is_site(&name) {
        true => Ok(name),
        false => Err("write the name of a site, as www.example.org or *.example.org".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn parse(line: &str) -> Expose {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().verb {
            Verb::Expose(expose) => expose,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_is_exposed_and_a_verb_is_none() {
        let typed = parse("meshctl expose web --udp 53 --to n1:53 --idle 30s --proxy-protocol v2");
        assert!(typed.what.is_none() && typed.set.name.as_deref() == Some("web"));
        let terms = typed.set.terms(Vec::new());
        assert_eq!((terms.protocol, terms.port), (Protocol::Udp, 53));
        assert_eq!(
            (terms.limits.idle, terms.proxy),
            (Some(30), Some(ProxyVersion::V2))
        );
        assert!(matches!(parse("meshctl expose list").what, Some(What::List(_))));
        assert!(matches!(
            parse("meshctl expose remove web").what,
            Some(What::Remove(_))
        ));
    }

    #[test]
    fn a_page_has_a_line_for_each_node_and_one_for_each_trouble() {
        let target = |node: &str| ExposeTarget {
            node: node.into(),
            port: 8443,
            health: "ready".into(),
            ..ExposeTarget::default()
        };
        let info = ExposeInfo {
            name: "shop".into(),
            protocol: "tcp".into(),
            port: 443,
            sites: vec!["shop.example.org".into()],
            targets: vec![target("n1"), target("n2")],
            troubles: vec!["something is wrong".into()],
            ..ExposeInfo::default()
        };
        let page = list(&[info]);
        assert!(page.contains("443/tcp") && page.contains("n2:8443"), "{page}");
        assert!(page.ends_with("shop: something is wrong\n"), "{page}");
        assert!(list(&[]).contains("meshctl expose NAME"));
    }
}
