//! One endpoint: its listeners, its limit, its probes, and what they find.

use super::probe::{Prober, Said};
use super::{Ears, Place, Report, Wanted, carry};
use meshd_api::local::{EndpointMemberStatus, EndpointStatus};
use meshd_core::balance::{Ask, Balancer, Event, Health};
use meshd_core::statement::Member;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

/// Connections of one endpoint at a time on this node; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 1024;
/// Connections that the kernel keeps until there is room.
const BACKLOG: u32 = 128;
/// Pause before an address that could not be bound is tried again.
const BIND_PAUSE: Duration = Duration::from_millis(500);
/// Failed tries after which somebody should know.
const WORRY: u32 = 4;

/// Whom to ask, what, and how long that may take.
type Due = (Place, Ask, Duration);

/// A running endpoint; dropped, its listeners and connections end.
pub struct Service {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What listeners, connections and probes of one endpoint share.
pub struct Shared {
    state: Mutex<State>,
    /// Something changed by which the next probe may come sooner.
    wake: Notify,
    room: Arc<Semaphore>,
    ears: Ears,
}

struct State {
    wanted: Wanted,
    balancer: Balancer,
    /// Members' names, also of those that leave.
    names: BTreeMap<Member, String>,
    /// Told when a member is dead.
    ends: BTreeMap<Member, Arc<Notify>>,
    counts: Counts,
    troubles: BTreeMap<SocketAddr, String>,
}

/// What happened so far.
#[derive(Default, Clone, Copy)]
struct Counts {
    accepted: u64,
    unserved: u64,
    ended: u64,
}

impl Service {
    /// Listens, and probes.
    pub fn start(wanted: Wanted, ears: Ears) -> Self {
        let at = wanted.at.clone();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                wanted: Wanted {
                    members: Vec::new(),
                    ..wanted.clone()
                },
                balancer: Balancer::default(),
                names: BTreeMap::new(),
                ends: BTreeMap::new(),
                counts: Counts::default(),
                troubles: BTreeMap::new(),
            }),
            wake: Notify::new(),
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            ears,
        });
        shared.set(wanted);
        let mut tasks = JoinSet::new();
        for address in at {
            tasks.spawn(listen(address, shared.clone()));
        }
        tasks.spawn(probe(shared.clone()));
        Self { shared, tasks }
    }

    /// Ends listeners and connections, and returns when all are closed.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
        // each connection gives its place back when it is closed
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        let _ = self.shared.room.acquire_many(all).await;
    }

    /// Where it listens.
    pub fn at(&self) -> Vec<SocketAddr> {
        self.shared.state().wanted.at.clone()
    }

    /// Members or their proof are others now.
    pub fn set(&self, wanted: Wanted) {
        self.shared.set(wanted);
    }

    /// What it tells of itself.
    pub fn report(&self) -> Report {
        let shared = self.shared.clone();
        Arc::new(move || shared.status())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, wanted: Wanted) {
        let mut state = self.state();
        if state.wanted == wanted {
            return;
        }
        let now = Instant::now();
        let members: Vec<Member> = wanted.members.iter().map(|place| place.member).collect();
        state.balancer.set(now, &members);
        if state.wanted.authorities != wanted.authorities {
            state.balancer.probe_anew(now);
        }
        let held: Vec<Member> = state.balancer.members().map(|(member, ..)| member).collect();
        state.names.retain(|member, _| held.contains(member));
        state.ends.retain(|member, _| held.contains(member));
        let named = wanted
            .members
            .iter()
            .map(|place| (place.member, place.name.clone()));
        state.names.extend(named);
        state.wanted = wanted;
        drop(state);
        self.wake.notify_one();
    }

    /// The members to try, and where they are.
    pub fn choose(&self) -> Vec<Place> {
        let mut state = self.state();
        state.counts.accepted += 1;
        let order = state.balancer.choose(Instant::now());
        let places = &state.wanted.members;
        let place = |member| places.iter().find(|place| place.member == member).cloned();
        let chosen = order.into_iter().filter_map(place).collect();
        drop(state);
        self.wake.notify_one();
        chosen
    }

    /// A member took a connection, which took so long; what tells when it is dead.
    pub fn opened(&self, member: Member, took: Duration) -> Arc<Notify> {
        let mut state = self.state();
        state.balancer.handle_opened(Instant::now(), member);
        state.balancer.handle_round_trip(member, took);
        state.ends.entry(member).or_default().clone()
    }

    /// A connection to it ended; `ended`: since it is dead.
    pub fn closed(&self, member: Member, ended: bool) {
        let mut state = self.state();
        state.counts.ended += u64::from(ended);
        state.balancer.handle_closed(Instant::now(), member);
    }

    /// It took none.
    pub fn failed(&self, member: Member, refused: bool) {
        let mut state = self.state();
        state.balancer.handle_failed(Instant::now(), member, refused);
        state.drain();
        drop(state);
        self.wake.notify_one();
    }

    /// Nobody took a connection.
    pub fn unserved(&self) {
        self.state().counts.unserved += 1;
    }

    fn said(&self, said: Said) {
        let now = Instant::now();
        let mut state = self.state();
        let (member, round_trip) = match said {
            Said::Probed(member, outcome, round_trip) => {
                state.balancer.handle_probe(now, member, outcome);
                (member, round_trip)
            }
            Said::Touched(member, round_trip) => {
                state.balancer.handle_heard(member, now);
                (member, round_trip)
            }
        };
        if let Some(took) = round_trip {
            state.balancer.handle_round_trip(member, took);
        }
        state.drain();
    }

    /// Members to ask now, each with how long its machine may take, and when to look again.
    fn due(&self) -> (Vec<Due>, Option<Instant>, Wanted) {
        let now = Instant::now();
        let mut state = self.state();
        for place in state.wanted.members.clone() {
            if let Some(heard) = (self.ears)(place.member.node) {
                state.balancer.handle_heard(place.member, heard);
            }
        }
        let asks = state.balancer.handle_timeout(now);
        state.drain();
        let place = |member| state.wanted.members.iter().find(|place| place.member == member);
        let due = asks
            .into_iter()
            .filter_map(|(member, ask)| Some((place(member)?.clone(), ask, state.balancer.patience(member))))
            .collect();
        (due, state.balancer.poll_timeout(), state.wanted.clone())
    }

    fn trouble(&self, at: SocketAddr, sentence: Option<String>) {
        let mut state = self.state();
        match sentence {
            Some(sentence) => drop(state.troubles.insert(at, sentence)),
            None => drop(state.troubles.remove(&at)),
        }
    }

    fn status(&self) -> (EndpointStatus, Vec<String>) {
        let state = self.state();
        let Wanted {
            name,
            at,
            members,
            authorities,
        } = &state.wanted;
        let of = |(member, health, open): (Member, Health, u64)| {
            let stays = members.iter().any(|place| place.member == member);
            EndpointMemberStatus {
                node: state.names.get(&member).cloned().unwrap_or_default(),
                port: member.port,
                health: if stays { health.word() } else { "leaving" }.to_owned(),
                connections: open,
            }
        };
        let status = EndpointStatus {
            name: name.clone(),
            at: at.iter().map(ToString::to_string).collect(),
            check: if authorities.is_empty() {
                "connect"
            } else {
                "readyz"
            }
            .to_owned(),
            connections: (MAX_CONNECTIONS - self.room.available_permits()) as u64,
            limit: MAX_CONNECTIONS as u64,
            accepted: state.counts.accepted,
            unserved: state.counts.unserved,
            ended: state.counts.ended,
            members: state.balancer.members().map(of).collect(),
        };
        (status, state.troubles.values().cloned().collect())
    }
}

