//! Proofs of identity inside a TLS session with the coordinator, as they stand in the `Authorization` header.
//!
//! A node signs with its identity key, an admin with the network's root key. Both signatures cover the session's keying
//! material (RFC 9266, `tls-exporter`), so that a proof is worth nothing in any other session: whoever sits in the middle
//! cannot forward it, and nothing needs a clock or a nonce. An admin's proof also covers the request itself.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;

use crate::id::{NetworkId, NodeId};
use crate::keys::{IdentityPublic, IdentitySecret, RootPublic, RootSecret, blake2s};

/// Size of the keying material exported from a TLS session, in bytes.
pub const EXPORTER_LEN: usize = 32;

const NODE_LABEL: &str = "meshd auth v1";
const ADMIN_LABEL: &str = "meshd admin v1";
const NODE_SCHEME: &str = "Meshd ";
const ADMIN_SCHEME: &str = "Meshd-Admin ";

/// The header is not of the form that this scheme has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header is not \"{0}\"")]
pub struct MalformedAuthorization(&'static str);

/// A node's proof: `Meshd network=HEX,node=HEX,sig=BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAuthorization {
    /// The network it speaks for.
    pub network: NetworkId,
    /// The node that it says it is.
    pub node: NodeId,
    signature: [u8; 64],
}

impl NodeAuthorization {
    /// The proof for one TLS session.
    pub fn sign(
        network: NetworkId,
        node: NodeId,
        exporter: &[u8; EXPORTER_LEN],
        identity: &IdentitySecret,
    ) -> Self {
        let signature = identity.sign(NODE_LABEL, &node_message(&network, &node, exporter));
        Self {
            network,
            node,
            signature,
        }
    }

    /// Whether the holder of `identity` made this proof in the session with this keying material.
    pub fn verify(&self, exporter: &[u8; EXPORTER_LEN], identity: &IdentityPublic) -> bool {
        let message = node_message(&self.network, &self.node, exporter);
        identity.verify(NODE_LABEL, &message, &self.signature)
    }
}

fn node_message(network: &NetworkId, node: &NodeId, exporter: &[u8; EXPORTER_LEN]) -> Vec<u8> {
    [&network.as_bytes()[..], node.as_bytes(), exporter].concat()
}

impl fmt::Display for NodeAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = BASE64.encode(&self.signature);
        write!(
            f,
            "{NODE_SCHEME}network={},node={},sig={signature}",
            self.network, self.node
        )
    }
}

impl FromStr for NodeAuthorization {
    type Err = MalformedAuthorization;

    fn from_str(text: &str) -> Result<Self, MalformedAuthorization> {
        let parse = || {
            let [network, node, signature] = fields(text, NODE_SCHEME, ["network", "node", "sig"])?;
            Some(Self {
                network: network.parse().ok()?,
                node: node.parse().ok()?,
                signature: signature_bytes(signature)?,
            })
        };
        parse().ok_or(MalformedAuthorization("Meshd network=HEX,node=HEX,sig=BASE64"))
    }
}

/// The request that an admin's proof covers.
#[derive(Debug, Clone, Copy)]
pub struct AdminRequest<'a> {
    /// Keying material of the TLS session.
    pub exporter: &'a [u8; EXPORTER_LEN],
    /// HTTP method, in capitals.
    pub method: &'a str,
    /// Path and query, from the first slash on.
    pub path: &'a str,
    /// The body as sent.
    pub body: &'a [u8],
}

impl AdminRequest<'_> {
    /// Unambiguous: no method holds a slash and every path starts with one; the rest has fixed sizes.
    fn message(&self, network: &NetworkId) -> Vec<u8> {
        let method = self.method.as_bytes();
        let body = blake2s(&[self.body]);
        [
            &network.as_bytes()[..],
            self.exporter,
            method,
            self.path.as_bytes(),
            &body,
        ]
        .concat()
    }
}

/// An admin's proof: `Meshd-Admin network=HEX,sig=BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAuthorization {
    /// The network whose root key signed.
    pub network: NetworkId,
    signature: [u8; 64],
}

impl AdminAuthorization {
    /// The proof for one request of one TLS session, by the network's root key.
    pub fn sign(request: &AdminRequest<'_>, root: &RootSecret) -> Self {
        let network = NetworkId::of_root(&root.public());
        Self {
            network,
            signature: root.sign(ADMIN_LABEL, &request.message(&network)),
        }
    }

