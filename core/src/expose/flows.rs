//! Flows of UDP: who a datagram belongs to, for so long as it goes on.
//!
//! Nothing is known of who sends a first datagram: its source may be anybody's. So a flow that was never answered ends soon, and where there
//! are too many the one of these that was used longest ago gives way to a newcomer; a flow that was answered does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::gate::{Gate, Refused};

/// A flow that was never answered ends after this.
const UNANSWERED: Duration = Duration::from_secs(10);

/// Flows by client and the address of ours that it reached, each with what the shell keeps of it.
#[derive(Debug)]
pub struct Flows<T> {
    flows: BTreeMap<Key, Flow<T>>,
    /// Those that were never answered, the one used longest ago first.
    unanswered: BTreeSet<(Instant, Key)>,
    gate: Gate,
}

type Key = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Flow<T> {
    what: T,
    sent: Instant,
    answered: Option<Instant>,
    /// Since when it waits for an answer.
    asked: Option<Instant>,
}

impl<T> Flows<T> {
    /// None, and this gate before them.
    pub fn new(gate: Gate) -> Self {
        Self {
            flows: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            gate,
        }
    }

    /// The gate, for its limits.
    pub fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// A datagram of the client's: the flow that it belongs to.
    pub fn sent(&mut self, now: Instant, client: SocketAddr, at: SocketAddr) -> Option<&mut T> {
        let key = (client, at);
        let flow = self.flows.get_mut(&key)?;
        if flow.answered.is_none() {
            self.unanswered.remove(&(flow.sent, key));
            self.unanswered.insert((now, key));
        }
        flow.sent = now;
        flow.asked.get_or_insert(now);
        Some(&mut flow.what)
    }

