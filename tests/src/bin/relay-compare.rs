//! meshrelay beside coturn: the same 100 busy pairs, in turns, in one run.
//!
//! Each relay is the whole program as it is run by an operator, on the lab's cloud host, with one packet thread: meshrelay with its
//! coordinator, in whose network the 200 ends have joined. While one is measured the other idles. Who sends and who receives is on
//! the machine at the other end of the link. A pair is a sender, who speaks to the relay as its protocol wants, and a receiver; the sender is never
//! more than a window ahead of what arrived. What counts is CPU time of the relay's process (`/proc/PID/task/*/schedstat`), for a computer
//! that does other things at the same time spoils every figure per second. Both relays have what the smallest cloud host
//! has: the first processor (`taskset`) and 1 GiB of address space (`prlimit`); who sends and receives has the others. Datagrams cross the links one by one; the relays'
//! end has GRO on, as every network card has.
//!
//! `relay-compare [ROUNDS] [SECONDS]` runs it.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, UdpSocket as Plain};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use meshd_core::demux::relay_header;
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::BindKey;
use meshd_core::relay::frame::{Control, ControlFrame, Frame, parse};
use meshd_net::udp::{RecvBatch, Transmit, UdpConfig, UdpSocket};
use meshd_tests::measure::spread::{Spread, short};
use meshd_tests::member::Member;
use meshd_tests::mesh::Relay;
use meshd_tests::{Machine, Process, World};

const PAIRS: usize = 100;
/// Bytes of the packet inside, as a full WireGuard packet over a 1408-byte tunnel is.
const PAYLOAD: usize = 1440;
/// Packets of a pair on their way at most.
const WINDOW: u64 = 32;
/// Packets of a pair sent at once: what a TCP stream in a tunnel gives.
const BURST: usize = 8;
const SECONDS: u64 = 8;
const ROUNDS: u64 = 5;
/// The processor that a relay has to itself, and the memory.
const BUDGET: [&str; 5] = ["taskset", "-c", "0", "prlimit", "--as=1073741824"];
/// Without progress for so long, what was on its way counts as lost.
const STUCK: Duration = Duration::from_millis(100);
const HOST: &str = "203.0.113.1";
const OWN: &str = "203.0.113.1:3478";
const COTURN: &str = "203.0.113.1:3480";
const NETWORK: &str = "bench";

/// One pair, its relay told of it.
struct Pair {
    sender: UdpSocket,
    receiver: UdpSocket,
    /// A whole datagram for the relay.
    datagram: Vec<u8>,
    sent: u64,
    received: u64,
}

/// What one round measured.
#[derive(Clone, Copy, Default)]
struct Measured {
    packets: u64,
    seconds: f64,
    cpu: f64,
    peak_rss_kib: u64,
}

fn main() {
    let argument = |nth| std::env::args().nth(nth);
    let number = |nth, default| argument(nth).map_or(default, |text| text.parse().expect("a number"));
    let (rounds, seconds) = (number(1, ROUNDS), number(2, SECONDS));
    let world = World::new();
    let (cloud, outside) = (world.cloud(), world.internet().clone());
    // segments are to be cut before the link, as they are before a real one
    outside.sh("ethtool -K cloud tx-udp-segmentation off gso off tso off gro off");
    cloud.sh("ethtool -K eth0 tx-udp-segmentation off gso off tso off gro on");
    leave_first_processor();
    let (relay, ends) = start_own(&cloud, &outside);
    let turn = start_coturn(&cloud);
    let (mut own, mut coturn) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let time = Duration::from_secs(seconds);
        own.push(relay.with_process(|process| {
            round_of(process, &outside, time, |nth| {
                own_pair(&ends[2 * nth], &ends[2 * nth + 1])
            })
        }));
        report("meshrelay", round, own.last());
        coturn.push(round_of(&turn, &outside, time, coturn_pair));
        report("coturn", round, coturn.last());
    }
    for (who, all) in [("meshrelay", &own), ("coturn", &coturn)] {
        println!("{who}, {PAIRS} pairs, {PAYLOAD} B, median (least-most) of {rounds}:");
        for (what, value) in FIGURES {
            println!("  {what}: {}", Spread::of(all.iter().map(value)));
        }
    }
    let per_cpu = |all: &[Measured]| Spread::of(all.iter().map(Measured::per_cpu_second)).median;
    println!(
        "packets per CPU-second, meshrelay over coturn: {:.2} x",
        per_cpu(&own) / per_cpu(&coturn)
    );
}

