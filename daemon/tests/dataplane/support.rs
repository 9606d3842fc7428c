//! Two network namespaces with a veth pair between them, and a data plane in each. A namespace is held by a process that
//! ends when its input does, so nothing is left behind however a test ends.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket as StdUdp};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use meshd::dataplane::{ControlEvent, DataPlane, DataPlaneConfig, PeerConfig, PeerStats, Sockets};
use meshd_core::id::NodeId;
use meshd_core::keys::WireGuardSecret;
use meshd_core::path::Endpoint;
use meshd_net::tun::{Tun, TunError};
use meshd_net::udp::{UdpConfig, UdpSocket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::mpsc;

/// For what takes a moment on a busy computer.
pub const SOON: Duration = Duration::from_secs(20);
pub const MTU: u16 = 1408;

/// A network namespace.
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// A fresh one with `lo` up; none, with a word on stderr, where we may not make one.
    pub fn new() -> Option<Namespace> {
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec cat >/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = [0; 3];
        if holder.stdout.as_mut()?.read_exact(&mut said).is_err() || !has_tun() {
            eprintln!("skipped: no network namespace or no TUN device to be had here");
            let _ = holder.wait();
            return None;
        }
        Some(Namespace { holder })
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Runs `work` on a thread inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            entered
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits until the kernel takes what is sent to `address`: for IPv6 it enters that route some time after the address.
    fn holds(&self, address: IpAddr) {
        // kernel work that waits for its turn among that of all namespaces
        let end = Instant::now() + 6 * SOON;
        while !self
            .output(&format!("ip route get {address}"))
            .1
            .starts_with("local")
        {
            assert!(Instant::now() < end, "{address} is not there");
        }
    }

    /// Runs a program inside; whether it succeeded, and what it said.
    pub fn output(&self, argv: &str) -> (bool, String) {
        let pid = self.pid().to_string();
        let args = ["-t", &pid, "-n"].into_iter().chain(argv.split_whitespace());
        let output = Command::new("nsenter")
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Runs a program inside that has to succeed.
    #[track_caller]
    pub fn sh(&self, argv: &str) -> String {
        let (success, text) = self.output(argv);
        assert!(success, "{argv}: {text}");
        text
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn has_tun() -> bool {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_ok()
}

/// A node: a namespace, its data plane and what that tells.
pub struct Node {
    pub plane: DataPlane,
    pub events: mpsc::Receiver<ControlEvent>,
    pub id: NodeId,
    pub secret: WireGuardSecret,
    pub v4: IpAddr,
    pub v6: IpAddr,
    pub underlay: SocketAddr,
    pub namespace: Namespace,
}

/// Which of the two; gives its addresses.
fn addresses(number: u8) -> (IpAddr, IpAddr, SocketAddr) {
    let v6 = format!("fd77::{number}").parse().unwrap();
    (
        [10, 77, 0, number].into(),
        v6,
        ([192, 0, 2, number], 51820).into(),
    )
}

pub fn bind(namespace: &Namespace, address: SocketAddr) -> UdpSocket {
    namespace.inside(|| UdpSocket::bind(&UdpConfig::new(address)).unwrap())
}

/// Opens a TUN device by its name, with so many queues.
pub type OpenTun = fn(&str, usize) -> Result<Tun, TunError>;

/// Node `number` in `namespace`, which has its underlay address already.
pub fn start(namespace: Namespace, number: u8, threads: usize, open: OpenTun) -> Node {
    let (v4, v6, underlay) = addresses(number);
    let tun = namespace.inside(|| open("mesh0", 1).unwrap());
    for line in [
        format!("ip addr add {v4}/24 dev mesh0"),
        format!("ip addr add {v6}/64 dev mesh0 nodad"),
        format!("ip link set mesh0 mtu {MTU} up"),
    ] {
        namespace.sh(&line);
    }
    namespace.holds(v6);
    let (sender, events) = mpsc::channel(1024);
    let secret = WireGuardSecret::from_seed(&[number; 32]);
    let plane = DataPlane::start(DataPlaneConfig {
        tun,
        // the test stands in another namespace: answers come out of the TUN device
        addresses: Vec::new(),
        sockets: Sockets {
            v4: Some(bind(&namespace, ([0, 0, 0, 0], underlay.port()).into())),
            v6: None,
        },
        private_key: secret.clone(),
        mtu: MTU,
        control: sender,
        threads,
    })
    .unwrap();
    Node {
        plane,
        events,
        id: NodeId::from_bytes([number; 16]),
        secret,
        v4,
        v6,
        underlay,
        namespace,
    }
}

impl Node {
    /// How the other knows this one.
    pub fn as_peer(&self) -> PeerConfig {
        PeerConfig {
            node: self.id,
            public_key: self.secret.public(),
            allowed_ips: vec![self.v4.into(), self.v6.into()],
            also_from: Vec::new(),
            preshared_key: None,
            keepalive: None,
            roaming: false,
        }
    }

    /// What it knows of its only peer.
    pub fn stats(&self) -> PeerStats {
        self.plane.stats().remove(0)
    }

    /// Waits for an event.
    #[track_caller]
    pub fn hears(&mut self, what: impl Fn(&ControlEvent) -> bool) -> ControlEvent {
        let mut heard = Vec::new();
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            match self.events.try_recv() {
                Ok(event) if what(&event) => return event,
                Ok(event) => heard.push(event),
                Err(_) => thread::yield_now(),
            }
        }
        panic!("not heard, but {heard:?}")
    }

    /// `count` pings, `gap` seconds apart; how many were answered.
    pub fn ping(&self, to: IpAddr, count: u32, gap: &str) -> u32 {
        let (_, text) = self
            .namespace
            .output(&format!("ping -n -c {count} -i {gap} -W 5 {to}"));
        let received = text.split(", ").find_map(|part| part.strip_suffix(" received"));
        received
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{text}"))
    }
}

/// Two nodes that can reach each other, and do not know of each other yet.
pub fn strangers(threads: usize) -> Option<(Node, Node)> {
    strangers_with(threads, [Tun::open; 2])
}

/// As [`strangers`], with TUN devices opened so.
pub fn strangers_with(threads: usize, open: [OpenTun; 2]) -> Option<(Node, Node)> {
    let (one, two) = (Namespace::new()?, Namespace::new()?);
    one.sh(&format!(
        "ip link add name wan type veth peer name wan netns {}",
        two.pid()
    ));
    for (number, namespace) in [(1, &one), (2, &two)] {
        namespace.sh(&format!("ip addr add 192.0.2.{number}/24 dev wan"));
        namespace.sh("ip link set wan up");
    }
    Some((start(one, 1, threads, open[0]), start(two, 2, threads, open[1])))
}

/// Two nodes that know each other's key and address.
pub fn pair(threads: usize) -> Option<(Node, Node)> {
    strangers(threads).map(introduced)
}

/// The two with each other's key and address.
pub fn introduced((one, two): (Node, Node)) -> (Node, Node) {
    one.plane.set_peers(vec![two.as_peer()]);
    two.plane.set_peers(vec![one.as_peer()]);
    one.plane
        .set_path(two.id, Some(Endpoint::direct(two.underlay)), None);
    two.plane
        .set_path(one.id, Some(Endpoint::direct(one.underlay)), None);
    (one, two)
}

/// A pseudo-random stream, the same for everybody.
pub struct Stream(u64);

impl Stream {
    pub fn new() -> Stream {
        Stream(0x9e37_79b9_7f4a_7c15)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Sends `bytes` bytes (a multiple of 64 KiB) by TCP from one node to the address of another, checks each, and says how long that took.
pub fn stream(from: &Node, to: &Node, address: IpAddr, bytes: u64) -> Duration {
    const CHUNK: usize = 65_536;
    let listener = to.namespace.inside(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let mut outgoing = from
        .namespace
        .inside(|| TcpStream::connect_timeout(&target, SOON).unwrap());
    let (mut incoming, _) = listener.accept().unwrap();
    incoming.set_read_timeout(Some(SOON)).unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut source, mut chunk) = (Stream::new(), vec![0; CHUNK]);
            for _ in 0..bytes / CHUNK as u64 {
                source.fill(&mut chunk);
                outgoing.write_all(&chunk).unwrap();
            }
        });
        let (mut source, mut chunk, mut expected) = (Stream::new(), vec![0; CHUNK], vec![0; CHUNK]);
        for place in 0..bytes / CHUNK as u64 {
            incoming.read_exact(&mut chunk).unwrap();
            source.fill(&mut expected);
            assert!(chunk == expected, "chunk {place} differs");
        }
        assert_eq!(incoming.read(&mut chunk).unwrap(), 0, "nothing behind the end");
    });
    start.elapsed()
}

/// A plain UDP socket of a node, inside the mesh.
pub fn udp(node: &Node, address: IpAddr) -> StdUdp {
    let socket = node.namespace.inside(|| StdUdp::bind((address, 0)).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    socket
}
