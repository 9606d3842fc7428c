//! Identifiers (docs/wire.md section 1): fixed-size byte strings, shown in lower-case hex.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::cbor::byte_string;
use crate::keys::{RootPublic, blake2s};

/// A text that is not an identifier of the kind wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {expected} hexadecimal digits; \"{given}\" is not")]
pub struct IdError {
    what: &'static str,
    expected: usize,
    given: String,
}

/// What a person typed, cut so that an error stays one line.
pub(crate) fn excerpt(text: &str) -> String {
    let mut cut: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    if text.chars().count() > 80 {
        cut.push_str("...");
    }
    cut
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $size:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Size in bytes.
            pub const LEN: usize = $size;

            /// From its bytes; every byte string of the right size is one.
            pub const fn from_bytes(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }

            /// Its bytes, by value.
            pub const fn to_bytes(self) -> [u8; $size] {
                self.0
            }
        }

        impl From<[u8; $size]> for $name {
            fn from(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let refused = || IdError { what: $what, expected: 2 * $size, given: excerpt(text) };
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| refused())?;
                Ok(Self(bytes.try_into().map_err(|_| refused())?))
            }
        }

        byte_string!($name, $size);
    };
}

identifier!(
    /// A network; the hash of its root public key, so that nobody can claim another's.
    NetworkId, 16, "a network id"
);
identifier!(
    /// A node; random at join, and for good: a node that joins anew under a new identity is another node.
    NodeId, 16, "a node id"
);
identifier!(
    /// A join token; random when it is made.
    TokenId, 8, "a token id"
);
identifier!(
    /// A relay; random at its first start.
    RelayId, 8, "a relay id"
);
identifier!(
    /// Eight random bytes made at each start of a process; tells one life of it from the next.
    BootNonce, 8, "a boot nonce"
);

impl NetworkId {
    /// The network that `root` signs for.
    pub fn of_root(root: &RootPublic) -> Self {
        let hash = blake2s(&[b"meshd network id v1", root.as_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_lower_hex_and_read_back() {
        let id = NodeId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string(), "30313233343536373839616263646566");
        assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
        assert_eq!(id.to_string().to_uppercase().parse::<NodeId>().unwrap(), id);
    }

    #[test]
    fn a_wrong_text_is_named() {
        let error = "12zz".parse::<TokenId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a token id is 16 hexadecimal digits; \"12zz\" is not"
        );
    }

    #[test]
    fn cbor_is_a_byte_string_of_exact_size() {
        let id = TokenId::from_bytes([7; 8]);
        let bytes = minicbor::to_vec(id).unwrap();
        assert_eq!(bytes[0], 0x48);
        assert_eq!(minicbor::decode::<TokenId>(&bytes).unwrap(), id);
        assert!(minicbor::decode::<NodeId>(&bytes).is_err());
    }
}
