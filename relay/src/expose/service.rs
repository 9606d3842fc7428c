//! One exposure: who is let in, how its targets are, and what happened.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use meshd_core::balance::{Ask, Balancer, Event, Health, Outcome};
use meshd_core::expose::{Flows, Gate, Limits, Refused};
use meshd_core::statement::{Protocol, ProxyVersion};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::carry::carry;
use super::probe::{Due, Found, probe};
use super::pump::Moved;
use super::tunnels::Tunnel;
use super::udp::Flow;
use super::{Inner, Place, Target, Wanted};

/// A target of UDP that refused is not tried again for so long, though its node answers.
const REFUSED: Duration = Duration::from_secs(5);
/// Refusals are told of at most so often.
const QUIET: Duration = Duration::from_secs(60);

/// A running exposure.
pub struct Service {
    state: Mutex<State>,
    flows: Mutex<Flows<Flow>>,
    moved: Moved,
    /// Something changed by which the next probe may come sooner.
    pub(super) wake: Notify,
    /// Its connections and flows; none once it has ended.
    tasks: Mutex<Option<JoinSet<()>>>,
    host: Weak<Inner>,
    runtime: Handle,
}

pub(super) struct State {
    pub wanted: Wanted,
    pub balancer: Balancer<Target>,
    pub gate: Gate,
    pub counts: Counts,
    /// Targets' names, also of those that leave.
    pub names: BTreeMap<Target, String>,
    /// Told when a target is dead.
    ends: BTreeMap<Target, Arc<Notify>>,
    refused: BTreeMap<Target, Instant>,
    told: Option<Instant>,
}

/// What happened so far.
#[derive(Default, Clone, Copy)]
pub(super) struct Counts {
    pub accepted: u64,
    pub refused: u64,
    pub unserved: u64,
    pub ended: u64,
    pub idle: u64,
}

impl Service {
    /// Begins to probe its targets. Must be called within the ingress's runtime.
    pub(super) fn start(wanted: Wanted, host: Weak<Inner>) -> Arc<Self> {
        let now = Instant::now();
        let limits = Limits::of(&wanted.terms);
        let service = Arc::new(Self {
            state: Mutex::new(State {
                wanted: Wanted {
                    places: Vec::new(),
                    ..wanted.clone()
                },
                balancer: Balancer::default(),
                gate: Gate::new(now, limits),
                counts: Counts::default(),
                names: BTreeMap::new(),
                ends: BTreeMap::new(),
                refused: BTreeMap::new(),
                told: None,
            }),
            flows: Mutex::new(Flows::new(Gate::new(now, limits))),
            moved: Moved::default(),
            wake: Notify::new(),
            tasks: Mutex::new(Some(JoinSet::new())),
            host,
            runtime: Handle::current(),
        });
        service.set(wanted);
        service.spawn(probe(service.clone()));
        service
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn flows(&self) -> MutexGuard<'_, Flows<Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn host(&self) -> Option<Arc<Inner>> {
        self.host.upgrade()
    }

    pub(super) fn moved(&self) -> &Moved {
        &self.moved
    }

    /// Whether this is still the same port.
    pub(super) fn is_at(&self, wanted: &Wanted) -> bool {
        let state = self.state();
        let terms = &state.wanted.terms;
        (terms.protocol, terms.port) == (wanted.terms.protocol, wanted.terms.port)
    }

    /// Targets, limits or names are others now; what goes on goes on.
    pub(super) fn set(&self, wanted: Wanted) {
        let mut state = self.state();
        if state.wanted == wanted {
            return;
        }
        let limits = Limits::of(&wanted.terms);
        state.gate.set(limits);
        let members: Vec<Target> = wanted.places.iter().map(|place| place.target).collect();
        state.balancer.set(Instant::now(), &members);
        let held: Vec<Target> = state.balancer.members().map(|(member, ..)| member).collect();
        state.names.retain(|member, _| held.contains(member));
        state.ends.retain(|member, _| held.contains(member));
        state.refused.retain(|member, _| held.contains(member));
        let named = wanted
            .places
            .iter()
            .map(|place| (place.target, place.name.clone()));
        state.names.extend(named);
        state.wanted = wanted;
        drop(state);
        self.flows().gate().set(limits);
        self.wake.notify_one();
    }

