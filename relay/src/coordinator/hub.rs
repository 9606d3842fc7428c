//! The open map streams of a network: a bounded queue of finished lines each.
//!
//! A line is made once and shared by all streams. A stream whose reader is slower than its queue is cut: the node
//! connects again and gets what it missed as one delta, or the whole map. Nobody waits for a slow reader.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::body::Bytes;
use meshd_api::Base64Bytes;
use meshd_api::coordinator::node::StreamLine;
use meshd_core::admission::Facts;
use meshd_core::id::NodeId;
use meshd_core::map::{Delta, MapBuilder};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use crate::serve::session::Session;

/// Lines that wait for one reader.
pub const QUEUE: usize = 64;
/// The stream says something at least this often.
pub const PING_SECONDS: u16 = 10;

/// The streams of a network, one a node.
#[derive(Default)]
pub struct Hub {
    streams: BTreeMap<NodeId, Stream>,
    last_seen: BTreeMap<NodeId, Instant>,
    full: Option<((u32, u64), Bytes)>,
    next_nonce: u64,
}

struct Stream {
    lines: mpsc::Sender<Bytes>,
    session: Session,
    facts: Facts,
    /// (epoch, version) of the map that was last queued; none while the node waits for approval.
    at: Option<(u32, u64)>,
    asked: Option<(u64, oneshot::Sender<()>)>,
}

/// A ping that waits for its pong.
pub struct Asked {
    /// Resolves with the pong; an error means that the stream ended.
    pub pong: oneshot::Receiver<()>,
}

impl Hub {
    /// Opens a node's stream, in place of an older one, which is cut.
    pub fn open(&mut self, node: NodeId, session: Session, facts: Facts) -> mpsc::Receiver<Bytes> {
        self.close(node);
        let (lines, reader) = mpsc::channel(QUEUE);
        self.streams.insert(
            node,
            Stream {
                lines,
                session,
                facts,
                at: None,
                asked: None,
            },
        );
        self.last_seen.insert(node, Instant::now());
        reader
    }

    /// Cuts a node's stream, if it has one.
    pub fn close(&mut self, node: NodeId) {
        if let Some(stream) = self.streams.remove(&node) {
            stream.session.cut();
            self.last_seen.insert(node, Instant::now());
        }
    }

    /// Ends a node's stream with a last word.
    pub fn end(&mut self, node: NodeId, last: &StreamLine) {
        self.tell(node, last);
        if self.streams.remove(&node).is_some() {
            self.last_seen.insert(node, Instant::now());
        }
    }

    /// Ends all streams in peace: the program stops or the state is replaced.
    pub fn end_all(&mut self) {
        self.streams.clear();
    }

    /// Ends the stream of a node that is out, and forgets it.
    pub fn forget(&mut self, node: NodeId, last: &StreamLine) {
        self.end(node, last);
        self.last_seen.remove(&node);
    }

