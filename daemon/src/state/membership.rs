//! What this node is in one network: its secrets, what it was allotted, and how to reach the coordinator.

use data_encoding::{BASE64, HEXLOWER};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::{DiscoverySecret, IdentitySecret, RootPublic, WireGuardSecret};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// What this node is in one network.
#[derive(Clone)]
pub struct Membership {
    /// Network id: follows from `root`.
    pub network: NetworkId,
    /// The network's root public key, as the token gave it.
    pub root: RootPublic,
    /// The network's name; empty until the coordinator told it.
    pub name: String,
    /// Identity keys that a coordinator may have.
    pub coordinators: Vec<[u8; 32]>,
    /// Where coordinators are.
    pub addresses: Vec<(String, u16)>,
    /// This node's id.
    pub node: NodeId,
    /// Proves it.
    pub identity: Arc<IdentitySecret>,
    /// Tunnel key.
    pub wireguard: WireGuardSecret,
    /// Key of discovery packets.
    pub discovery: DiscoverySecret,
    /// Enrolment statement.
    pub enrolment: Vec<u8>,
    /// What the coordinator allotted; absent while the first join has not been answered.
    pub allotted: Option<Allotted>,
    /// Which of the instance's interfaces: `meshd0` is 0.
    pub interface: u16,
    /// Joined although the range collides with one of this machine.
    pub force: bool,
}

/// What the coordinator allotted at the join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allotted {
    /// Host name.
    pub hostname: String,
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
    /// IPv6 address.
    pub ipv6: Ipv6Addr,
    /// UDP port that the token or the person fixed; chosen at the start where absent.
    pub listen_port: Option<u16>,
    /// Delegation statement of the token.
    #[serde(with = "base64_bytes")]
    pub delegation: Vec<u8>,
    /// Parameters statement; absent while approval is pending.
    #[serde(with = "base64_option")]
    pub params: Option<Vec<u8>>,
}

/// 32 secret bytes as hex; zeroised when dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The form on disk, version 1.
#[derive(Serialize, Deserialize)]
struct Stored {
    root: String,
    name: String,
    coordinators: Vec<String>,
    addresses: Vec<(String, u16)>,
    node: String,
    identity: Secret,
    wireguard: Secret,
    discovery: Secret,
    #[serde(with = "base64_bytes")]
    enrolment: Vec<u8>,
    allotted: Option<Allotted>,
    interface: u16,
    force: bool,
}

impl Membership {
    /// The form on disk. Holds secrets.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let secret = |seed: Zeroizing<[u8; 32]>| Secret(HEXLOWER.encode(&seed[..]));
        let stored = Stored {
            root: self.root.to_string(),
            name: self.name.clone(),
            coordinators: self.coordinators.iter().map(|key| HEXLOWER.encode(key)).collect(),
            addresses: self.addresses.clone(),
            node: self.node.to_string(),
            identity: secret(self.identity.seed()),
            wireguard: secret(self.wireguard.seed()),
            discovery: secret(self.discovery.seed()),
            enrolment: self.enrolment.clone(),
            allotted: self.allotted.clone(),
            interface: self.interface,
            force: self.force,
        };
        Zeroizing::new(serde_json::to_vec(&stored).expect("plain data"))
    }

    /// Reads the form on disk; the error says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let root: RootPublic = stored.root.parse().map_err(|e| format!("root key: {e}"))?;
        let coordinators = stored
            .coordinators
            .iter()
            .map(|key| key32(key))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            network: NetworkId::of_root(&root),
            root,
            name: stored.name,
            coordinators,
            addresses: stored.addresses,
            node: stored.node.parse().map_err(|e| format!("node id: {e}"))?,
            identity: Arc::new(IdentitySecret::from_seed(&*seed(&stored.identity)?)),
            wireguard: WireGuardSecret::from_seed(&*seed(&stored.wireguard)?),
            discovery: DiscoverySecret::from_seed(&*seed(&stored.discovery)?),
            enrolment: stored.enrolment,
            allotted: stored.allotted,
            interface: stored.interface,
            force: stored.force,
        })
    }
}

fn seed(secret: &Secret) -> Result<Zeroizing<[u8; 32]>, String> {
    key32(&secret.0)
}

fn key32<K: From<[u8; 32]>>(text: &str) -> Result<K, String> {
    let bytes = HEXLOWER
        .decode(text.as_bytes())
        .map_err(|e| format!("a key is not hex: {e}"))?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| "a key is not 32 bytes".to_owned())?;
    Ok(bytes.into())
}

mod base64_bytes {
    use super::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

mod base64_option {
    use super::BASE64;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|b| BASE64.encode(b)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|t| BASE64.decode(t.as_bytes()).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_core::keys::RootSecret;

    fn membership() -> Membership {
        let root = RootSecret::from_seed(&[1; 32]).public();
        Membership {
            network: NetworkId::of_root(&root),
            root,
            name: "prod".into(),
            coordinators: vec![[2; 32]],
            addresses: vec![("vpn.example.net".into(), 443)],
            node: [3; 16].into(),
            identity: Arc::new(IdentitySecret::from_seed(&[4; 32])),
            wireguard: WireGuardSecret::from_seed(&[5; 32]),
            discovery: DiscoverySecret::from_seed(&[6; 32]),
            enrolment: vec![7, 8],
            allotted: Some(Allotted {
                hostname: "db1".into(),
                ipv4: [10, 77, 0, 1].into(),
                ipv6: "fd00::1".parse().unwrap(),
                listen_port: Some(51820),
                delegation: vec![9],
                params: None,
            }),
            interface: 3,
            force: true,
        }
    }

    #[test]
    fn a_membership_survives_the_disk() {
        let (before, after) = (membership(), Membership::decode(&membership().encode()).unwrap());
        assert_eq!(before.encode(), after.encode());
        assert_eq!(before.identity.public(), after.identity.public());
        assert_eq!(before.allotted, after.allotted);
    }

    #[test]
    fn what_is_not_one_is_refused_in_words() {
        assert!(Membership::decode(b"").is_err());
        let text = String::from_utf8(membership().encode().to_vec()).unwrap();
        let said = Membership::decode(text.replace(&"04".repeat(32), "04").as_bytes())
            .err()
            .expect("refused");
        assert!(said.contains("32 bytes"), "{said}");
    }
}
