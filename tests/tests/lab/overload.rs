//! A relay whose uplink has less room than nodes send: who sends little loses next to nothing, without anybody having said how
//! much room there is.

use std::thread;
use std::time::Duration;

use meshd_tests::{Nat, UdpFlow, figure, skip};

use crate::bed::{self, NET};

/// For shares to be found, and to be watched.
const A_WHILE: Duration = Duration::from_secs(4);
/// Packets/s: of about 2.4 kbit each with all headers, three times what the uplink takes.
const MUCH: u32 = 5_000;
const LITTLE: u32 = 100;

#[test]
fn on_an_uplink_that_is_too_narrow_the_busy_lose_what_is_too_much_and_others_nothing() {
    let bed = bed::apart(&[
        ("a", Nat::Symmetric),
        ("b", Nat::Symmetric),
        ("c", Nat::Symmetric),
        ("d", Nat::Symmetric),
    ]);
    let narrow = "tc qdisc replace dev eth0 root tbf rate 4mbit burst 32kb limit 256kb";
    if !bed.cloud.succeeds(&["sh", "-c", narrow]) {
        return skip(
            "a relay on a narrow uplink",
            "this kernel has no token bucket (sch_tbf)",
        );
    }
    let [a, b, c, d] = &bed.nodes[..] else {
        unreachable!("four nodes")
    };
    let much = UdpFlow::start(a, b, b.at(NET, 9000), MUCH);
    thread::sleep(A_WHILE / 2);
    let little = UdpFlow::start(c, d, d.at(NET, 9000), LITTLE);
    thread::sleep(A_WHILE);
    let (little, much) = (little.stop(), much.stop());
    let percent = |part: u64, whole: u64| format!("{:.1} %", part as f64 * 100.0 / whole as f64);
    figure(
        "a relay's uplink at three times its load: lost by a pair with little, with much",
        format!(
            "{}, {}",
            percent(little.lost(), little.sent),
            percent(much.lost(), much.sent)
        ),
        "10 % by that with little",
    );
    assert!(
        much.lost() * 3 >= much.sent,
        "the uplink was not too narrow: {much:?}"
    );
    assert!(little.lost() * 10 <= little.sent, "{little:?} beside {much:?}");
}
