//! Whatever a router answers, by datagram or by its web server, the port mapper goes on and asks no more than a few times.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use meshd_core::portmap::{Action, Place, PortMapper};

/// Actions of one input at most: a router that answers at once is asked at once.
const MOST: usize = 4;

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::now();
    let mut mapper = PortMapper::new([1; 32]);
    let place = Place {
        router: "192.168.1.1".parse().expect("an address"),
        own: "192.168.1.9:51820".parse().expect("an address"),
    };
    mapper.set_place(now, Some(place));
    let mut rest = data;
    while let [kind, length, tail @ ..] = rest {
        let (answer, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        now += Duration::from_millis(u64::from(kind >> 2) * 100);
        let from = |port: u16| SocketAddr::from((place.router, port));
        match kind & 3 {
            0 => mapper.handle_datagram(now, from(5351), answer),
            1 => mapper.handle_datagram(now, from(1900), answer),
            2 => mapper.handle_http(now, Some(answer)),
            _ => mapper.handle_timeout(now),
        }
        let actions = std::iter::from_fn(|| mapper.poll_action());
        assert!(actions.map(|action| matches!(action, Action::Http { .. })).count() <= MOST);
    }
    mapper.release();
    assert!(mapper.external().is_none() && mapper.poll_timeout().is_none());
});
