mod deeds;
mod properties;

use std::fmt::Debug;

use minicbor::Encoder;

use self::deeds::deeds;
use super::*;
use crate::id::{NetworkId, NodeId, RelayId, TokenId};
use crate::keys::*;

/// Signed, read, verified: the same; under another key, or with any bit turned: refused.
fn holds<T: Statement + Debug + PartialEq + Clone>(
    value: &T,
    key: &T::Secret,
    good: &T::Public,
    bad: &T::Public,
) {
    let signed = Signed::sign(value.clone(), key).unwrap();
    let read = Signed::<T>::decode(signed.bytes()).unwrap();
    assert_eq!(&read, &signed);
    assert_eq!(read.verify(good).unwrap(), value);
    let error = read.verify(bad).unwrap_err().to_string();
    assert!(
        error.contains(T::WHAT) && error.contains("not signed by"),
        "{error}"
    );
}

fn no_bit_can_be_turned<T: Statement>(signed: &Signed<T>, key: &T::Public) {
    for bit in 0..signed.bytes().len() * 8 {
        let mut flipped = signed.bytes().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let taken = Signed::<T>::decode(&flipped).and_then(|read| read.verify(key).map(drop));
        assert!(taken.is_err(), "{} bit {bit}", T::WHAT);
    }
}

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const NODE: NodeId = NodeId::from_bytes([2; 16]);
const TOKEN: TokenId = TokenId::from_bytes([3; 8]);

fn root() -> RootSecret {
    RootSecret::from_seed(&[1; 32])
}

fn params() -> Params {
    Params {
        root: root().public(),
        serial: 7,
        name: "prod".into(),
        ipv4: "10.77.0.0/16".parse().unwrap(),
        ipv6: "fd01::/64".parse().unwrap(),
        mtu: MTU_DEFAULT,
        lan_key: LanKey::from_bytes([9; 32]),
    }
}

fn delegation() -> Delegation {
    Delegation {
        network: NETWORK,
        token: TOKEN,
        join: JoinSecret::from_seed(&[5; 32]).public(),
        serial: 8,
        terms: Terms {
            tags: vec!["edge".into()],
            ephemeral: true,
            approval: true,
            template: true,
        },
        fixed: Fixed {
            host_name: Some("db1".into()),
            ipv4: Some([10, 77, 0, 9].into()),
            listen_port: Some(51820),
            replaces: Some(NODE),
        },
        limits: Limits {
            not_after: Some(u64::MAX),
            uses: Some(3),
        },
    }
}

fn record() -> Record {
    Record {
        network: NETWORK,
        node: NODE,
        serial: 9,
        wireguard: WireGuardSecret::from_seed(&[6; 32]).public(),
        discovery: DiscoverySecret::from_seed(&[7; 32]).public(),
        ipv4: [10, 77, 0, 9].into(),
        ipv6: "fd01::9".parse().unwrap(),
        host_name: "db1".into(),
        candidates: vec![Candidate {
            kind: CandidateKind::Host,
            addr: "[fe80::1]:51820".parse().unwrap(),
        }],
        home_relay: Some(RelayId::from_bytes([8; 8])),
        system: "linux/aarch64".into(),
        version: "0.1.0".into(),
    }
}

#[test]
fn every_kind_holds_and_no_bit_can_be_turned() {
    let (root, other_root) = (root(), RootSecret::from_seed(&[2; 32]).public());
    holds(&params(), &root, &root.public(), &other_root);
    holds(&delegation(), &root, &root.public(), &other_root);
    for deed in deeds() {
        let act = Act {
            network: NETWORK,
            serial: 3,
            deed,
        };
        holds(&act, &root, &root.public(), &other_root);
        no_bit_can_be_turned(&Signed::sign(act, &root).unwrap(), &root.public());
    }
    let join = JoinSecret::from_seed(&[5; 32]);
    let identity = IdentitySecret::from_seed(&[6; 32]);
    let enrolment = Enrolment {
        network: NETWORK,
        token: TOKEN,
        node: NODE,
        identity: identity.public(),
    };
    holds(
        &enrolment,
        &join,
        &join.public(),
        &JoinSecret::from_seed(&[2; 32]).public(),
    );
    let stranger = IdentitySecret::from_seed(&[2; 32]).public();
    holds(&record(), &identity, &identity.public(), &stranger);
    let departure = Departure {
        network: NETWORK,
        node: NODE,
        serial: 4,
    };
    holds(&departure, &identity, &identity.public(), &stranger);
    let coordinator = CoordinatorSecret::from_seed(&[7; 32]);
    let header = MapHeader {
        network: NETWORK,
        epoch: 1,
        version: 2,
        digest: Digest([3; 32]),
    };
    holds(
        &header,
        &coordinator,
        &coordinator.public(),
        &CoordinatorSecret::from_seed(&[2; 32]).public(),
    );

    no_bit_can_be_turned(&Signed::sign(params(), &root).unwrap(), &root.public());
    no_bit_can_be_turned(&Signed::sign(delegation(), &root).unwrap(), &root.public());
    no_bit_can_be_turned(&Signed::sign(enrolment, &join).unwrap(), &join.public());
    no_bit_can_be_turned(&Signed::sign(record(), &identity).unwrap(), &identity.public());
    no_bit_can_be_turned(&Signed::sign(departure, &identity).unwrap(), &identity.public());
    no_bit_can_be_turned(
        &Signed::sign(header, &coordinator).unwrap(),
        &coordinator.public(),
    );
}

