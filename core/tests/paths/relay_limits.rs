//! What a relay gives each node, and how many it serves at once.

use std::num::NonZeroU64;
use std::time::Duration;

use meshd_core::demux::relay_header;
use meshd_core::relay::frame::{Control, RefusalCode};
use meshd_core::relay::{RelayConfig, RelayServer, Strain, Verdict};

use crate::relay_bench::*;

#[test]
fn each_node_has_its_own_quota() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.bind(number);
    }
    bench.relay.set_quota(NETWORK, NonZeroU64::new(1_000_000));
    let (greedy, modest) = (bench.session(1, 2), bench.session(3, 2));
    let packet = [PACKET, &[0; 972]].concat();
    let forwarded = |bench: &mut Bench, from: u8, session: u64, count: usize| {
        let send = |_: &usize| {
            matches!(
                bench.send(channel(from), session, &packet).0,
                Verdict::Forward { .. }
            )
        };
        (0..count).filter(send).count()
    };
    assert_eq!(forwarded(&mut bench, 1, greedy, 1000), 250, "the burst");
    assert_eq!(forwarded(&mut bench, 3, modest, 100), 100);
    bench.now += Duration::from_millis(100);
    assert_eq!(
        forwarded(&mut bench, 1, greedy, 1000),
        100,
        "what came to it since"
    );
    bench.relay.set_quota(NETWORK, None);
    assert_eq!(forwarded(&mut bench, 1, greedy, 1000), 1000);
}

#[test]
fn sessions_are_bounded_and_unused_ones_make_room() {
    let mut bench = Bench::with(RelayConfig {
        max_sessions: 4,
        max_sessions_per_node: 8,
    });
    for number in 1..=4 {
        bench.bind(number);
    }
    let (used, _) = (bench.session(1, 2), bench.session(1, 3));
    let full = bench.open(NETWORK, node(1), channel(1), node(4));
    assert!(matches!(
        full,
        Some(Control::Refused {
            code: RefusalCode::OverQuota,
            ..
        })
    ));
    for _ in 0..20 {
        bench.now += Duration::from_secs(40);
        (1..=4).for_each(|number| bench.bind(number));
        assert!(matches!(
            bench.send(channel(1), used, PACKET).0,
            Verdict::Forward { .. }
        ));
    }
    bench.session(1, 4);
    assert_eq!(bench.relay.sessions(), 4);
    assert!(matches!(
        bench.send(channel(1), used, PACKET).0,
        Verdict::Forward { .. }
    ));
}

#[test]
fn refusals_to_an_address_are_limited() {
    let mut bench = Bench::new();
    let answered = (0..100)
        .filter(|_| bench.refusal(channel(5), 77).is_some())
        .count();
    assert_eq!(answered, 10);
}
#[test]
fn the_relay_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<RelayServer>();
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived_and_never_answered_with_more(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        framed in proptest::prelude::any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let mut datagram = if framed { relay_header(0).to_vec() } else { Vec::new() };
        datagram.extend(&bytes);
        let asked = datagram.len();
        if let Verdict::Reply(reply) = bench.relay.handle_datagram(bench.now, channel(1), &mut datagram) {
            assert!(reply.len() <= asked);
        }
    }
}

/// Has senders offer these bytes/s for two seconds in packets of 1,000 bytes, after half a second of it; what each gets,
/// bytes/s.
fn overload(bench: &mut Bench, senders: &[(u8, u64)]) -> Vec<u64> {
    let payload = [PACKET, &[0; 1_000 - 12][PACKET.len()..]].concat();
    let sessions: Vec<u64> = senders
        .iter()
        .map(|(sender, _)| bench.session(*sender, 9))
        .collect();
    let (mut owed, mut got) = (vec![0; senders.len()], vec![0; senders.len()]);
    for ms in 0..2_500 {
        bench.now += Duration::from_millis(1);
        if bench.relay.shares_due(bench.now) {
            bench.relay.make_shares(bench.now, &Strain::default());
        }
        for (nth, (sender, rate)) in senders.iter().enumerate() {
            owed[nth] += rate / 1_000;
            while owed[nth] >= 1_000 {
                owed[nth] -= 1_000;
                let (verdict, datagram) = bench.send(channel(*sender), sessions[nth], &payload);
                if matches!(verdict, Verdict::Forward { .. }) && ms >= 500 {
                    got[nth] += datagram.len() as u64;
                }
            }
        }
    }
    got.into_iter().map(|bytes| bytes / 2).collect()
}

#[test]
fn under_overload_each_node_gets_its_share_and_who_asks_for_less_gets_all_of_it() {
    let mut bench = Bench::new();
    (1..=9).for_each(|number| bench.bind(number));
    bench.relay.set_capacity(NonZeroU64::new(10_000_000));
    let near = |got: u64, wanted: u64| got.abs_diff(wanted) <= wanted / 20;
    let got = overload(&mut bench, &[(1, 50_000_000), (2, 8_000_000), (3, 1_000_000)]);
    assert!(
        near(got[0], 4_500_000) && near(got[1], 4_500_000) && near(got[2], 1_000_000),
        "{got:?}"
    );
    assert!(
        bench
            .relay
            .traffic(NETWORK, node(1))
            .is_some_and(|traffic| traffic.shed > 0)
    );
    assert_eq!(
        bench.relay.traffic(NETWORK, node(3)).map(|traffic| traffic.shed),
        Some(0)
    );
    let got = overload(&mut bench, &[(1, 6_000_000), (3, 1_000_000)]);
    assert!(
        near(got[0], 6_000_000) && near(got[1], 1_000_000),
        "there is room: {got:?}"
    );
    bench.relay.set_capacity(None);
    let got = overload(&mut bench, &[(1, 30_000_000)]);
    assert!(near(got[0], 30_000_000), "no limit: {got:?}");
}
