//! Relays over TLS, for where UDP is blocked: a *carrier* per relay.
//!
//! The path agent asks for a carrier ([`Carriers::want`]) when a relay's UDP addresses stay silent. A carrier is one task
//! that holds the pinned TLS connection and a UDP socket on loopback. To the agent and to the data plane that socket is one
//! more address of the relay, so that the packet path knows UDP only. The task tries again with growing pauses as long as
//! the carrier is wanted; its loopback address stays the same.
//!
//! The socket takes datagrams from the tunnel's own socket alone, and only relay frames pass either way: what the relay
//! sends cannot pretend to be a packet that came straight from a peer.

mod connect;
mod pump;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meshd_api::client::ClientError;
use meshd_core::id::RelayId;
use meshd_net::udp::{UdpConfig, UdpError, UdpSocket};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::coordinator::{Identity, Targets};

/// First pause before another try.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before another try.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Bytes that may wait in the loopback socket: the carrier reads them off at once.
const SOCKET_BUFFER: usize = 1 << 20;
/// News of carriers that may wait for the network's task.
const QUEUE: usize = 16;

/// What became of a carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Frames pass, through this `host:port`.
    Up(String),
    /// They do not, for this reason.
    Down(String),
}

/// A change of one carrier's state.
pub type News = (RelayId, State);

/// One carrier that is wanted.
struct Carrier {
    local: SocketAddr,
    state: State,
    again: Arc<Notify>,
    /// The task ends with this.
    _task: JoinSet<()>,
}

/// The carriers of one network.
pub struct Carriers {
    identity: Identity,
    /// The tunnel's own socket, as a carrier sees it.
    tunnel: SocketAddr,
    known: BTreeMap<RelayId, Targets>,
    running: BTreeMap<RelayId, Carrier>,
    sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

impl Carriers {
    /// None yet. `tunnel_port` is the tunnel's UDP port; `v4` whether it has an IPv4 socket.
    pub fn new(identity: Identity, tunnel_port: u16, v4: bool) -> Self {
        let (sender, news) = mpsc::channel(QUEUE);
        let tunnel = if v4 {
            (Ipv4Addr::LOCALHOST, tunnel_port).into()
        } else {
            (Ipv6Addr::LOCALHOST, tunnel_port).into()
        };
        Self {
            identity,
            tunnel,
            known: BTreeMap::new(),
            running: BTreeMap::new(),
            sender,
            news,
        }
    }

    /// These are the relays and where they speak TLS. Carriers of others end.
    pub fn set_relays(&mut self, known: BTreeMap<RelayId, Targets>) {
        self.running.retain(|relay, _| known.contains_key(relay));
        self.known = known;
    }

    /// What [`Self::set_relays`] was told.
    pub fn relays(&self) -> &BTreeMap<RelayId, Targets> {
        &self.known
    }

    /// A carrier to this relay is wanted, or no longer.
    pub fn want(&mut self, relay: RelayId, wanted: bool) {
        if !wanted {
            if self.running.remove(&relay).is_some() {
                info!(%relay, "UDP works; the relay over TLS is let go");
            }
            return;
        }
        let Some(targets) = self.known.get(&relay).filter(|known| !known.addresses.is_empty()) else {
            return debug!(%relay, "no TLS address of this relay is known");
        };
        if !self.running.contains_key(&relay) {
            match self.start(relay, targets.clone()) {
                Ok(carrier) => {
                    info!(%relay, "no answer over UDP; the relay is tried over TLS");
                    self.running.insert(relay, carrier);
                }
                Err(error) => warn!(%error, "the relay cannot be used over TLS"),
            }
        }
    }

    fn start(&self, relay: RelayId, targets: Targets) -> Result<Carrier, UdpError> {
        let config = UdpConfig {
            recv_buffer: SOCKET_BUFFER,
            send_buffer: SOCKET_BUFFER,
            ..UdpConfig::new(SocketAddr::new(self.tunnel.ip(), 0))
        };
        let socket = UdpSocket::bind(&config)?;
        let local = socket.local_addr();
        let again = Arc::new(Notify::new());
        let (identity, tunnel, news) = (self.identity.clone(), self.tunnel, self.sender.clone());
        let mut task = JoinSet::new();
        let retry = again.clone();
        task.spawn(async move {
            match pump::Local::new(socket, tunnel) {
                Ok(local) => run(relay, &identity, &targets, local, &news, &retry).await,
                Err(error) => warn!(%error, "the relay cannot be used over TLS"),
            }
        });
        Ok(Carrier {
            local,
            state: State::Down("it is being connected to".into()),
            again,
            _task: task,
        })
    }

    /// The machine's network changed: those that are down try again at once.
    pub fn network_changed(&self) {
        self.running
            .values()
            .for_each(|carrier| carrier.again.notify_one());
    }

    /// The next change. Safe to cancel.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Notes a change; gives the relay's address on loopback where frames pass now. News of a carrier that has ended is
    /// none.
    pub fn note(&mut self, relay: RelayId, state: State) -> Option<Option<SocketAddr>> {
        let carrier = self.running.get_mut(&relay)?;
        match &state {
            State::Up(remote) => info!(%relay, %remote, "the relay is used over TLS"),
            State::Down(why) if carrier.state != state => warn!(%relay, "the relay over TLS: {why}"),
            State::Down(_) => {}
        }
        let up = matches!(state, State::Up(_)).then_some(carrier.local);
        carrier.state = state;
        Some(up)
    }

    /// Each carrier's address on loopback.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.running.values().map(|carrier| carrier.local)
    }

    /// Relays whose frames pass over TLS now, with the address on loopback.
    pub fn up(&self) -> impl Iterator<Item = (RelayId, SocketAddr)> {
        let up = |carrier: &&Carrier| matches!(carrier.state, State::Up(_));
        self.running
            .iter()
            .filter(move |(_, carrier)| up(carrier))
            .map(|(relay, carrier)| (*relay, carrier.local))
    }

    /// The `host:port` behind a carrier's address on loopback.
    pub fn remote_of(&self, local: SocketAddr) -> Option<&str> {
        let carrier = self.running.values().find(|carrier| carrier.local == local)?;
        match &carrier.state {
            State::Up(remote) => Some(remote),
            State::Down(_) => None,
        }
    }

    /// A sentence for each relay that is silent over UDP.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.running.iter().map(|(relay, carrier)| match &carrier.state {
            State::Up(remote) => format!(
                "relay {relay} does not answer over UDP (a firewall?); it is used over TLS at {remote}, which is slower"
            ),
            State::Down(why) => {
                format!("relay {relay} answers neither over UDP nor over TLS: {why}")
            }
        })
    }
}

/// Connects, carries, and connects again.
async fn run(
    relay: RelayId,
    identity: &Identity,
    targets: &Targets,
    local: pump::Local,
    news: &mpsc::Sender<News>,
    again: &Notify,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let why = match connect::first(identity, targets).await {
            Ok((remote, stream)) => {
                if news.send((relay, State::Up(remote.clone()))).await.is_err() {
                    return;
                }
                pause = FIRST_PAUSE;
                let cause = local.carry(stream).await;
                format!("the connection to {remote} ended ({cause}); it is made anew")
            }
            Err(ClientError::Untrusted { address, cause }) => {
                format!(
                    "something between this node and the relay answers in its place at {address} (TLS proxy?): {cause}"
                )
            }
            Err(error) => error.to_string(),
        };
        if news.send((relay, State::Down(why))).await.is_err() {
            return;
        }
        let _ = timeout(pause, again.notified()).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
