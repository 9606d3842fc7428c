//! `meshctl endpoint add|list|remove`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use meshd_api::Base64Bytes;
use meshd_api::coordinator::admin::{
    Done, EndpointInfo, EndpointMember, EndpointRemove, EndpointSet, NetworkInfo,
};
use meshd_core::balance::API_PORT;
use meshd_core::id::NodeId;
use meshd_core::statement::{Deed, EndpointTerms, Member};

use crate::admin::{self, Admin};
use crate::cli::{Global, OfNetwork, label};
use crate::failure::Failure;
use crate::table;
use crate::verbs::pem;
use crate::verbs::place::{Place, members, place};

/// How often a change is made anew because others were quicker.
const MAX_TRIES: u32 = 20;

/// Addresses that every node holds, and balances to nodes behind them.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl endpoint add api --to cp1:6443 --to cp2:6443 --to cp3:6443")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Endpoint {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Make an endpoint, or add nodes to it.
///
/// Every node holds its address for itself, listens there, and hands each connection to one of the nodes behind it that is well.
/// Nothing is in between that could fail.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl endpoint add api --to cp1:6443 --to cp2:6443
  meshctl endpoint add api --to cp3:6443   one more
  meshctl endpoint add api --ca /etc/kubernetes/pki/ca.crt
  meshctl endpoint add registry --port 5000 --to store1:5000
  meshctl endpoint add api --address 10.0.1.99:60443 --to cp1:6443")]
pub struct Add {
    /// Its name
    #[arg(value_parser = label)]
    name: String,
    /// A node and the port on its mesh address; may be given several times
    #[arg(long, value_name = "NODE:PORT", value_delimiter = ',', value_parser = place)]
    to: Vec<Place>,
    /// Its address and port [default: the address that each network keeps for it, port 7443]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "port")]
    address: Option<SocketAddr>,
    /// Its port at the address that each network keeps
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Who issues the certificates of those behind it (PEM): they are well where they answer GET /readyz over TLS, as API servers
    /// do; without it, where they take a connection
    #[arg(long, value_name = "FILE", conflicts_with = "no_ca")]
    ca: Option<PathBuf>,
    /// They are well where they take a connection
    #[arg(long)]
    no_ca: bool,
    #[command(flatten)]
    network: OfNetwork,
}

/// List the endpoints.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl endpoint list --network prod")]
pub struct List {
    #[command(flatten)]
    network: OfNetwork,
}

/// Take nodes out of an endpoint, or take it away.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl endpoint remove api --to cp1:6443   its connections go on until they end
  meshctl endpoint remove registry")]
pub struct Remove {
    /// Its name
    #[arg(value_parser = label)]
    name: String,
    /// Only this node; may be given several times
    #[arg(long, value_name = "NODE:PORT", value_delimiter = ',', value_parser = place)]
    to: Vec<Place>,
    #[command(flatten)]
    network: OfNetwork,
}

/// What is to be of an endpoint, as read and changed.
struct Wanted {
    terms: EndpointTerms,
    based_on: u64,
}

impl Endpoint {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let done = match self {
            Self::Add(verb) => verb.run(&mut admin).await?,
            Self::List(verb) => {
                let network = admin.network(verb.network.name()).await?;
                let endpoints = held(&mut admin, &network).await?;
                return global.output().answer(&endpoints, |endpoints| list(endpoints));
            }
            Self::Remove(verb) => verb.run(&mut admin).await?,
        };
        global
            .output()
            .answer(&done, |done: &Done| format!("{}\n", done.message))
    }
}

