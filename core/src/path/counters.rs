//! What the agent counts.

/// Since the agent was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams handed to the driver.
    pub sent: u64,
    /// Of these, pings that measure what a way carries.
    pub mtu_probes: u64,
    /// Datagrams of no known class, or from where such a datagram cannot come.
    pub foreign: u64,
    /// Discovery packets of nobody that the map knows.
    pub strangers: u64,
    /// Discovery packets and beacons that did not open.
    pub unopened: u64,
    /// Messages that were seen before.
    pub replayed: u64,
    /// Pongs to no ping of ours.
    pub unasked: u64,
    /// Times that an observer said to see this node where no node can be.
    pub implausible: u64,
    /// Datagrams not sent because of the limits on unproven addresses.
    pub limited: u64,
    /// Datagrams and events dropped because the driver did not fetch them.
    pub overflowed: u64,
}

impl Counters {
    /// All of them, by stable names in lower case, for JSON and metrics.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self {
            sent,
            mtu_probes,
            foreign,
            strangers,
            unopened,
            replayed,
            unasked,
            implausible,
            limited,
            overflowed,
        } = *self;
        [
            ("sent", sent),
            ("mtu_probes", mtu_probes),
            ("foreign", foreign),
            ("strangers", strangers),
            ("unopened", unopened),
            ("replayed", replayed),
            ("unasked", unasked),
            ("implausible", implausible),
            ("limited", limited),
            ("overflowed", overflowed),
        ]
        .into_iter()
    }
}