impl State {
    /// Carries out what the balancer decided.
    fn drain(&mut self) {
        while let Some(event) = self.balancer.poll_event() {
            match event {
                Event::Changed { member, from, to } => {
                    let (endpoint, name) = (&self.wanted.name, self.names.get(&member));
                    let (from, to) = (from.word(), to.word());
                    info!(%endpoint, member = ?name, from, to, "a member of an endpoint is otherwise than before");
                }
                Event::End(member) => {
                    if let Some(end) = self.ends.remove(&member) {
                        end.notify_waiters();
                    }
                }
            }
        }
    }
}

/// Accepts at one address, and carries.
async fn listen(at: SocketAddr, shared: Arc<Shared>) {
    let listener = bound(at, &shared).await;
    let mut carried = JoinSet::new();
    loop {
        let room = shared.room.clone().acquire_owned();
        let Ok(permit) = room.await else { return };
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted,
                Some(_) = carried.join_next() => {}
            }
        };
        match accepted {
            Ok((client, _)) => drop(carried.spawn(guarded(client, shared.clone(), permit))),
            // Out of descriptors, most likely: others end.
            Err(_) => tokio::time::sleep(BIND_PAUSE).await,
        }
    }
}

async fn guarded(client: TcpStream, shared: Arc<Shared>, permit: OwnedSemaphorePermit) {
    carry::carry(client, &shared).await;
    drop(permit);
}

/// Listens as soon as it can: whoever had the address before may still be there.
async fn bound(at: SocketAddr, shared: &Shared) -> TcpListener {
    let mut tries = 0;
    loop {
        match bind(at) {
            Ok(listener) => {
                shared.trouble(at, None);
                return listener;
            }
            Err(error) if tries == WORRY => {
                let sentence = format!(
                    "the endpoint \"{}\" is not served at {at}: {error}; `ss -lntp` names who has the port; it is tried again",
                    shared.state().wanted.name
                );
                warn!("{sentence}");
                shared.trouble(at, Some(sentence));
            }
            Err(error) => debug!(%at, %error, "cannot listen yet"),
        }
        tries += 1;
        tokio::time::sleep(BIND_PAUSE).await;
    }
}

fn bind(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Probes members when the balancer says so.
async fn probe(shared: Arc<Shared>) {
    let mut prober = Prober::default();
    loop {
        let (due, next, wanted) = shared.due();
        for (place, ask, patience) in &due {
            match ask {
                Ask::Probe => prober.begin(place, *patience, &wanted.authorities),
                Ask::Touch => prober.touch(place),
            }
        }
        tokio::select! {
            said = prober.next() => shared.said(said),
            () = shared.wake.notified() => {}
            () = until(next) => {}
        }
    }
}

async fn until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}