impl Add {
    async fn run(self, admin: &mut Admin) -> Result<Done, Failure> {
        let authorities = self.ca.as_deref().map(pem::certificates).transpose()?;
        let network = admin.network(self.network.name()).await?;
        let to = members(admin, &network.name, &self.to).await?;
        change(admin, &network, &self.name, |before| {
            let based_on = before.as_ref().map_or(0, |wanted| wanted.based_on);
            let mut terms = before.map_or_else(empty, |wanted| wanted.terms);
            terms.members.extend(&to);
            match (self.address, self.port) {
                (Some(at), _) => (terms.address, terms.port) = (Some(at.ip()), at.port()),
                (None, Some(port)) => (terms.address, terms.port) = (None, port),
                (None, None) => {}
            }
            match &authorities {
                Some(authorities) => terms.authorities.clone_from(authorities),
                None if self.no_ca => terms.authorities.clear(),
                None => {}
            }
            Ok(Wanted { terms, based_on })
        })
        .await
    }
}

impl Remove {
    async fn run(self, admin: &mut Admin) -> Result<Done, Failure> {
        let network = admin.network(self.network.name()).await?;
        if self.to.is_empty() {
            return self.all(admin, &network).await;
        }
        let gone = members(admin, &network.name, &self.to).await?;
        change(admin, &network, &self.name, |before| {
            let Some(Wanted { mut terms, based_on }) = before else {
                return Err(Failure::failed(format!("there is no endpoint \"{}\"", self.name)));
            };
            if let Some(other) = gone.iter().position(|member| !terms.members.contains(member)) {
                let Place { node, port } = &self.to[other];
                let text = format!("{node}:{port} is not behind the endpoint \"{}\"", self.name);
                return Err(Failure::failed(text));
            }
            terms.members.retain(|member| !gone.contains(member));
            Ok(Wanted { terms, based_on })
        })
        .await
    }

    async fn all(&self, admin: &mut Admin, network: &NetworkInfo) -> Result<Done, Failure> {
        let path = format!("networks/{}/endpoints/remove", network.name);
        let (done, ()): (Done, ()) = admin
            .post_signed(network, &path, |key, network| {
                let name = self.name.clone();
                let deed = Deed::WithdrawEndpoint { name: name.clone() };
                let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
                Ok((EndpointRemove { name, statement }, ()))
            })
            .await?;
        Ok(done)
    }
}

/// Puts a node's port behind an endpoint, which is made where there is none.
pub async fn put_behind(global: &Global, network: &str, name: &str, to: (&str, u16)) -> Result<(), Failure> {
    changed(global, network, name, Some(to), |terms, members| {
        terms.members.extend(members)
    })
    .await
}

/// Takes a node's port out of an endpoint.
pub async fn take_from(global: &Global, network: &str, name: &str, to: (&str, u16)) -> Result<(), Failure> {
    let take =
        |terms: &mut EndpointTerms, gone: &[Member]| terms.members.retain(|member| !gone.contains(member));
    changed(global, network, name, Some(to), take).await
}

/// Has members of an endpoint judged by what they answer under certificates of these authorities.
pub async fn check_by(
    global: &Global,
    network: &str,
    name: &str,
    authorities: &[Vec<u8>],
) -> Result<(), Failure> {
    let set = |terms: &mut EndpointTerms, _: &[Member]| terms.authorities = authorities.to_vec();
    changed(global, network, name, None, set).await
}

async fn changed(
    global: &Global,
    network: &str,
    name: &str,
    place: Option<(&str, u16)>,
    make: impl Fn(&mut EndpointTerms, &[Member]),
) -> Result<(), Failure> {
    let mut admin = Admin::connect(global).await?;
    let network = admin.network(Some(network)).await?;
    let place = place.map(|(node, port)| Place {
        node: node.to_owned(),
        port,
    });
    let to = members(&mut admin, &network.name, place.as_slice()).await?;
    let done = change(&mut admin, &network, name, |before| {
        let based_on = before.as_ref().map_or(0, |wanted| wanted.based_on);
        let mut terms = before.map_or_else(empty, |wanted| wanted.terms);
        make(&mut terms, &to);
        Ok(Wanted { terms, based_on })
    });
    done.await.map(drop)
}

