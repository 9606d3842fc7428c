use proptest::prelude::*;

use super::*;

fn token(addresses: &[&str]) -> JoinToken {
    JoinToken {
        id: TokenId::from_bytes([3; 8]),
        secret: JoinSecret::from_seed(&[5; 32]),
        coordinator: CoordinatorPublic::from_bytes([7; 32]),
        root: RootPublic::from_bytes([9; 32]),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn word() -> String {
    token(&["vpn.example.net:443", "203.0.113.1:443", "[2001:db8::1]:8443"])
        .encode()
        .unwrap()
        .to_string()
}

/// A wrong word must end in the checksum's sentence or in one as clear about what to do.
fn assert_clear(mistyped: &str) {
    let error = mistyped.parse::<JoinToken>().expect_err(mistyped).to_string();
    let clear = error.contains("checksum") || error.contains("must start with \"mesh1\"");
    assert!(clear || error.contains("white space"), "{mistyped}: {error}");
}

#[test]
fn a_word_says_what_was_put_in() {
    let read: JoinToken = format!("  {}\n", word().to_uppercase()).parse().unwrap();
    assert_eq!(read.id, TokenId::from_bytes([3; 8]));
    assert_eq!(*read.secret.seed(), [5; 32]);
    assert_eq!(read.coordinator, CoordinatorPublic::from_bytes([7; 32]));
    assert_eq!(read.root, RootPublic::from_bytes([9; 32]));
    let shown: Vec<_> = read.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["vpn.example.net:443", "203.0.113.1:443", "[2001:db8::1]:8443"]
    );
    assert!(!format!("{read:?}").contains("0505"));
}

#[test]
fn a_wrong_missing_doubled_or_swapped_character_is_a_clear_sentence() {
    let word = word();
    for place in 0..word.len() {
        for letter in ['a', '7', 'q', '1', '0', ' ', '!', 'ß'] {
            let mut wrong: Vec<char> = word.chars().collect();
            if wrong[place] != letter {
                wrong[place] = letter;
                assert_clear(wrong.iter().collect::<String>().trim());
            }
        }
        let mut missing = word.clone();
        missing.remove(place);
        assert_clear(&missing);
        let mut doubled = word.clone();
        doubled.insert(place, word.as_bytes()[place].into());
        assert_clear(&doubled);
        let mut swapped: Vec<char> = word.chars().collect();
        if place > 0 && swapped[place] != swapped[place - 1] {
            swapped.swap(place, place - 1);
            assert_clear(&swapped.iter().collect::<String>());
        }
    }
}

#[test]
fn every_bit_flip_is_refused() {
    let word = word().into_bytes();
    for bit in 0..word.len() * 8 {
        let mut flipped = word.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(text) = String::from_utf8(flipped) else {
            continue;
        };
        // a capital says the same
        if !text.eq_ignore_ascii_case(std::str::from_utf8(&word).unwrap()) {
            assert!(text.parse::<JoinToken>().is_err(), "bit {bit}");
        }
    }
}

#[test]
fn wrong_fields_under_a_right_checksum_are_refused() {
    let seal = |body: &[u8]| {
        let whole = [body, &checksum(body)].concat();
        format!("mesh1{}", base32().encode(&whole)).parse::<JoinToken>()
    };
    assert_eq!(seal(&[2]).unwrap_err(), TokenError::Version(2));
    assert!(matches!(seal(&[1; 20]).unwrap_err(), TokenError::Fields(_)));
    let mut body = vec![1; 1 + 8 + 96];
    body.push(9);
    assert_eq!(seal(&body).unwrap_err(), TokenError::AddressCount(9));
    body.pop();
    body.extend_from_slice(&[1, 1, b'_', 1, 1]);
    assert!(matches!(seal(&body).unwrap_err(), TokenError::Address(_)));
    let end = body.len() - 3;
    body[end] = b'A';
    assert_eq!(
        seal(&body).unwrap_err(),
        TokenError::Fields("an address has capitals")
    );
}

#[test]
fn only_hosts_stand_in_a_token() {
    for good in ["example.net:1", "a:65535", "[::1]:443", "127.0.0.1:80", "x-1.y:9"] {
        assert_eq!(good.parse::<CoordinatorAddress>().unwrap().to_string(), good);
    }
    for bad in [
        "a", "a:0", "a:65536", "::1:443", "[a]:1", "-a:1", "1.2.3:4", "a b:1", "a..b:1", ":1", "[]:1",
    ] {
        assert!(bad.parse::<CoordinatorAddress>().is_err(), "{bad}");
    }
    assert_eq!(token(&[]).encode().unwrap_err(), TokenError::AddressCount(0));
    assert_eq!(
        token(&["a:1"; 9]).encode().unwrap_err(),
        TokenError::AddressCount(9)
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,300}") {
        let _ = text.parse::<JoinToken>();
        let _ = format!("mesh1{text}").parse::<JoinToken>();
    }

    #[test]
    fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let whole = [&body[..], &checksum(&body)].concat();
        let _ = format!("mesh1{}", base32().encode(&whole)).parse::<JoinToken>();
    }

    #[test]
    fn round_trip(
        id: [u8; 8], seed: [u8; 32], coordinator: [u8; 32], root: [u8; 32],
        hosts in prop::collection::vec(("[a-z][a-z0-9]{0,20}(\\.[a-z][a-z0-9]{0,20}){0,3}", 1u16..), 1..=8),
    ) {
        let addresses: Vec<_> =
            hosts.iter().map(|(host, port)| CoordinatorAddress::new(host, *port).unwrap()).collect();
        let token = JoinToken {
            id: TokenId::from_bytes(id),
            secret: JoinSecret::from_seed(&seed),
            coordinator: CoordinatorPublic::from_bytes(coordinator),
            root: RootPublic::from_bytes(root),
            addresses: addresses.clone(),
        };
        let read: JoinToken = token.encode().unwrap().parse().unwrap();
        prop_assert_eq!(read.addresses, addresses);
        prop_assert_eq!(*read.secret.seed(), seed);
        prop_assert_eq!(read.root, token.root);
    }
}
