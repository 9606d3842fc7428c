//! Datagrams on their way: from nodes, through relays, to whoever is there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::demux::{Class, classify, split_relay};
use crate::path::{Destination, Remote, SocketId};
use crate::relay::{Channel, Verdict};
use crate::sim::net::HostId;
use crate::sim::node::beacon_source;
use crate::stun;

use super::{Arrived, Due, PUBLISH_AFTER, World};

impl World {
    pub(super) fn arrive(&mut self, to: HostId, port: u16, from: SocketAddr, bytes: Vec<u8>, beacon: bool) {
        self.note(to, from, &bytes);
        if beacon {
            self.with_node(to, |node, now| {
                node.hand_over(now, beacon_source(from.ip()), &bytes)
            });
            return;
        }
        *self.log.counts.entry(to).or_default() += 1;
        if let Some(arrived) = &mut self.log.arrived {
            arrived.push(Arrived {
                at: self.now,
                to,
                from,
                bytes: bytes.clone(),
            });
        }
        if let Some(at) = self.relays.iter().position(|relay| relay.host == to) {
            self.relay_datagram(at, port, from, bytes);
        } else {
            self.with_node(to, |node, now| {
                if let Some(socket) = node.socket_at(port) {
                    node.receive(
                        now,
                        Remote {
                            address: from,
                            socket,
                        },
                        &bytes,
                    );
                }
            });
        }
    }

    pub(super) fn relay_datagram(&mut self, at: usize, port: u16, from: SocketAddr, mut bytes: Vec<u8>) {
        let (host, now) = (self.relays[at].host, self.now);
        let Some(server) = self.relays[at].server.as_mut() else {
            return;
        };
        if classify(&bytes) == Class::Stun {
            if let Some(answer) = stun::binding_answer(&bytes, from) {
                self.post(host, port, from, answer);
            }
            return;
        }
        let channel = Channel {
            listener: port.into(),
            address: from,
            local: None,
        };
        match server.handle_datagram(now, channel, &mut bytes) {
            Verdict::Forward { .. } if self.is_lost(&bytes) => {}
            Verdict::Forward { to } => self.post(host, to.listener as u16, to.address, bytes),
            Verdict::Reply(reply) => self.post(host, port, from, reply.to_vec()),
            Verdict::Control | Verdict::Drop(_) => {}
        }
    }

    /// Whether the relay loses this frame, as [`World::lose`] wants it.
    fn is_lost(&mut self, frame: &[u8]) -> bool {
        let Ok((_, payload)) = split_relay(frame) else {
            return false;
        };
        if classify(payload) != Class::Discovery {
            return false;
        }
        let (through, lost) = self.loses;
        self.loses = if through > 0 {
            (through - 1, lost)
        } else {
            (0, lost.saturating_sub(1))
        };
        through == 0 && lost > 0
    }

    /// Sends what a node has to send, and tells the coordinator where it has to.
    pub(super) fn carry_out(&mut self, host: HostId) {
        let Some(node) = self
            .members
            .get_mut(&host)
            .and_then(|member| member.node.as_mut())
        else {
            return;
        };
        let news = std::mem::take(&mut node.news);
        let out: Vec<_> = std::mem::take(&mut node.out)
            .into_iter()
            .map(|transmit| (transmit.to, transmit.ttl, transmit.bytes))
            .collect();
        let ports: BTreeMap<SocketId, u16> = [SocketId::PRIMARY]
            .iter()
            .chain(&node.sockets)
            .filter_map(|&socket| Some((socket, node.port_of(socket)?)))
            .collect();
        for (to, ttl, bytes) in out {
            match to {
                Destination::Socket(to) => {
                    if let Some(&port) = ports.get(&to.socket) {
                        self.post_with_ttl(host, port, to.address, bytes, ttl.unwrap_or(64));
                    }
                }
                Destination::Beacon => self.post_beacon(host, &bytes),
            }
        }
        if news && !self.publishing && self.coordinator_up {
            self.publishing = true;
            self.push(PUBLISH_AFTER, Due::Publish);
        }
    }

    pub(super) fn post(&mut self, host: HostId, port: u16, to: SocketAddr, bytes: Vec<u8>) {
        self.post_with_ttl(host, port, to, bytes, 64);
    }

    fn post_with_ttl(&mut self, host: HostId, port: u16, to: SocketAddr, bytes: Vec<u8>, ttl: u8) {
        let length = bytes.len() + if to.is_ipv4() { 28 } else { 48 };
        if let Some(arrival) = self
            .net
            .route(self.now, host, port, to, (length, ttl), &mut self.rng)
        {
            let due = Due::Datagram {
                to: arrival.to,
                port: arrival.port,
                from: arrival.from,
                bytes,
                beacon: false,
            };
            self.push(arrival.after, due);
        }
    }

    pub(super) fn post_beacon(&mut self, host: HostId, bytes: &[u8]) {
        for to in self.net.neighbours(host) {
            if let Some(from) = self.net.address(host, IpAddr::from([0, 0, 0, 0])) {
                let (from, bytes) = (SocketAddr::new(from, 0), bytes.to_vec());
                let due = Due::Datagram {
                    to,
                    port: 0,
                    from,
                    bytes,
                    beacon: true,
                };
                self.push(Duration::from_micros(500), due);
            }
        }
    }

    pub(super) fn push(&mut self, after: Duration, due: Due) {
        self.sequence += 1;
        self.due.insert((self.now + after, self.sequence), due);
    }

    pub(super) fn note(&mut self, to: HostId, from: SocketAddr, bytes: &[u8]) {
        let at = self.elapsed().as_nanos() as u64;
        let words = [at, to.0 as u64, u64::from(from.port()), bytes.len() as u64];
        let first = bytes.iter().take(128).map(|&byte| u64::from(byte));
        for word in words.into_iter().chain(first) {
            self.log.trace = (self.log.trace ^ word)
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(17);
        }
    }
}
