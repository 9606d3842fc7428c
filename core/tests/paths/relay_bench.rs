//! A relay alone, asked message by message, and who asks.

use std::net::SocketAddr;
use std::time::Instant;

use meshd_core::demux::relay_header;
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::relay::frame::{Control, ControlFrame, Cookie, Frame, RefusalCode, parse};
use meshd_core::relay::{Channel, RelayConfig, RelayServer, Verdict, bind_key};

use crate::clock::start;

pub const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
pub const OTHER_NETWORK: NetworkId = NetworkId::from_bytes([2; 16]);
pub const SECRET: [u8; 32] = [7; 32];

pub const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

pub fn channel(number: u8) -> Channel {
    Channel {
        listener: 0,
        address: SocketAddr::from(([192, 0, 2, number], 4000)),
        local: None,
    }
}

pub struct Bench {
    pub relay: RelayServer,
    pub now: Instant,
    pub nonce: u64,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(RelayConfig::default())
    }

    pub fn with(config: RelayConfig) -> Self {
        let now = start();
        let mut relay = RelayServer::new(now, SECRET, [9; 32], config);
        relay.set_members(NETWORK, (1..=9).map(node));
        relay.set_members(OTHER_NETWORK, [node(20)]);
        Self { relay, now, nonce: 0 }
    }

    pub fn control(&mut self, from: Channel, frame: &[u8]) -> Option<Control> {
        let mut datagram = frame.to_vec();
        match self.relay.handle_datagram(self.now, from, &mut datagram) {
            Verdict::Reply(reply) => {
                assert!(reply.len() <= frame.len(), "an answer longer than its question");
                match parse(&reply) {
                    Some(Frame::Control(control)) => Some(control),
                    other => panic!("{other:?}"),
                }
            }
            _ => None,
        }
    }

    pub fn nonce(&mut self) -> [u8; 8] {
        self.nonce += 1;
        self.nonce.to_le_bytes()
    }

    pub fn bind_with(
        &mut self,
        network: NetworkId,
        who: NodeId,
        from: Channel,
        cookie: Cookie,
    ) -> Option<Control> {
        let key = bind_key(&SECRET, network, who);
        let nonce = self.nonce();
        self.control(
            from,
            &ControlFrame::bind_request(network, who, nonce, &cookie, &key),
        )
    }

    pub fn bind_in(&mut self, network: NetworkId, who: NodeId, from: Channel) -> Option<Control> {
        match self.bind_with(network, who, from, [0; 16]) {
            Some(Control::BindCookie { cookie, .. }) => self.bind_with(network, who, from, cookie),
            other => other,
        }
    }

    pub fn bind(&mut self, number: u8) {
        let bound = self.bind_in(NETWORK, node(number), channel(number));
        assert!(matches!(bound, Some(Control::Bound { seen, .. }) if seen == channel(number).address));
    }

    pub fn open(&mut self, network: NetworkId, who: NodeId, from: Channel, peer: NodeId) -> Option<Control> {
        let key = bind_key(&SECRET, network, who);
        let nonce = self.nonce();
        self.control(from, &ControlFrame::open_request(network, who, nonce, peer, &key))
    }

    pub fn session(&mut self, from: u8, to: u8) -> u64 {
        match self.open(NETWORK, node(from), channel(from), node(to)) {
            Some(Control::Opened { session, peer, .. }) if peer == node(to) => session,
            other => panic!("{other:?}"),
        }
    }

    pub fn send(&mut self, from: Channel, session: u64, payload: &[u8]) -> (Verdict, Vec<u8>) {
        let mut datagram = [&relay_header(session)[..], payload].concat();
        let verdict = self.relay.handle_datagram(self.now, from, &mut datagram);
        (verdict, datagram)
    }

    pub fn refusal(&mut self, from: Channel, session: u64) -> Option<RefusalCode> {
        let datagram = [&relay_header(session)[..], PACKET].concat();
        match self.control(from, &datagram)? {
            Control::Refused { subject, code } => {
                assert_eq!(subject, session.to_le_bytes());
                Some(code)
            }
            other => panic!("{other:?}"),
        }
    }
}

pub const PACKET: &[u8] = &[4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
