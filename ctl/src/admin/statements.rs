//! Statements that an admin signs where the root key is kept here.

use ipnet::{Ipv4Net, Ipv6Net};
use meshd_api::Base64Bytes;
use meshd_api::coordinator::admin::{NetworkInfo, TokenCreate};
use meshd_core::id::{NodeId, TokenId};
use meshd_core::keys::{JoinSecret, LanKey};
use meshd_core::statement::{Act, Deed, Delegation, Fixed, Limits, Params, Signed, Statement, Terms};
use meshd_core::token::JoinToken;
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

use super::AdminKey;
use crate::failure::Failure;

/// An admin act on this network.
pub fn act(key: &AdminKey, network: &NetworkInfo, deed: Deed) -> Result<Base64Bytes, Failure> {
    sign(
        Act {
            network: key.network(),
            serial: next_serial(network)?,
            deed,
        },
        key,
    )
}

/// The parameters of a new network. An IPv6 prefix is drawn where none is given (RFC 4193 section 3.2.2).
pub fn params(
    key: &AdminKey,
    name: &str,
    ipv4: Ipv4Net,
    ipv6: Option<Ipv6Net>,
    mtu: u16,
) -> Result<(Base64Bytes, Ipv6Net), Failure> {
    let ipv6 = ipv6.unwrap_or_else(random_ula);
    let params = Params {
        root: key.root().public(),
        serial: 1,
        name: name.to_owned(),
        ipv4,
        ipv6,
        mtu,
        lan_key: LanKey::from_bytes(*random()),
    };
    Ok((sign(params, key)?, ipv6))
}

/// A token made here: the delegation for the coordinator, and the word, which never leaves this machine by itself.
pub fn delegate(
    key: &AdminKey,
    network: &NetworkInfo,
    wanted: &TokenCreate,
    replaces: Option<NodeId>,
    now: u64,
) -> Result<(Base64Bytes, TokenId, Zeroizing<String>), Failure> {
    let known = key.known(network)?;
    let mut id = [0; TokenId::LEN];
    OsRng.fill_bytes(&mut id);
    let (id, join) = (TokenId::from_bytes(id), JoinSecret::from_seed(&random()));
    let delegation = Delegation {
        network: key.network(),
        token: id,
        join: join.public(),
        serial: next_serial(network)?,
        terms: Terms {
            tags: wanted.tags.clone(),
            ephemeral: wanted.ephemeral,
            approval: wanted.approval,
            template: wanted.template,
        },
        fixed: Fixed {
            host_name: wanted.hostname.clone(),
            ipv4: wanted.ip,
            listen_port: wanted.listen_port,
            replaces,
        },
        limits: Limits {
            not_after: wanted.expires_in.map(|s| now.saturating_add(s)),
            uses: wanted.uses,
        },
    };
    let statement = sign(delegation, key)?;
    let token = JoinToken {
        id,
        secret: join,
        coordinator: known.coordinator,
        root: key.root().public(),
        addresses: known.addresses,
    };
    let word = token.encode().map_err(|e| Failure::failed(e.to_string()))?;
    Ok((statement, id, word))
}

fn sign<T>(value: T, key: &AdminKey) -> Result<Base64Bytes, Failure>
where
    T: Statement<Secret = meshd_core::keys::RootSecret>,
{
    let signed = Signed::sign(value, key.root()).map_err(|e| Failure::usage(e.to_string()))?;
    Ok(signed.bytes().into())
}

fn next_serial(network: &NetworkInfo) -> Result<u64, Failure> {
    let serial = network.last_serial.checked_add(1);
    serial.ok_or_else(|| Failure::failed("the coordinator says that every serial was used: it is broken"))
}

/// A random unique local prefix (RFC 4193 section 3.2.2).
pub fn random_ula() -> Ipv6Net {
    let random = random();
    let mut address = [0; 16];
    address[0] = 0xfd;
    // 40 bits of global id and 16 of subnet id
    address[1..8].copy_from_slice(&random[..7]);
    Ipv6Net::new_assert(address.into(), 64)
}

fn random() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(key: &AdminKey) -> NetworkInfo {
        NetworkInfo {
            name: "prod".into(),
            id: key.network().to_string(),
            root: key.root().public().to_string(),
            root_on_relay: false,
            cidr: "10.77.0.0/16".into(),
            cidr6: "fd00::/64".into(),
            mtu: 1408,
            pods: None,
            epoch: 1,
            version: 1,
            nodes: 0,
            connected: 0,
            coordinator: "07".repeat(32),
            addresses: vec!["vpn.example.net:443".into()],
            last_serial: 41,
            warnings: Vec::new(),
        }
    }

    fn key() -> (tempfile::TempDir, AdminKey) {
        let dir = tempfile::tempdir().unwrap();
        let key = AdminKey::for_new_network(&dir.path().join("key"), "prod")
            .unwrap()
            .0;
        (dir, key)
    }

    #[test]
    fn a_token_made_here_is_good_under_the_root() {
        let (_dir, key) = key();
        let wanted = TokenCreate {
            uses: Some(20),
            expires_in: Some(60),
            tags: vec!["web".into()],
            hostname: Some("db1".into()),
            ..Default::default()
        };
        let (statement, id, word) = delegate(&key, &network(&key), &wanted, None, 1000).unwrap();
        let delegation = Signed::<Delegation>::decode(&statement.0).unwrap();
        let said = delegation.verify(&key.root().public()).unwrap();
        let token: JoinToken = word.parse().unwrap();
        assert_eq!(
            (token.id, token.secret.public(), token.network()),
            (id, said.join, said.network)
        );
        assert_eq!(
            (said.serial, said.limits.not_after, said.limits.uses),
            (42, Some(1060), Some(20))
        );
        assert_eq!(token.addresses[0].to_string(), "vpn.example.net:443");
    }

    #[test]
    fn parameters_and_acts_are_good_under_the_root() {
        let (_dir, key) = key();
        let (statement, ipv6) = params(&key, "prod", "10.77.0.0/16".parse().unwrap(), None, 1408).unwrap();
        let signed = Signed::<Params>::decode(&statement.0).unwrap();
        assert_eq!(signed.verify_self().unwrap().ipv6, ipv6);
        assert!(ipv6.addr().segments()[0] >> 8 == 0xfd && ipv6.prefix_len() == 64);
        let deed = Deed::Approve {
            node: NodeId::from_bytes([1; 16]),
        };
        let statement = act(&key, &network(&key), deed.clone()).unwrap();
        let signed = Signed::<Act>::decode(&statement.0).unwrap();
        let said = signed.verify(&key.root().public()).unwrap();
        assert_eq!((&said.deed, said.serial), (&deed, 42));
    }

    #[test]
    fn a_key_of_another_network_is_refused_by_name() {
        let (_dir, mine) = key();
        let (_other_dir, other) = key();
        let failure = mine.must_be_of(&network(&other)).unwrap_err();
        assert!(format!("{failure:?}").contains("--admin-key-file"), "{failure:?}");
    }
}
