//! What one round measures, and how it is called.

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
