//! The envelope: bytes, the value that they say, signing and verifying.

use std::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::keys::{StatementSigner, StatementVerifier};

/// Longest payload in bytes.
pub const MAX_PAYLOAD: usize = 4096;
const SIGNATURE: usize = 64;

/// Why bytes are not a statement, or not one by the key asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not the envelope of two byte strings, in its shortest form.
    #[error("the {0} statement is not [payload, signature] in the shortest CBOR form")]
    Envelope(&'static str),
    /// The payload does not say what a statement of its kind must.
    #[error("the {what} statement cannot be read: {why}")]
    Payload {
        /// The kind of statement.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Over [`MAX_PAYLOAD`].
    #[error(
        "the {what} statement's payload has {size} bytes; at most {MAX_PAYLOAD} are allowed, name fewer things in it"
    )]
    TooLong {
        /// The kind of statement.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
    },
    /// The signature is not by the key asked for, over these bytes.
    #[error("the {what} statement is not signed by {signer}")]
    Signature {
        /// The kind of statement.
        what: &'static str,
        /// Whose signature was wanted.
        signer: String,
    },
}

/// A kind of statement.
pub trait Statement: Sized + Encode<()> + for<'b> Decode<'b, ()> {
    /// What its signature is bound to; no two kinds have the same.
    const LABEL: &'static str;
    /// Its name in sentences.
    const WHAT: &'static str;
    /// Who signs it, in sentences.
    const SIGNER: &'static str;
    /// The key that signs it.
    type Secret: StatementSigner;
    /// The key that it is verified with.
    type Public: StatementVerifier + fmt::Display;

    /// Limits beyond the form, for signing and decoding alike. The error says which one.
    fn check(&self) -> Result<(), String>;
}

/// A statement in its exact bytes, and what they say. What [`value`](Self::value) returns is a claim until
/// [`verify`](Self::verify) said yes.
#[derive(Clone)]
pub struct Signed<T> {
    bytes: Box<[u8]>,
    value: T,
}

impl<T: Statement> Signed<T> {
    /// Says `value` under `key`.
    ///
    /// # Errors
    /// Where the value breaks a limit of its kind.
    pub fn sign(value: T, key: &T::Secret) -> Result<Self, StatementError> {
        let refused = |why| StatementError::Payload { what: T::WHAT, why };
        value.check().map_err(refused)?;
        let payload = minicbor::to_vec(&value).map_err(|error| refused(error.to_string()))?;
        if payload.len() > MAX_PAYLOAD {
            return Err(StatementError::TooLong {
                what: T::WHAT,
                size: payload.len(),
            });
        }
        let signature = key.sign_message(&message::<T>(&payload));
        Ok(Self {
            bytes: envelope(&payload, &signature).into(),
            value,
        })
    }

    /// Reads a statement; nothing is verified yet.
    ///
    /// # Errors
    /// Where the bytes are not exactly one statement of this kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let (payload, signature) = split(bytes).ok_or(StatementError::Envelope(T::WHAT))?;
        if payload.len() > MAX_PAYLOAD {
            return Err(StatementError::TooLong {
                what: T::WHAT,
                size: payload.len(),
            });
        }
        if envelope(payload, signature) != bytes {
            return Err(StatementError::Envelope(T::WHAT));
        }
        let refused = |why| StatementError::Payload { what: T::WHAT, why };
        let mut decoder = Decoder::new(payload);
        let value: T = decoder.decode().map_err(|error| refused(error.to_string()))?;
        if decoder.position() != payload.len() {
            return Err(refused("bytes follow its end".into()));
        }
        value.check().map_err(refused)?;
        Ok(Self {
            bytes: bytes.into(),
            value,
        })
    }

    /// Whether `key` signed it; then what it says.
    ///
    /// # Errors
    /// Where it did not.
    pub fn verify(&self, key: &T::Public) -> Result<&T, StatementError> {
        let signed = split(&self.bytes)
            .is_some_and(|(payload, signature)| key.verifies(&message::<T>(payload), signature));
        let refused = || StatementError::Signature {
            what: T::WHAT,
            signer: format!("{} {key}", T::SIGNER),
        };
        if signed { Ok(&self.value) } else { Err(refused()) }
    }

    /// What it says; a claim until verified.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The exact bytes, for the wire and for disk.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Signed<T> {}

impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signed").field(&self.value).finish()
    }
}

fn message<T: Statement>(payload: &[u8]) -> Vec<u8> {
    [T::LABEL.as_bytes(), &[0], payload].concat()
}

fn envelope(payload: &[u8], signature: &[u8; SIGNATURE]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::with_capacity(payload.len() + SIGNATURE + 6));
    encoder
        .array(2)
        .and_then(|e| e.bytes(payload))
        .and_then(|e| e.bytes(signature))
        .expect("a vector takes all that is written to it");
    encoder.into_writer()
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8; SIGNATURE])> {
    let mut decoder = Decoder::new(bytes);
    if decoder.array().ok()? != Some(2) {
        return None;
    }
    let payload = decoder.bytes().ok()?;
    let signature = decoder.bytes().ok()?.try_into().ok()?;
    Some((payload, signature))
}
