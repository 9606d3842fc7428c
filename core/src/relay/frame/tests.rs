use proptest::prelude::*;

use super::*;

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const NODE: NodeId = NodeId::from_bytes([2; 16]);
const PEER: NodeId = NodeId::from_bytes([3; 16]);
const NONCE: Nonce = [4; 8];

fn key() -> BindKey {
    BindKey::from_bytes([5; 32])
}

fn seen() -> SocketAddr {
    "198.51.100.9:4500".parse().unwrap()
}

#[test]
fn every_control_message_comes_back() {
    let key = &key();
    let cookie = [6; 16];
    let (network, node, nonce, peer, seen) = (NETWORK, NODE, NONCE, PEER, seen());
    for (frame, expected) in [
        (
            ControlFrame::bind_request(NETWORK, NODE, NONCE, &cookie, key),
            Control::BindRequest {
                network,
                node,
                nonce,
                cookie,
            },
        ),
        (
            ControlFrame::bind_cookie(NONCE, &cookie),
            Control::BindCookie { nonce, cookie },
        ),
        (
            ControlFrame::bound(NONCE, 60, seen, key),
            Control::Bound {
                nonce,
                lifetime_s: 60,
                seen,
            },
        ),
        (
            ControlFrame::open_request(NETWORK, NODE, NONCE, PEER, key),
            Control::OpenRequest {
                network,
                node,
                nonce,
                peer,
            },
        ),
        (
            ControlFrame::opened(NONCE, PEER, 77, key),
            Control::Opened {
                nonce,
                peer,
                session: 77,
            },
        ),
        (
            ControlFrame::where_request(NETWORK, NODE, NONCE, PEER, key),
            Control::WhereRequest {
                network,
                node,
                nonce,
                peer,
            },
        ),
        (
            ControlFrame::witness(NETWORK, NODE, NONCE, &cookie, key),
            Control::Witness {
                network,
                node,
                nonce,
                cookie,
            },
        ),
        (
            ControlFrame::whereabouts(NONCE, PEER, seen, key),
            Control::Where { nonce, peer, seen },
        ),
        (
            ControlFrame::refused(NONCE, RefusalCode::OverQuota),
            Control::Refused {
                subject: NONCE,
                code: RefusalCode::OverQuota,
            },
        ),
    ] {
        assert_eq!(parse(&frame), Some(Frame::Control(expected)));
        assert!(parse(&frame[..frame.len() - 1]).is_none(), "short");
        assert!(parse(&[&frame[..], &[0]].concat()).is_none(), "long");
    }
}

#[test]
fn no_answer_is_longer_than_its_question() {
    let key = &key();
    let bind = ControlFrame::bind_request(NETWORK, NODE, NONCE, &[0; 16], key).len();
    let open = ControlFrame::open_request(NETWORK, NODE, NONCE, PEER, key).len();
    assert_eq!((bind, open), (MAX_CONTROL_LEN, MAX_CONTROL_LEN));
    assert!(ControlFrame::bind_cookie(NONCE, &[0; 16]).len() <= bind);
    assert!(ControlFrame::bound(NONCE, 60, seen(), key).len() <= bind);
    assert!(ControlFrame::opened(NONCE, PEER, 1, key).len() <= open);
    let question = ControlFrame::where_request(NETWORK, NODE, NONCE, PEER, key).len();
    assert!(ControlFrame::whereabouts(NONCE, PEER, seen(), key).len() <= question);
    assert_eq!(
        ControlFrame::refused(NONCE, RefusalCode::NotBound).len(),
        REFUSED_LEN
    );
}

#[test]
fn one_changed_bit_is_not_authentic() {
    let frame = ControlFrame::opened(NONCE, PEER, 1, &key());
    assert!(authentic(&frame, &key()));
    assert!(!authentic(&frame, &BindKey::from_bytes([9; 32])));
    for bit in 0..frame.len() * 8 {
        let mut changed = frame.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!authentic(&changed, &key()), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse(&bytes);
        let mut framed = relay_header(0).to_vec();
        framed.extend(&bytes);
        let _ = parse(&framed);
        let _ = authentic(&framed, &key());
    }

    #[test]
    fn data_comes_back(session in 1..u64::MAX, payload in proptest::collection::vec(any::<u8>(), 0..64)) {
        let framed = [&relay_header(session)[..], &payload].concat();
        let expected = Some(Frame::Data { session, payload: &payload });
        prop_assert_eq!(parse(&framed), expected);
    }
}
