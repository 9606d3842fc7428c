//! The router's mapping of this network's UDP port: the core's port mapper with a socket towards the router.
//!
//! A task of its own: it is told where the router is, tells what is granted by a watch, and gives the mapping back when the
//! network goes down. A restart keeps it: the next life renews it under the same nonce.

use meshd_core::keys::blake2s;
use meshd_core::portmap::{Action, MAX_TEXT, Method, Place, PortMapper};
use meshd_net::netlink::OWN_MARK;
use meshd_net::udp::{PathMtuDiscovery, RecvBatch, Transmit, UdpConfig, UdpSocket};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, info};

/// Commands that may wait.
const QUEUE: usize = 8;
/// Bound on one request to the router's web server.
const HTTP_TIME: Duration = Duration::from_secs(3);
/// How long the end of a mapping is waited for: the router's answer shows that it came.
const GOODBYE: Duration = Duration::from_millis(300);
/// The end of a mapping is said so often, for it may be lost.
const GOODBYES: usize = 2;
/// Longer than any answer of PCP, NAT-PMP or a search.
const LONGEST: usize = 2048;
/// While nothing is to be done.
const IDLE: Duration = Duration::from_secs(3600);

/// What is granted: the outside, and by what.
pub(super) type Granted = Option<(SocketAddrV4, Method)>;

enum Command {
    Place(Option<Place>),
    Release(oneshot::Sender<()>),
}

/// One network's port mapping. Its task ends with it.
pub(super) struct PortMapping {
    port: u16,
    commands: mpsc::Sender<Command>,
    granted: watch::Receiver<Granted>,
    _task: JoinSet<()>,
}

impl PortMapping {
    /// For the tunnel's UDP port; asks nobody yet. `secret` is the node's own.
    pub(super) fn start(port: u16, secret: &[u8; 32]) -> Self {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let (sender, granted) = watch::channel(None);
        let mapper = PortMapper::new(blake2s(&[b"meshd port mapping v1", secret]));
        let mut task = JoinSet::new();
        task.spawn(run(mapper, receiver, sender));
        Self {
            port,
            commands,
            granted,
            _task: task,
        }
    }

    /// Where the router is, and this machine's address towards it.
    pub(super) fn set_router(&self, router: Option<(Ipv4Addr, Ipv4Addr)>) {
        let port = self.port;
        let place = router.map(|(router, own)| Place {
            router,
            own: SocketAddrV4::new(own, port),
        });
        // a full queue has a task that is about to end
        let _ = self.commands.try_send(Command::Place(place));
    }

    /// What is granted now.
    pub(super) fn granted(&self) -> Granted {
        *self.granted.borrow()
    }

    /// Waits for a change.
    pub(super) async fn changed(&mut self) {
        if self.granted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Gives the mapping back.
    pub(super) async fn release(&self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Release(done)).await.is_ok() {
            let _ = ended.await;
        }
    }
}

/// The task's hands.
#[derive(Default)]
struct Hands {
    socket: Option<AsyncFd<UdpSocket>>,
    http: JoinSet<Option<Vec<u8>>>,
}

async fn run(mut mapper: PortMapper, mut commands: mpsc::Receiver<Command>, granted: watch::Sender<Granted>) {
    let mut hands = Hands::default();
    loop {
        hands.act(&mut mapper);
        tell(&granted, mapper.external());
        let wake = mapper.poll_timeout().unwrap_or_else(|| Instant::now() + IDLE);
        let Hands { socket, http } = &mut hands;
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Place(place)) => {
                    hands.move_to(place);
                    mapper.set_place(Instant::now(), place);
                }
                Some(Command::Release(done)) => {
                    hands.release(&mut mapper).await;
                    let _ = done.send(());
                }
                None => return,
            },
            datagrams = receive(socket.as_ref()) => for (from, bytes) in datagrams {
                mapper.handle_datagram(Instant::now(), from, &bytes);
            },
            Some(answer) = http.join_next() => {
                mapper.handle_http(Instant::now(), answer.ok().flatten().as_deref());
            }
            () = tokio::time::sleep_until(wake.into()) => mapper.handle_timeout(Instant::now()),
        }
    }
}