#[test]
fn labels_keep_kinds_apart() {
    let labels = [
        Params::LABEL,
        Delegation::LABEL,
        Enrolment::LABEL,
        Record::LABEL,
        Act::LABEL,
        Departure::LABEL,
        MapHeader::LABEL,
    ];
    let distinct: std::collections::BTreeSet<_> = labels.iter().collect();
    assert_eq!(distinct.len(), labels.len());
    // an enrolment and a departure could be read as one another; their labels say no
    let identity = IdentitySecret::from_seed(&[6; 32]);
    let departure = Departure {
        network: NETWORK,
        node: NODE,
        serial: 4,
    };
    let signed = Signed::sign(departure, &identity).unwrap();
    let payload = &signed.bytes()[3..signed.bytes().len() - 66];
    let signature: [u8; 64] = signed.bytes()[signed.bytes().len() - 64..].try_into().unwrap();
    assert!(identity.public().verify(Departure::LABEL, payload, &signature));
    assert!(!identity.public().verify(Record::LABEL, payload, &signature));
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let identity = IdentitySecret::from_seed(&[6; 32]);
    let departure = Departure {
        network: NETWORK,
        node: NODE,
        serial: 300,
    };
    let signed = Signed::sign(departure, &identity).unwrap();
    let mut payload = vec![0xa3, 0x00, 0x50];
    payload.extend([1; 16]);
    payload.extend([0x01, 0x50]);
    payload.extend([2; 16]);
    payload.extend([0x02, 0x19, 0x01, 0x2c]);
    let mut wanted = vec![0x82, 0x58, payload.len() as u8];
    wanted.extend(&payload);
    wanted.extend([0x58, 0x40]);
    wanted.extend(identity.sign("meshd/departure/v1", &payload));
    assert_eq!(signed.bytes(), wanted);
}

fn signed_payload(payload: &[u8]) -> Vec<u8> {
    let signature = IdentitySecret::from_seed(&[6; 32]).sign("meshd/departure/v1", payload);
    let mut e = Encoder::new(Vec::new());
    e.array(2)
        .unwrap()
        .bytes(payload)
        .unwrap()
        .bytes(&signature)
        .unwrap();
    e.into_writer()
}

fn departure_payload(more: &[(u8, u64)]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.map(3 + more.len() as u64).unwrap();
    e.u8(0)
        .unwrap()
        .bytes(&[1; 16])
        .unwrap()
        .u8(1)
        .unwrap()
        .bytes(&[2; 16])
        .unwrap();
    e.u8(2).unwrap().u64(4).unwrap();
    for (key, value) in more {
        e.u8(*key).unwrap().array(1).unwrap().u64(*value).unwrap();
    }
    e.into_writer()
}

#[test]
fn an_act_that_names_too_much_is_refused_with_its_size() {
    let long = |n: usize| format!("{n:x>63}");
    let names = (0..MAX_NAMES).map(|n| format!("{}=fd50:1:2:3:fff{n:x}:ffff:ffff:ffff", long(n)));
    let terms = |tags: usize| GatewayTerms {
        range: "fd50:1:2:3::/64".parse().unwrap(),
        published: None,
        nat: true,
        priority: 10,
        to_nodes: vec![NODE; MAX_REACH],
        to_tags: (0..tags).map(long).collect(),
        pods: None,
        names: names.clone().map(|name| name.parse().unwrap()).collect(),
    };
    let sign = |tags| {
        let act = Act {
            network: NETWORK,
            serial: 1,
            deed: Deed::Gateway {
                node: NODE,
                terms: terms(tags),
            },
        };
        Signed::sign(act, &root())
    };
    let most = sign(20).unwrap();
    assert_eq!(Signed::<Act>::decode(most.bytes()).as_ref(), Ok(&most));
    let said = sign(MAX_REACH).unwrap_err().to_string();
    assert!(
        said.contains("at most 4096") && said.contains("name fewer"),
        "{said}"
    );
}

#[test]
fn a_newer_releases_keys_are_skipped() {
    let bytes = signed_payload(&departure_payload(&[(77, 1), (200, 2)]));
    let read = Signed::<Departure>::decode(&bytes).unwrap();
    assert_eq!(
        read.verify(&IdentitySecret::from_seed(&[6; 32]).public())
            .unwrap()
            .serial,
        4
    );
    assert_eq!(read.bytes(), bytes);
}

