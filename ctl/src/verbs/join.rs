//! `meshctl join`

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;
use meshd_api::local::{JoinReply, JoinRequest, Membership};
use tokio::time::{Instant, interval_at};

use super::token_source::TokenSource;
use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;

/// After this time without an answer a person is told that something is being done, and each time again.
const PROGRESS: Duration = Duration::from_secs(2);

/// Join this machine to a network.
///
/// Returns when the machine is in (or waits for an admin's approval) and prints its name and addresses. Joining again
/// with the same token changes nothing and costs no use.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl join mesh1ae4tq...
  meshctl join --token-file /run/token --hostname db1 --ip 10.77.0.9
  ssh cloud meshctl token create --network prod | meshctl join -")]
pub struct Join {
    #[command(flatten)]
    token: TokenSource,
    /// The name to ask for [default: this machine's own]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// The IPv4 address in the network to ask for
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// The UDP port of the tunnel [default: 51820 or the next free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    listen_port: Option<u16>,
    /// Join although the network's range overlaps one that this machine has
    #[arg(long)]
    force: bool,
}

impl Join {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let word = self.token.read()?;
        let request = JoinRequest {
            token: word.to_string(),
            hostname: self.hostname,
            ip: self.ip,
            listen_port: self.listen_port,
            force: self.force,
        };
        let joining = async {
            let mut meshd = Local::connect(&global.socket).await?;
            meshd.post("join", &request).await
        };
        let reply: JoinReply = with_progress(joining).await?;
        global.output().answer(&reply, sentence)
    }
}

async fn with_progress<T>(work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let mut ticks = interval_at(started + PROGRESS, PROGRESS);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                eprintln!("still joining, for {} s now ...", started.elapsed().as_secs());
            }
        }
    }
}

fn sentence(reply: &JoinReply) -> String {
    let JoinReply {
        network,
        hostname,
        ipv4,
        ipv6,
        interface,
        state,
    } = reply;
    match state {
        Membership::Joined => format!("joined {network} as {hostname}: {ipv4}, {ipv6} on {interface}\n"),
        Membership::Pending => format!(
            "{network} knows this machine as {hostname}: {ipv4}, {ipv6}; it is in when an admin runs\n  \
             meshctl node approve {hostname} --network {network}\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(state: Membership) -> JoinReply {
        JoinReply {
            network: "prod".into(),
            hostname: "web-2".into(),
            ipv4: "10.77.0.2".parse().unwrap(),
            ipv6: "fd00::2".parse().unwrap(),
            interface: "meshd0".into(),
            state,
        }
    }

    #[test]
    fn the_sentence_has_the_name_and_the_addresses() {
        assert_eq!(
            sentence(&reply(Membership::Joined)),
            "joined prod as web-2: 10.77.0.2, fd00::2 on meshd0\n"
        );
        assert!(sentence(&reply(Membership::Pending)).contains("meshctl node approve web-2 --network prod"));
    }
}
