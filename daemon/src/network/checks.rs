//! When what is between this node and the internet is measured: at start, when the network or the relays changed, and
//! when somebody asks; never more often than every few seconds.

use std::time::{Duration, Instant};

use meshd_api::Problem;
use meshd_api::coordinator::node::Relay;
use meshd_api::local;
use meshd_core::nat::NatBehaviour;
use meshd_core::netcheck::RelaySeen;
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::questions::nat;
use super::task::Task;
use crate::netcheck::{self, Checked};
use crate::supervisor::Reply;

/// Changes come in bursts; they are measured together.
const SETTLE: Duration = Duration::from_secs(1);
/// After a start nobody waits for long: what paths can be had depends on it.
const SETTLE_AT_START: Duration = Duration::from_millis(100);
/// Between two checks, whoever wants them.
const AT_LEAST: Duration = Duration::from_secs(5);

/// Checks done, under way and wanted.
#[derive(Default)]
pub(super) struct Checks {
    relays: Vec<Relay>,
    due: Option<Instant>,
    begun: Option<Instant>,
    pub(super) under_way: JoinSet<Checked>,
    last: Option<(Instant, Checked)>,
    waiting: Vec<Reply<local::Netcheck>>,
}

impl Checks {
    /// Uses these relays from now on.
    pub(super) fn set_relays(&mut self, now: Instant, relays: &[Relay]) {
        if self.relays != relays {
            self.relays = relays.to_vec();
            self.want(now);
        }
    }

