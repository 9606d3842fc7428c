//! `meshctl netcheck`

use std::time::Duration;

use clap::Args;
use meshd_api::local::{Netcheck as Answer, NetcheckRequest, RelayCheck};

use crate::cli::{Global, OfNetwork};
use crate::failure::Failure;
use crate::local::Local;
use crate::output::with_progress;
use crate::table::{fields, wrap};
use crate::units;

/// After this a person is told that it goes on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Check what is between this node and the internet: UDP, IPv6, the NAT, the relays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl netcheck
  meshctl netcheck --json | jq '.mapping, .filtering'")]
pub struct Netcheck {
    #[command(flatten)]
    network: OfNetwork,
}

impl Netcheck {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let request = NetcheckRequest {
            network: self.network.into(),
        };
        let asking = async {
            Local::connect(&global.socket)
                .await?
                .post("netcheck", &request)
                .await
        };
        let answer: Answer = with_progress(PATIENCE, "asking the relays, at most 6 s ...", asking).await?;
        global.output().answer(&answer, render)
    }
}

fn yes(known: Option<bool>) -> &'static str {
    match known {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

/// The whole page.
fn render(answer: &Answer) -> String {
    let mut out = wrap(&format!("{}: {}", answer.network, answer.meaning), 2);
    for warning in &answer.warnings {
        out += &wrap(&format!("! {warning}"), 2);
    }
    let v6 = if answer.ipv6 { "yes" } else { "no" };
    let hairpin = match answer.nat.mapping.as_str() {
        "none" => "no NAT",
        _ => yes(answer.hairpin),
    };
    out += &fields(&[
        ("UDP", if answer.udp { "yes" } else { "no" }.to_owned()),
        ("IPv6", v6.to_owned()),
        ("mapping", answer.nat.mapping.clone()),
        ("filtering", answer.nat.filtering.clone()),
        ("ports", answer.nat.allocation.clone()),
        ("port preserving", yes(answer.port_preserving).to_owned()),
        ("hairpin", hairpin.to_owned()),
        (
            "port mapping",
            answer.port_mapping.as_ref().map_or("none".to_owned(), |mapping| {
                format!("{} ({})", mapping.external, mapping.method)
            }),
        ),
    ]);
    if answer.age > 5 {
        out += &format!("measured {} ago\n", units::seconds(answer.age));
    }
    out + &answer.relays.iter().map(relay).collect::<String>()
}

/// One address of a relay: its round trip and where it sees this node, or what is wrong with it.
fn relay(check: &RelayCheck) -> String {
    let home = if check.home { " (home)" } else { "" };
    match (&check.problem, check.rtt_ms, &check.seen) {
        (None, Some(rtt), Some(seen)) => wrap(
            &format!(
                "relay {}{home}: {}, sees this node at {seen}",
                check.address,
                units::milliseconds(rtt)
            ),
            2,
        ),
        (problem, ..) => {
            let problem = problem.as_deref().unwrap_or("does not answer");
            wrap(&format!("! relay {}: {problem}", check.address), 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::WIDTH;
    use meshd_api::local::Nat;

    #[test]
    fn the_page_of_a_home_router_with_a_dead_relay() {
        let relay = |address: &str, rtt_ms: Option<f64>| RelayCheck {
            relay: "0011223344556677".into(),
            address: address.into(),
            home: rtt_ms.is_some(),
            rtt_ms,
            seen: rtt_ms.map(|_| "198.51.100.10:40000".into()),
            problem: rtt_ms
                .is_none()
                .then(|| "does not answer: it is down, or UDP to port 3478 is blocked".into()),
        };
        let page = render(&Answer {
            network: "prod".into(),
            udp: true,
            ipv6: false,
            nat: Nat {
                mapping: "endpoint-independent".into(),
                filtering: "address-and-port-dependent".into(),
                allocation: "preserving".into(),
                udp_blocked: false,
            },
            port_preserving: Some(true),
            hairpin: Some(false),
            port_mapping: None,
            relays: vec![
                relay("203.0.113.1:3478", Some(12.34)),
                relay("203.0.113.9:3478", None),
            ],
            age: 0,
            meaning: "an easy NAT: direct paths to nearly everybody".into(),
            warnings: vec!["somebody floods this node".into()],
        });
        assert_eq!(
            page,
            "\
prod: an easy NAT: direct paths to nearly everybody
! somebody floods this node
UDP:              yes
IPv6:             no
mapping:          endpoint-independent
filtering:        address-and-port-dependent
ports:            preserving
port preserving:  yes
hairpin:          no
port mapping:     none
relay 203.0.113.1:3478 (home): 12.3 ms, sees this node at 198.51.100.10:40000
! relay 203.0.113.9:3478: does not answer: it is down, or UDP to port 3478 is
  blocked
"
        );
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