#[test]
fn limits() {
    let payload = |bytes: &[u8]| Signed::<Departure>::decode(&signed_payload(bytes)).unwrap_err();
    let good = departure_payload(&[]);
    assert!(matches!(
        payload(&[&good[..], &[0]].concat()),
        StatementError::Payload { .. }
    ));
    assert!(matches!(payload(&[0xa0]), StatementError::Payload { .. }));
    assert!(matches!(
        payload(&[0; MAX_PAYLOAD + 1]),
        StatementError::TooLong { .. }
    ));
    let longer_form = [&[0x98, 0x02], &signed_payload(&good)[1..]].concat();
    assert_eq!(
        Signed::<Departure>::decode(&longer_form),
        Err(StatementError::Envelope("departure"))
    );

    let identity = IdentitySecret::from_seed(&[6; 32]);
    let refuse = |change: &dyn Fn(&mut Record)| {
        let mut changed = record();
        change(&mut changed);
        Signed::sign(changed, &identity).unwrap_err().to_string()
    };
    assert!(refuse(&|r| r.host_name = "a".repeat(64)).contains("host name has 64 bytes"));
    assert!(refuse(&|r| r.system = "\u{1b}[2J".into()).contains("control character"));
    assert!(refuse(&|r| r.candidates = vec![r.candidates[0]; 17]).contains("17 candidates"));
    let mut many = delegation();
    many.terms.tags = vec!["t".into(); MAX_TAGS + 1];
    assert!(Signed::sign(many, &root()).is_err());
    assert!(
        Signed::sign(
            Params {
                mtu: 1281,
                ..params()
            },
            &root()
        )
        .is_err()
    );
}

#[test]
fn candidates_of_a_newer_kind_are_skipped() {
    let mut e = Encoder::new(Vec::new());
    e.map(12).unwrap();
    e.u8(0)
        .unwrap()
        .bytes(&[1; 16])
        .unwrap()
        .u8(1)
        .unwrap()
        .bytes(&[2; 16])
        .unwrap()
        .u8(2)
        .unwrap()
        .u8(1)
        .unwrap();
    e.u8(3)
        .unwrap()
        .bytes(&[3; 32])
        .unwrap()
        .u8(4)
        .unwrap()
        .bytes(&[4; 32])
        .unwrap();
    e.u8(5)
        .unwrap()
        .bytes(&[10, 0, 0, 1])
        .unwrap()
        .u8(6)
        .unwrap()
        .bytes(&[0; 16])
        .unwrap();
    e.u8(7)
        .unwrap()
        .str("x")
        .unwrap()
        .u8(8)
        .unwrap()
        .array(2)
        .unwrap();
    e.array(2).unwrap().u8(9).unwrap().str("whatever").unwrap();
    e.array(2).unwrap().u8(2).unwrap().str("192.0.2.1:7").unwrap();
    e.u8(9)
        .unwrap()
        .null()
        .unwrap()
        .u8(10)
        .unwrap()
        .str("s")
        .unwrap()
        .u8(11)
        .unwrap()
        .str("v")
        .unwrap();
    let payload = e.into_writer();
    let mut e = Encoder::new(Vec::new());
    e.array(2)
        .unwrap()
        .bytes(&payload)
        .unwrap()
        .bytes(&[0; 64])
        .unwrap();
    let read = Signed::<Record>::decode(&e.into_writer()).unwrap();
    let only = Candidate {
        kind: CandidateKind::ServerReflexive,
        addr: "192.0.2.1:7".parse().unwrap(),
    };
    assert_eq!(read.value().candidates, [only]);
}

#[test]
fn an_act_of_a_newer_kind_is_read_and_never_made() {
    let unknown = Act {
        network: NETWORK,
        serial: 1,
        deed: Deed::Unknown { kind: 99 },
    };
    assert!(Signed::sign(unknown, &root()).is_err());
    let mut e = Encoder::new(Vec::new());
    e.map(3)
        .unwrap()
        .u8(0)
        .unwrap()
        .bytes(&[1; 16])
        .unwrap()
        .u8(1)
        .unwrap()
        .u8(5)
        .unwrap();
    e.u8(2).unwrap().u8(99).unwrap();
    let payload = e.into_writer();
    let mut e = Encoder::new(Vec::new());
    e.array(2)
        .unwrap()
        .bytes(&payload)
        .unwrap()
        .bytes(&root().sign(Act::LABEL, &payload))
        .unwrap();
    let read = Signed::<Act>::decode(&e.into_writer()).unwrap();
    assert_eq!(
        read.verify(&root().public()).unwrap().deed,
        Deed::Unknown { kind: 99 }
    );
}