    /// Whether there may be a new flow for this client; what gives way to it is returned.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, now: Instant, client: SocketAddr) -> Result<Option<T>, Refused> {
        match self.gate.enter(now, client.ip()) {
            Err(Refused::Full) => {}
            other => return other.map(|()| None),
        }
        let oldest = self.unanswered.first().map(|(_, key)| *key);
        let gone = oldest.and_then(|(client, at)| self.end(client, at));
        let gone = gone.ok_or(Refused::Full)?;
        match self.gate.enter(now, client.ip()) {
            Ok(()) => Ok(Some(gone)),
            Err(why) => Err(why),
        }
    }

    /// The flow that was admitted.
    pub fn begin(&mut self, now: Instant, client: SocketAddr, at: SocketAddr, what: T) {
        self.unanswered.insert((now, (client, at)));
        let flow = Flow {
            what,
            sent: now,
            answered: None,
            asked: Some(now),
        };
        self.flows.insert((client, at), flow);
    }

    /// What was admitted did not become a flow.
    pub fn give_up(&mut self, client: SocketAddr) {
        self.gate.leave(client.ip());
    }

    /// A datagram goes back to the client.
    pub fn answered(&mut self, now: Instant, client: SocketAddr, at: SocketAddr) {
        let key = (client, at);
        if let Some(flow) = self.flows.get_mut(&key) {
            if flow.answered.is_none() {
                self.unanswered.remove(&(flow.sent, key));
            }
            flow.answered = Some(now);
            flow.asked = None;
        }
    }

    /// Ends a flow.
    pub fn end(&mut self, client: SocketAddr, at: SocketAddr) -> Option<T> {
        let key = (client, at);
        let flow = self.flows.remove(&key)?;
        self.unanswered.remove(&(flow.sent, key));
        self.gate.leave(client.ip());
        Some(flow.what)
    }

    /// Ends what is idle.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<T> {
        let idle = self.gate.limits().idle;
        let over = |flow: &Flow<T>| {
            let last = flow
                .answered
                .map_or(flow.sent, |answered| answered.max(flow.sent));
            let most = match flow.answered {
                Some(_) => idle,
                None => idle.min(UNANSWERED),
            };
            now.saturating_duration_since(last) >= most
        };
        let gone = self.flows.iter().filter(|(_, flow)| over(flow));
        let gone: Vec<Key> = gone.map(|(key, _)| *key).collect();
        self.end_these(gone)
    }

    fn end_these(&mut self, gone: Vec<Key>) -> Vec<T> {
        gone.into_iter()
            .filter_map(|(client, at)| self.end(client, at))
            .collect()
    }

    /// Ends the flows of which `which` is true.
    pub fn end_all(&mut self, which: impl Fn(&T) -> bool) -> Vec<T> {
        let gone = self.flows.iter().filter(|(_, flow)| which(&flow.what));
        let gone: Vec<Key> = gone.map(|(key, _)| *key).collect();
        self.end_these(gone)
    }

    /// Ends the flows of which `which` is true and that wait for an answer for longer than `wait`.
    pub fn end_waiting(&mut self, now: Instant, wait: Duration, which: impl Fn(&T) -> bool) -> Vec<T> {
        let long = |asked: Instant| now.saturating_duration_since(asked) >= wait;
        let waits = |flow: &Flow<T>| flow.asked.is_some_and(long);
        let gone = self
            .flows
            .iter()
            .filter(|(_, flow)| which(&flow.what) && waits(flow));
        let gone: Vec<Key> = gone.map(|(key, _)| *key).collect();
        self.end_these(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::Limits;

    #[expect(clippy::disallowed_methods, reason = "a test begins now")]
    fn flows(most: u32) -> (Instant, Flows<u16>) {
        let now = Instant::now();
        let limits = Limits {
            connections: most,
            per_second: 1000,
            idle: Duration::from_secs(60),
        };
        (now, Flows::new(Gate::new(now, limits)))
    }

    fn at() -> SocketAddr {
        "203.0.113.1:53".parse().unwrap()
    }

    fn client(n: u16) -> SocketAddr {
        let [a, b] = n.to_be_bytes();
        SocketAddr::from(([198, 18, a, b], 5000))
    }

    fn begin(flows: &mut Flows<u16>, now: Instant, n: u16) -> Result<Option<u16>, Refused> {
        let gone = flows.admit(now, client(n))?;
        flows.begin(now, client(n), at(), n);
        Ok(gone)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_was_never_answered_gives_way_and_who_was_does_not() {
        let (now, mut flows) = flows(3);
        for n in 1..=3 {
            assert_eq!(begin(&mut flows, now + SECOND * u32::from(n), n), Ok(None));
        }
        flows.answered(now + SECOND * 4, client(1), at());
        assert!(flows.sent(now + SECOND * 5, client(2), at()).is_some());
        assert_eq!(
            begin(&mut flows, now + SECOND * 6, 4),
            Ok(Some(3)),
            "2 was used since"
        );
        assert_eq!(begin(&mut flows, now + SECOND * 7, 5), Ok(Some(2)));
        for n in [4, 5] {
            flows.answered(now + SECOND * 8, client(n), at());
        }
        assert_eq!(begin(&mut flows, now + SECOND * 9, 6), Err(Refused::Full));
        assert_eq!(flows.len(), 3);
    }

    #[test]
    fn an_idle_flow_ends_and_sooner_where_nobody_answered() {
        let (now, mut flows) = flows(10);
        for n in 1..=2 {
            begin(&mut flows, now, n).unwrap();
        }
        flows.answered(now, client(2), at());
        assert!(flows.handle_timeout(now + SECOND * 9).is_empty());
        assert_eq!(flows.handle_timeout(now + SECOND * 10), [1]);
        assert!(flows.sent(now + SECOND * 30, client(2), at()).is_some());
        assert!(flows.handle_timeout(now + SECOND * 89).is_empty());
        assert_eq!(flows.handle_timeout(now + SECOND * 90), [2]);
        assert!(flows.is_empty() && flows.gate().open() == 0);
    }

    #[test]
    fn a_flow_that_waits_is_ended_and_one_that_is_answered_is_not() {
        let (now, mut flows) = flows(10);
        for n in 1..=3 {
            begin(&mut flows, now, n).unwrap();
        }
        flows.answered(now, client(1), at());
        for tenths in 1..=10 {
            let then = now + Duration::from_millis(100 * tenths);
            flows.sent(then, client(2), at());
        }
        let ended = flows.end_waiting(now + SECOND, SECOND, |n| *n != 3);
        assert_eq!(ended, [2], "1 was answered, 3 is not meant");
    }

    #[test]
    fn what_is_admitted_and_given_up_leaves_nothing() {
        let (now, mut flows) = flows(1);
        assert_eq!(flows.admit(now, client(1)), Ok(None));
        flows.give_up(client(1));
        assert_eq!(begin(&mut flows, now, 2), Ok(None));
        assert_eq!(flows.end(client(2), at()), Some(2));
        assert!(flows.is_empty() && flows.gate().open() == 0);
    }
}