    /// Something changed: it is measured soon.
    pub(super) fn want(&mut self, now: Instant) {
        self.due = Some(match self.begun {
            Some(begun) => (begun + AT_LEAST).max(now + SETTLE),
            None => now + SETTLE_AT_START,
        });
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl Task {
    /// Starts a check where one is due.
    pub(super) fn check_when_due(&mut self, now: Instant) {
        let ready = self.checks.under_way.is_empty() && !self.checks.relays.is_empty();
        if ready && self.checks.due.is_some_and(|due| now >= due) {
            (self.checks.due, self.checks.begun) = (None, Some(now));
            let own = self.underlay.addresses.iter().map(|own| own.addr()).collect();
            self.checks
                .under_way
                .spawn(netcheck::run(self.checks.relays.clone(), own));
        } else if self.checks.due.is_some_and(|due| now >= due) {
            // it waits for the one under way; relays, when there are some, want one themselves
            self.checks.due = (!self.checks.relays.is_empty()).then_some(now + SETTLE);
        }
    }

    /// A check ended.
    pub(super) fn checked(&mut self, checked: Checked) {
        let report = &checked.report;
        let blocked = !report.udp && self.coordinator.state == "connected";
        let behaviour = NatBehaviour {
            udp_blocked: blocked,
            ..report.nat
        };
        let before = self.checks.last.as_ref().map(|(_, before)| before.report.nat);
        if before != Some(report.nat) {
            info!(udp = report.udp, ipv6 = report.ipv6, nat = ?report.nat, "what is between this node and the internet");
        } else {
            debug!(?report, "measured again");
        }
        let now = Instant::now();
        self.agent.set_nat_behaviour(now, behaviour);
        self.checks.last = Some((now, checked));
        for reply in std::mem::take(&mut self.checks.waiting) {
            let _ = reply.send(self.netcheck_reply(now));
        }
    }

    /// Somebody wants to know: the answer comes with the next check, or at once where the last is fresh or nobody can be asked.
    pub(super) fn asked_to_check(&mut self, reply: Reply<local::Netcheck>) {
        let now = Instant::now();
        let fresh = |(at, _): &(Instant, Checked)| now.saturating_duration_since(*at) < AT_LEAST;
        if self.checks.relays.is_empty() || self.checks.last.as_ref().is_some_and(fresh) {
            let _ = reply.send(self.netcheck_reply(now));
            return;
        }
        self.checks.waiting.push(reply);
        if self.checks.under_way.is_empty() {
            self.checks.due = Some(now);
            self.check_when_due(now);
        }
    }

    /// The router maps the UDP port to another address, or no longer: peers are told.
    pub(super) fn port_mapped(&mut self) {
        let external = self.port_mapping.granted().map(|(external, _)| external.into());
        self.agent.set_port_mapping(Instant::now(), external);
        self.publish(false);
    }

    fn netcheck_reply(&self, now: Instant) -> Result<local::Netcheck, Problem> {
        let Some((at, Checked { report, unresolved })) = &self.checks.last else {
            let sentence = format!(
                "nobody to ask: no coordinator of {} has named a relay yet ({})",
                self.membership.name, self.coordinator.state
            );
            return Err(Problem::new("no-relays", sentence));
        };
        let home = self.paths.home_relay().map(|relay| relay.to_string());
        let has_ipv6 = self.agent.candidates().iter().any(|known| known.addr.is_ipv6());
        let mut relays: Vec<_> = report
            .relays
            .iter()
            .map(|seen| relay_check(seen, home.as_deref(), has_ipv6))
            .collect();
        relays.extend(unresolved.iter().map(|(relay, name, why)| local::RelayCheck {
            relay: relay.clone(),
            address: name.clone(),
            home: home.as_deref() == Some(relay),
            rtt_ms: None,
            seen: None,
            problem: Some(format!(
                "its name cannot be looked up: {why}; check the relay's --public-addr"
            )),
        }));
        let blocked = !report.udp && self.coordinator.state == "connected";
        Ok(local::Netcheck {
            network: self.membership.name.clone(),
            udp: report.udp,
            ipv6: report.ipv6,
            nat: nat(NatBehaviour {
                udp_blocked: blocked,
                ..report.nat
            }),
            port_preserving: report.port_preserving,
            hairpin: report.hairpin,
            port_mapping: self
                .port_mapping
                .granted()
                .map(|(external, by)| local::PortMapping {
                    external: external.to_string(),
                    method: by.name().to_owned(),
                }),
            relays,
            age: now.saturating_duration_since(*at).as_secs(),
            meaning: report.meaning().to_owned(),
            warnings: self.netcheck_warnings(report.contradiction),
        })
    }

    fn netcheck_warnings(&self, contradiction: bool) -> Vec<String> {
        let lie = "the relays disagree on this node's address: one of them lies, or the NAT uses several; what they said is \
                   only tried within the limits for unproven addresses";
        let away = match self.coordinator.state.as_str() {
            "connected" => None,
            why => Some(format!("the coordinator is away: {why}; traffic goes on")),
        };
        let of_mapping = self.port_mapping.granted().and_then(|(external, _)| {
            let told = self.agent.candidates();
            let told = told.iter().any(|known| known.addr == external.into());
            (!told).then(|| {
                format!(
                    "the router maps {external} to this node, which is no public address: it is behind another NAT \
                     itself, and the mapping is of no use"
                )
            })
        });
        contradiction
            .then(|| lie.to_owned())
            .into_iter()
            .chain(self.carriers.warnings())
            .chain(away)
            .chain(of_mapping)
            .chain(self.flood_warnings())
            .collect()
    }
}

fn relay_check(seen: &RelaySeen, home: Option<&str>, has_ipv6: bool) -> local::RelayCheck {
    let relay = seen.observer.relay.to_string();
    let address = seen.observer.address;
    let refused = seen.refused.map(|said| {
        format!(
            "says that it sees this node at {said}, where no node can be: it lies, or something on the way changes its answers; it is \
             not believed"
        )
    });
    let silent = || {
        seen.rtt.is_none().then(|| match address.is_ipv4() || has_ipv6 {
            true => format!(
                "does not answer: it is down, {address} is not its address, or UDP to port {} is blocked",
                address.port()
            ),
            false => "out of reach: this node has no IPv6 address".to_owned(),
        })
    };
    let problem = refused.or_else(silent);
    local::RelayCheck {
        home: home == Some(relay.as_str()),
        relay,
        address: address.to_string(),
        rtt_ms: seen.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        seen: seen.seen.map(|seen| seen.to_string()),
        problem,
    }
}
