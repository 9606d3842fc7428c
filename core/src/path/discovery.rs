//! Discovery packets (docs/wire.md section 7): sealed between two discovery keys, total both ways.
//!
//! Each direction has its own key, so a packet that is sent back to its sender opens nowhere. What makes a replay
//! harmless is not here: transaction ids tie a pong to its ping, boot nonces and sequence numbers tie the rest to two
//! lives of two processes.

use std::net::SocketAddr;

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::bytes::{Reader, address_bytes};
use crate::demux::DISCOVERY_MAGIC;
use crate::id::{BootNonce, NodeId};
use crate::keys::{DiscoveryPublic, DiscoverySecret, blake2s};
use crate::nat::NatBehaviour;
use crate::statement::MAX_CANDIDATES;

/// Size of a pong, and of a ping that measures nothing, whatever is in it.
pub const PING_LEN: usize = 128;
/// The longest ping, which measures what a way carries: it fills an IPv4 packet of 9,000 bytes.
pub const MAX_PROBE_LEN: usize = 9_000 - 28;
/// The longest packet of another kind: a call with all candidates.
pub const MAX_LEN: usize =
    HEADER_LEN + 1 + 8 + 8 + 4 + 1 + 18 * MAX_CANDIDATES + NatBehaviour::LEN + 1 + TAG_LEN;

const HEADER_LEN: usize = 4 + 32 + 24;
const TAG_LEN: usize = 16;
/// Flag of a ping.
const IN_USE: u8 = 1;
const LABEL: &[u8] = b"meshd disco v1";

/// Ties a pong to its ping.
pub type Transaction = [u8; 8];

/// The version of the network map that somebody holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapVersion {
    /// Changes when the coordinator was restored from a backup.
    pub epoch: u32,
    /// Grows by one with every change.
    pub version: u64,
}

impl From<(u32, u64)> for MapVersion {
    fn from((epoch, version): (u32, u64)) -> Self {
        Self { epoch, version }
    }
}

/// Which life of the receiver a message is for, and which of the sender's messages it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The receiver's boot nonce, as the sender last learnt it.
    pub to: BootNonce,
    /// The sender's own.
    pub from: BootNonce,
    /// Grows by one with every message but pongs, for each peer apart.
    pub sequence: u32,
}

/// Are you there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Comes back in the pong.
    pub transaction: Transaction,
    /// The sender's boot nonce.
    pub boot: BootNonce,
    /// As in [`Address`].
    pub sequence: u32,
    /// The map that the sender holds.
    pub map: MapVersion,
    /// Whether packets go between the two, or wait to: then the receiver should look for a path as well. A ping that
    /// only keeps a path known wakes nobody, else two idle nodes would keep each other awake.
    pub in_use: bool,
}

/// Yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Of the ping.
    pub transaction: Transaction,
    /// The sender's boot nonce.
    pub boot: BootNonce,
    /// The last sequence number that the sender has used.
    pub sequence: u32,
    /// The source address of the ping; none where it came through a relay.
    pub seen: Option<SocketAddr>,
    /// The map that the sender holds.
    pub map: MapVersion,
}

/// What a call is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// These are my candidates: prime them, and tell me yours.
    #[default]
    Candidates,
    /// I have opened a fresh port, seen at the one candidate, and sent nothing to you by it: open one too and tell me.
    FreshAsked,
    /// I have opened a fresh port, seen at the one candidate, and primed your fresh one: ping mine now.
    FreshReady,
    /// I have many sockets open towards the address that you named, all behind the candidate's IP address: search.
    Birthday,
    /// These are my candidates, and I have primed yours: ping mine now.
    Primed,
}

impl Stage {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Candidates,
            Self::FreshAsked,
            Self::FreshReady,
            Self::Birthday,
            Self::Primed,
        ]
        .into_iter()
        .find(|stage| *stage as u8 == byte)
    }
}

