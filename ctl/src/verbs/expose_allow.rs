//! `meshctl expose allow | allowed | disallow`: what nodes may expose by themselves

use std::time::Duration;

use clap::Args;
use ipnet::Ipv4Net;
use meshd_api::coordinator::admin::{Done, IngressInfo, IngressRemove, IngressSet};
use meshd_core::id::NodeId;
use meshd_core::statement::{Deed, IngressTerms, PortRange, Tellers};

use crate::admin::{self, Admin};
use crate::cli::{OfNetwork, label};
use crate::failure::Failure;
use crate::table;
use crate::units::parse_duration;
use crate::verbs::expose::{limits, site};
use crate::verbs::reach::{self, Named};

/// Allow nodes to expose services by themselves.
///
/// The control planes of a cluster then give Kubernetes' services of type LoadBalancer what is allowed here, and nothing else: public ports of
/// meshrelay's machine, and private addresses. What is said of a name replaces what was said of it before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl expose allow cluster --from cp1,cp2,cp3 --ports 80,443,5353/udp
  meshctl expose allow cluster --from tag:control-plane --ports 443,30000-32767 --sni '*.example.org' --default-class
  meshctl expose allow inside --from cp1 --pool 10.88.0.0/24 --namespaces web,shop")]
pub struct Allow {
    /// Its name
    #[arg(value_parser = label)]
    name: String,
    /// The nodes that may ask: a cluster's control planes, or tag:NAME for all nodes with a tag
    #[arg(long, value_name = "NODE|tag:NAME", value_delimiter = ',', value_parser = reach::named, required = true)]
    from: Vec<Named>,
    /// Public ports, such as 80, 5353/udp or 30000-32767/tcp; may be given several times
    #[arg(
        long,
        value_name = "PORTS",
        value_delimiter = ',',
        required_unless_present = "pool"
    )]
    ports: Vec<PortRange>,
    /// Private addresses for services, routed inside the mesh; may be given several times
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pool: Vec<Ipv4Net>,
    /// Sites that services may take where a port is shared; one that names none gets these [default: any]
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = site)]
    sni: Vec<String>,
    /// Only services of these namespaces [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = label)]
    namespaces: Vec<String>,
    /// Services without a class count too, and not only those of class `mesh`
    #[arg(long)]
    default_class: bool,
    /// Public ports at once [default: 64]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    max_ports: Option<u16>,
    /// Connections, or flows of UDP, at once at each port [default: 4096, of UDP 1024]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// New connections, or flows of UDP, in a second at each port [default: 1000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_per_second: Option<u32>,
    /// A connection without a byte for so long ends [default: 1h, of UDP 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    idle: Option<Duration>,
    #[command(flatten)]
    network: OfNetwork,
}

/// List what nodes may expose by themselves, and what they do.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl expose allowed --json")]
pub struct Allowed {
    #[command(flatten)]
    pub network: OfNetwork,
}

/// Nodes may expose nothing by this name any more; its ports are closed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl expose disallow cluster")]
pub struct Disallow {
    /// Its name
    #[arg(value_parser = label)]
    name: String,
    #[command(flatten)]
    network: OfNetwork,
}

impl Allow {
    /// Does it.
    pub async fn run(self, admin: &mut Admin) -> Result<Done, Failure> {
        let network = admin.network(self.network.name()).await?;
        let (nodes, tags) = reach::resolve(admin, &network.name, &self.from).await?;
        let terms = self.terms(Tellers { nodes, tags });
        let path = format!("networks/{}/allowances", network.name);
        let (done, ()): (Done, ()) = admin
            .post_signed(&network, &path, |key, network| {
                let deed = Deed::Ingress {
                    name: self.name.clone(),
                    terms: terms.clone(),
                };
                let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
                let request = IngressSet {
                    statement,
                    ..request(&self.name, &terms)
                };
                Ok((request, ()))
            })
            .await?;
        Ok(done)
    }

    fn terms(&self, askers: Tellers) -> IngressTerms {
        IngressTerms {
            askers,
            ports: self.ports.clone(),
            sites: self.sni.clone(),
            namespaces: self.namespaces.clone(),
            pool: self.pool.iter().map(Ipv4Net::trunc).collect(),
            default_class: self.default_class,
            listeners: self.max_ports,
            limits: limits(self.max_connections, self.max_per_second, self.idle),
        }
    }
}