type Figure = fn(&Measured) -> f64;

/// What is told of each relay.
const FIGURES: [(&str, Figure); 6] = [
    ("packets/s", |m| m.packets as f64 / m.seconds),
    ("Gbit/s", |m| m.gigabytes() * 8.0 / m.seconds),
    ("packets per CPU-second", Measured::per_cpu_second),
    ("CPU-s/GB", |m| m.cpu / m.gigabytes()),
    ("share of the processor", |m| m.cpu / m.seconds),
    ("peak RSS, MiB", |m| m.peak_rss_kib as f64 / 1024.0),
];

impl Measured {
    fn gigabytes(&self) -> f64 {
        self.packets as f64 * PAYLOAD as f64 / 1e9
    }

    fn per_cpu_second(&self) -> f64 {
        self.packets as f64 / self.cpu
    }
}

fn report(who: &str, round: u64, measured: Option<&Measured>) {
    let Some(m) = measured else { return };
    let values: Vec<String> = FIGURES
        .iter()
        .map(|(what, value)| format!("{what} {}", short(value(m))))
        .collect();
    println!("round {round}: {who}: {}", values.join(", "));
}

fn round_of(
    process: &Process,
    outside: &Machine,
    time: Duration,
    pair: impl Fn(usize) -> Pair + Send,
) -> Measured {
    outside.inside(|| {
        let mut pairs: Vec<Pair> = (0..PAIRS).map(pair).collect();
        pump(&mut pairs, Duration::from_secs(1));
        let (cpu, begin) = (cpu_of(process.pid()), Instant::now());
        let packets = pump(&mut pairs, time);
        Measured {
            packets,
            seconds: begin.elapsed().as_secs_f64(),
            cpu: cpu_of(process.pid()) - cpu,
            peak_rss_kib: process.peak_rss_kib(),
        }
    })
}

/// Sends and receives for so long; gives what arrived.
fn pump(pairs: &mut [Pair], time: Duration) -> u64 {
    let mut batch = RecvBatch::new(WINDOW as usize, 2048);
    let (begin, mut moved) = (Instant::now(), Instant::now());
    let mut arrived = 0;
    while begin.elapsed() < time {
        for pair in pairs.iter_mut() {
            if pair.sent - pair.received + BURST as u64 <= WINDOW {
                pair.send();
            }
            let count = pair.receive(&mut batch);
            if count > 0 {
                moved = Instant::now();
            }
            arrived += count;
        }
        if moved.elapsed() > STUCK {
            pairs.iter_mut().for_each(|pair| pair.received = pair.sent);
            moved = Instant::now();
        }
    }
    arrived
}

impl Pair {
    fn send(&mut self) {
        let parts = [IoSlice::new(&self.datagram); BURST];
        let to = relay_of(&self.datagram);
        let transmit = Transmit {
            segment_size: self.datagram.len() as u16,
            ..Transmit::new(to, &parts)
        };
        if self.sender.send_segments(&transmit).is_ok() {
            self.sent += BURST as u64;
        }
    }

    fn receive(&mut self, batch: &mut RecvBatch) -> u64 {
        let count = self.receiver.recv_batch(batch).unwrap_or(0) as u64;
        self.received = (self.received + count).min(self.sent);
        count
    }
}

