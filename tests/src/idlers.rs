//! Members that do nothing but be there: joined, in the map, bound at their home relay. A thousand of them cost this computer
//! one thread, and a node that has them as peers sees no difference from a thousand machines that nobody uses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meshd_core::relay::{RelayClient, RelayEvent};
use meshd_core::statement::{Candidate, CandidateKind};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::machine::Machine;
use crate::member::Member;

/// How often it is looked whether they are to end.
const LOOK: Duration = Duration::from_millis(200);
/// A client without a timer is looked after once in so long.
const LONG: Duration = Duration::from_secs(60);

/// So many members on one machine, until this ends.
pub struct Idlers {
    stop: Arc<AtomicBool>,
    bound: Arc<AtomicUsize>,
    worker: Option<JoinHandle<Result<()>>>,
}

impl Idlers {
    /// Has `count` members join by `token` at `coordinator`, each at home at one of the relays in turn.
    pub fn start(machine: &Machine, token: &str, coordinator: SocketAddr, count: u32) -> Self {
        let (stop, bound) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (until, counter) = (Arc::clone(&stop), Arc::clone(&bound));
        let (machine, token) = (machine.clone(), token.to_owned());
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(be_there(&token, coordinator, count, &until, &counter))
        };
        let worker = thread::spawn(move || machine.inside(work));
        Self {
            stop,
            bound,
            worker: Some(worker),
        }
    }

    /// How many are bound at their relay.
    ///
    /// # Panics
    /// If they cannot join.
    pub fn bound(&mut self) -> usize {
        if let Some(ended) = self.worker.take_if(|worker| worker.is_finished()) {
            ended
                .join()
                .expect("the idlers did not panic")
                .expect("they join and stay");
        }
        self.bound.load(Ordering::Relaxed)
    }
}

impl Drop for Idlers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

async fn be_there(
    token: &str,
    coordinator: SocketAddr,
    count: u32,
    stop: &AtomicBool,
    bound: &Arc<AtomicUsize>,
) -> Result<()> {
    let mut members = vec![Member::join(token, coordinator, "idle-1", 1).await?];
    members[0].publish(addresses(1), None).await?;
    let relays = members[0].look().await?.relays;
    for number in 2..=count {
        let mut member = Member::join(token, coordinator, &format!("idle-{number}"), number).await?;
        let home = relays[number as usize % relays.len()].id;
        member.publish(addresses(number), Some(home)).await?;
        members.push(member);
    }
    let at = members[0].look().await?.view.at;
    let mut tasks = JoinSet::new();
    for (number, member) in members.iter().enumerate() {
        let home = relays[number % relays.len()].id;
        let told = member.relays(at).await?;
        let home = told.into_iter().find(|relay| relay.id == home);
        let client = member.client(home.context("the relay is gone")?);
        tasks.spawn(stay_bound(client, Arc::clone(bound)));
    }
    while !stop.load(Ordering::Relaxed) {
        tokio::select! {
            Some(ended) = tasks.join_next() => ended??,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    Ok(())
}

/// A host and a reflexive candidate under the prefixes for benchmarks (RFC 2544), where nobody is.
fn addresses(number: u32) -> Vec<Candidate> {
    let [_, _, high, low] = number.to_be_bytes();
    [(CandidateKind::Host, 18), (CandidateKind::ServerReflexive, 19)]
        .map(|(kind, net)| Candidate {
            kind,
            addr: SocketAddr::from(([198, net, high, low], 51_820)),
        })
        .to_vec()
}

async fn stay_bound(mut client: RelayClient, bound: Arc<AtomicUsize>) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    let mut buffer = [0; 2048];
    loop {
        client.handle_timeout(Instant::now());
        while let Some((to, frame)) = client.poll_transmit() {
            // a relay may have addresses of the other family
            let _ = socket.send_to(&frame, to).await;
        }
        while let Some(event) = client.poll_event() {
            match event {
                RelayEvent::Bound { anew: true, .. } => bound.fetch_add(1, Ordering::Relaxed),
                RelayEvent::Lost => bound.fetch_sub(1, Ordering::Relaxed),
                _ => 0,
            };
        }
        let due = client.poll_timeout().unwrap_or_else(|| Instant::now() + LONG);
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (length, from) = received?;
                client.handle_frame(Instant::now(), from, &buffer[..length]);
            }
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }
}
