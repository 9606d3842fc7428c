//! Questions to gateways and answers to those who use this node as one, over UDP inside the tunnel.

use ipnet::IpNet;
use meshd_core::gateway::probe::{self, Nonce, PORT, Probe};
use meshd_core::id::NodeId;
use rand_core::{OsRng, RngCore};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::UdpSocket;
use tracing::{debug, warn};

/// Questions whose answer is still welcome.
const MAX_ASKED: usize = 256;
/// A datagram that is longer is none of ours.
const BUFFER: usize = 64;

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks whether this node serves a range.
    Question(SocketAddr, Nonce, IpNet),
    /// A gateway answered.
    Answer(NodeId, IpNet, bool),
}

/// The socket on this node's mesh address, and the questions under way.
pub struct Prober {
    socket: Option<UdpSocket>,
    asked: BTreeMap<Nonce, (NodeId, Ipv4Addr, IpNet)>,
    /// Questions sent to each node, to tell them from packets that somebody else sends.
    sent: BTreeMap<NodeId, u64>,
}

impl Prober {
    /// Binds. Without a socket this node asks nobody, and nobody finds it well.
    pub async fn open(address: Ipv4Addr) -> Self {
        let bound = async {
            let socket = UdpSocket::bind((address, PORT)).await?;
            // Until the runtime has seen it writable, it refuses to send.
            socket.writable().await.map(|()| socket)
        };
        let socket = bound.await.inspect_err(
            |error| warn!(%address, PORT, %error, "gateways cannot be asked whether they are well"),
        );
        Self {
            socket: socket.ok(),
            asked: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    /// Waits for the next question or answer. Safe to cancel.
    pub async fn recv(&self) -> Option<(SocketAddr, Probe)> {
        let Some(socket) = &self.socket else {
            return std::future::pending().await;
        };
        let mut buffer = [0; BUFFER];
        let (len, from) = socket.recv_from(&mut buffer).await.ok()?;
        Some((from, probe::parse(&buffer[..len])?))
    }

    /// What a datagram means: an answer counts from whom it was asked, once.
    pub fn heard(&mut self, from: SocketAddr, probe: Probe) -> Option<Heard> {
        match probe {
            Probe::Question(nonce, prefix) => Some(Heard::Question(from, nonce, prefix)),
            Probe::Answer(nonce, serves) => {
                let (node, address, prefix) = *self.asked.get(&nonce)?;
                if from.ip() != IpAddr::from(address) {
                    return None;
                }
                self.asked.remove(&nonce);
                Some(Heard::Answer(node, prefix, serves))
            }
        }
    }

    /// Asks a node at its mesh address.
    pub fn ask(&mut self, node: NodeId, address: Ipv4Addr, prefix: IpNet) {
        let mut nonce = [0; 8];
        OsRng.fill_bytes(&mut nonce);
        if self.asked.len() >= MAX_ASKED {
            self.asked.clear();
        }
        self.asked.insert(nonce, (node, address, prefix));
        *self.sent.entry(node).or_default() += 1;
        self.send(&probe::question(nonce, prefix), (address, PORT).into());
    }

    /// Answers.
    pub fn answer(&self, to: SocketAddr, nonce: Nonce, serves: bool) {
        self.send(&probe::answer(nonce, serves), to);
    }

    /// How many questions went to a node since this was last asked.
    pub fn take_sent(&mut self, node: NodeId) -> u64 {
        self.sent.remove(&node).unwrap_or(0)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) {
        let sent = self.socket.as_ref().map(|socket| socket.try_send_to(bytes, to));
        if let Some(Err(error)) = sent {
            debug!(%to, %error, "not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_counts_once_and_from_whom_it_was_asked() {
        let [a, b] = ["127.77.0.1", "127.77.0.2"].map(|a| a.parse::<Ipv4Addr>().unwrap());
        let (mut asking, mut asked) = (Prober::open(a).await, Prober::open(b).await);
        let (node, prefix) = (NodeId::from_bytes([2; 16]), "192.168.50.0/24".parse().unwrap());
        asking.ask(node, b, prefix);
        let (from, question) = asked.recv().await.unwrap();
        let Some(Heard::Question(to, nonce, asked_for)) = asked.heard(from, question) else {
            panic!("{question:?}")
        };
        assert_eq!(asked_for, prefix);
        asked.answer(to, nonce, true);
        let (from, answer) = asking.recv().await.unwrap();
        assert_eq!(asking.heard((a, PORT).into(), answer), None, "another's word");
        assert_eq!(
            asking.heard(from, answer),
            Some(Heard::Answer(node, prefix, true))
        );
        assert_eq!(asking.heard(from, answer), None, "once");
        assert_eq!((asking.take_sent(node), asking.take_sent(node)), (1, 0));
    }
}
