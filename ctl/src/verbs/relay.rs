//! `meshctl relay create|list|remove`

use clap::{Args, Subcommand};
use meshd_api::coordinator::admin::{Done, RelayCreate, RelayCreated, RelayInfo};

use crate::admin::Admin;
use crate::cli::{Global, label};
use crate::failure::Failure;
use crate::output::remark;
use crate::table;

/// Relays on other hosts.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl relay create east")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Relay {
    Create(Create),
    List(List),
    Remove(Remove),
}

/// Make a relay on another host; prints the one word that it is started with.
///
/// On the other host: `meshrelay run --relay-for WORD --public-addr HOST`. It relays for all networks of this coordinator and keeps
/// no state; nodes learn of it at once, use the nearest relay, and move to another when one dies.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl relay create east")]
pub struct Create {
    /// What to call it
    #[arg(value_parser = label)]
    name: String,
}

/// List the relays.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl relay list")]
pub struct List {}

/// Remove a relay: nodes leave it at once, and its word is worth nothing any more.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl relay remove east")]
pub struct Remove {
    /// Its name
    #[arg(value_parser = label)]
    name: String,
}

impl Relay {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        admin.must_be_local("relay")?;
        match self {
            Self::Create(Create { name }) => {
                let created: RelayCreated = admin.post("relays", &RelayCreate { name }).await?;
                remark(&format!(
                    "relay {}; on its host: meshrelay run --public-addr HOST --relay-for",
                    created.name
                ));
                global
                    .output()
                    .answer(&created, |created| format!("{}\n", created.word))
            }
            Self::List(_) => {
                let relays: Vec<RelayInfo> = admin.get("relays").await?;
                global.output().answer(&relays, |relays| list(relays))
            }
            Self::Remove(Remove { name }) => {
                let path = format!("relays/{name}/remove");
                let done: Done = admin.post(&path, &serde_json::json!({})).await?;
                global
                    .output()
                    .answer(&done, |done| format!("{}\n", done.message))
            }
        }
    }
}

/// A line for each relay, its addresses below.
fn list(relays: &[RelayInfo]) -> String {
    let row = |relay: &RelayInfo| {
        let state = match (relay.connected, relay.udp.is_empty()) {
            (true, _) => "connected",
            (false, true) => "never came",
            (false, false) => "away",
        };
        vec![relay.name.clone(), relay.id.clone(), state.to_owned()]
    };
    let rows: Vec<_> = relays.iter().map(row).collect();
    let listed = table::render(&["NAME", "ID", "STATE"], &rows, 24);
    let mut lines = listed.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for line in lines {
        out += &format!("{line}\n");
        let named = |relay: &&RelayInfo| line.contains(&relay.id);
        if let Some(relay) = relays.iter().find(named) {
            let udp = relay.udp.iter().map(|address| format!("udp {address}"));
            let tls = relay.tls.iter().map(|address| format!("tls {address}"));
            out.extend(udp.chain(tls).map(|address| format!("  {address}\n")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_are_listed_with_their_addresses_below() {
        let relay = |name: &str, connected, udp: &[&str]| RelayInfo {
            id: format!("{:0>16}", name.len()),
            name: name.to_owned(),
            connected,
            udp: udp.iter().map(|&address| address.to_owned()).collect(),
            tls: Vec::new(),
        };
        let text = list(&[
            relay("coordinator", true, &["203.0.113.1:3478"]),
            relay("east", false, &["[2001:db8::7]:3478"]),
            relay("w", false, &[]),
        ]);
        let wanted = "\
NAME         ID                STATE
coordinator  0000000000000011  connected
  udp 203.0.113.1:3478
east         0000000000000004  away
  udp [2001:db8::7]:3478
w            0000000000000001  never came
";
        assert_eq!(text, wanted);
    }
}
