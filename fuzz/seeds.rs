//! Writes the corpora whose inputs need keys and checksums: `cargo run --bin seeds`, in this directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use meshd_core::id::{NetworkId, NodeId, RelayId, TokenId};
use meshd_core::keys::{
    CoordinatorSecret, DiscoverySecret, IdentitySecret, JoinSecret, LanKey, RootSecret, WireGuardSecret,
};
use meshd_core::map::{Body, Entry, MapHolder, NetworkMap, NodeEntry, digest};
use meshd_core::statement::{
    Act, Candidate, CandidateKind, Deed, Delegation, Departure, Enrolment, Fixed, GatewayTerms, Limits,
    MapHeader, Params, Record, Signed, StatementError, Terms,
};
use meshd_core::token::JoinToken;

#[path = "seeds_paths.rs"]
mod paths;

type Any<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Any<()> {
    let entries = entries()?;
    let map = map(&entries)?;
    let mut holder = MapHolder::new(root().public(), vec![coordinator().public()]);
    holder.apply_full(map.clone())?;
    for (name, addresses) in [
        ("one", &["vpn.example.net:443"][..]),
        ("two", &["203.0.113.1:1", "[2001:db8::1]:2"]),
    ] {
        let word = token(addresses)?;
        write("token", name, word.as_bytes())?;
        let whole = BASE32_NOPAD.decode(word[5..].to_uppercase().as_bytes())?;
        write(
            "token",
            &format!("{name}-body"),
            &tagged(0, &whole[..whole.len() - 4]),
        )?;
    }
    for (kind, name, bytes) in statements(&entries, &map) {
        write("statement", &name, &tagged(kind, &bytes))?;
    }
    write("map", "whole", &tagged(0, &map.encode()))?;
    for (name, entry) in &entries {
        write("map", &format!("entry-{name}"), &tagged(1, &entry.encode()))?;
    }
    write("map", "entry-newer", &tagged(1, &[0x82, 0x07, 0x61, 0x61]))?;
    write("map", "saved", &tagged(2, &holder.save()))?;
    paths::write_all()
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Any<()> {
    let folder = Path::new("corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(name), bytes)?)
}

fn tagged(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag], bytes].concat()
}

fn root() -> RootSecret {
    RootSecret::from_seed(&[0xaa; 32])
}

fn coordinator() -> CoordinatorSecret {
    CoordinatorSecret::from_seed(&[0xcc; 32])
}

fn token(addresses: &[&str]) -> Any<String> {
    let token = JoinToken {
        id: TokenId::from_bytes([1; 8]),
        secret: JoinSecret::from_seed(&[2; 32]),
        coordinator: coordinator().public(),
        root: root().public(),
        addresses: addresses
            .iter()
            .map(|address| address.parse())
            .collect::<Result<_, _>>()?,
    };
    Ok(token.encode()?.to_string())
}

fn map(entries: &[(&str, Entry)]) -> Any<NetworkMap> {
    let entries: BTreeMap<_, _> = entries
        .iter()
        .map(|(_, entry)| (entry.key(), Arc::new(entry.clone())))
        .collect();
    let network = NetworkId::of_root(&root().public());
    let header = MapHeader {
        network,
        epoch: 1,
        version: 1,
        digest: digest(entries.keys()),
    };
    Ok(NetworkMap::new(Signed::sign(header, &coordinator())?, entries)?)
}

/// Kind (as the target counts them), name, bytes.
fn statements(entries: &[(&str, Entry)], map: &NetworkMap) -> Vec<(u8, String, Vec<u8>)> {
    let mut all = vec![(6, "header".into(), map.header().bytes().to_vec())];
    for (name, entry) in entries {
        match entry.body() {
            Body::Params(params) => all.push((0, "params".into(), params.bytes().to_vec())),
            Body::Delegation(held) => all.push((1, "delegation".into(), held.bytes().to_vec())),
            Body::Node(node) => {
                all.push((2, "enrolment".into(), node.enrolment.bytes().to_vec()));
                all.push((3, "record".into(), node.record.bytes().to_vec()));
            }
            Body::Act(act) => all.push((4, format!("act-{name}"), act.bytes().to_vec())),
            Body::Departure(departure) => all.push((5, "departure".into(), departure.bytes().to_vec())),
            Body::Newer(_) | Body::Broken { .. } => {}
        }
    }
    all
}

