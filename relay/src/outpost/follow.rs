//! The line to the coordinator: who may use the relay.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use meshd_api::client::{ClientError, LineStream, pinned};
use meshd_api::coordinator::relay::{RelayLine, RelayMember};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::IdentityPublic;
use meshd_core::relay::word::RelayWord;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::Guests;

/// First pause before another try.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before another try.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The coordinator pings every 10 s; silent for so long, the line is dead.
const SILENCE: Duration = Duration::from_secs(25);

/// Where the relay listens, as the query of its stream says it.
pub(super) fn listens(hosts: &[String], udp: &[SocketAddr], tls: &[SocketAddr]) -> String {
    let ports = |addresses: &[SocketAddr]| {
        let mut ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    let with = |port: u16| match hosts {
        [] => vec![format!(":{port}")],
        hosts => hosts.iter().map(|host| shown(host, port)).collect(),
    };
    let list = |ports: Vec<u16>| ports.into_iter().flat_map(with).collect::<Vec<_>>().join(",");
    format!("udp={}&tls={}", list(ports(udp)), list(ports(tls)))
}

fn shown(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Follows the coordinator, for ever.
pub(super) async fn follow(word: RelayWord, listens: String, guests: Guests) {
    let mut pause = FIRST_PAUSE;
    let mut said = String::new();
    loop {
        for address in &word.addresses {
            let ended = session(
                &word,
                (address.host(), address.port()),
                &listens,
                &guests,
                &mut pause,
            )
            .await;
            let why = match ended {
                Ok(()) => format!("{address} ended the line"),
                Err(error) => error.to_string(),
            };
            if why != said {
                warn!("the coordinator is away: {why}; the relay goes on for whom it knows");
                said = why;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn session(
    word: &RelayWord,
    (host, port): (&str, u16),
    listens: &str,
    guests: &Guests,
    pause: &mut Duration,
) -> Result<(), ClientError> {
    let mut connection = pinned::connect(host, port, &[*word.coordinator.as_bytes()]).await?;
    let exporter = connection.exporter().unwrap_or_default();
    connection.authorize(word.secret.prove(word.id, &exporter).to_string());
    let mut lines = connection.lines(&format!("/v1/relays/stream?{listens}")).await?;
    info!(coordinator = %format!("{host}:{port}"), "connected to the coordinator");
    *pause = FIRST_PAUSE;
    let mut named = Some(BTreeSet::new());
    while let Some(line) = next(&mut lines, host, port).await? {
        match line {
            RelayLine::Network { id, nodes } => {
                let Ok(id) = id.parse::<NetworkId>() else { continue };
                guests.set(id, nodes.iter().filter_map(member).collect());
                if let Some(named) = &mut named {
                    named.insert(id);
                }
            }
            RelayLine::Complete => {
                if let Some(named) = named.take() {
                    guests.retain(|id| named.contains(id));
                }
            }
            RelayLine::Ping => {}
        }
    }
    Ok(())
}

async fn next(lines: &mut LineStream, host: &str, port: u16) -> Result<Option<RelayLine>, ClientError> {
    timeout(SILENCE, lines.next())
        .await
        .map_err(|_| ClientError::Timeout {
            address: format!("{host}:{port}"),
            seconds: SILENCE.as_secs(),
        })?
}

fn member(member: &RelayMember) -> Option<(NodeId, IdentityPublic)> {
    Some((member.node.parse().ok()?, member.identity.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_it_listens_on_is_said_with_its_names_and_without() {
        let udp = ["0.0.0.0:3478", "0.0.0.0:3479", "[::]:3478"].map(|a| a.parse().unwrap());
        let tls = ["0.0.0.0:443".parse().unwrap()];
        assert_eq!(listens(&[], &udp, &tls), "udp=:3478,:3479&tls=:443");
        let hosts = ["a.example.net".to_owned(), "2001:db8::1".to_owned()];
        assert_eq!(
            listens(&hosts, &udp[..1], &tls),
            "udp=a.example.net:3478,[2001:db8::1]:3478&tls=a.example.net:443,[2001:db8::1]:443"
        );
    }

    #[tokio::test]
    async fn a_network_that_is_named_no_more_is_gone() {
        let members = crate::packets::Members::new(
            &zeroize::Zeroizing::new([1; 32]),
            [2; 32],
            crate::packets::Limits::default(),
        );
        let guests = Guests::new(members);
        let nodes = || BTreeMap::from([([1; 16].into(), IdentityPublic::from_bytes([3; 32]))]);
        guests.set([1; 16].into(), nodes());
        guests.set([2; 16].into(), nodes());
        guests.retain(|id| *id == NetworkId::from_bytes([2; 16]));
        assert!(guests.identity([1; 16].into(), [1; 16].into()).is_none());
        assert!(guests.identity([2; 16].into(), [1; 16].into()).is_some());
    }
}
