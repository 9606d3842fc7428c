//! coturn as a TURN relay (RFC 8656): an allocation for each pair, whose channel leads to a plain receiver.

use std::net::{IpAddr, UdpSocket as Plain};

use meshd_net::udp::UdpSocket;
use meshd_tests::{Machine, Process};

use crate::pairs::{COTURN, PAYLOAD, Pair, ask, socket, unique};
use crate::{BUDGET, HOST};

/// Allocate, ChannelBind, and the answers to them (RFC 8656 section 18).
const ALLOCATE: u16 = 0x0003;
const ALLOCATED: [u8; 2] = [0x01, 0x03];
const REFUSED: [u8; 2] = [0x01, 0x13];
const CHANNEL_BIND: u16 = 0x0009;
const CHANNEL_BOUND: [u8; 2] = [0x01, 0x09];
/// The first channel number.
const CHANNEL: u16 = 0x4000;

pub fn start(cloud: &Machine) -> Process {
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
    message.extend_from_slice(&unique());
    message.extend_from_slice(attributes);
    message
}

/// One allocation; its channel leads to a plain receiver.
pub fn pair() -> Pair {
    let (sender, receiver) = (allocate(), socket());
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
    let bound = request(&sender, CHANNEL_BIND, &attributes);
    assert_eq!(bound[..2], CHANNEL_BOUND, "the channel is bound: {bound:02x?}");
    let mut datagram = CHANNEL.to_be_bytes().to_vec();
    datagram.extend_from_slice(&(PAYLOAD as u16).to_be_bytes());
    datagram.resize(PAYLOAD + 4, 0);
    Pair::new(sender, receiver, datagram)
}

/// A socket with an allocation. An allocation outlives its socket by ten minutes, and the kernel gives a port again before that: then
/// the relay refuses another one (437), and another port is to be taken (RFC 8656 section 7.4).
fn allocate() -> UdpSocket {
    for _ in 0..10 {
        let sender = socket();
        let answer = request(&sender, ALLOCATE, &[0x00, 0x19, 0, 4, 17, 0, 0, 0]);
        if answer[..2] == ALLOCATED {
            return sender;
        }
        assert!(
            answer[..2] == REFUSED && error_code(&answer) == Some(437),
            "{answer:02x?}"
        );
    }
    panic!("coturn has allocations for ten ports in turn")
}

/// Asks until the answer to just this question comes: one that was asked twice may be answered twice.
fn request(socket: &UdpSocket, kind: u16, attributes: &[u8]) -> Vec<u8> {
    let question = stun(kind, attributes);
    ask(socket, &question, |bytes| {
        bytes.starts_with(&[0x01]) && bytes.get(8..20) == Some(&question[8..20])
    })
}

/// The code in ERROR-CODE (RFC 8489 section 14.8).
fn error_code(message: &[u8]) -> Option<u16> {
    let mut attributes = message.get(20..)?;
    loop {
        let (&[k0, k1, l0, l1], rest) = attributes.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if u16::from_be_bytes([k0, k1]) == 0x0009 {
            let (class, number) = (*rest.get(2)?, *rest.get(3)?);
            return Some(u16::from(class & 7) * 100 + u16::from(number));
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// Our address towards the relay.
fn own_address() -> IpAddr {
    let probe = Plain::bind("0.0.0.0:0").expect("a socket");
    probe.connect(COTURN).expect("a route");
    probe.local_addr().expect("bound").ip()
}
