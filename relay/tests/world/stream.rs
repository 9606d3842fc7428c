//! A node's end of the map stream.

use meshd_api::client::{ClientError, LineStream};
use meshd_api::coordinator::node::{Relay, StreamLine};
use meshd_core::map::{Delta, MapHolder, NetworkMap};

use super::PATIENCE;

/// A node's map stream, and the map that it makes.
pub struct MapStream {
    pub(super) lines: LineStream,
    pub holder: MapHolder,
    pub relays: Vec<Relay>,
    pub notices: Vec<(String, String)>,
    pub pings: Vec<u64>,
}

impl MapStream {
    /// Takes one line; false at the end.
    pub async fn step(&mut self) -> bool {
        let line = tokio::time::timeout(PATIENCE, self.lines.next::<StreamLine>())
            .await
            .expect("no line in time");
        match line {
            Ok(Some(line)) => self.take(line),
            Ok(None) | Err(ClientError::Broken { .. }) => return false,
            Err(other) => panic!("{other}"),
        }
        true
    }

    fn take(&mut self, line: StreamLine) {
        match line {
            StreamLine::Hello { relays, .. } => self.relays = relays,
            StreamLine::Full { map } => {
                let map = NetworkMap::decode(map.as_ref()).unwrap();
                self.holder.apply_full(map).unwrap();
            }
            StreamLine::Delta {
                from_version,
                header,
                add,
                drop,
            } => {
                let add = add.iter().map(AsRef::as_ref);
                let delta =
                    Delta::from_parts(from_version, header.as_ref(), add, drop.iter().map(AsRef::as_ref));
                self.holder.apply_delta(&delta.unwrap()).unwrap();
            }
            StreamLine::Ping { nonce, answer } => self.pings.extend(answer.then_some(nonce)),
            StreamLine::Notice { code, message } => self.notices.push((code, message)),
        }
    }

    /// Takes lines until `wanted` holds.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !wanted(self) {
            assert!(tokio::time::Instant::now() < end, "not in time: {what}");
            assert!(self.step().await, "the stream ended before: {what}");
        }
    }

    /// The names of the nodes that are believed, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match self.holder.view() {
            Some(view) => view.nodes.values().map(|node| node.name.clone()).collect(),
            None => Vec::new(),
        };
        names.sort();
        names
    }

    /// Takes lines until these are the nodes believed.
    pub async fn until_names(&mut self, names: &[&str]) {
        self.until(&format!("nodes {names:?}"), |stream| stream.names() == names)
            .await;
    }

    /// Reads to the end.
    pub async fn until_end(&mut self) {
        while self.step().await {}
    }
}