/// The relay that a datagram is made for: ours begin with 5.
fn relay_of(datagram: &[u8]) -> SocketAddr {
    let address = if datagram.first() == Some(&5) { OWN } else { COTURN };
    address.parse().expect("a constant address")
}

fn socket() -> UdpSocket {
    let config = UdpConfig {
        coalesce: false,
        ..UdpConfig::new("0.0.0.0:0".parse().expect("a constant address"))
    };
    UdpSocket::bind(&config).expect("a socket")
}

/// Asks the relay until it answers; gives the answer.
fn ask(socket: &UdpSocket, question: &[u8], answers: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let begin = Instant::now();
    let mut batch = RecvBatch::new(8, 2048);
    loop {
        let parts = [IoSlice::new(question)];
        let _ = socket.send_segments(&Transmit::new(relay_of(question), &parts));
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(500) {
            let _ = socket.recv_batch(&mut batch);
            let answer = batch
                .iter_mut()
                .map(|r| r.bytes.to_vec())
                .find(|bytes| answers(bytes));
            if let Some(answer) = answer {
                return answer;
            }
            std::thread::yield_now();
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "the relay does not answer"
        );
    }
}

// ---- meshrelay

/// One end of a pair: a member of the network and its key at the relay.
struct End {
    network: NetworkId,
    node: NodeId,
    key: BindKey,
}

/// meshrelay with its coordinator, and the ends, which have joined.
fn start_own(cloud: &Machine, outside: &Machine) -> (Relay, Vec<End>) {
    let relay = Relay::start_with(cloud, &["--public-addr", HOST]);
    let pid = relay.with_process(Process::pid).to_string();
    cloud.run(&["taskset", "-a", "-c", "-p", "0", &pid]);
    cloud.run(&["prlimit", "--pid", &pid, "--as=1073741824"]);
    relay.create_network(NETWORK, "10.77.0.0/16");
    let token = relay.token(NETWORK, &["--uses", "1000"]);
    let coordinator = SocketAddr::new(HOST.parse().expect("a constant address"), 443);
    let ends = outside.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let numbers = 1..=2 * PAIRS as u32;
        numbers
            .map(|number| {
                runtime
                    .block_on(end(&token, coordinator, number))
                    .expect("it joins")
            })
            .collect()
    });
    (relay, ends)
}

async fn end(token: &str, coordinator: SocketAddr, number: u32) -> anyhow::Result<End> {
    let mut member = Member::join(token, coordinator, &format!("end-{number}"), number).await?;
    member.publish(Vec::new(), None).await?;
    let told = member.look().await?.relays;
    let relay = told.into_iter().next().context("no relay")?;
    Ok(End {
        network: member.network(),
        node: member.end().node,
        key: relay.key,
    })
}

fn own_pair(a: &End, b: &End) -> Pair {
    let (sender, receiver) = (socket(), socket());
    bind(&receiver, b);
    bind(&sender, a);
    let open = ControlFrame::open_request(a.network, a.node, [2; 8], b.node, &a.key);
    let opened = ask(&sender, &open, |bytes| control(bytes).is_some());
    let Some(Control::Opened { session, .. }) = control(&opened) else {
        panic!("no session: {opened:?}");
    };
    let mut datagram = [&relay_header(session)[..], &[4, 0, 0, 0]].concat();
    datagram.resize(PAYLOAD + 12, 0);
    Pair::new(sender, receiver, datagram)
}

fn control(bytes: &[u8]) -> Option<Control> {
    match parse(bytes) {
        Some(Frame::Control(control)) => Some(control),
        _ => None,
    }
}

fn bind(socket: &UdpSocket, end: &End) {
    let mut cookie = [0; 16];
    loop {
        let request = ControlFrame::bind_request(end.network, end.node, rand(), &cookie, &end.key);
        match control(&ask(socket, &request, |bytes| control(bytes).is_some())) {
            Some(Control::BindCookie { cookie: fresh, .. }) => cookie = fresh,
            Some(Control::Bound { .. }) => return,
            other => panic!("not bound: {other:?}"),
        }
    }
}