fn request(name: &str, terms: &IngressTerms) -> IngressSet {
    IngressSet {
        name: name.to_owned(),
        nodes: terms.askers.nodes.iter().map(NodeId::to_string).collect(),
        tags: terms.askers.tags.clone(),
        ports: terms.ports.iter().map(ToString::to_string).collect(),
        sites: terms.sites.clone(),
        namespaces: terms.namespaces.clone(),
        pool: terms.pool.iter().map(ToString::to_string).collect(),
        default_class: terms.default_class,
        max_ports: terms.listeners,
        max_connections: terms.limits.connections,
        max_per_second: terms.limits.per_second,
        idle_seconds: terms.limits.idle,
        statement: None,
    }
}

impl Disallow {
    /// Does it.
    pub async fn run(self, admin: &mut Admin) -> Result<Done, Failure> {
        let network = admin.network(self.network.name()).await?;
        let path = format!("networks/{}/allowances/remove", network.name);
        let (done, ()): (Done, ()) = admin
            .post_signed(&network, &path, |key, network| {
                let name = self.name.clone();
                let deed = Deed::WithdrawIngress { name: name.clone() };
                let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
                Ok((IngressRemove { name, statement }, ()))
            })
            .await?;
        Ok(done)
    }
}

impl Allowed {
    /// What there is.
    pub async fn held(&self, admin: &mut Admin) -> Result<Vec<IngressInfo>, Failure> {
        let network = admin.network(self.network.name()).await?;
        admin.get(&format!("networks/{}/allowances", network.name)).await
    }
}

/// The page of all allowances.
pub fn list(all: &[IngressInfo]) -> String {
    if all.is_empty() {
        return "nodes may expose nothing by themselves; `meshctl expose allow NAME --from NODE --ports PORTS` changes that\n".into();
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let tags = one.tags.iter().map(|tag| format!("tag:{tag}"));
            let from: Vec<String> = one.nodes.iter().cloned().chain(tags).collect();
            let what: Vec<String> = one.ports.iter().chain(&one.pool).cloned().collect();
            vec![
                one.name.clone(),
                from.join(","),
                what.join(","),
                format!("{}/{}", one.held, one.max_ports),
                one.asked_by.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let mut text = table::render(&["NAME", "FROM", "ALLOWED", "PORTS", "ASKED BY"], &rows, 20);
    for one in all {
        for why in &one.refused {
            text.push_str(&format!("{}: not exposed: {why}\n", one.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn ports_or_a_pool_must_be_named_and_somebody_who_may_ask() {
        let parses = |line: &str| Cli::try_parse_from(line.split_whitespace()).is_ok();
        assert!(parses(
            "meshctl expose allow c --from cp1,tag:x --ports 80,443/tcp,1000-2000/udp"
        ));
        assert!(parses("meshctl expose allow c --from cp1 --pool 10.88.0.0/24"));
        assert!(parses("meshctl expose disallow c") && parses("meshctl expose allowed"));
        for odd in [
            "meshctl expose allow c --from cp1",
            "meshctl expose allow c --ports 80",
            "meshctl expose allow c --from cp1 --ports 80/sctp",
            "meshctl expose allow c --from cp1 --ports 9-1",
        ] {
            assert!(!parses(odd), "{odd}");
        }
    }

    #[test]
    fn a_page_says_what_is_held_and_what_was_refused() {
        let info = IngressInfo {
            name: "cluster".into(),
            nodes: vec!["cp1".into()],
            tags: vec!["x".into()],
            ports: vec!["80/tcp".into()],
            max_ports: 64,
            held: 3,
            refused: vec!["default/web: no".into()],
            ..IngressInfo::default()
        };
        let page = list(&[info]);
        assert!(page.contains("cp1,tag:x") && page.contains("3/64"), "{page}");
        assert!(
            page.ends_with("cluster: not exposed: default/web: no\n"),
            "{page}"
        );
        assert!(list(&[]).contains("expose allow"));
    }
}
