//! The relay word (docs/wire.md section 4): one word that makes a meshrelay on another host a relay of a coordinator.
//!
//! From its secret both ends derive what they share: the secret of the bind keys, the key that issues the relay's TLS
//! certificate, and the identity by which the relay proves itself to the coordinator.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::auth::{EXPORTER_LEN, NodeAuthorization};
use crate::id::{NetworkId, NodeId, RelayId};
use crate::keys::{CoordinatorPublic, CoordinatorSecret, IdentitySecret, blake2s_keyed};
use crate::token::{CoordinatorAddress, TokenError, read_word, write_word};

const PREFIX: &str = "meshr1";

/// What a relay and its coordinator share, derived from one secret.
#[derive(Clone)]
pub struct RelaySecret(Zeroizing<[u8; 32]>);

impl RelaySecret {
    /// From randomness.
    pub fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        Self(secret)
    }

    /// The secret itself, to be kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Makes the bind keys ([`super::bind_key`]).
    pub fn bind_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake2s_keyed(&self.0, &[b"meshd relay bind v1"]))
    }

    /// Issues the relay's TLS certificate, as a coordinator's identity key issues the coordinator's.
    pub fn issuer(&self) -> CoordinatorSecret {
        let seed = Zeroizing::new(blake2s_keyed(&self.0, &[b"meshd relay certificate v1"]));
        CoordinatorSecret::from_seed(&seed)
    }

    /// By this the relay proves itself to the coordinator.
    fn identity(&self) -> IdentitySecret {
        let seed = Zeroizing::new(blake2s_keyed(&self.0, &[b"meshd relay identity v1"]));
        IdentitySecret::from_seed(&seed)
    }

    /// The relay's proof for one TLS session: that of a node of no network, whose id begins with the relay's.
    pub fn prove(&self, relay: RelayId, exporter: &[u8; EXPORTER_LEN]) -> NodeAuthorization {
        NodeAuthorization::sign(no_network(), as_node(relay), exporter, &self.identity())
    }

    /// Whether the holder of this secret made the proof in the session with this keying material.
    pub fn verify(&self, proof: &NodeAuthorization, exporter: &[u8; EXPORTER_LEN]) -> bool {
        proof.verify(exporter, &self.identity().public())
    }
}

impl fmt::Debug for RelaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelaySecret(redacted)")
    }
}

/// The relay that a proof speaks for; none where it is a node's.
pub fn relay_of(proof: &NodeAuthorization) -> Option<RelayId> {
    let (id, rest) = proof.node.as_bytes().split_first_chunk::<8>()?;
    (proof.network == no_network() && rest == [0; 8]).then(|| RelayId::from_bytes(*id))
}

fn no_network() -> NetworkId {
    NetworkId::from_bytes([0; 16])
}

fn as_node(relay: RelayId) -> NodeId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&relay.to_bytes());
    NodeId::from_bytes(id)
}

/// What a relay word says. Its text form is a secret.
#[derive(Clone, Debug)]
pub struct RelayWord {
    /// The relay's id.
    pub id: RelayId,
    /// What it shares with the coordinator.
    pub secret: RelaySecret,
    /// The pin of the coordinator.
    pub coordinator: CoordinatorPublic,
    /// Where the coordinator is; 1 to 8.
    pub addresses: Vec<CoordinatorAddress>,
}

/// Why a word is not a relay word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayWordError {
    /// Another word.
    #[error(
        "this is not a relay word: it must start with \"meshr1\"; copy the whole word that `meshctl relay create` printed"
    )]
    Prefix,
    /// Mistyped or cut.
    #[error("the relay word cannot be read: {0}")]
    Word(#[from] TokenError),
}

impl RelayWord {
    /// The word. It is a secret: whoever has it can relay, and see who talks to whom and how much.
    ///
    /// # Errors
    /// Where the number of addresses is not 1 to 8.
    pub fn encode(&self) -> Result<Zeroizing<String>, TokenError> {
        let mut fields = Zeroizing::new(Vec::with_capacity(128));
        fields.extend_from_slice(&self.id.to_bytes());
        fields.extend_from_slice(&self.secret.0[..]);
        fields.extend_from_slice(self.coordinator.as_bytes());
        write_word(PREFIX, &fields, &self.addresses)
    }
}

impl FromStr for RelayWord {
    type Err = RelayWordError;

    fn from_str(word: &str) -> Result<Self, RelayWordError> {
        let word = word.trim();
        let starts = word
            .get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        if !starts {
            return Err(RelayWordError::Prefix);
        }
        let (fields, addresses) = read_word::<72>(PREFIX, word)?;
        let mut parts = (RelayId::from_bytes([0; 8]), Zeroizing::new([0; 32]), [0; 32]);
        let (id, rest) = fields.split_at(8);
        let (secret, coordinator) = rest.split_at(32);
        if let Ok(id) = <[u8; 8]>::try_from(id) {
            parts.0 = RelayId::from_bytes(id);
        }
        parts.1.copy_from_slice(secret);
        parts.2.copy_from_slice(coordinator);
        Ok(Self {
            id: parts.0,
            secret: RelaySecret(parts.1),
            coordinator: CoordinatorPublic::from_bytes(parts.2),
            addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word() -> RelayWord {
        RelayWord {
            id: [3; 8].into(),
            secret: RelaySecret(Zeroizing::new([4; 32])),
            coordinator: CoordinatorPublic::from_bytes([5; 32]),
            addresses: vec![CoordinatorAddress::new("vpn.example.net", 443).unwrap()],
        }
    }

    #[test]
    fn a_word_says_what_was_put_into_it() {
        let text = word().encode().unwrap();
        let read: RelayWord = format!(" {}\n", text.to_uppercase()).parse().unwrap();
        assert_eq!((read.id, read.addresses), (word().id, word().addresses));
        assert_eq!(read.secret.as_bytes(), &[4; 32]);
        assert_eq!(read.coordinator.as_bytes(), &[5; 32]);
        assert!(!format!("{:?}", word()).contains("4, 4"), "redacted");
    }

    #[test]
    fn what_is_mistyped_is_refused_with_a_sentence() {
        let text = word().encode().unwrap();
        assert_eq!(
            "mesh1abc".parse::<RelayWord>().unwrap_err(),
            RelayWordError::Prefix
        );
        for cut in [7, 20, text.len() - 1] {
            assert!(matches!(
                text[..cut].parse::<RelayWord>(),
                Err(RelayWordError::Word(_))
            ));
        }
        assert!("".parse::<RelayWord>().is_err());
    }

    #[test]
    fn a_relays_proof_is_its_own_and_no_nodes() {
        let exporter = [7; 32];
        let proof = word().secret.prove(word().id, &exporter);
        assert_eq!(relay_of(&proof), Some(word().id));
        assert!(word().secret.verify(&proof, &exporter) && !word().secret.verify(&proof, &[8; 32]));
        let identity = IdentitySecret::from_seed(&[1; 32]);
        let nodes = NodeAuthorization::sign([1; 16].into(), as_node(word().id), &exporter, &identity);
        assert_eq!(relay_of(&nodes), None);
    }
}