/// Here I may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Addresses, at most [`MAX_CANDIDATES`].
    pub candidates: Vec<SocketAddr>,
    /// What the sender knows of the NAT in front of it.
    pub nat: NatBehaviour,
    /// What is to be done with them.
    pub stage: Stage,
}

/// What is in a discovery packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Are you there?
    Ping(Ping),
    /// Yes.
    Pong(Pong),
    /// My handshakes come to nothing: start one from your side.
    PleaseInitiate(Address),
    /// Here I may be reached; try now.
    CallMeMaybe(Address, Call),
    /// I am going away.
    Goodbye(Address),
}

/// One end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The node.
    pub node: NodeId,
    /// Its discovery key.
    pub key: DiscoveryPublic,
}

/// The two keys between this node and a peer.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PairKeys {
    seal: [u8; 32],
    open: [u8; 32],
}

impl PairKeys {
    /// Agrees the keys; none where the peer's key is a low-order point. The node ids are part of them, so that a
    /// member whose record names somebody else's key gets nothing of what that one sends.
    pub fn agree(own: &DiscoverySecret, from: &End, to: &End) -> Option<Self> {
        let shared = own.agree(&to.key)?;
        let key = |from: &End, to: &End| {
            let keys = [from.key.as_bytes().as_slice(), to.key.as_bytes()];
            blake2s(&[
                LABEL,
                &shared[..],
                keys[0],
                keys[1],
                from.node.as_bytes(),
                to.node.as_bytes(),
            ])
        };
        Some(Self {
            seal: key(from, to),
            open: key(to, from),
        })
    }
}

/// Who claims to have sent this; none where it is no discovery packet.
pub fn sender_of(datagram: &[u8]) -> Option<DiscoveryPublic> {
    let mut reader = Reader::new(datagram);
    let shaped = (HEADER_LEN + TAG_LEN + 1..=MAX_PROBE_LEN).contains(&datagram.len());
    (shaped && reader.take()? == DISCOVERY_MAGIC).then_some(())?;
    Some(DiscoveryPublic::from_bytes(reader.take()?))
}

/// Appends a sealed packet to `out`. `nonce` is fresh randomness.
pub fn seal(message: &Message, own: &DiscoveryPublic, keys: &PairKeys, nonce: [u8; 24], out: &mut Vec<u8>) {
    seal_padded(message, own, keys, nonce, 0, out);
}

/// As [`seal`], padded so that the packet has at least `length` bytes: a ping that measures what a way carries. No more than
/// [`MAX_PROBE_LEN`]; only pings may be longer than [`MAX_LEN`].
pub fn seal_padded(
    message: &Message,
    own: &DiscoveryPublic,
    keys: &PairKeys,
    nonce: [u8; 24],
    length: usize,
    out: &mut Vec<u8>,
) {
    out.extend(DISCOVERY_MAGIC);
    out.extend(own.as_bytes());
    out.extend(nonce);
    let body = out.len();
    write(message, out);
    let padded = body + length.min(MAX_PROBE_LEN).saturating_sub(HEADER_LEN + TAG_LEN);
    out.resize(out.len().max(padded), 0);
    let cipher = XChaCha20Poly1305::new(&keys.seal.into());
    // fails for plain texts of 256 GiB only
    if let Ok(tag) = cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), &[], &mut out[body..]) {
        out.extend(tag);
    }
}

