//! Any bytes are a STUN message or not; no answer is longer than its request, and ours is read back. And whatever an observer says, a
//! node tells others only of addresses at which a node can be.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use meshd_core::demux::{Class, classify};
use meshd_core::id::{NetworkId, NodeId, RelayId};
use meshd_core::keys::{BindKey, DiscoverySecret};
use meshd_core::path::{Agent, AgentConfig, Local, Source};
use meshd_core::relay::RelayInfo;
use meshd_core::stun::{binding_answer, parse_answer};

/// A node that asks one observer; its question's transaction is in the bytes that it sends.
fn asked(now: Instant, observer: SocketAddr) -> (Agent, Vec<u8>) {
    let config = AgentConfig {
        node: NodeId::from_bytes([1; 16]),
        network: NetworkId::from_bytes([2; 16]),
        discovery: DiscoverySecret::from_seed(&[3; 32]),
        lan_key: None,
        seed: [4; 32],
    };
    let mut agent = Agent::new(now, config);
    agent.set_local(now, Local { port: 51820, ..Local::default() });
    let (id, key) = (RelayId::from_bytes([5; 8]), BindKey::from_bytes([6; 32]));
    agent.set_relays(now, &[RelayInfo { id, addresses: vec![observer], key, node: None }]);
    agent.handle_timeout(now);
    let mut sent = std::iter::from_fn(|| agent.poll_transmit()).map(|transmit| transmit.bytes);
    let request = sent.find(|bytes| classify(bytes) == Class::Stun).expect("it asks");
    drop(sent);
    (agent, request)
}

/// Of IPv4 and IPv6, by their first bytes (RFC 6890).
fn is_nowhere(address: SocketAddr) -> bool {
    let nowhere = match address.ip() {
        IpAddr::V4(ip) => match ip.octets() {
            [0 | 127 | 224..=239, ..] | [169, 254, ..] | [255, 255, 255, 255] => true,
            _ => false,
        },
        IpAddr::V6(ip) => match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] | [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] => true,
            [0, 0, 0, 0, 0, 0xffff, ..] => true,
            _ => false,
        },
    };
    nowhere || address.port() == 0
}

fuzz_target!(|data: &[u8]| {
    let seen = "[2001:db8::1]:5".parse().expect("an address");
    let _ = parse_answer(data);
    if let Some(answer) = binding_answer(data, seen) {
        assert!(answer.len() <= data.len(), "an amplifier");
        assert_eq!(parse_answer(&answer).map(|(_, address)| address), Some(seen));
    }
    let (now, observer) = (Instant::now(), "203.0.113.1:3478".parse().expect("an address"));
    let (mut agent, request) = asked(now, observer);
    // the question's header and transaction, and the fuzzer's attributes
    let mut answer = [&[1, 1], &request[2..20], data].concat();
    if let Some(length) = u16::try_from(data.len()).ok().filter(|length| length % 4 == 0) {
        answer[2..4].copy_from_slice(&length.to_be_bytes());
    }
    let from = Source::Socket(observer.into());
    agent.handle_datagram(now, from, &answer);
    if let Some(&[family, a, b, c, d, port, rest]) = data.first_chunk() {
        let ip = if family & 1 == 0 {
            IpAddr::from([a, b, c, d])
        } else {
            let word = |high, low| u16::from_be_bytes([high, low]);
            IpAddr::from([word(a, b), word(0, c), 0, 0, 0, 0, 0, word(d, rest)])
        };
        if let Some(answer) = binding_answer(&request, SocketAddr::new(ip, u16::from(port))) {
            agent.handle_datagram(now, from, &answer);
        }
    }
    for candidate in agent.candidates() {
        assert!(!is_nowhere(candidate.addr), "told of {}", candidate.addr);
    }
});
