//! How many worlds there is time for.

use std::time::Duration;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::TestRunner;

use crate::places::MS;
use crate::worlds::{config, live, scenario};

/// Processor time that this process has used; clock ticks of Linux are hundredths of a second.
fn used() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("the kernel tells");
    let fields = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| 10 * MS * ticks.parse().expect("a number"))
        .sum()
}

#[test]
#[ignore = "long: its bar is for an optimised build, in which `./test --long` runs it"]
fn thousands_of_worlds_are_lived_through_in_a_minute_of_one_processor() {
    let mut worlds = 0;
    let begin = used();
    while used() - begin < Duration::from_secs(20) {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 20,
            ..config()
        });
        let lived = runner.run(&scenario(), |scenario| {
            live(&scenario);
            Ok(())
        });
        lived.expect("whoever can reach whom does");
        worlds += 20;
    }
    let a_minute = f64::from(worlds) * 60.0 / (used() - begin).as_secs_f64();
    println!("figure: simulated worlds in a minute of one processor: {a_minute:.0} (bar: 2000)");
    assert!(a_minute >= 2_000.0, "{a_minute:.0}");
}
