//! A relay and a node of it take any datagrams: nothing is answered with more than was asked, and nobody but the two
//! members that are bound gets a session.
//!
//! The input is a run of datagrams, each after a byte that says from whom and to whom it goes and one for its length;
//! a length of 255 takes the next control message of the node instead, so that the fuzzer comes past the MACs.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use meshd_core::id::{NetworkId, NodeId, RelayId};
use meshd_core::relay::frame::{Frame, parse};
use meshd_core::relay::{Channel, RelayClient, RelayConfig, RelayInfo, RelayServer, Verdict, bind_key};

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const SECRET: [u8; 32] = [2; 32];

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 4000))
}

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::now();
    let mut relay = RelayServer::new(now, SECRET, [3; 32], RelayConfig::default());
    relay.set_members(NETWORK, [node(0), node(1)]);
    let relay_at: SocketAddr = "203.0.113.1:3478".parse().expect("an address");
    let mut clients = [0, 1].map(|number| {
        let key = bind_key(&SECRET, NETWORK, node(number));
        let info = RelayInfo { id: RelayId::from_bytes([4; 8]), addresses: vec![relay_at], key, node: None };
        RelayClient::new(now, info, NETWORK, node(number), [number; 32])
    });
    let mut rest = data;
    while let [way, length, tail @ ..] = rest {
        let from = way & 3;
        now += Duration::from_millis(u64::from(way >> 3) * 10);
        let client = &mut clients[usize::from(from & 1)];
        client.open(now, node(1 - (from & 1)));
        let (mut datagram, tail) = match (length, client.poll_transmit()) {
            (255, Some((_, frame))) => (frame.to_vec(), tail),
            _ => {
                let (datagram, tail) = tail.split_at(usize::from(*length).min(tail.len()));
                (datagram.to_vec(), tail)
            }
        };
        rest = tail;
        if let Some(Frame::Data { session, .. }) = parse(&datagram) {
            assert_ne!(session, 0);
        }
        if way & 4 != 0 {
            client.handle_frame(now, relay_at, &datagram);
            continue;
        }
        let (asked, channel) = (datagram.len(), Channel { listener: 0, local: None, address: address(from) });
        match relay.handle_datagram(now, channel, &mut datagram) {
            Verdict::Reply(reply) => {
                assert!(reply.len() <= asked, "an amplifier");
                client.handle_frame(now, relay_at, &reply);
            }
            Verdict::Forward { to } => assert!(to.address == address(0) || to.address == address(1)),
            Verdict::Control => unreachable!("both steps were done"),
            Verdict::Drop(_) => {}
        }
        assert!(relay.sessions() <= 2);
        relay.handle_timeout(now);
    }
});
