use proptest::prelude::*;

use super::*;

fn pair() -> (DiscoverySecret, DiscoverySecret) {
    (
        DiscoverySecret::from_seed(&[1; 32]),
        DiscoverySecret::from_seed(&[2; 32]),
    )
}

fn end(secret: &DiscoverySecret) -> End {
    End {
        node: [secret.seed()[0]; 16].into(),
        key: secret.public(),
    }
}

fn keys(own: &DiscoverySecret, peer: &DiscoverySecret) -> PairKeys {
    PairKeys::agree(own, &end(own), &end(peer)).unwrap()
}

fn sealed(message: &Message) -> Vec<u8> {
    let (ann, bob) = pair();
    let mut out = Vec::new();
    seal(message, &ann.public(), &keys(&ann, &bob), [3; 24], &mut out);
    out
}

fn call(candidates: Vec<SocketAddr>, stage: Stage) -> Call {
    Call {
        candidates,
        nat: NatBehaviour::from_bytes([4, 3, 2, 1]),
        stage,
    }
}

fn messages() -> Vec<Message> {
    let address = Address {
        to: [4; 8].into(),
        from: [5; 8].into(),
        sequence: 6,
    };
    let map = MapVersion { epoch: 7, version: 8 };
    let (transaction, boot, sequence) = ([9; 8], [10; 8].into(), 11);
    let candidates = vec!["192.0.2.1:5".parse().unwrap(), "[2001:db8::1]:6".parse().unwrap()];
    vec![
        Message::Ping(Ping {
            transaction,
            boot,
            sequence,
            map,
            in_use: true,
        }),
        Message::Ping(Ping {
            transaction,
            boot,
            sequence,
            map,
            in_use: false,
        }),
        Message::Pong(Pong {
            transaction,
            boot,
            sequence,
            seen: None,
            map,
        }),
        Message::Pong(Pong {
            transaction,
            boot,
            sequence,
            seen: Some(candidates[0]),
            map,
        }),
        Message::PleaseInitiate(address),
        Message::CallMeMaybe(address, call(candidates.clone(), Stage::Candidates)),
        Message::CallMeMaybe(
            address,
            call(
                candidates.iter().cycle().take(16).copied().collect(),
                Stage::Birthday,
            ),
        ),
        Message::CallMeMaybe(address, call(Vec::new(), Stage::FreshAsked)),
        Message::Goodbye(address),
    ]
}

#[test]
fn every_message_comes_back_and_opens_at_its_receiver_only() {
    let (ann, bob) = pair();
    for message in messages() {
        let packet = sealed(&message);
        assert_eq!(sender_of(&packet), Some(ann.public()));
        assert_eq!(open(&packet, &keys(&bob, &ann)), Some(message.clone()));
        assert_eq!(open(&packet, &keys(&ann, &bob)), None, "reflected");
        assert!(packet.len() <= MAX_LEN);
        let probe = matches!(message, Message::Ping(_) | Message::Pong(_));
        assert_eq!(probe, packet.len() == PING_LEN);
    }
}

#[test]
fn a_changed_or_cut_packet_does_not_open() {
    let (ann, bob) = pair();
    let keys = keys(&bob, &ann);
    let packet = sealed(&messages()[0]);
    // the sender's key at 4..36 is what the keys to open it with are found by
    for at in (0..4).chain(36..packet.len()) {
        let mut changed = packet.clone();
        changed[at] ^= 0x10;
        assert_eq!(open(&changed, &keys), None, "byte {at}");
        assert_eq!(open(&packet[..at], &keys), None);
    }
}

#[test]
fn who_names_anothers_key_opens_nothing_of_it() {
    let (ann, bob) = pair();
    let thief = End {
        node: [9; 16].into(),
        key: ann.public(),
    };
    let keys = PairKeys::agree(&bob, &end(&bob), &thief).unwrap();
    assert_eq!(open(&sealed(&messages()[0]), &keys), None);
}

#[test]
fn a_low_order_key_agrees_nothing() {
    let (ann, _) = pair();
    let nobody = End {
        key: DiscoveryPublic::from_bytes([0; 32]),
        ..end(&ann)
    };
    assert!(PairKeys::agree(&ann, &end(&ann), &nobody).is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (ann, bob) = pair();
        let _ = open(&bytes, &keys(&ann, &bob));
        let _ = parse(&bytes);
        let mut shaped = DISCOVERY_MAGIC.to_vec();
        shaped.extend(&bytes);
        let _ = open(&shaped, &keys(&ann, &bob));
    }
}
