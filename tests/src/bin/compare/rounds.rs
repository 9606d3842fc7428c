//! What a round measures of a bed.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use meshd_tests::measure::flood::flood;
use meshd_tests::measure::load::{Way, round_trips, under_load};
use meshd_tests::measure::usage::Cpu;

use crate::beds::Bed;
use crate::results::Values;

/// A word of `--only`, and what it measures.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// The word.
    pub name: &'static str,
    what: What,
}

/// The keys are those of the figures: Gbit/s and CPU-s/GB; kpps, microseconds of CPU and thousand packets per CPU-second; p50 and p99.
#[derive(Clone, Copy, Debug)]
enum What {
    /// So many TCP streams.
    Tcp(Over, usize, [&'static str; 2]),
    /// A flood of packets of this size.
    Udp(usize, [&'static str; 3]),
    /// One byte there and back, beside so many TCP streams in the same direction.
    RoundTrips(usize, [&'static str; 2]),
}
use What::{RoundTrips, Tcp, Udp};

/// From whom to whom.
#[derive(Clone, Copy, Debug)]
enum Over {
    /// From the hub to the first machine.
    There,
    Back,
    BothAtOnce,
    /// The same from pod to pod.
    Pods,
    /// From the hub to each machine at once.
    Out,
    In,
}

const fn measure(name: &'static str, what: What) -> Measure {
    Measure { name, what }
}

/// Of two machines, in the order of a round.
pub const PAIR: [Measure; 11] = [
    measure("idle", RoundTrips(0, ["idle_p50", "idle_p99"])),
    measure("tcp1", Tcp(Over::There, 1, ["tcp1_gbit", "tcp1_cpu"])),
    measure("tcp8", Tcp(Over::There, 8, ["tcp8_gbit", "tcp8_cpu"])),
    measure("tcp1r", Tcp(Over::Back, 1, ["tcp1r_gbit", "tcp1r_cpu"])),
    measure("tcp8r", Tcp(Over::Back, 8, ["tcp8r_gbit", "tcp8r_cpu"])),
    measure("both", Tcp(Over::BothAtOnce, 1, ["both_gbit", "both_cpu"])),
    measure("loaded", RoundTrips(1, ["loaded_p50", "loaded_p99"])),
    measure("udp64", Udp(64, ["udp64_kpps", "udp64_us", "udp64_cpu_kp"])),
    measure(
        "udp1372",
        Udp(1372, ["udp1372_kpps", "udp1372_us", "udp1372_cpu_kp"]),
    ),
    measure("pod1", Tcp(Over::Pods, 1, ["pod1_gbit", "pod1_cpu"])),
    measure("pod8", Tcp(Over::Pods, 8, ["pod8_gbit", "pod8_cpu"])),
];

/// Of a hub and eight machines.
pub const HUB: [Measure; 2] = [
    measure("hub", Tcp(Over::Out, 1, ["hub_gbit", "hub_cpu"])),
    measure("hubr", Tcp(Over::In, 1, ["hubr_gbit", "hubr_cpu"])),
];

/// With many peers of which one is busy.
pub const CROWD: [Measure; 2] = [
    measure("tcp1", Tcp(Over::There, 1, ["crowd_gbit", "crowd_cpu"])),
    measure("udp64", Udp(64, ["crowd_kpps", "crowd_us", "crowd_cpu_kp"])),
];

impl Measure {
    /// Measures it for a while; nothing where the bed has no such way.
    pub fn take(&self, bed: &Bed, time: Duration, values: &mut Values) {
        match self.what {
            Tcp(over, streams, keys) => {
                let ways = bed.ways(over);
                if !ways.is_empty() {
                    tcp(&ways, streams, keys, (bed, time, values));
                }
            }
            Udp(size, keys) => udp(size, keys, (bed, time, values)),
            RoundTrips(0, keys) => note_times(&round_trips(bed.to(0, 1), time / 2), keys, values),
            RoundTrips(streams, keys) => {
                let times = under_load(&[bed.to(0, 1)], streams, |_| round_trips(bed.to(0, 1), time));
                note_times(&times, keys, values);
            }
        }
    }
}

impl Bed {
    fn ways(&self, over: Over) -> Vec<Way<'_>> {
        let spokes = 1..self.ends.len();
        match over {
            Over::There => vec![self.to(0, 1)],
            Over::Back => vec![self.to(1, 0)],
            Over::BothAtOnce => vec![self.to(0, 1), self.to(1, 0)],
            Over::Out => spokes.map(|spoke| self.to(0, spoke)).collect(),
            Over::In => spokes.map(|spoke| self.to(spoke, 0)).collect(),
            Over::Pods => {
                let pods = self.pods.iter();
                pods.map(|(ends, address)| (&ends[0], &ends[1], SocketAddr::new(*address, 0)))
                    .collect()
            }
        }
    }

    fn to(&self, from: usize, to: usize) -> Way<'_> {
        (
            &self.ends[from],
            &self.ends[to],
            SocketAddr::new(self.addresses[to], 0),
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

fn tcp(
    ways: &[Way<'_>],
    streams: usize,
    [gbit, cpu]: [&'static str; 2],
    (bed, time, values): (&Bed, Duration, &mut Values),
) {
    let passed = under_load(ways, streams, |arrived| {
        watch(bed, time, || arrived.load(Ordering::Relaxed))
    });
    let gigabytes = passed.count / 1e9;
    values.insert(gbit, gigabytes * 8.0 / passed.seconds);
    if passed.cpu > 0.0 {
        values.insert(cpu, passed.cpu / gigabytes);
    }
}

fn udp(
    size: usize,
    [kpps, us, per_cpu]: [&'static str; 3],
    (bed, time, values): (&Bed, Duration, &mut Values),
) {
    let passed = flood(bed.to(0, 1), size, |count| watch(bed, time, || count().arrived));
    values.insert(kpps, passed.count / passed.seconds / 1e3);
    if passed.cpu > 0.0 {
        values.insert(us, passed.cpu * 1e6 / passed.count);
        values.insert(per_cpu, passed.count / passed.cpu / 1e3);
    }
}

fn note_times(times: &[Duration], [half, most]: [&'static str; 2], values: &mut Values) {
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    values.insert(half, at(50));
    values.insert(most, at(99));
}