/// Reads the endpoint, changes it and writes it; where somebody else changed it, or signed something, in between: anew.
async fn change(
    admin: &mut Admin,
    network: &NetworkInfo,
    name: &str,
    make: impl Fn(Option<Wanted>) -> Result<Wanted, Failure>,
) -> Result<Done, Failure> {
    let path = format!("networks/{}/endpoints", network.name);
    let mut tries = 1;
    loop {
        let network = admin.network(Some(&network.name)).await?;
        let before = held(admin, &network).await?;
        let before = before.into_iter().find(|endpoint| endpoint.name == name);
        let Wanted { mut terms, based_on } = make(before.map(wanted).transpose()?)?;
        // as the coordinator has them, which compares a signed statement with what it makes of the request
        terms.members.sort();
        terms.members.dedup();
        let mut request = request(name, &terms, based_on);
        if let Some(key) = admin.key() {
            let deed = Deed::Endpoint {
                name: name.to_owned(),
                terms,
            };
            request.statement = Some(admin::act(key, &network, deed)?);
        }
        match admin.post(&path, &request).await {
            Err(failure) if failure.is_stale() && tries < MAX_TRIES => tries += 1,
            answer => return answer,
        }
    }
}

fn empty() -> EndpointTerms {
    EndpointTerms {
        address: None,
        port: API_PORT,
        members: Vec::new(),
        authorities: Vec::new(),
    }
}

async fn held(admin: &mut Admin, network: &NetworkInfo) -> Result<Vec<EndpointInfo>, Failure> {
    admin.get(&format!("networks/{}/endpoints", network.name)).await
}

fn wanted(info: EndpointInfo) -> Result<Wanted, Failure> {
    let odd = |what: &str| Failure::failed(format!("the coordinator's answer is odd: {what}"));
    let member = |member: &EndpointMember| {
        let node: Result<NodeId, _> = member.id.parse();
        let node = node.map_err(|e| odd(&e.to_string()))?;
        Ok(Member {
            node,
            port: member.port,
        })
    };
    let address = info.address.map(|text| text.parse());
    Ok(Wanted {
        based_on: info.serial,
        terms: EndpointTerms {
            address: address.transpose().map_err(|_| odd("an address"))?,
            port: info.port,
            members: info.members.iter().map(member).collect::<Result<_, Failure>>()?,
            authorities: info.authorities.into_iter().map(|der| der.0).collect(),
        },
    })
}

fn request(name: &str, terms: &EndpointTerms, based_on: u64) -> EndpointSet {
    let member = |member: &Member| EndpointMember {
        node: member.node.to_string(),
        port: member.port,
        ..EndpointMember::default()
    };
    EndpointSet {
        name: name.to_owned(),
        address: terms.address.map(|address| address.to_string()),
        port: terms.port,
        members: terms.members.iter().map(member).collect(),
        authorities: terms.authorities.iter().cloned().map(Base64Bytes).collect(),
        based_on,
        statement: None,
    }
}

fn list(endpoints: &[EndpointInfo]) -> String {
    if endpoints.is_empty() {
        return "there is no endpoint yet; `meshctl endpoint add NAME --to NODE:PORT` makes one\n".into();
    }
    let mut rows = Vec::new();
    for endpoint in endpoints {
        let mut at = endpoint.at.iter();
        let mut members = endpoint.members.iter();
        let mut first = Some((endpoint.name.clone(), endpoint.check.clone()));
        loop {
            let (at, member) = (at.next(), members.next());
            if at.is_none() && member.is_none() && first.is_none() {
                break;
            }
            let (name, check) = first.take().unwrap_or_default();
            let state = |member: &EndpointMember| if member.connected { "connected" } else { "away" };
            rows.push(vec![
                name,
                at.cloned().unwrap_or_default(),
                check,
                member.map(|member| state(member).to_owned()).unwrap_or_default(),
                member
                    .map(|member| format!("{}:{}", member.node, member.port))
                    .unwrap_or_default(),
            ]);
        }
    }
    table::render(&["NAME", "ADDRESS", "CHECK", "STATE", "NODE"], &rows, 20)
}
