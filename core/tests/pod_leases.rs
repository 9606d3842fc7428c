//! Leases of pods' addresses over time: resting, restarts, interfaces that go away.

#![allow(clippy::disallowed_methods, reason = "a test may read the clock")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use meshd_core::ipam::{Attachment, HOST_PREFIX, LeaseError, Leases, QUARANTINE, UNSEEN};
use meshd_core::statement::PodPrefixes;

fn pod(name: &str) -> Attachment {
    Attachment {
        network: "mesh".into(),
        container: name.into(),
        interface: "eth0".into(),
    }
}

fn leases(ipv4: &str) -> Leases {
    let mut leases = Leases::default();
    leases.set_prefixes(Some(PodPrefixes {
        ipv4: ipv4.parse().unwrap(),
        ipv6: Some("fd42:0:0:5::/64".parse().unwrap()),
    }));
    leases
}

#[test]
fn asking_twice_gives_the_same_and_others_get_others() {
    let (mut leases, now) = (leases("10.42.5.0/24"), Instant::now());
    let first = leases.lease(now, &pod("a")).unwrap();
    assert_eq!(first.ipv4.to_string(), "10.42.5.1");
    assert_eq!(first.ipv6.unwrap().to_string(), "fd42:0:0:5::1");
    assert_eq!(leases.lease(now, &pod("a")), Ok(first.clone()));
    let second = leases.lease(now, &pod("b")).unwrap();
    assert_ne!((&first.host, first.ipv4), (&second.host, second.ipv4));
    assert!(first.host.len() <= 15 && first.host.starts_with(HOST_PREFIX));
}

#[test]
fn an_address_rests_before_another_pod_gets_it_and_exhaustion_says_so() {
    let (mut leases, now) = (leases("10.42.5.0/30"), Instant::now());
    for name in ["a", "b"] {
        leases.lease(now, &pod(name)).unwrap();
    }
    let error = leases.lease(now, &pod("c")).unwrap_err().to_string();
    assert!(
        error.contains("10.42.5.0/30 has no free address: 2 are leased"),
        "{error}"
    );
    let released = leases.release(now, &pod("a")).unwrap();
    assert_eq!(leases.release(now, &pod("a")), None);
    let soon = now + QUARANTINE - Duration::from_millis(1);
    assert!(leases.lease(soon, &pod("c")).is_err(), "it rests");
    let mut restored = Leases::restore(soon, &leases.save()).unwrap();
    restored.set_prefixes(leases.prefixes());
    let later = now + QUARANTINE;
    assert!(
        restored.lease(later, &pod("c")).is_err(),
        "a restart lets it rest anew"
    );
    let given = leases.lease(now + QUARANTINE, &pod("c")).unwrap();
    assert_eq!(given.ipv4, released.ipv4);
}

#[test]
fn leases_outlive_the_process_and_a_new_prefix() {
    let (mut before, now) = (leases("10.42.5.0/24"), Instant::now());
    let held = before.lease(now, &pod("a")).unwrap();
    let mut after = Leases::restore(now, &before.save()).unwrap();
    assert_eq!(after.lease(now, &pod("b")), Err(LeaseError::NoPrefix));
    assert_eq!(after.lease(now, &pod("a")), Ok(held));
    after.set_prefixes(Some(PodPrefixes {
        ipv4: "10.99.1.0/24".parse().unwrap(),
        ipv6: None,
    }));
    let other = after.lease(now, &pod("b")).unwrap();
    assert_eq!(
        (other.ipv4.to_string(), other.ipv6),
        ("10.99.1.1".to_owned(), None)
    );
    assert!(Leases::restore(now, b"{").is_err());
}

#[test]
fn what_the_runtime_forgot_is_taken_back_in_its_own_network_only() {
    let (mut leases, now) = (leases("10.42.5.0/24"), Instant::now());
    let other = Attachment {
        network: "other".into(),
        ..pod("a")
    };
    for attachment in [&pod("a"), &pod("b"), &other] {
        leases.lease(now, attachment).unwrap();
    }
    let gone = leases.keep_only(now, "mesh", &[pod("b")]);
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].attachment, pod("a"));
    assert!(leases.of(&other).is_some() && leases.of(&pod("b")).is_some());
}

#[test]
fn a_lease_whose_interface_stays_away_is_taken_back_and_one_that_comes_back_is_not() {
    let (mut leases, now) = (leases("10.42.5.0/24"), Instant::now());
    let (a, b) = (
        leases.lease(now, &pod("a")).unwrap(),
        leases.lease(now, &pod("b")).unwrap(),
    );
    let none = BTreeSet::new();
    let only_b = BTreeSet::from([b.host.clone()]);
    assert!(leases.observe(now, &none).is_empty());
    assert_eq!(leases.poll_timeout(), Some(now + UNSEEN));
    assert!(leases.observe(now + UNSEEN / 2, &only_b).is_empty());
    let gone = leases.observe(now + UNSEEN, &none);
    assert_eq!(gone, [a]);
    assert!(
        leases
            .observe(now + UNSEEN * 2 - Duration::from_secs(1), &none)
            .is_empty()
    );
    assert_eq!(leases.observe(now + UNSEEN * 2, &none), [b]);
}