/// Opens a packet; none where it is not exactly one under these keys.
pub fn open(datagram: &[u8], keys: &PairKeys) -> Option<Message> {
    sender_of(datagram)?;
    let (header, sealed) = datagram.split_at(HEADER_LEN);
    let (body, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
    let mut body = body.to_vec();
    XChaCha20Poly1305::new(&keys.open.into())
        .decrypt_in_place_detached(XNonce::from_slice(&header[36..]), &[], &mut body, tag.into())
        .ok()?;
    parse(&body).filter(|message| match message {
        Message::Ping(_) => datagram.len() >= PING_LEN,
        Message::Pong(_) => datagram.len() == PING_LEN,
        _ => datagram.len() <= MAX_LEN,
    })
}

fn write(message: &Message, out: &mut Vec<u8>) {
    let start = out.len();
    match message {
        Message::Ping(ping) => {
            out.push(1);
            out.extend(ping.transaction);
            out.extend(ping.boot.as_bytes());
            out.extend(ping.sequence.to_le_bytes());
            write_map(&ping.map, out);
            out.push(if ping.in_use { IN_USE } else { 0 });
        }
        Message::Pong(pong) => {
            out.push(2);
            out.extend(pong.transaction);
            out.extend(pong.boot.as_bytes());
            out.extend(pong.sequence.to_le_bytes());
            out.extend(pong.seen.map_or([0; 18], address_bytes));
            write_map(&pong.map, out);
        }
        Message::PleaseInitiate(address) => write_address(3, address, out),
        Message::CallMeMaybe(address, call) => {
            write_address(4, address, out);
            let candidates = &call.candidates[..call.candidates.len().min(MAX_CANDIDATES)];
            out.push(candidates.len() as u8);
            candidates
                .iter()
                .for_each(|&candidate| out.extend(address_bytes(candidate)));
            out.extend(call.nat.to_bytes());
            out.push(call.stage as u8);
        }
        Message::Goodbye(address) => write_address(5, address, out),
    }
    if matches!(message, Message::Ping(_) | Message::Pong(_)) {
        out.resize(start + PING_LEN - HEADER_LEN - TAG_LEN, 0);
    }
}

fn write_map(map: &MapVersion, out: &mut Vec<u8>) {
    out.extend(map.epoch.to_le_bytes());
    out.extend(map.version.to_le_bytes());
}

fn write_address(kind: u8, address: &Address, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(address.to.as_bytes());
    out.extend(address.from.as_bytes());
    out.extend(address.sequence.to_le_bytes());
}

/// The plain text of a packet; none where it is not exactly one.
pub fn parse(body: &[u8]) -> Option<Message> {
    let mut body = Reader::new(body);
    let r = &mut body;
    let message = match r.u8()? {
        1 => Message::Ping(Ping {
            transaction: r.take()?,
            boot: r.take()?.into(),
            sequence: r.u32()?,
            map: read_map(r)?,
            in_use: r.u8()? & IN_USE != 0,
        }),
        2 => Message::Pong(Pong {
            transaction: r.take()?,
            boot: r.take()?.into(),
            sequence: r.u32()?,
            seen: read_seen(r)?,
            map: read_map(r)?,
        }),
        3 => Message::PleaseInitiate(read_address(r)?),
        4 => {
            let (address, count) = (read_address(r)?, usize::from(r.u8()?));
            (count <= MAX_CANDIDATES).then_some(())?;
            let candidates = (0..count).map(|_| r.address()).collect::<Option<_>>()?;
            let (nat, stage) = (NatBehaviour::from_bytes(r.take()?), Stage::from_byte(r.u8()?)?);
            let call = Call {
                candidates,
                nat,
                stage,
            };
            Message::CallMeMaybe(address, call)
        }
        5 => Message::Goodbye(read_address(r)?),
        _ => return None,
    };
    body.zeros().map(|()| message)
}

fn read_map(r: &mut Reader<'_>) -> Option<MapVersion> {
    Some(MapVersion {
        epoch: r.u32()?,
        version: r.u64()?,
    })
}

fn read_seen(r: &mut Reader<'_>) -> Option<Option<SocketAddr>> {
    let seen = r.address()?;
    Some(Some(seen).filter(|seen| !seen.ip().is_unspecified()))
}

fn read_address(r: &mut Reader<'_>) -> Option<Address> {
    Some(Address {
        to: r.take()?.into(),
        from: r.take()?.into(),
        sequence: r.u32()?,
    })
}

#[cfg(test)]
mod tests;