    /// Ends it with all that it carries.
    pub(super) fn end(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(tasks);
        let flows = self.flows().end_all(|_| true);
        drop(flows);
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = tasks.as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn_on(work, &self.runtime);
        }
    }

    /// Takes a connection of which `seen` was read already.
    pub(super) fn accept(self: &Arc<Self>, client: TcpStream, seen: Vec<u8>, from: SocketAddr) {
        match self.enter(from) {
            Some(inside) => self.spawn(carry(client, seen, inside)),
            None => drop(client.set_zero_linger()),
        }
    }

    /// The same from another event loop.
    pub fn take_over(self: &Arc<Self>, client: std::net::TcpStream, seen: Vec<u8>, from: SocketAddr) {
        let service = self.clone();
        self.runtime.spawn(async move {
            if let Ok(client) = TcpStream::from_std(client) {
                service.accept(client, seen, from);
            }
        });
    }

    fn enter(self: &Arc<Self>, from: SocketAddr) -> Option<Inside> {
        let room = self
            .host()
            .and_then(|host| host.room.clone().try_acquire_owned().ok());
        let mut state = self.state();
        let entered = match &room {
            Some(_) => state.gate.enter(Instant::now(), from.ip()),
            None => Err(Refused::Full),
        };
        match entered {
            Ok(()) => state.counts.accepted += 1,
            Err(why) => {
                state.turned_away(why, from.ip());
                return None;
            }
        }
        Some(Inside {
            service: self.clone(),
            from,
            _room: room,
        })
    }

    /// How targets are told of clients, and how long a connection may be silent.
    pub(super) fn manner(&self) -> (Option<ProxyVersion>, Duration) {
        let state = self.state();
        (state.wanted.terms.proxy, state.gate.limits().idle)
    }

    /// The interface that leads to its targets.
    pub(super) fn tunnel(&self) -> Option<Tunnel> {
        let prefix = self.state().wanted.prefix;
        let tunnels = self.host()?.tunnels.borrow().clone();
        let mut all = tunnels.iter();
        all.find(|tunnel| prefix.contains(&tunnel.address)).cloned()
    }

    /// The targets to try, and where they are.
    pub(super) fn choose(&self) -> Vec<Place> {
        let mut state = self.state();
        let order = state.balancer.choose(Instant::now());
        let places = &state.wanted.places;
        let place = |member| places.iter().find(|place| place.target == member).cloned();
        let chosen = order.into_iter().filter_map(place).collect();
        drop(state);
        self.wake.notify_one();
        chosen
    }

    /// A target took a connection; what tells when it is dead.
    pub(super) fn opened(self: &Arc<Self>, member: Target) -> (Open, Arc<Notify>) {
        let mut state = self.state();
        state.balancer.handle_opened(Instant::now(), member);
        let end = state.ends.entry(member).or_default().clone();
        drop(state);
        let service = self.clone();
        (Open { service, member }, end)
    }

    /// It took none.
    pub(super) fn failed(&self, member: Target, refused: bool) {
        let mut state = self.state();
        let now = Instant::now();
        if refused {
            state.refused.insert(member, now);
        }
        state.balancer.handle_failed(now, member, refused);
        state.drain();
        drop(state);
        self.wake.notify_one();
    }

    /// Nobody took it.
    pub(super) fn unserved(&self) {
        self.state().counts.unserved += 1;
    }

    pub(super) fn probed(&self, found: &Found) {
        let (member, outcome) = (found.target, found.outcome);
        let now = Instant::now();
        let mut state = self.state();
        let lately = |at: &Instant| now.saturating_duration_since(*at) < REFUSED;
        let refused = state.refused.get(&member).is_some_and(lately);
        let of_udp = state.wanted.terms.protocol == Protocol::Udp;
        let outcome = match outcome {
            Outcome::Ready if of_udp && refused => Outcome::Refused,
            other => other,
        };
        if found.outcome != Outcome::Silent {
            state.balancer.handle_heard(member, now);
            state.balancer.handle_round_trip(member, found.took);
        }
        if found.ask == Ask::Probe {
            state.balancer.handle_probe(now, member, outcome);
        }
        state.drain();
    }

    /// Targets to ask now, by what, and when to look again.
    pub(super) fn due(&self) -> (Vec<Due>, (Protocol, Option<ProxyVersion>), Option<Instant>) {
        let mut state = self.state();
        let asks = state.balancer.handle_timeout(Instant::now());
        state.drain();
        let place = |member| state.wanted.places.iter().find(|place| place.target == member);
        let due = asks
            .into_iter()
            .filter_map(|(member, ask)| Some((place(member)?.clone(), ask, state.balancer.patience(member))))
            .collect();
        let terms = &state.wanted.terms;
        (due, (terms.protocol, terms.proxy), state.balancer.poll_timeout())
    }
}

impl State {
    /// Somebody was not let in.
    pub(super) fn turned_away(&mut self, why: Refused, from: IpAddr) {
        self.counts.refused += 1;
        let now = Instant::now();
        if self
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= QUIET)
        {
            self.told = Some(now);
            let (exposure, refused) = (&self.wanted.name, self.counts.refused);
            warn!(%exposure, ?why, %from, refused, "not let in; `meshctl expose list` has the limits");
        }
    }

    /// Carries out what the balancer decided.
    fn drain(&mut self) {
        while let Some(event) = self.balancer.poll_event() {
            match event {
                Event::Changed { member, from, to } => {
                    let (exposure, target) = (&self.wanted.name, self.names.get(&member));
                    let (from, to) = (from.word(), to.word());
                    info!(%exposure, ?target, from, to, "a target is otherwise than before");
                }
                Event::End(member) => {
                    if let Some(end) = self.ends.remove(&member) {
                        end.notify_waiters();
                    }
                }
            }
        }
    }

    /// Targets that do not answer.
    pub(super) fn in_doubt(&self) -> Vec<(Target, Health)> {
        let all = self.balancer.members();
        all.filter(|(_, health, _)| *health > Health::Unknown)
            .map(|(member, health, _)| (member, health))
            .collect()
    }
}

/// A place among an exposure's connections; given back on drop.
pub struct Inside {
    service: Arc<Service>,
    from: SocketAddr,
    _room: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Inside {
    /// Whose.
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The client.
    pub(super) fn from(&self) -> SocketAddr {
        self.from
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.service.state().gate.leave(self.from.ip());
    }
}

/// A connection to a target; counted as closed on drop, however it ends.
pub(super) struct Open {
    service: Arc<Service>,
    member: Target,
}

impl Open {
    /// It ended since its target is dead.
    pub(super) fn ended(&self) {
        self.service.state().counts.ended += 1;
    }

    /// It ended since nothing came or went.
    pub(super) fn idle(&self) {
        self.service.state().counts.idle += 1;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.service.state();
        state.balancer.handle_closed(Instant::now(), self.member);
    }
}
