//! `meshctl token create|list|revoke`

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use meshd_api::Base64Bytes;
use meshd_api::coordinator::admin::{
    Done, NetworkInfo, NodeAct, NodeInfo, TokenCreate, TokenCreated, TokenInfo, TokenRevoke,
};
use meshd_core::id::{NodeId, TokenId};
use meshd_core::statement::Deed;
use serde::Serialize;

use crate::admin::{self, Admin, AdminKey};
use crate::cli::{Global, OfNetwork, label};
use crate::failure::Failure;
use crate::output::remark;
use crate::{table, units};

/// Join tokens.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl token create --network prod --uses 20 --expires 7d")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Token {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token; prints one word and nothing else.
///
/// Whoever has the word can join until it is used up, expired or revoked. It is shown once and never again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl token create --network prod --uses 20 --expires 7d --tags worker
  meshctl token create --hostname db1 --ip 10.77.0.9 --listen-port 51820
  meshctl token create --template --ephemeral     for clones of a VM image")]
pub struct Create {
    #[command(flatten)]
    network: OfNetwork,
    /// How many machines may join by it [default: any number; 1 with --hostname or --ip]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// For how long it is good, e.g. 12h or 7d [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    expires: Option<Duration>,
    /// Tags of the machines that come by it, with commas between
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = label)]
    tags: Vec<String>,
    /// Remove machines that came by it when they stay away
    #[arg(long)]
    ephemeral: bool,
    /// The host name of the machine that comes by it
    #[arg(long, value_name = "NAME", value_parser = label)]
    hostname: Option<String>,
    /// Its IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Its UDP port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    listen_port: Option<u16>,
    /// Machines wait for `meshctl node approve`
    #[arg(long)]
    approve: bool,
    /// For VM images: each clone gets an identity of its own
    #[arg(long)]
    template: bool,
}

/// List the tokens, without the words.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl token list --network prod")]
pub struct List {
    #[command(flatten)]
    network: OfNetwork,
}

/// Let nobody join by a token any more.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl token revoke 0011223344556677 --with-nodes")]
pub struct Revoke {
    /// The token's id, from `meshctl token list`
    #[arg(value_name = "ID")]
    id: TokenId,
    #[command(flatten)]
    network: OfNetwork,
    /// Also remove the machines that came by it
    #[arg(long)]
    with_nodes: bool,
}

impl Token {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Create(verb) => verb.run(global).await,
            Self::List(verb) => {
                let mut admin = Admin::connect(global).await?;
                let network = admin.network(verb.network.name()).await?;
                let tokens: Vec<TokenInfo> = admin.get(&format!("networks/{}/tokens", network.name)).await?;
                let now = unix_now();
                global.output().answer(&tokens, |tokens| list(tokens, now))
            }
            Self::Revoke(verb) => verb.run(global).await,
        }
    }
}

impl Create {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let network = admin.network(self.network.name()).await?;
        // what a token fixes can be one machine's only
        let one = self.hostname.is_some() || self.ip.is_some();
        let request = TokenCreate {
            uses: self.uses.or(one.then_some(1)),
            expires_in: self.expires.map(|expires| expires.as_secs()),
            tags: self.tags,
            ephemeral: self.ephemeral,
            approval: self.approve,
            hostname: self.hostname,
            ip: self.ip,
            listen_port: self.listen_port,
            template: self.template,
            statement: None,
        };
        let created = make(&mut admin, &network, &request).await?;
        tell(global, &network, &created)
    }
}

/// Makes a token.
pub async fn make(
    admin: &mut Admin,
    network: &NetworkInfo,
    request: &TokenCreate,
) -> Result<TokenCreated, Failure> {
    let path = format!("networks/{}/tokens", network.name);
    post(admin, network, &path, (request, None), |statement| TokenCreate {
        statement,
        ..request.clone()
    })
    .await
}

/// The word on stdout, alone; the rest for a person who watches.
pub fn tell(global: &Global, network: &NetworkInfo, created: &TokenCreated) -> Result<(), Failure> {
    if created.token.is_none() {
        return Err(Failure::failed(
            "the coordinator made a token but did not say it; revoke it and try again",
        ));
    }
    remark(&format!(
        "token {} of network {}; join with `meshctl join`:",
        created.id, network.name
    ));
    global.output().answer(created, |created| {
        format!("{}\n", created.token.as_deref().unwrap_or_default())
    })
}

impl Revoke {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let network = admin.network(self.network.name()).await?;
        let done = revoke(&mut admin, &network, self.id, self.with_nodes).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}

/// Ends a token.
pub async fn revoke(
    admin: &mut Admin,
    network: &NetworkInfo,
    token: TokenId,
    with_nodes: bool,
) -> Result<Done, Failure> {
    let make = |key: Option<&AdminKey>, network: &NetworkInfo| {
        let deed = match with_nodes {
            true => Deed::RevokeTokenAndNodes { token },
            false => Deed::RevokeToken { token },
        };
        let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
        let body = TokenRevoke {
            with_nodes,
            statement,
        };
        Ok((body, ()))
    };
    let path = format!("networks/{}/tokens/{token}/revoke", network.name);
    let (done, ()) = admin.post_signed(network, &path, make).await?;
    Ok(done)
}

