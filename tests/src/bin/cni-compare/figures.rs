//! Values of several rounds, and how they are told.

use serde_json::{Value, json};

/// What one round measured of one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Gbit/s of one stream.
    pub one: f64,
    /// Gbit/s of eight streams.
    pub eight: f64,
    /// CPU-seconds per GB of the programs that make the network, both machines, eight streams.
    pub agents_cpu: f64,
    /// The same with the programs that send and receive, and the kernel's work in the name of all of these.
    pub all_cpu: f64,
    /// CPU-seconds per GB of the whole computer, less what it used before: with the kernel's work in nobody's name. Of use where the
    /// computer does nothing else.
    pub computer_cpu: f64,
    /// Median time of one byte there and back, microseconds.
    pub latency: f64,
    /// Bytes of a packet that the sender's tunnel program reads, one stream; 0 where there is none.
    pub super_packet: f64,
    /// The same with eight streams.
    pub super_packet_eight: f64,
    /// Packets per GB that the interface's queue had no room for, eight streams.
    pub dropped: f64,
    /// Share of the computer's processors that other programs used just before.
    pub others: f64,
}

type Figure = fn(&Round) -> f64;

/// What is told: name, key, value.
pub const FIGURES: [(&str, &str, Figure); 10] = [
    ("Gbit/s, 1 stream", "gbit_s_1", |r| r.one),
    ("Gbit/s, 8 streams", "gbit_s_8", |r| r.eight),
    ("CPU-s/GB, agents", "cpu_s_gb_agents", |r| r.agents_cpu),
    ("CPU-s/GB, with load", "cpu_s_gb_all", |r| r.all_cpu),
    ("CPU-s/GB, computer", "cpu_s_gb_computer", |r| r.computer_cpu),
    ("round trip, us", "round_trip_us", |r| r.latency),
    ("B per read, 1 stream", "read_bytes_1", |r| r.super_packet),
    ("B per read, 8 streams", "read_bytes_8", |r| r.super_packet_eight),
    ("dropped per GB", "dropped_gb", |r| r.dropped),
    ("others' CPU, %", "others_percent", |r| r.others * 100.0),
];

/// Median, least and most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        match values[..] {
            [] => Self::default(),
            [least, .., most] => Self {
                median: values[values.len() / 2],
                least,
                most,
            },
            [only] => Self {
                median: only,
                least: only,
                most: only,
            },
        }
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({"median": rounded(self.median), "min": rounded(self.least), "max": rounded(self.most)})
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.most == 0.0 {
            return f.write_str("-");
        }
        write!(
            f,
            "{} ({}-{})",
            short(self.median),
            short(self.least),
            short(self.most)
        )
    }
}

/// A value with as many digits as anybody reads.
pub fn short(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}
