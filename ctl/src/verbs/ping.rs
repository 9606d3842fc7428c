//! `meshctl ping`

use std::time::{Duration, Instant};

use clap::Args;
use meshd_api::local::{PathKind, PeerRequest, PingReply};
use serde::Serialize;

use crate::cli::{Global, OfNetwork};
use crate::failure::Failure;
use crate::local::Local;
use crate::output::{remark, write};
use crate::units;

/// Between two pings.
const EVERY: Duration = Duration::from_secs(1);
/// Between two pings while the path is to become direct.
const EVERY_UNTIL_DIRECT: Duration = Duration::from_millis(250);
/// How long to wait for a direct path, unless told.
const UNTIL_DIRECT: u32 = 40;

/// Ping a peer and show by which path it answers.
///
/// The ping is meshd's own, not ICMP: it takes the way that packets take now. Each line says by which path the pong came and
/// how long it took.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl ping db1
  meshctl ping db1 -c 1 --json
  meshctl ping db1 --until-direct     stop at the first pong by a direct path

Exit code 1 where no pong came, or with --until-direct no direct one.")]
pub struct Ping {
    /// Name, id or mesh address of the peer
    #[arg(value_name = "PEER")]
    peer: String,
    /// Stop after so many pings [default: 4, with --until-direct 40]
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Stop at the first pong that came by a direct path
    #[arg(long)]
    until_direct: bool,
    #[command(flatten)]
    network: OfNetwork,
}

/// All pings, as JSON.
#[derive(Debug, Default, Serialize)]
struct Answer {
    peer: String,
    /// Whether the last pong came by a direct path.
    direct: bool,
    pings: Vec<Line>,
}

/// One ping.
#[derive(Debug, Serialize)]
struct Line {
    sequence: u32,
    /// `direct` or `relay`; null where no pong came.
    path: Option<PathKind>,
    endpoint: Option<String>,
    rtt_ms: Option<f64>,
    error: Option<String>,
}

impl Ping {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut local = Local::connect(&global.socket).await?;
        let request = PeerRequest {
            network: self.network.clone().into(),
            peer: self.peer.clone(),
        };
        let count = self
            .count
            .unwrap_or(if self.until_direct { UNTIL_DIRECT } else { 4 });
        let every = if self.until_direct {
            EVERY_UNTIL_DIRECT
        } else {
            EVERY
        };
        let (mut answer, begin) = (Answer::default(), Instant::now());
        answer.peer.clone_from(&self.peer);
        for sequence in 1..=count {
            let next = Instant::now() + every;
            let line = answer.take(sequence, local.post("ping", &request).await)?;
            if !global.json {
                write(format!("{}\n", sentence(&answer.peer, &line)).as_bytes())?;
            }
            answer.pings.push(line);
            if sequence == count || answer.direct && self.until_direct {
                break;
            }
            tokio::time::sleep_until(next.into()).await;
        }
        if global.json {
            global.output().answer(&answer, |_| String::new())?;
        }
        self.judge(&answer, begin.elapsed())
    }

    fn judge(&self, answer: &Answer, took: Duration) -> Result<(), Failure> {
        let (peer, seconds) = (&answer.peer, took.as_secs());
        if answer.pings.iter().all(|line| line.error.is_some()) {
            return Err(Failure::failed(format!(
                "no pong came from {peer}; `meshctl why {peer}` says more"
            )));
        }
        if self.until_direct && !answer.direct {
            return Err(Failure::failed(format!(
                "{peer} is still reached through a relay after {seconds} s; `meshctl why {peer}` says why"
            )));
        }
        if self.until_direct {
            remark(&format!(
                "direct after {}",
                units::milliseconds(took.as_secs_f64() * 1000.0)
            ));
        }
        Ok(())
    }
}

impl Answer {
    /// The line of one ping. Fails where no further ping can do better.
    fn take(&mut self, sequence: u32, outcome: Result<PingReply, Failure>) -> Result<Line, Failure> {
        match outcome {
            Ok(reply) => {
                self.peer = reply.peer;
                self.direct = reply.path.kind == PathKind::Direct;
                Ok(Line {
                    sequence,
                    path: Some(reply.path.kind),
                    endpoint: reply.path.endpoint,
                    rtt_ms: reply.path.rtt_ms,
                    error: None,
                })
            }
            Err(failure) if failure.code() == "no-pong" => {
                self.direct = false;
                Ok(Line {
                    sequence,
                    path: None,
                    endpoint: None,
                    rtt_ms: None,
                    error: Some(failure.message().to_owned()),
                })
            }
            Err(failure) => Err(failure),
        }
    }
}

fn sentence(peer: &str, line: &Line) -> String {
    let rtt = line.rtt_ms.map_or("-".to_owned(), units::milliseconds);
    let at = line.endpoint.as_deref().unwrap_or("-");
    match (&line.error, line.path) {
        (Some(error), _) => error.clone(),
        (None, Some(PathKind::Direct)) => format!("pong from {peer} in {rtt}, direct, {at}"),
        (None, Some(PathKind::Relay)) => format!("pong from {peer} in {rtt}, through the relay {at}"),
        (None, Some(PathKind::None) | None) => format!("pong from {peer} in {rtt}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pong_says_its_path() {
        let mut line = Line {
            sequence: 1,
            path: Some(PathKind::Direct),
            endpoint: Some("198.51.100.7:51820".into()),
            rtt_ms: Some(12.34),
            error: None,
        };
        assert_eq!(
            sentence("db1", &line),
            "pong from db1 in 12.3 ms, direct, 198.51.100.7:51820"
        );
        line.path = Some(PathKind::Relay);
        assert!(sentence("db1", &line).contains("through the relay 198.51.100.7:51820"));
        line.error = Some("no pong".into());
        assert_eq!(sentence("db1", &line), "no pong");
    }

    #[test]
    fn a_missing_pong_is_a_line_and_anything_else_an_end() {
        let mut answer = Answer {
            direct: true,
            ..Answer::default()
        };
        let refused = |code: &str| {
            let problem = meshd_api::Problem::new(code, "a sentence");
            Failure::local(meshd_api::client::ClientError::Refused { status: 422, problem })
        };
        let line = answer.take(1, Err(refused("no-pong"))).unwrap();
        assert!(line.error.is_some() && !answer.direct);
        assert!(answer.take(2, Err(refused("unknown-node"))).is_err());
    }
}