/// A token with which a rebuilt machine takes over a node: by it the machine gets the node's name, address and tags, and
/// what else the node's own token fixed.
pub async fn replacement(
    admin: &mut Admin,
    network: &NetworkInfo,
    node: &NodeInfo,
    path: &str,
) -> Result<TokenCreated, Failure> {
    let tokens = format!("networks/{}/tokens", network.name);
    let (mut wanted, mut replaced) = (TokenCreate::default(), None);
    if admin.key().is_some() {
        let tokens: Vec<TokenInfo> = admin.get(&tokens).await?;
        let came_by = tokens.iter().find(|token| token.id == node.token);
        wanted = TokenCreate {
            uses: Some(1),
            tags: node.tags.clone(),
            ephemeral: came_by.is_some_and(|token| token.ephemeral),
            hostname: Some(node.name.clone()),
            ip: Some(node.ipv4),
            listen_port: came_by.and_then(|token| token.listen_port),
            ..Default::default()
        };
        let id: NodeId = node
            .id
            .parse()
            .map_err(|e| Failure::failed(format!("the answer is odd: {e}")))?;
        replaced = Some(id);
    }
    post(admin, network, path, (&wanted, replaced), |statement| NodeAct {
        statement,
        ..NodeAct::default()
    })
    .await
}

/// Has a token made: by the coordinator, or, where the root key is kept here, here; then its word is made here as well.
async fn post<B: Serialize>(
    admin: &mut Admin,
    network: &NetworkInfo,
    path: &str,
    (wanted, replaces): (&TokenCreate, Option<NodeId>),
    body: impl Fn(Option<Base64Bytes>) -> B,
) -> Result<TokenCreated, Failure> {
    let make = |key: Option<&AdminKey>, network: &NetworkInfo| {
        let Some(key) = key else {
            return Ok((body(None), None));
        };
        let (statement, _, word) = admin::delegate(key, network, wanted, replaces, unix_now())?;
        Ok((body(Some(statement)), Some(word)))
    };
    let (mut created, made_here): (TokenCreated, _) = admin.post_signed(network, path, make).await?;
    if let Some(word) = made_here {
        created.token = Some(word.to_string());
    }
    Ok(created)
}

/// This machine's clock, in s.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn list(tokens: &[TokenInfo], now: u64) -> String {
    if tokens.is_empty() {
        return "there is no token; make one with `meshctl token create`\n".into();
    }
    let row = |token: &TokenInfo| {
        let uses = token.uses.map_or("any".to_owned(), |uses| uses.to_string());
        let expires = match token.expires {
            None => "never".to_owned(),
            Some(at) if at > now => format!("in {}", units::seconds(at - now)),
            Some(at) => format!("{} ago", units::seconds(now - at)),
        };
        vec![
            token.id.clone(),
            token.state.clone(),
            format!("{} of {uses}", token.used),
            expires,
            terms(token),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    let listed = table::render(&["ID", "STATE", "USED", "EXPIRES"], &rows, 16);
    // the terms may be long: they stand below their token
    let mut lines = listed.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for (line, row) in lines.zip(&rows) {
        out += &format!("{line}\n");
        if !row[4].is_empty() {
            out += &format!("  {}", table::wrap(&row[4], 2));
        }
    }
    out
}

/// What is special about a token.
fn terms(token: &TokenInfo) -> String {
    let flags = [
        (token.approval, "waits for approval"),
        (token.ephemeral, "ephemeral"),
        (token.template, "for a template"),
    ];
    let mut terms: Vec<String> = flags
        .iter()
        .filter(|flag| flag.0)
        .map(|flag| flag.1.to_owned())
        .collect();
    terms.extend(token.replaces.as_ref().map(|name| format!("replaces {name}")));
    terms.extend(token.hostname.as_ref().map(|name| format!("host name {name}")));
    terms.extend(token.ip.map(|ip| format!("address {ip}")));
    terms.extend(token.listen_port.map(|port| format!("port {port}")));
    if !token.tags.is_empty() {
        terms.push(format!("tags {}", token.tags.join(" ")));
    }
    terms.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> TokenInfo {
        TokenInfo {
            id: "0011223344556677".into(),
            state: "valid".into(),
            used: 3,
            uses: Some(20),
            expires: Some(1_000_000 + 7 * 86_400),
            tags: Vec::new(),
            ephemeral: false,
            approval: false,
            hostname: None,
            ip: None,
            listen_port: None,
            template: false,
            replaces: None,
        }
    }

    #[test]
    fn tokens_are_listed_with_their_terms_below() {
        let special = TokenInfo {
            state: "used-up".into(),
            used: 1,
            uses: None,
            expires: Some(999_000),
            tags: (0..20).map(|n| format!("tag-number-{n}")).collect(),
            approval: true,
            hostname: Some("db1".into()),
            ip: Some([10, 77, 0, 9].into()),
            listen_port: Some(51820),
            ..token()
        };
        let text = list(&[token(), special], 1_000_000);
        let start = "\
ID                STATE    USED      EXPIRES
0011223344556677  valid    3 of 20   in 7 d
0011223344556677  used-up  1 of any  16 min ago
  waits for approval, host name db1, address 10.77.0.9, port 51820, tags";
        assert!(text.starts_with(start), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
