//! Waiting for a condition, with a bound.

use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks at `probe` until it gives a value; `None` once `bound` has passed.
pub fn poll<T>(bound: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until `probe` gives a value, at most `bound`.
///
/// # Panics
/// If the bound passes: the test fails with `what`.
#[track_caller]
pub fn eventually<T>(bound: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    timed(bound, what, probe).0
}

/// Looks until what is seen is as `wanted`, at most `bound`, and gives what was seen last, wanted or not.
pub fn eventually_or_last<T>(bound: Duration, mut look: impl FnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let mut last = look();
    let _ = poll(bound, || {
        last = look();
        wanted(&last).then_some(())
    });
    last
}

/// Like [`eventually`], and says how long it took.
///
/// # Panics
/// If the bound passes: the test fails with `what`.
#[track_caller]
pub fn timed<T>(bound: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> (T, Duration) {
    let begin = Instant::now();
    match poll(bound, probe) {
        Some(value) => (value, begin.elapsed()),
        None => panic!("not within {} ms: {what}", bound.as_millis()),
    }
}
