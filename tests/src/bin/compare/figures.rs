//! What is measured, and how it is called.

/// Whether more of it is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Throughput.
    More,
    /// Cost, time, memory.
    Less,
}

/// One figure: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its name in the JSON.
    pub key: &'static str,
    /// What it is, with its unit.
    pub title: &'static str,
    /// Which direction is better.
    pub better: Better,
    /// Whether the picture and the progress line have it.
    pub shown: bool,
}

impl Figure {
    const fn shown(self) -> Self {
        Self { shown: true, ..self }
    }
}

const fn more(key: &'static str, title: &'static str) -> Figure {
    Figure {
        key,
        title,
        better: Better::More,
        shown: false,
    }
}

const fn less(key: &'static str, title: &'static str) -> Figure {
    Figure {
        key,
        title,
        better: Better::Less,
        shown: false,
    }
}

/// In the order of the table.
pub const FIGURES: &[Figure] = &[
    more("tcp1_gbit", "TCP, 1 stream, Gbit/s").shown(),
    less("tcp1_cpu", "TCP, 1 stream, CPU-s/GB").shown(),
    more("tcp8_gbit", "TCP, 8 streams, Gbit/s").shown(),
    less("tcp8_cpu", "TCP, 8 streams, CPU-s/GB"),
    more("tcp1r_gbit", "TCP back, 1 stream, Gbit/s"),
    less("tcp1r_cpu", "TCP back, 1 stream, CPU-s/GB"),
    more("tcp8r_gbit", "TCP back, 8 streams, Gbit/s"),
    less("tcp8r_cpu", "TCP back, 8 streams, CPU-s/GB"),
    more("both_gbit", "TCP, one stream each way at once, Gbit/s together"),
    less("both_cpu", "TCP, one stream each way at once, CPU-s/GB"),
    more("udp64_kpps", "UDP 64 B, delivered kpps").shown(),
    less("udp64_us", "UDP 64 B, CPU us per delivered packet").shown(),
    more("udp64_cpu_kp", "UDP 64 B, thousand packets per CPU-second"),
    more("udp1372_kpps", "UDP 1372 B, delivered kpps"),
    less("udp1372_us", "UDP 1372 B, CPU us per delivered packet"),
    more("udp1372_cpu_kp", "UDP 1372 B, thousand packets per CPU-second"),
    less("idle_p50", "round trip, idle, p50, us"),
    less("idle_p99", "round trip, idle, p99, us"),
    less("loaded_p50", "round trip, under TCP load, p50, us"),
    less("loaded_p99", "round trip, under TCP load, p99, us").shown(),
    more("pod1_gbit", "pod to pod, TCP, 1 stream, Gbit/s"),
    less("pod1_cpu", "pod to pod, TCP, 1 stream, CPU-s/GB"),
    more("pod8_gbit", "pod to pod, TCP, 8 streams, Gbit/s"),
    less("pod8_cpu", "pod to pod, TCP, 8 streams, CPU-s/GB"),
    more("hub_gbit", "hub to 8 machines at once, Gbit/s together").shown(),
    less("hub_cpu", "hub to 8 machines at once, CPU-s/GB"),
    more("hubr_gbit", "8 machines to the hub at once, Gbit/s together"),
    less("hubr_cpu", "8 machines to the hub at once, CPU-s/GB"),
    less("tcp1_cpu_10", "TCP, 1 stream, 10 peers, CPU-s/GB"),
    less("tcp1_cpu_100", "TCP, 1 stream, 100 peers, CPU-s/GB"),
    less("tcp1_cpu_1000", "TCP, 1 stream, 1,000 peers, CPU-s/GB"),
    less("udp64_us_10", "UDP 64 B, 10 peers, CPU us per delivered packet"),
    less("udp64_us_100", "UDP 64 B, 100 peers, CPU us per delivered packet"),
    less(
        "udp64_us_1000",
        "UDP 64 B, 1,000 peers, CPU us per delivered packet",
    ),
    more("checked_gb", "one TCP stream, every byte checked and right, GB"),
    less(
        "checked_wrong",
        "packets with wrong headers or checksums, duplicated or out of order beside it",
    ),
    less("rss_idle", "memory, idle, 1 peer, MiB"),
    less("rss_10", "memory, idle, 10 peers, MiB"),
    less("rss_100", "memory, idle, 100 peers, MiB"),
    less("rss_1000", "memory, idle, 1,000 peers, MiB").shown(),
    less("rss_peak", "memory, peak of all loads, MiB").shown(),
    less("rss_peak_10", "memory, peak under load, 10 peers, MiB"),
    less("rss_peak_100", "memory, peak under load, 100 peers, MiB"),
    less("rss_peak_1000", "memory, peak under load, 1,000 peers, MiB"),
];

/// The figure of this name.
///
/// # Panics
/// If there is none.
pub fn figure(key: &str) -> &'static Figure {
    let found = FIGURES.iter().find(|figure| figure.key == key);
    found.unwrap_or_else(|| panic!("no figure is called {key}"))
}