fn tell(granted: &watch::Sender<Granted>, now: Granted) {
    let changed = granted.send_if_modified(|before| std::mem::replace(before, now) != now);
    match now {
        Some((external, method)) if changed => {
            info!(%external, by = method.name(), "the router maps a port to this node");
        }
        None if changed => info!("the router maps no port to this node any more"),
        _ => {}
    }
}

impl Hands {
    fn move_to(&mut self, place: Option<Place>) {
        self.http.abort_all();
        self.http = JoinSet::new();
        self.socket = place.and_then(|place| {
            let config = UdpConfig {
                mark: Some(OWN_MARK),
                coalesce: false,
                path_mtu: PathMtuDiscovery::Off,
                recv_buffer: 64 << 10,
                send_buffer: 64 << 10,
                ..UdpConfig::new(SocketAddr::new((*place.own.ip()).into(), 0))
            };
            let opened = UdpSocket::bind(&config).map_err(io::Error::other);
            opened
                .and_then(UdpSocket::into_async)
                .inspect_err(|error| debug!(%error, "no socket for a port mapping"))
                .ok()
        });
    }

    fn act(&mut self, mapper: &mut PortMapper) {
        while let Some(action) = mapper.poll_action() {
            self.one(action);
        }
    }

    fn one(&mut self, action: Action) {
        match action {
            Action::Datagram { to, bytes } => {
                let parts = [IoSlice::new(&bytes)];
                if let Some(socket) = &self.socket
                    && let Err(error) = socket.get_ref().send_segments(&Transmit::new(to.into(), &parts))
                {
                    debug!(%to, %error, "the router was not asked");
                }
            }
            Action::Http { to, request } => {
                // what was asked before is not waited for any more
                self.http.abort_all();
                self.http = JoinSet::new();
                self.http.spawn(async move {
                    let asked = tokio::time::timeout(HTTP_TIME, ask(to, &request)).await;
                    let told = asked.map_err(io::Error::from).and_then(|told| told);
                    told.inspect_err(|error| debug!(%to, %error, "the router's web server"))
                        .ok()
                });
            }
        }
    }

    async fn release(&mut self, mapper: &mut PortMapper) {
        mapper.release();
        let mut last = Vec::new();
        while let Some(action) = mapper.poll_action() {
            last.push(action);
        }
        for _ in 0..GOODBYES {
            if last.is_empty() {
                return;
            }
            last.iter().for_each(|action| self.one(action.clone()));
            let heard = async {
                tokio::select! {
                    _ = self.http.join_next(), if !self.http.is_empty() => {}
                    _ = async {
                        match &self.socket {
                            Some(socket) => drop(socket.readable().await),
                            None => std::future::pending().await,
                        }
                    } => {}
                }
            };
            if tokio::time::timeout(GOODBYE, heard).await.is_ok() {
                return;
            }
        }
    }
}

/// The datagrams that came; waits where there is no socket.
async fn receive(socket: Option<&AsyncFd<UdpSocket>>) -> Vec<(SocketAddr, Vec<u8>)> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let mut batch = RecvBatch::new(8, LONGEST);
    match socket.readable().await {
        Ok(mut ready) => {
            let _ = ready.get_inner().recv_batch(&mut batch);
            if !batch.is_full() {
                ready.clear_ready();
            }
        }
        Err(error) => debug!(%error, "the socket towards the router"),
    }
    let came = batch.iter_mut();
    came.map(|came| (came.source, came.bytes.to_vec())).collect()
}

/// One request to the router's web server, and its whole answer.
async fn ask(to: SocketAddrV4, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.take(MAX_TEXT as u64).read_to_end(&mut answer).await?;
    Ok(answer)
}