    /// Whether the holder of `root` made this proof for this request.
    pub fn verify(&self, request: &AdminRequest<'_>, root: &RootPublic) -> bool {
        NetworkId::of_root(root) == self.network
            && root.verify(ADMIN_LABEL, &request.message(&self.network), &self.signature)
    }
}

impl fmt::Display for AdminAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = BASE64.encode(&self.signature);
        write!(f, "{ADMIN_SCHEME}network={},sig={signature}", self.network)
    }
}

impl FromStr for AdminAuthorization {
    type Err = MalformedAuthorization;

    fn from_str(text: &str) -> Result<Self, MalformedAuthorization> {
        let parse = || {
            let [network, signature] = fields(text, ADMIN_SCHEME, ["network", "sig"])?;
            Some(Self {
                network: network.parse().ok()?,
                signature: signature_bytes(signature)?,
            })
        };
        parse().ok_or(MalformedAuthorization("Meshd-Admin network=HEX,sig=BASE64"))
    }
}

/// The values of exactly these fields in exactly this order.
fn fields<'a, const N: usize>(text: &'a str, scheme: &str, names: [&str; N]) -> Option<[&'a str; N]> {
    let mut parts = text.strip_prefix(scheme)?.split(',');
    let mut values = [""; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = parts.next()?.strip_prefix(name)?.strip_prefix('=')?;
    }
    parts.next().is_none().then_some(values)
}

fn signature_bytes(text: &str) -> Option<[u8; 64]> {
    BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORTER: [u8; 32] = [3; 32];

    fn node_proof() -> (NodeAuthorization, IdentitySecret) {
        let identity = IdentitySecret::from_seed(&[1; 32]);
        let proof = NodeAuthorization::sign([5; 16].into(), [6; 16].into(), &EXPORTER, &identity);
        (proof, identity)
    }

    #[test]
    fn a_node_proof_survives_the_header_and_holds_in_its_session_only() {
        let (proof, identity) = node_proof();
        let read: NodeAuthorization = proof.to_string().parse().unwrap();
        assert_eq!(read, proof);
        assert!(read.verify(&EXPORTER, &identity.public()));
        assert!(!read.verify(&[4; 32], &identity.public()));
        assert!(!read.verify(&EXPORTER, &IdentitySecret::from_seed(&[2; 32]).public()));
    }

    #[test]
    fn a_node_proof_holds_for_its_node_and_network_only() {
        let (proof, identity) = node_proof();
        let other = NodeAuthorization {
            node: [7; 16].into(),
            ..proof.clone()
        };
        assert!(!other.verify(&EXPORTER, &identity.public()));
        let other = NodeAuthorization {
            network: [7; 16].into(),
            ..proof
        };
        assert!(!other.verify(&EXPORTER, &identity.public()));
    }

    #[test]
    fn an_admin_proof_holds_for_its_request_only() {
        let root = RootSecret::from_seed(&[9; 32]);
        let request = AdminRequest {
            exporter: &EXPORTER,
            method: "POST",
            path: "/v1/admin/networks",
            body: b"{}",
        };
        let proof: AdminAuthorization = AdminAuthorization::sign(&request, &root)
            .to_string()
            .parse()
            .unwrap();
        assert!(proof.verify(&request, &root.public()));
        for other in [
            AdminRequest {
                exporter: &[4; 32],
                ..request
            },
            AdminRequest {
                method: "PUT",
                ..request
            },
            AdminRequest {
                path: "/v1/admin/networks?x",
                ..request
            },
            AdminRequest {
                body: b"{ }",
                ..request
            },
        ] {
            assert!(!proof.verify(&other, &root.public()), "{other:?}");
        }
        assert!(!proof.verify(&request, &RootSecret::from_seed(&[8; 32]).public()));
    }

    #[test]
    fn other_headers_are_refused() {
        let good = node_proof().0.to_string();
        let other_order = good.replace("network=", "node=");
        for bad in [
            "",
            "Meshd ",
            "Basic abc",
            &good[..good.len() - 1],
            &format!("{good},x=1"),
            &other_order,
        ] {
            assert!(bad.parse::<NodeAuthorization>().is_err(), "{bad}");
            assert!(bad.parse::<AdminAuthorization>().is_err(), "{bad}");
        }
        assert!(good.parse::<AdminAuthorization>().is_err());
    }
}
