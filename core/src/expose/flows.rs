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
