//! An entry of the map: one or two statements in their exact bytes, and the key that they hash to.

use std::fmt;

use data_encoding::HEXLOWER;
use minicbor::{Decoder, Encoder};

use super::MapError;
use crate::id::NodeId;
use crate::keys::blake2s;
use crate::statement::{Act, Delegation, Departure, Enrolment, Params, Record, Signed, StatementError};

/// Longest entry in bytes.
pub const MAX_ENTRY: usize = 12 * 1024;

/// BLAKE2s-256 of an entry's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey(pub [u8; 32]);

/// An entry. Nothing in it is verified.
#[derive(Clone, Debug)]
pub struct Entry {
    key: EntryKey,
    body: Body,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Kind 0.
    Params(Signed<Params>),
    /// Kind 1.
    Delegation(Signed<Delegation>),
    /// Kind 2.
    Node(NodeEntry),
    /// Kind 3.
    Act(Signed<Act>),
    /// Kind 4.
    Departure(Signed<Departure>),
    /// Of a kind that this release does not know: kept so that the digest is right, and of no effect.
    Newer(Box<[u8]>),
    /// Of a known kind and unreadable: kept so that the digest is right, and refused.
    Broken {
        /// Its bytes.
        bytes: Box<[u8]>,
        /// Why it cannot be read.
        why: String,
    },
}

/// A node: how it came in, and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Signed by the token's join key.
    pub enrolment: Signed<Enrolment>,
    /// Signed by the identity that the enrolment names.
    pub record: Signed<Record>,
}

impl NodeEntry {
    /// The node, as the enrolment names it.
    pub fn node(&self) -> NodeId {
        self.enrolment.value().node
    }
}

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// Where the bytes are not one CBOR array of at most [`MAX_ENTRY`] bytes that starts with a kind. What is in it may
    /// be unreadable still: then the body is [`Body::Broken`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MapError> {
        let broken = || MapError::Malformed("an entry is not [kind, statement...]");
        if bytes.len() > MAX_ENTRY {
            return Err(MapError::Malformed("an entry is longer than 12 KiB"));
        }
        let mut decoder = Decoder::new(bytes);
        decoder.skip().map_err(|_| broken())?;
        if decoder.position() != bytes.len() {
            return Err(broken());
        }
        let mut decoder = Decoder::new(bytes);
        let length = decoder.array().ok().flatten().ok_or_else(broken)?;
        let kind = decoder.u64().map_err(|_| broken())?;
        if kind > 4 {
            return Ok(Self::from(Body::Newer(bytes.into())));
        }
        let entry = read_body(kind, length, &mut decoder, bytes).map(Self::from);
        let why = match entry {
            Ok(entry) if entry.encode() == bytes => return Ok(entry),
            Ok(_) => "it is not in the shortest CBOR form".into(),
            Err(why) => why,
        };
        Ok(Self::from(Body::Broken {
            bytes: bytes.into(),
            why,
        }))
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode_body(&self.body)
    }

    /// What its bytes hash to.
    pub fn key(&self) -> EntryKey {
        self.key
    }

    /// What it carries.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The node, where it is a node's.
    pub fn as_node(&self) -> Option<&NodeEntry> {
        match &self.body {
            Body::Node(node) => Some(node),
            _ => None,
        }
    }
}

impl From<Body> for Entry {
    fn from(body: Body) -> Self {
        Self {
            key: EntryKey(blake2s(&[&encode_body(&body)])),
            body,
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Entry {}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryKey({self})")
    }
}

fn read_body(kind: u64, length: u64, decoder: &mut Decoder<'_>, bytes: &[u8]) -> Result<Body, String> {
    let statements = if kind == 2 { 2 } else { 1 };
    if length != 1 + statements {
        return Err(format!(
            "an entry of kind {kind} carries {statements} statement(s)"
        ));
    }
    let mut next = || {
        let start = decoder.position();
        decoder
            .skip()
            .ok()
            .and_then(|()| bytes.get(start..decoder.position()))
            .unwrap_or_default()
    };
    let mut read = || -> Result<Body, StatementError> {
        Ok(match kind {
            0 => Body::Params(Signed::decode(next())?),
            1 => Body::Delegation(Signed::decode(next())?),
            2 => {
                let enrolment = Signed::decode(next())?;
                Body::Node(NodeEntry {
                    enrolment,
                    record: Signed::decode(next())?,
                })
            }
            3 => Body::Act(Signed::decode(next())?),
            _ => Body::Departure(Signed::decode(next())?),
        })
    };
    read().map_err(|error| error.to_string())
}

fn encode_body(body: &Body) -> Vec<u8> {
    let (kind, statements): (u8, [&[u8]; 2]) = match body {
        Body::Params(params) => (0, [params.bytes(), &[]]),
        Body::Delegation(delegation) => (1, [delegation.bytes(), &[]]),
        Body::Node(node) => (2, [node.enrolment.bytes(), node.record.bytes()]),
        Body::Act(act) => (3, [act.bytes(), &[]]),
        Body::Departure(departure) => (4, [departure.bytes(), &[]]),
        Body::Newer(bytes) | Body::Broken { bytes, .. } => return bytes.to_vec(),
    };
    let count = 1 + statements
        .iter()
        .filter(|statement| !statement.is_empty())
        .count();
    let mut encoder = Encoder::new(Vec::with_capacity(2 + statements[0].len() + statements[1].len()));
    encoder
        .array(count as u64)
        .and_then(|e| e.u8(kind))
        .expect("a vector takes all that is written to it");
    let mut bytes = encoder.into_writer();
    statements
        .iter()
        .for_each(|statement| bytes.extend_from_slice(statement));
    bytes
}