/// Not secret, only different each time.
fn rand() -> [u8; 8] {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        .to_le_bytes()
}

impl Pair {
    fn new(sender: UdpSocket, receiver: UdpSocket, datagram: Vec<u8>) -> Self {
        Self {
            sender,
            receiver,
            datagram,
            sent: 0,
            received: 0,
        }
    }
}

// ---- coturn (RFC 8656)

fn start_coturn(cloud: &Machine) -> Process {
    let argv = [
        "turnserver",
        "-n",
        "--no-auth",
        "--no-tls",
        "--no-dtls",
        "--no-cli",
        "--no-tcp",
        "-m",
        "1",
        "--listening-ip",
        HOST,
        "--relay-ip",
        HOST,
        "--listening-port",
        "3480",
        "--log-file",
        "/dev/null",
        "--pidfile",
        "/run/turn.pid",
        "--allow-loopback-peers",
        "--cli-password",
        "unused",
    ];
    cloud.spawn(&[&BUDGET[..], &argv].concat(), &[])
}

/// A STUN message with a transaction id of its own.
fn stun(kind: u16, attributes: &[u8]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    message.extend_from_slice(&[0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0]);
    message.extend_from_slice(&rand());
    message.extend_from_slice(attributes);
    message
}

/// One allocation; its channel leads to a plain receiver.
fn coturn_pair(_: usize) -> Pair {
    const CHANNEL: u16 = 0x4000;
    let sender = socket();
    let receiver = socket();
    let allocate = stun(0x0003, &[0x00, 0x19, 0, 4, 17, 0, 0, 0]);
    let allocated = ask(&sender, &allocate, |bytes| bytes.starts_with(&[0x01]));
    assert_eq!(allocated[..2], [0x01, 0x03], "allocated");
    let IpAddr::V4(ip) = own_address() else {
        panic!("IPv4")
    };
    let port = receiver.local_addr().port() ^ 0x2112;
    let masked = u32::from(ip) ^ 0x2112_a442;
    let mut attributes = vec![0x00, 0x0c, 0, 4];
    attributes.extend_from_slice(&CHANNEL.to_be_bytes());
    attributes.extend_from_slice(&[0, 0, 0x00, 0x12, 0, 8, 0, 1]);
    attributes.extend_from_slice(&port.to_be_bytes());
    attributes.extend_from_slice(&masked.to_be_bytes());
    let bound = ask(&sender, &stun(0x0009, &attributes), |bytes| {
        bytes.starts_with(&[0x01])
    });
    assert_eq!(bound[..2], [0x01, 0x09], "the channel is bound");
    let mut datagram = CHANNEL.to_be_bytes().to_vec();
    datagram.extend_from_slice(&(PAYLOAD as u16).to_be_bytes());
    datagram.resize(PAYLOAD + 4, 0);
    Pair::new(sender, receiver, datagram)
}

/// Our address towards the relay.
fn own_address() -> IpAddr {
    let probe = Plain::bind("0.0.0.0:0").expect("a socket");
    probe.connect(COTURN).expect("a route");
    probe.local_addr().expect("bound").ip()
}

/// CPU time of a process with all its threads, seconds.
fn cpu_of(pid: u32) -> f64 {
    meshd_tests::cpu_of(pid).as_secs_f64()
}

/// This process has the processors that the relays have not, where there are several.
fn leave_first_processor() {
    let own = std::process::id().to_string();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    if count > 1 {
        let others = format!("1-{}", count - 1);
        let done = Command::new("taskset")
            .args(["-a", "-c", "-p", &others, &own])
            .status();
        assert!(done.is_ok_and(|done| done.success()), "taskset runs");
    }
}
