//! This node's record: what it says of itself, signed anew whenever that changes.
//!
//! Serials must never go back, also after a power cut: the serial on disk runs ahead of those used, so that one
//! write serves many records.

use crate::state::{Membership, NetworkFiles};
use meshd_core::id::RelayId;
use meshd_core::statement::{Candidate, Record, Signed, StatementError};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};
use tracing::warn;

/// How many serials one write to disk is good for.
const RESERVE: u64 = 64;

/// What a network's task must find again after a restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    /// No record of this node has this serial or a higher one.
    serial: u64,
    /// The UDP port that the tunnel had.
    pub port: Option<u16>,
}

impl Progress {
    /// Reads it; a lost file is no harm, since the map holds this node's last record too.
    pub fn load(files: &NetworkFiles) -> Self {
        match files.load("progress") {
            Ok(bytes) => bytes
                .and_then(|b| serde_json::from_slice(&b).ok())
                .unwrap_or_default(),
            Err(error) => {
                warn!("{error}");
                Self::default()
            }
        }
    }

    fn save(&self, files: &NetworkFiles) {
        let bytes = serde_json::to_vec(self).expect("plain data");
        if let Err(error) = files.save("progress", &bytes) {
            warn!("{error}");
        }
    }
}

/// What of a record may change while the node runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changing {
    /// Where this node may be reached.
    pub candidates: Vec<Candidate>,
    /// The relay that it is bound to.
    pub home_relay: Option<RelayId>,
}

/// Signs records.
pub struct Recorder {
    files: NetworkFiles,
    progress: Progress,
    next: u64,
    addresses: (Ipv4Addr, Ipv6Addr),
    host_name: String,
    said: Option<Changing>,
}

impl Recorder {
    /// A recorder that goes on after `held`, the serial of this node's record in the map.
    pub fn new(
        files: NetworkFiles,
        port: u16,
        held: u64,
        host_name: &str,
        addresses: (Ipv4Addr, Ipv6Addr),
    ) -> Self {
        let mut progress = Progress::load(&files);
        let next = progress.serial.max(held) + 1;
        progress.port = Some(port);
        progress.serial = next + RESERVE;
        progress.save(&files);
        Self {
            files,
            progress,
            next,
            addresses,
            host_name: host_name.to_owned(),
            said: None,
        }
    }

    /// The next record, where it says something new or `again` asks for one regardless.
    pub fn next(
        &mut self,
        membership: &Membership,
        changing: Changing,
        again: bool,
    ) -> Option<Result<Vec<u8>, StatementError>> {
        if self.said.as_ref() == Some(&changing) && !again {
            return None;
        }
        self.said = Some(changing.clone());
        let serial = self.take_serial();
        let record = Record {
            network: membership.network,
            node: membership.node,
            serial,
            wireguard: membership.wireguard.public(),
            discovery: membership.discovery.public(),
            ipv4: self.addresses.0,
            ipv6: self.addresses.1,
            host_name: self.host_name.clone(),
            candidates: changing.candidates,
            home_relay: changing.home_relay,
            system: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Some(Signed::sign(record, &membership.identity).map(|signed| signed.bytes().to_vec()))
    }

    /// Jumps past `held`, a serial that others hold (a restored machine may be behind its own past).
    pub fn jump_past(&mut self, held: u64) {
        if held >= self.next {
            self.next = held + 1;
        }
    }

    fn take_serial(&mut self) -> u64 {
        let serial = self.next;
        self.next += 1;
        if self.next >= self.progress.serial {
            self.progress.serial = self.next + RESERVE;
            self.progress.save(&self.files);
        }
        serial
    }
}
