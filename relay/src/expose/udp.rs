//! Datagrams: a flow for each client, with a socket of its own towards the target, so that answers find back.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use meshd_core::expose::proxy_header;
use meshd_core::statement::{Protocol, ProxyVersion};
use meshd_net::udp::{GRO_BUFFER, RecvBatch, Transmit, UdpSocket as Public};
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tracing::debug;

use super::service::{Open, Service};
use super::tunnels::Tunnel;
use super::{Inner, Place, Target, ports};

/// Runs of datagrams that are received at once.
const BATCH: usize = 16;
/// Idle flows are looked for so often.
const TICK: Duration = Duration::from_millis(250);
/// A flow that waits for an answer for so long, of a target in doubt, ends: the next datagram goes to another.
const WAIT: Duration = Duration::from_millis(500);
/// The largest datagram.
const LARGEST: usize = 65_535;

/// What is kept of a flow; dropped, it ends.
pub struct Flow {
    member: Target,
    /// Towards the target.
    socket: Arc<UdpSocket>,
    proxy: Option<Vec<u8>>,
    answers: AbortHandle,
    open: Open,
    _room: OwnedSemaphorePermit,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// Receives at one address of a port until it is wanted no longer.
pub async fn serve(host: Arc<Inner>, at: SocketAddr, name: String, service: Arc<Service>) {
    let bind = |at| ports::receive(at)?.into_async();
    let public = Arc::new(host.ports.open(Protocol::Udp, at, &name, bind).await);
    drop(host);
    let mut batch = RecvBatch::new(BATCH, GRO_BUFFER);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ready = public.readable() => {
                let Ok(mut ready) = ready else { return };
                match public.get_ref().recv_batch(&mut batch) {
                    Ok(0) => ready.clear_ready(),
                    Ok(_) => service.take(&mut batch, &public),
                    Err(why) => return debug!(%at, %why, "the public socket is broken"),
                }
                tokio::task::yield_now().await;
            }
            _ = tick.tick() => service.end_flows(),
        }
    }
}

impl Service {
    fn take(self: &Arc<Self>, batch: &mut RecvBatch, public: &Arc<AsyncFd<Public>>) {
        let now = Instant::now();
        let port = public.get_ref().local_addr();
        for run in batch.iter_mut() {
            let reached = SocketAddr::new(run.local.unwrap_or(port.ip()), port.port());
            for datagram in run.bytes.chunks(run.segment_size.max(1)) {
                self.datagram(now, (run.source, reached), datagram, public);
            }
        }
    }

