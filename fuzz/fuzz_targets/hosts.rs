//! Any bytes are a hosts file: writing our blocks into it and taking them out again gives the same bytes, and doing
//! either twice does nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshd_core::names::{Address, Journal, NetworkNames, NodeName, Wanted, outside, remove_all, update};

const INSTANCE: &str = "0";

fn wanted() -> Wanted {
    let node = |label: &str, last: u8| NodeName {
        label: label.into(),
        address: Address { ipv4: Some([10, 77, 0, last].into()), ipv6: None },
    };
    Wanted {
        own_host_name: "self".into(),
        networks: vec![NetworkNames {
            network: "prod".into(),
            nodes: vec![node("db1", 1), node("localhost", 2), node("self", 3)],
            blocked: Default::default(),
        }],
    }
}

fuzz_target!(|data: &[u8]| {
    let wanted = wanted();
    let foreign = outside(data, INSTANCE);
    let written = update(data, INSTANCE, &wanted).bytes;
    assert_eq!(outside(&written, INSTANCE), foreign, "foreign bytes stay");
    assert_eq!(update(&written, INSTANCE, &wanted).bytes, written, "writing twice changes nothing");
    assert_eq!(remove_all(&written, INSTANCE), remove_all(data, INSTANCE), "what goes out is what came in");
    if let Some(journal) = Journal::decode(data) {
        assert_eq!(Journal::decode(&journal.encode()), Some(journal));
    }
});
