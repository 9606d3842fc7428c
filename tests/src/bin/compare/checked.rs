//! Whether what arrives is right: a TCP stream of which every byte is checked, numbered UDP packets beside it, and what the receiving
//! kernel found wrong in what came out of the tunnel.

use std::net::SocketAddr;

use meshd_tests::measure::load::Place;
use meshd_tests::{Machine, TcpFlow, UdpFlow, poll};

use crate::beds::{Bed, SOON};
use crate::results::Values;

/// Numbered packets beside the stream, by the second.
const RATE: u32 = 2000;
/// Ports of the two.
const PORTS: [u16; 2] = [9000, 9001];
/// What a kernel counts of packets whose headers or checksums are wrong (`/proc/net/snmp`).
const WRONG: [(&str, &str); 5] = [
    ("Ip:", "InHdrErrors"),
    ("Ip:", "InAddrErrors"),
    ("Tcp:", "InErrs"),
    ("Tcp:", "InCsumErrors"),
    ("Udp:", "InCsumErrors"),
];

/// Sends so many bytes from the hub to the first machine.
///
/// # Panics
/// If the stream stands still or breaks.
pub fn check(bed: &Bed, bytes: u64) -> Values {
    let [Place::Node(from), Place::Node(to)] = &bed.ends[..2] else {
        return Values::new();
    };
    let at = |port| SocketAddr::new(bed.addresses[1], port);
    let before = wrong(to);
    let numbered = UdpFlow::start(from, to, at(PORTS[0]), RATE).arriving();
    let stream = TcpFlow::start(from, to, at(PORTS[1]), 0);
    let mut arrived = 0;
    while arrived < bytes {
        let more = poll(SOON, || Some(stream.received()).filter(|now| *now > arrived));
        arrived = more.unwrap_or_else(|| panic!("{} B arrived, then nothing", stream.received()));
    }
    let report = stream.stop();
    assert!(report.broken.is_none(), "the stream broke: {report:?}");
    let packets = numbered.stop();
    let wrong = wrong(to) - before;
    Values::from([
        ("checked_gb", report.bytes as f64 / 1e9),
        (
            "checked_wrong",
            (packets.duplicated + packets.reordered + wrong) as f64,
        ),
    ])
}

/// How many packets a machine's kernel has found wrong so far.
fn wrong(machine: &Machine) -> u64 {
    let text = machine.run(&["cat", "/proc/net/snmp"]);
    let value = |(protocol, name): (&str, &str)| -> Option<u64> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol));
        let place = lines.next()?.split_whitespace().position(|word| word == name)?;
        lines.next()?.split_whitespace().nth(place)?.parse().ok()
    };
    WRONG.into_iter().filter_map(value).sum()
}
