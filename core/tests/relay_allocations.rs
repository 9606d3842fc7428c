//! The relay's data path allocates nothing: neither where it forwards nor where it refuses.

use std::net::SocketAddr;
use std::time::Instant;

use meshd_core::demux::{relay_header, split_relay};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::relay::frame::{Control, ControlFrame, Frame, parse};
use meshd_core::relay::{Channel, RelayConfig, RelayServer, Verdict, bind_key};

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const SECRET: [u8; 32] = [2; 32];

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn channel(number: u8) -> Channel {
    Channel {
        local: None,
        listener: 0,
        address: SocketAddr::from(([192, 0, 2, number], 4000)),
    }
}

fn asked(relay: &mut RelayServer, now: Instant, from: u8, frame: &ControlFrame) -> Control {
    match relay.handle_datagram(now, channel(from), &mut frame.to_vec()) {
        Verdict::Reply(reply) => match parse(&reply) {
            Some(Frame::Control(control)) => control,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn bind(relay: &mut RelayServer, now: Instant, number: u8) {
    let key = bind_key(&SECRET, NETWORK, node(number));
    let request = |cookie| ControlFrame::bind_request(NETWORK, node(number), [number; 8], cookie, &key);
    let Control::BindCookie { cookie, .. } = asked(relay, now, number, &request(&[0; 16])) else {
        panic!()
    };
    assert!(matches!(
        asked(relay, now, number, &request(&cookie)),
        Control::Bound { .. }
    ));
}

#[test]
#[allow(clippy::disallowed_methods)] // of a test, not of the core
fn forwarding_and_refusing_allocate_nothing() {
    let now = Instant::now();
    let mut relay = RelayServer::new(now, SECRET, [3; 32], RelayConfig::default());
    relay.set_members(NETWORK, [node(1), node(2)]);
    relay.set_quota(NETWORK, std::num::NonZeroU64::new(1 << 40));
    bind(&mut relay, now, 1);
    bind(&mut relay, now, 2);
    let key = bind_key(&SECRET, NETWORK, node(1));
    let open = ControlFrame::open_request(NETWORK, node(1), [9; 8], node(2), &key);
    let Control::Opened { session, .. } = asked(&mut relay, now, 1, &open) else {
        panic!()
    };
    let mut frame = [&relay_header(session)[..], &[4, 0, 0, 0], &[0; 1400]].concat();
    let counted = allocation_counter::measure(|| {
        for _ in 0..1000 {
            frame[..12].copy_from_slice(&relay_header(session));
            assert!(matches!(
                relay.forward(now, channel(1), &mut frame),
                Verdict::Forward { .. }
            ));
            frame[..12].copy_from_slice(&relay_header(session ^ 1));
            assert!(!matches!(
                relay.forward(now, channel(1), &mut frame),
                Verdict::Forward { .. }
            ));
        }
    });
    assert_eq!(counted.count_total, 0);
    assert!(split_relay(&frame).is_ok());
}
