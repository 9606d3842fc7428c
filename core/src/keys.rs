//! Keys as types: a function that wants the root's key cannot be given a node's.
//!
//! Public keys are 32 raw bytes; whether they are good shows when they are used (a bad one verifies nothing). Secrets
//! are made from a 32-byte seed that the caller drew, are zeroised on drop and show nothing in `Debug`. Ed25519 is
//! verified strictly (RFC 8032 with canonical `S` and no small-order keys), so that one statement has one signature
//! that everybody accepts or nobody does.

use std::fmt;
use std::str::FromStr;

use blake2::digest::consts::{U16, U32};
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cbor::byte_string;
use crate::id::excerpt;

/// BLAKE2s-256 (RFC 7693) of the parts, one after the other.
pub fn blake2s(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        Digest::update(&mut hash, part);
    }
    hash.finalize().into()
}

/// BLAKE2s-256 in keyed mode over the parts, one after the other.
pub fn blake2s_keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Blake2sMac<U32> as KeyInit>::new(key.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize_fixed().into()
}

/// BLAKE2s with 16 bytes of output, in keyed mode, over the parts, one after the other.
pub fn blake2s_128_keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = <Blake2sMac<U16> as KeyInit>::new(key.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize_fixed().into()
}

/// A text that is not a key of the kind wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is 32 bytes in {encoding}; \"{given}\" is not")]
pub struct KeyError {
    what: &'static str,
    encoding: &'static str,
    given: String,
}

/// A secret that signs statements.
pub trait StatementSigner {
    /// The Ed25519 signature over `message`.
    fn sign_message(&self, message: &[u8]) -> [u8; 64];
}

/// A public key that verifies statements.
pub trait StatementVerifier {
    /// Its 32 bytes.
    fn key_bytes(&self) -> &[u8; 32];

    /// Whether `signature` is this key's over `message`, strictly. Total: a key that is no curve point says no.
    fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(self.key_bytes()).is_ok_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(signature))
                .is_ok()
        })
    }
}

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident, $what:literal, $shown:ident, $read:ident, $encoding:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&$shown.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                let refused = || KeyError { what: $what, encoding: $encoding, given: excerpt(text) };
                let bytes = $read.decode(text.as_bytes()).map_err(|_| refused())?;
                Ok(Self(bytes.try_into().map_err(|_| refused())?))
            }
        }

        byte_string!($name, 32);
    };
}

macro_rules! redacted {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

macro_rules! ed25519 {
    ($(#[$doc:meta])* $secret:ident, $public:ident, $what:literal) => {
        public_key!(
            $(#[$doc])*
            ///
            /// The public half (Ed25519); shown in hex.
            $public, $what, HEXLOWER, HEXLOWER_PERMISSIVE, "hexadecimal"
        );

        $(#[$doc])*
        ///
        /// The secret half (Ed25519).
        #[derive(Clone)]
        pub struct $secret(SigningKey);

        impl $secret {
            /// The key made from 32 random bytes.
            pub fn from_seed(seed: &[u8; 32]) -> Self {
                Self(SigningKey::from_bytes(seed))
            }

            /// The seed, to be stored.
            pub fn seed(&self) -> Zeroizing<[u8; 32]> {
                Zeroizing::new(self.0.to_bytes())
            }

            /// The public half.
            pub fn public(&self) -> $public {
                $public(self.0.verifying_key().to_bytes())
            }

            /// The signature over `label || 0x00 || message`: for proofs that are no statements, such as the one that
            /// binds an identity to a TLS session. The label keeps them apart.
            pub fn sign(&self, label: &str, message: &[u8]) -> [u8; 64] {
                self.sign_message(&[label.as_bytes(), &[0], message].concat())
            }
        }

        impl $public {
            /// Whether `signature` is this key's over `label || 0x00 || message`.
            pub fn verify(&self, label: &str, message: &[u8], signature: &[u8; 64]) -> bool {
                self.verifies(&[label.as_bytes(), &[0], message].concat(), signature)
            }
        }

        impl StatementSigner for $secret {
            fn sign_message(&self, message: &[u8]) -> [u8; 64] {
                self.0.sign(message).to_bytes()
            }
        }

        impl StatementVerifier for $public {
            fn key_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        redacted!($secret);
    };
}

ed25519!(
    /// The network's root key: what it has not signed, no node believes.
    RootSecret, RootPublic, "a root key"
);
ed25519!(
    /// A node's identity.
    IdentitySecret, IdentityPublic, "an identity key"
);
ed25519!(
    /// The coordinator's identity: signs its TLS keys and map headers, and nothing that makes a peer.
    CoordinatorSecret, CoordinatorPublic, "a coordinator key"
);
ed25519!(
    /// The key in a join token: signs the enrolment of who holds the token.
    JoinSecret, JoinPublic, "a join key"
);

macro_rules! x25519 {
    ($(#[$doc:meta])* $secret:ident, $public:ident, $what:literal, $shown:ident, $read:ident, $encoding:literal) => {
        public_key!(
            $(#[$doc])*
            ///
            /// The public half (X25519).
            $public, $what, $shown, $read, $encoding
        );

        $(#[$doc])*
        ///
        /// The secret half (X25519).
        #[derive(Clone)]
        pub struct $secret(StaticSecret);

        impl $secret {
            /// The key made from 32 random bytes (clamped when used, RFC 7748 section 5).
            pub fn from_seed(seed: &[u8; 32]) -> Self {
                Self(StaticSecret::from(*seed))
            }

            /// The seed, to be stored.
            pub fn seed(&self) -> Zeroizing<[u8; 32]> {
                Zeroizing::new(self.0.to_bytes())
            }

            /// The public half.
            pub fn public(&self) -> $public {
                $public(PublicKey::from(&self.0).to_bytes())
            }

            /// The shared secret with the holder of `peer`; none where `peer` is a low-order point, with which every
            /// secret is shared.
            pub fn agree(&self, peer: &$public) -> Option<Zeroizing<[u8; 32]>> {
                let shared = self.0.diffie_hellman(&PublicKey::from(peer.0));
                shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
            }

            /// The key as the WireGuard engine takes it.
            pub fn as_dalek(&self) -> &StaticSecret {
                &self.0
            }
        }

        impl $public {
            /// The key as the WireGuard engine takes it.
            pub fn to_dalek(self) -> PublicKey {
                PublicKey::from(self.0)
            }
        }

        redacted!($secret);
    };
}

x25519!(
    /// A node's WireGuard key; shown in base64, as `wg` does.
    WireGuardSecret, WireGuardPublic, "a WireGuard key", BASE64, BASE64, "base64"
);
x25519!(
    /// A node's discovery key, which seals discovery packets; shown in hex.
    DiscoverySecret, DiscoveryPublic, "a discovery key", HEXLOWER, HEXLOWER_PERMISSIVE, "hexadecimal"
);

macro_rules! symmetric {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        redacted!($name);
    };
}

symmetric!(
    /// The network's key for LAN beacons (docs/wire.md section 8); every member has it.
    LanKey
);
symmetric!(
    /// The key between one node and one relay (docs/wire.md section 6).
    BindKey
);

byte_string!(LanKey, 32);

#[cfg(test)]
mod tests;
