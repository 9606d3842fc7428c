//! `meshctl why`

use clap::Args;
use meshd_api::local::{Attempt, Nat, PathKind, PeerRequest, Why as Answer};

use crate::cli::{Global, OfNetwork};
use crate::failure::Failure;
use crate::local::Local;
use crate::table::{fields, wrap};
use crate::units;

/// Say why a peer is reached as it is: both NATs, what was tried, what would help.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl why db1\n  meshctl why db1 --json | jq '.help[]'")]
pub struct Why {
    /// Name, id or mesh address of the peer
    #[arg(value_name = "PEER")]
    peer: String,
    #[command(flatten)]
    network: OfNetwork,
}

impl Why {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let request = PeerRequest {
            network: self.network.into(),
            peer: self.peer,
        };
        let answer: Answer = Local::connect(&global.socket)
            .await?
            .post("why", &request)
            .await?;
        global.output().answer(&answer, render)
    }
}

/// The whole page.
fn render(answer: &Answer) -> String {
    let kind = match answer.path.kind {
        PathKind::Direct => "direct",
        PathKind::Relay => "relayed",
        PathKind::None => "not reached",
    };
    let mut out = wrap(&format!("{} is {kind}: {}", answer.peer, answer.because), 2);
    let unknown = || "not told yet".to_owned();
    out += &fields(&[
        ("path", answer.path.endpoint.clone().unwrap_or_default()),
        (
            "round trip",
            answer.path.rtt_ms.map(units::milliseconds).unwrap_or_default(),
        ),
        ("NAT here", nat(&answer.ours)),
        ("NAT there", answer.theirs.as_ref().map_or_else(unknown, nat)),
    ]);
    if !answer.attempts.is_empty() {
        out += "tried:\n";
        out += &answer.attempts.iter().map(attempt).collect::<String>();
    }
    if let Some(seconds) = answer.next_attempt {
        out += &format!("tried again in {}\n", units::seconds(seconds));
    }
    if !answer.help.is_empty() {
        out += "any one of these would help:\n";
        out += &answer
            .help
            .iter()
            .map(|help| wrap(&format!("- {help}"), 2))
            .collect::<String>();
    }
    out
}

fn nat(nat: &Nat) -> String {
    match (nat.udp_blocked, nat.mapping.as_str(), nat.filtering.as_str()) {
        (true, ..) => "UDP does not get out".into(),
        (_, "unknown", "unknown") => "unknown".into(),
        (_, "none", filtering) => format!("none; filter {filtering}"),
        (_, mapping, filtering) => format!("{mapping}; filter {filtering}"),
    }
}

fn attempt(attempt: &Attempt) -> String {
    let method = match attempt.method.as_str() {
        "punch" => "hole punching",
        "fresh-port" => "hole punching from a fresh port",
        "birthday" => "birthday probing",
        other => other,
    };
    let outcome = match (attempt.outcome.as_str(), &attempt.address) {
        ("direct", Some(address)) => format!("the peer answered at {address}"),
        ("no-answer", _) => "nobody answered".into(),
        ("hopeless", _) => "left out: it cannot work between these NATs".into(),
        ("under-way", _) => "goes on".into(),
        ("abandoned", _) => {
            "given up: the network changed, more became known of the NATs, or nobody wanted the peer any more"
                .into()
        }
        (other, _) => other.into(),
    };
    format!(
        "  {}",
        wrap(
            &format!("{} ago: {method}: {outcome}", units::seconds(attempt.ago)),
            4
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::WIDTH;
    use meshd_api::local::PathStatus;

    #[test]
    fn the_page_of_a_relayed_pair_says_what_would_help() {
        let symmetric = Nat {
            mapping: "address-and-port-dependent".into(),
            filtering: "address-and-port-dependent".into(),
            allocation: "random".into(),
            udp_blocked: false,
        };
        let status = serde_json::json!({"kind": "relay", "endpoint": "203.0.113.1:3478", "rtt_ms": 40.0});
        let path: PathStatus = serde_json::from_value(status).unwrap();
        let page = render(&Answer {
            peer: "db1".into(),
            path,
            because: "both NATs give another port to each peer, so neither side can know where to send"
                .into(),
            ours: symmetric.clone(),
            theirs: Some(symmetric),
            attempts: vec![
                Attempt {
                    ago: 70,
                    method: "punch".into(),
                    outcome: "no-answer".into(),
                    address: None,
                },
                Attempt {
                    ago: 68,
                    method: "birthday".into(),
                    outcome: "hopeless".into(),
                    address: None,
                },
            ],
            next_attempt: Some(50),
            help: vec!["give both sides IPv6".into()],
        });
        assert!(page.starts_with("db1 is relayed: both NATs"), "{page}");
        for part in [
            "NAT there:   address-and-port-dependent; filter",
            "  1 min ago: hole punching: nobody answered\n",
            "left out",
            "tried again in 50 s\n",
            "- give both sides IPv6\n",
        ] {
            assert!(page.contains(part), "{part} is missing:\n{page}");
        }
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
    }
}
