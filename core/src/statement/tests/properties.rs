use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use minicbor::Encoder;
use proptest::prelude::*;

use super::root;
use crate::id::{NetworkId, NodeId, RelayId};
use crate::keys::*;
use crate::statement::*;

fn some_record() -> impl Strategy<Value = Record> {
    let keys = (any::<[u8; 32]>(), any::<[u8; 32]>());
    let candidate = (0usize..4, any::<SocketAddr>()).prop_map(|(kind, mut addr)| {
        if let SocketAddr::V6(v6) = &mut addr {
            v6.set_scope_id(0);
            v6.set_flowinfo(0);
        }
        let kinds = [
            CandidateKind::Host,
            CandidateKind::ServerReflexive,
            CandidateKind::PeerReflexive,
            CandidateKind::PortMapped,
        ];
        Candidate {
            kind: kinds[kind],
            addr,
        }
    });
    let candidates = prop::collection::vec(candidate, 0..=MAX_CANDIDATES);
    let texts = ("[a-z0-9-]{0,63}", "[ -~]{0,63}", "[ -~]{0,63}");
    let ids = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<Option<[u8; 8]>>());
    (
        ids,
        any::<u64>(),
        keys,
        any::<(Ipv4Addr, Ipv6Addr)>(),
        candidates,
        texts,
    )
        .prop_map(
            |((network, node, relay), serial, (wireguard, discovery), (ipv4, ipv6), candidates, texts)| {
                Record {
                    network: NetworkId::from_bytes(network),
                    node: NodeId::from_bytes(node),
                    serial,
                    wireguard: WireGuardPublic::from_bytes(wireguard),
                    discovery: DiscoveryPublic::from_bytes(discovery),
                    ipv4,
                    ipv6,
                    host_name: texts.0,
                    candidates,
                    home_relay: relay.map(RelayId::from_bytes),
                    system: texts.1,
                    version: texts.2,
                }
            },
        )
}

proptest! {
    #[test]
    fn records_round_trip(record in some_record()) {
        let key = IdentitySecret::from_seed(&[6; 32]);
        let signed = Signed::sign(record.clone(), &key).unwrap();
        let read = Signed::<Record>::decode(signed.bytes()).unwrap();
        prop_assert_eq!(read.verify(&key.public()).unwrap(), &record);
    }

    #[test]
    fn params_round_trip(
        serial: u64, name in "[ -~]{0,63}", v4: Ipv4Addr, len4 in 0u8..=32, v6: Ipv6Addr, len6 in 0u8..=128,
        mtu in 80u16..=557, lan_key: [u8; 32],
    ) {
        let ipv4 = Ipv4Net::new(v4, len4).unwrap();
        let ipv6 = Ipv6Net::new(v6, len6).unwrap();
        let lan_key = LanKey::from_bytes(lan_key);
        let params = Params { root: root().public(), serial, name, ipv4, ipv6, mtu: mtu * 16, lan_key };
        let read = Signed::<Params>::decode(Signed::sign(params.clone(), &root()).unwrap().bytes()).unwrap();
        prop_assert_eq!(read.verify_self().unwrap(), &params);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Signed::<Params>::decode(&bytes);
        let _ = Signed::<Delegation>::decode(&bytes);
        let _ = Signed::<Enrolment>::decode(&bytes);
        let _ = Signed::<Record>::decode(&bytes);
        let _ = Signed::<Act>::decode(&bytes);
        let _ = Signed::<Departure>::decode(&bytes);
        let _ = Signed::<MapHeader>::decode(&bytes);
    }

    #[test]
    fn any_payload_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut e = Encoder::new(Vec::new());
        e.array(2).unwrap().bytes(&payload).unwrap().bytes(&[0; 64]).unwrap();
        let bytes = e.into_writer();
        let _ = Signed::<Params>::decode(&bytes);
        let _ = Signed::<Delegation>::decode(&bytes);
        let _ = Signed::<Record>::decode(&bytes);
        let _ = Signed::<Act>::decode(&bytes);
    }
}
