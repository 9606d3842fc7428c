//! SCTP by packets that a raw socket makes: not every kernel has the protocol, and rules judge packets.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use meshd_core::policy::{
    Direction, Name, NamedPort, Pod as KnownPod, Policy, PolicyRule, Port, PortNumber, Protocol,
};
use meshd_tests::pods::Pod;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with,
};

use super::bed::{Bed, Rules};
use super::{DENIED, PATIENT, matrix};

/// The port of most questions.
const PORT: u16 = 7777;
/// Whose ports are asked for.
const ASKED: (&str, &str) = ("x", "b");
/// Who asks.
const ASKING: (&str, &str) = ("y", "a");

/// An INIT chunk (RFC 9260, section 3.3.2) in a packet to a port, with this initiate tag.
fn init(port: u16, tag: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend(40_000u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20]);
    packet.extend(tag.to_be_bytes());
    packet.extend(65_535u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(tag.to_be_bytes());
    let sum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    packet
}

/// The checksum of SCTP (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let all = bytes
        .iter()
        .fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step));
    !all
}

fn raw(pod: &Pod, ip: IpAddr) -> OwnedFd {
    let family = match ip {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let made = pod.inside(|| {
        let flags = SocketFlags::CLOEXEC;
        socket_with(family, SocketType::RAW, flags, Some(ipproto::SCTP))
    });
    let made = made.expect("needs root");
    set_socket_timeout(&made, Timeout::Recv, Some(Duration::from_millis(50))).expect("a positive time");
    made
}

/// Whether a packet to a port arrives within `patience`.
fn arrives(bed: &Bed, ip: IpAddr, port: u16, tag: u32, patience: Duration) -> bool {
    let (from, at) = (raw(bed.pod(ASKING), ip), raw(bed.pod(ASKED), ip));
    let to = SocketAddr::new(ip, 0);
    sendto(&from, &init(port, tag), SendFlags::empty(), &to).expect("it is sent");
    let end = Instant::now() + patience;
    let mut bytes = [0; 256];
    while Instant::now() < end {
        // of IPv4 the header comes with it
        let Ok((length, _)) = recv(&at, &mut bytes, RecvFlags::empty()) else {
            continue;
        };
        if bytes[..length].ends_with(&init(port, tag)) {
            return true;
        }
    }
    false
}

fn allows(ports: Vec<Port>) -> Policy {
    Policy {
        name: Name::new("x", "some"),
        pods: matrix::select(&[("pod", "b")]),
        types: vec![Direction::Ingress],
        ingress: vec![PolicyRule {
            peers: Vec::new(),
            ports,
        }],
        egress: Vec::new(),
    }
}

fn sctp(port: Option<PortNumber>) -> Vec<Port> {
    vec![Port {
        protocol: Protocol::Sctp,
        port,
    }]
}

/// The asked pod, with a name for the port.
fn named() -> KnownPod {
    let asked = Name::new(ASKED.0, ASKED.1);
    let mut pod = matrix::pods().find(|pod| pod.name == asked).expect("it is there");
    pod.ports.push(NamedPort {
        name: "signal".into(),
        protocol: Protocol::Sctp,
        port: PORT,
    });
    pod
}

#[test]
fn sctp_is_judged_by_port_range_and_name_as_tcp_is() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    let bed = Bed::new();
    bed.run(async |files| {
        let rules = Rules::start(files);
        let known = rules.feed().change(|cluster| cluster.upsert_pod(named()));
        known.expect("there is room");
        let tcp = vec![Port {
            protocol: Protocol::Tcp,
            port: Some(PortNumber::Range(PORT, PORT)),
        }];
        let one = sctp(Some(PortNumber::Range(PORT, PORT)));
        let range = sctp(Some(PortNumber::Range(7000, 7999)));
        let name = sctp(Some(PortNumber::Named("signal".into())));
        let other = sctp(Some(PortNumber::Named("http".into())));
        let cases: [(&str, Option<Vec<Port>>, u16, bool); 10] = [
            ("no policy", None, PORT, true),
            ("one port", Some(one.clone()), PORT, true),
            ("one port, another asked for", Some(one), PORT + 1, false),
            ("a range", Some(range.clone()), 7000, true),
            ("a range, its end", Some(range.clone()), 7999, true),
            ("a range, beyond it", Some(range), 8000, false),
            ("a name", Some(name.clone()), PORT, true),
            ("a name, another port", Some(name), PORT + 1, false),
            ("a name that the pod does not have", Some(other), PORT, false),
            ("the same port of TCP", Some(tcp), PORT, false),
        ];
        let mut tag = 1;
        for (what, ports, port, passes) in cases {
            let policies: Vec<Policy> = ports.map(allows).into_iter().collect();
            rules.set(&policies).await;
            for ip in matrix::addresses(ASKED) {
                tag += 1;
                let patience = if passes { PATIENT } else { DENIED };
                let arrived = arrives(&bed, ip, port, tag, patience);
                assert_eq!(arrived, passes, "{what}: {ip}");
            }
        }
        rules.set(&[allows(sctp(None))]).await;
        for ip in matrix::addresses(ASKED) {
            assert!(arrives(&bed, ip, 1, 1000, PATIENT), "every port: {ip}");
        }
        rules.handle.remove().await;
    });
}