fn entries() -> Result<Vec<(&'static str, Entry)>, StatementError> {
    let (network, node, token) = (
        NetworkId::of_root(&root().public()),
        NodeId::from_bytes([1; 16]),
        TokenId::from_bytes([1; 8]),
    );
    let (join, identity) = (
        JoinSecret::from_seed(&[2; 32]),
        IdentitySecret::from_seed(&[3; 32]),
    );
    let params = Params {
        root: root().public(),
        serial: 1,
        name: "prod".into(),
        ipv4: "10.77.0.0/16".parse().expect("a prefix"),
        ipv6: "fd01::/64".parse().expect("a prefix"),
        mtu: 1408,
        lan_key: LanKey::from_bytes([4; 32]),
    };
    let delegation = Delegation {
        network,
        token,
        join: join.public(),
        serial: 2,
        terms: Terms {
            tags: vec!["edge".into()],
            ephemeral: true,
            approval: false,
            template: true,
        },
        fixed: Fixed {
            host_name: Some("db1".into()),
            ipv4: Some([10, 77, 0, 9].into()),
            listen_port: Some(51820),
            replaces: Some(NodeId::from_bytes([9; 16])),
        },
        limits: Limits {
            not_after: Some(1_900_000_000),
            uses: Some(1),
        },
    };
    let record = Record {
        network,
        node,
        serial: 1,
        wireguard: WireGuardSecret::from_seed(&[5; 32]).public(),
        discovery: DiscoverySecret::from_seed(&[6; 32]).public(),
        ipv4: [10, 77, 0, 9].into(),
        ipv6: "fd01::9".parse().expect("an address"),
        host_name: "db1".into(),
        candidates: vec![
            Candidate {
                kind: CandidateKind::Host,
                addr: ([192, 0, 2, 1], 51820).into(),
            },
            Candidate {
                kind: CandidateKind::ServerReflexive,
                addr: ([0xfd00, 0, 0, 0, 0, 0, 0, 1], 7).into(),
            },
        ],
        home_relay: Some(RelayId::from_bytes([7; 8])),
        system: "linux/x86_64".into(),
        version: "0.1.0".into(),
    };
    let enrolment = Enrolment {
        network,
        token,
        node,
        identity: identity.public(),
    };
    let (enrolment, record) = (Signed::sign(enrolment, &join)?, Signed::sign(record, &identity)?);
    let other = NodeId::from_bytes([8; 16]);
    let departure = Departure {
        network,
        node: other,
        serial: 5,
    };
    let mut all = vec![
        (
            "params",
            Entry::from(Body::Params(Signed::sign(params, &root())?)),
        ),
        (
            "delegation",
            Body::Delegation(Signed::sign(delegation, &root())?).into(),
        ),
        ("node", Body::Node(NodeEntry { enrolment, record }).into()),
        (
            "departure",
            Body::Departure(Signed::sign(departure, &identity)?).into(),
        ),
    ];
    let name = || "web".to_owned();
    let deeds = [
        (
            "remove",
            Deed::Remove {
                node: other,
                name: Some(name()),
                blocked_until: Some(2_000_000_000),
            },
        ),
        ("approve", Deed::Approve { node }),
        ("rename", Deed::Rename { node, name: name() }),
        ("free", Deed::FreeName { name: name() }),
        ("revoke", Deed::RevokeToken { token }),
        (
            "oust",
            Deed::RevokeTokenAndNodes {
                token: TokenId::from_bytes([2; 8]),
            },
        ),
        (
            "gateway",
            Deed::Gateway {
                node,
                terms: GatewayTerms {
                    range: "192.168.50.0/24".parse().expect("a prefix"),
                    published: Some("10.200.1.0/24".parse().expect("a prefix")),
                    nat: true,
                    priority: 10,
                    to_nodes: vec![other],
                    to_tags: vec![name()],
                    pods: None,
                    names: vec!["printer=192.168.50.9".parse().expect("a host")],
                },
            },
        ),
        ("relay", Deed::Relay { node, on: true }),
        (
            "withdraw",
            Deed::WithdrawGateway {
                node,
                range: "192.168.50.0/24".parse().expect("a prefix"),
            },
        ),
    ];
    for (serial, (name, deed)) in (3..).zip(deeds) {
        all.push((
            name,
            Body::Act(Signed::sign(
                Act {
                    network,
                    serial,
                    deed,
                },
                &root(),
            )?)
            .into(),
        ));
    }
    Ok(all)
}