    fn datagram(
        self: &Arc<Self>,
        now: Instant,
        (client, reached): (SocketAddr, SocketAddr),
        datagram: &[u8],
        public: &Arc<AsyncFd<Public>>,
    ) {
        let mut flows = self.flows();
        if let Some(flow) = flows.sent(now, client, reached) {
            let sent = send(flow, datagram);
            if !sent.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                self.moved().inward.fetch_add(datagram.len() as u64, Relaxed);
                return;
            }
            let refused = flows.end(client, reached);
            drop(flows);
            self.refused(refused);
        } else {
            drop(flows);
        }
        if let Some(flow) = self.begin(now, (client, reached), public) {
            let _ = send(&flow, datagram);
            self.moved().inward.fetch_add(datagram.len() as u64, Relaxed);
            self.flows().begin(now, client, reached, flow);
        }
    }

    fn refused(&self, flow: Option<Flow>) {
        if let Some(flow) = flow {
            self.failed(flow.member, true);
        }
    }

    /// A flow for a client that had none.
    fn begin(
        self: &Arc<Self>,
        now: Instant,
        (client, reached): (SocketAddr, SocketAddr),
        public: &Arc<AsyncFd<Public>>,
    ) -> Option<Flow> {
        let admitted = self.flows().admit(now, client);
        let room = self
            .host()
            .and_then(|host| host.room.clone().try_acquire_owned().ok());
        match admitted {
            Ok(given_way) => drop(given_way),
            Err(why) => {
                self.state().turned_away(why, client.ip());
                return None;
            }
        }
        let began = room.and_then(|room| self.open_flow((client, reached), room, public));
        if began.is_none() {
            self.flows().give_up(client);
            self.unserved();
        } else {
            self.state().counts.accepted += 1;
        }
        began
    }

    fn open_flow(
        self: &Arc<Self>,
        (client, reached): (SocketAddr, SocketAddr),
        room: OwnedSemaphorePermit,
        public: &Arc<AsyncFd<Public>>,
    ) -> Option<Flow> {
        let tunnel = self.tunnel()?;
        let Place {
            target: member,
            address,
            ..
        } = self.choose().into_iter().next()?;
        let socket = Arc::new(connect(address, &tunnel).ok()?);
        let (proxy, _) = self.manner();
        let header = |version: ProxyVersion| proxy_header(version, Protocol::Udp, client, reached);
        let (open, _) = self.opened(member);
        let answers = answers(self.clone(), (client, reached), socket.clone(), public.clone());
        Some(Flow {
            member,
            socket,
            proxy: proxy.map(header),
            answers: tokio::spawn(answers).abort_handle(),
            open,
            _room: room,
        })
    }

    /// Ends flows that are idle, and those that wait for a target that does not answer.
    fn end_flows(&self) {
        let now = Instant::now();
        let doubted = self.state().in_doubt();
        let is_doubted = |flow: &Flow| doubted.iter().any(|(member, _)| *member == flow.member);
        let mut flows = self.flows();
        let idle = flows.handle_timeout(now);
        let waiting = match doubted.is_empty() {
            true => Vec::new(),
            false => flows.end_waiting(now, WAIT, is_doubted),
        };
        drop(flows);
        for flow in &idle {
            flow.open.idle();
        }
        for flow in &waiting {
            flow.open.ended();
        }
    }
}

/// Brings a target's datagrams to the client until the flow is dropped.
async fn answers(
    service: Arc<Service>,
    (client, reached): (SocketAddr, SocketAddr),
    socket: Arc<UdpSocket>,
    public: Arc<AsyncFd<Public>>,
) {
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        match answer(&socket, client, reached, public.get_ref()) {
            Ok(0) => {}
            Ok(count) => {
                service.moved().outward.fetch_add(count as u64, Relaxed);
                service.flows().answered(Instant::now(), client, reached);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let ended = service.flows().end(client, reached);
                service.refused(ended);
                return;
            }
            Err(_) => {}
        }
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; LARGEST].into_boxed_slice());
}

/// One datagram; what the public socket has no room for is lost, as on any link.
fn answer(socket: &UdpSocket, client: SocketAddr, reached: SocketAddr, public: &Public) -> io::Result<usize> {
    SCRATCH.with_borrow_mut(|scratch| {
        let count = match socket.try_recv(scratch) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let parts = [IoSlice::new(&scratch[..count])];
        let transmit = Transmit {
            source: Some(reached.ip()).filter(|ip| !ip.is_unspecified()),
            ..Transmit::new(client, &parts)
        };
        public.send_batch(&[transmit]);
        Ok(count)
    })
}

fn send(flow: &Flow, datagram: &[u8]) -> io::Result<()> {
    let sent = match &flow.proxy {
        None => flow.socket.try_send(datagram),
        Some(header) => flow.socket.try_send(&[header, datagram].concat()),
    };
    match sent {
        // what the tunnel's queue has no room for is lost, as on any link
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other.map(drop),
    }
}

/// A socket towards the target, through the tunnel and by no other way.
fn connect(address: SocketAddr, tunnel: &Tunnel) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.bind_device(Some(tunnel.interface.as_bytes()))?;
    let to = rustix::net::connect(&socket, &address);
    to.map_err(io::Error::from)?;
    Ok(socket)
}
