//! What a round measures of a bed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meshd_tests::measure::flood::flood;
use meshd_tests::measure::load::{Place, round_trips, under_load};
use meshd_tests::measure::usage::Cpu;

use crate::beds::Bed;
use crate::results::Values;

/// One direction of a bed: who sends, who receives, where.
type Way<'a> = (&'a Place, &'a Place, SocketAddr);
type Measure = fn(&Bed, Duration, &mut Values);

const STREAMS: usize = 8;

/// Names of `--only`, and what they measure, in the order of a round.
pub const MEASURES: [(&str, Measure); 9] = [
    ("idle", idle),
    ("tcp1", |bed, time, values| {
        tcp(bed.there(), 1, ("tcp1_gbit", "tcp1_cpu"), (bed, time, values))
    }),
    ("tcp8", |bed, time, values| {
        tcp(
            bed.there(),
            STREAMS,
            ("tcp8_gbit", "tcp8_cpu"),
            (bed, time, values),
        )
    }),
    ("tcp1r", |bed, time, values| {
        tcp(bed.back(), 1, ("tcp1r_gbit", "tcp1r_cpu"), (bed, time, values))
    }),
    ("tcp8r", |bed, time, values| {
        tcp(
            bed.back(),
            STREAMS,
            ("tcp8r_gbit", "tcp8r_cpu"),
            (bed, time, values),
        )
    }),
    ("both", both),
    ("loaded", loaded),
    ("udp64", |bed, time, values| {
        udp(
            64,
            ["udp64_kpps", "udp64_us", "udp64_cpu_kp"],
            (bed, time, values),
        )
    }),
    ("udp1372", |bed, time, values| {
        udp(
            1372,
            ["udp1372_kpps", "udp1372_us", "udp1372_cpu_kp"],
            (bed, time, values),
        )
    }),
];

impl Bed {
    fn there(&self) -> Way<'_> {
        (
            &self.ends[0],
            &self.ends[1],
            SocketAddr::new(self.addresses[1], 0),
        )
    }

    fn back(&self) -> Way<'_> {
        (
            &self.ends[1],
            &self.ends[0],
            SocketAddr::new(self.addresses[0], 0),
        )
    }
}

/// What passed in a while, and what the daemons used for it.
struct Passed {
    count: f64,
    seconds: f64,
    cpu: f64,
}

fn watch(bed: &Bed, time: Duration, count: impl Fn() -> u64) -> Passed {
    let (cpu, before, begin) = (Cpu::now(&bed.agents), count(), Instant::now());
    thread::sleep(time);
    let (after, seconds) = (count(), begin.elapsed().as_secs_f64());
    Passed {
        count: (after - before) as f64,
        seconds,
        cpu: Cpu::now(&bed.agents).since(&cpu).agents,
    }
}

fn note_bytes(passed: &Passed, (gbit, cpu): (&'static str, &'static str), values: &mut Values) {
    let gigabytes = passed.count / 1e9;
    values.insert(gbit, gigabytes * 8.0 / passed.seconds);
    values.insert(cpu, passed.cpu / gigabytes);
}

fn tcp(
    way: Way<'_>,
    streams: usize,
    keys: (&'static str, &'static str),
    (bed, time, values): (&Bed, Duration, &mut Values),
) {
    let passed = under_load(way, streams, |arrived| {
        watch(bed, time, || arrived.load(Ordering::Relaxed))
    });
    note_bytes(&passed, keys, values);
}

fn both(bed: &Bed, time: Duration, values: &mut Values) {
    let sum =
        |one: &AtomicU64, other: &AtomicU64| one.load(Ordering::Relaxed) + other.load(Ordering::Relaxed);
    let passed = under_load(bed.there(), 1, |there| {
        under_load(bed.back(), 1, |back| watch(bed, time, || sum(there, back)))
    });
    note_bytes(&passed, ("both_gbit", "both_cpu"), values);
}

fn udp(
    size: usize,
    [kpps, us, per_cpu]: [&'static str; 3],
    (bed, time, values): (&Bed, Duration, &mut Values),
) {
    let passed = flood(bed.there(), size, |count| watch(bed, time, || count().arrived));
    values.insert(kpps, passed.count / passed.seconds / 1e3);
    values.insert(us, passed.cpu * 1e6 / passed.count);
    if passed.cpu > 0.0 {
        values.insert(per_cpu, passed.count / passed.cpu / 1e3);
    }
}

fn idle(bed: &Bed, time: Duration, values: &mut Values) {
    note_times(
        &round_trips(bed.there(), time / 2),
        ("idle_p50", "idle_p99"),
        values,
    );
}

/// One byte there and back beside a TCP stream in the same direction.
fn loaded(bed: &Bed, time: Duration, values: &mut Values) {
    let times = under_load(bed.there(), 1, |_| round_trips(bed.there(), time));
    note_times(&times, ("loaded_p50", "loaded_p99"), values);
}

fn note_times(times: &[Duration], (half, most): (&'static str, &'static str), values: &mut Values) {
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    values.insert(half, at(50));
    values.insert(most, at(99));
}
