use super::*;

fn hex32(text: &str) -> [u8; 32] {
    HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
}

/// RFC 8032 section 7.1, test 2.
#[test]
fn ed25519_is_that_of_the_rfc() {
    let secret = IdentitySecret::from_seed(&hex32(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    ));
    let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    assert_eq!(secret.public().to_string(), public);
    let signature = secret.sign_message(&[0x72]);
    assert_eq!(
        HEXLOWER.encode(&signature),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    assert!(secret.public().verifies(&[0x72], &signature));
}

#[test]
fn both_ends_agree_and_a_low_order_key_agrees_with_nobody() {
    let (alice, bob) = (
        DiscoverySecret::from_seed(&[6; 32]),
        DiscoverySecret::from_seed(&[7; 32]),
    );
    assert_eq!(alice.agree(&bob.public()), bob.agree(&alice.public()));
    assert!(alice.agree(&bob.public()).is_some());
    assert_eq!(alice.agree(&DiscoveryPublic::from_bytes([0; 32])), None);
}

/// Small-order keys and signatures with S >= L verify nothing.
#[test]
fn verification_is_strict() {
    let mut small_order = [0; 32];
    small_order[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    assert!(!IdentityPublic::from_bytes(small_order).verifies(b"anything", &forged));
    assert!(!IdentityPublic::from_bytes([0xff; 32]).verifies(b"", &[0; 64]));
}

#[test]
fn secrets_show_nothing_and_come_back_from_their_seed() {
    let secret = RootSecret::from_seed(&[3; 32]);
    assert_eq!(format!("{secret:?}"), "RootSecret(redacted)");
    assert_eq!(*secret.seed(), [3; 32]);
    assert_eq!(
        format!("{:?}", WireGuardSecret::from_seed(&[3; 32])),
        "WireGuardSecret(redacted)"
    );
    assert_eq!(format!("{:?}", BindKey::from_bytes([3; 32])), "BindKey(redacted)");
}

#[test]
fn public_keys_are_shown_as_people_know_them_and_read_back() {
    let wireguard = WireGuardSecret::from_seed(&[3; 32]).public();
    assert_eq!(wireguard.to_string().len(), 44);
    assert_eq!(
        wireguard.to_string().parse::<WireGuardPublic>().unwrap(),
        wireguard
    );
    let root = RootSecret::from_seed(&[3; 32]).public();
    assert_eq!(
        root.to_string().to_uppercase().parse::<RootPublic>().unwrap(),
        root
    );
    let error = "abc".parse::<WireGuardPublic>().unwrap_err().to_string();
    assert_eq!(error, "a WireGuard key is 32 bytes in base64; \"abc\" is not");
}