    /// Whether a node's stream is open.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.streams
            .get(&node)
            .is_some_and(|stream| !stream.lines.is_closed())
    }

    /// Nodes whose stream is open, with the address of this host that each reached.
    pub fn reached(&self) -> Vec<(NodeId, IpAddr)> {
        let reached = |(node, stream): (&NodeId, &Stream)| Some((*node, stream.session.tls()?.reached.ip()));
        self.streams.iter().filter_map(reached).collect()
    }

    /// How many streams are open.
    pub fn connected(&self) -> usize {
        self.streams
            .values()
            .filter(|stream| !stream.lines.is_closed())
            .count()
    }

    /// When a node was last heard of.
    pub fn last_seen(&self, node: NodeId) -> Option<Instant> {
        if self.is_connected(node) {
            Some(Instant::now())
        } else {
            self.last_seen.get(&node).copied()
        }
    }

    /// When a node was last heard of; one never heard of since the start counts from now on.
    pub fn seen_or_now(&mut self, node: NodeId) -> Instant {
        let connected = self.is_connected(node);
        let seen = self.last_seen.entry(node).or_insert_with(Instant::now);
        if connected {
            *seen = Instant::now();
        }
        *seen
    }

    /// The facts and the address of the machine whose stream is open.
    pub fn facts(&self, node: NodeId) -> Option<(&Facts, Option<SocketAddr>)> {
        let stream = self
            .streams
            .get(&node)
            .filter(|stream| !stream.lines.is_closed())?;
        Some((&stream.facts, stream.session.tls().map(|tls| tls.from)))
    }

    /// Queues one line for a node.
    pub fn tell(&mut self, node: NodeId, line: &StreamLine) {
        self.queue(node, &line_bytes(line));
    }

    /// Queues what brings a node from the map that it says it holds to the present one.
    pub fn catch_up(&mut self, node: NodeId, holds: (u32, u64), map: &MapBuilder) {
        let line = match map.published() {
            None => return,
            Some(_) if holds == map.at() => None,
            Some(_) => {
                let delta = map.delta_since(holds.1).filter(|_| holds.0 == map.at().0);
                Some(delta.map_or_else(|| self.full(map), |delta| delta_line(&delta)))
            }
        };
        if let Some(stream) = self.streams.get_mut(&node) {
            stream.at = Some(map.at());
        }
        if let Some(line) = line {
            self.queue(node, &line);
        }
    }

    /// Brings every stream that has a map to the present one.
    pub fn push_map(&mut self, map: &MapBuilder) {
        let at = map.at();
        let behind = |stream: &&Stream| stream.at.is_some_and(|held| held != at);
        let nodes: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, s)| behind(s))
            .map(|(id, s)| (*id, s.at))
            .collect();
        let mut lines: BTreeMap<(u32, u64), Bytes> = BTreeMap::new();
        for (node, held) in nodes {
            let Some(held) = held else { continue };
            let line = match lines.get(&held) {
                Some(line) => line.clone(),
                None => {
                    let delta = map.delta_since(held.1).filter(|_| held.0 == at.0);
                    let line = delta.map_or_else(|| self.full(map), |delta| delta_line(&delta));
                    lines.insert(held, line.clone());
                    line
                }
            };
            if let Some(stream) = self.streams.get_mut(&node) {
                stream.at = Some(at);
            }
            self.queue(node, &line);
        }
    }

    /// Says something on every stream, and forgets those whose reader is gone.
    pub fn ping_all(&mut self) {
        let line = line_bytes(&StreamLine::Ping {
            nonce: 0,
            answer: false,
        });
        let nodes: Vec<NodeId> = self.streams.keys().copied().collect();
        for node in nodes {
            self.queue(node, &line);
        }
    }

    /// Asks a node's stream whether anybody is there; none where it has no stream.
    pub fn ask(&mut self, node: NodeId) -> Option<Asked> {
        self.next_nonce += 1;
        let nonce = self.next_nonce;
        let (answer, pong) = oneshot::channel();
        self.streams.get_mut(&node)?.asked = Some((nonce, answer));
        self.tell(node, &StreamLine::Ping { nonce, answer: true });
        Some(Asked { pong })
    }

    /// A pong came.
    pub fn pong(&mut self, node: NodeId, nonce: u64) {
        let asked = self
            .streams
            .get_mut(&node)
            .and_then(|stream| stream.asked.take_if(|(n, _)| *n == nonce));
        if let Some((_, answer)) = asked {
            let _ = answer.send(());
        }
    }

    fn queue(&mut self, node: NodeId, line: &Bytes) {
        let Some(stream) = self.streams.get(&node) else {
            return;
        };
        match stream.lines.try_send(line.clone()) {
            Ok(()) => {
                self.last_seen.insert(node, Instant::now());
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                debug!(%node, "map stream cut: its reader is too slow");
                self.close(node);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => drop(self.streams.remove(&node)),
        }
    }

    /// The whole map as a line, made once per version.
    fn full(&mut self, map: &MapBuilder) -> Bytes {
        match &self.full {
            Some((at, line)) if *at == map.at() => line.clone(),
            _ => {
                let bytes = map.published().map(|map| map.encode()).unwrap_or_default();
                let line = line_bytes(&StreamLine::Full { map: bytes.into() });
                self.full = Some((map.at(), line.clone()));
                line
            }
        }
    }
}

fn delta_line(delta: &Delta) -> Bytes {
    line_bytes(&StreamLine::Delta {
        from_version: delta.from_version,
        header: delta.header.bytes().into(),
        add: delta.add.iter().map(|entry| entry.encode().into()).collect(),
        drop: delta
            .drop
            .iter()
            .map(|key| Base64Bytes::from(&key.0[..]))
            .collect(),
    })
}

fn line_bytes(line: &StreamLine) -> Bytes {
    // a stream line is plain data with string keys, which always serialises
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
