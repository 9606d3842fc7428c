//! etcd's timeouts.

use std::time::Duration;

/// etcd's own heartbeat interval, in ms; shorter ones gain nothing on disks as they are.
const LEAST_HEARTBEAT: u64 = 100;
/// The election timeout, in heartbeats. etcd wants it to be ten round trips at least.
const ELECTION: u64 = 10;
/// Heartbeats are made coarse, so that a new measurement of the same path gives the same file.
const STEP: u64 = 50;

/// Longest round trip that counts, in ms: etcd takes no election timeout from 50 s on, and such a path is a broken one.
const LONGEST: f64 = 1000.0;

/// How often the leader of etcd's members is heard, and after how long a silence they elect another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timing {
    /// Heartbeat interval in ms.
    pub heartbeat: u64,
    /// Election timeout in ms.
    pub election: u64,
}

impl Timing {
    /// For members with these round trips between them, in ms: the heartbeat is one and a half of the longest
    /// (etcd's guide: 0.5 to 1.5 round trips; here a path may become a relay's), the timeout ten heartbeats.
    pub fn of(round_trips: impl IntoIterator<Item = f64>) -> Self {
        let longest = round_trips.into_iter().fold(0.0, f64::max).min(LONGEST);
        let wanted = (longest * 1.5).ceil() as u64;
        let heartbeat = wanted.div_ceil(STEP).saturating_mul(STEP).max(LEAST_HEARTBEAT);
        Self {
            heartbeat,
            election: heartbeat * ELECTION,
        }
    }

    /// Those that a manifest of etcd has (`--heartbeat-interval=100`, `--election-timeout=1000`); etcd's own where it says nothing.
    pub fn in_manifest(text: &str) -> Self {
        let words = || text.split(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        let last = |flag: &str| {
            words()
                .filter_map(|word| word.strip_prefix(flag)?.parse().ok())
                .next_back()
        };
        let usual = Self::of([]);
        Self {
            heartbeat: last("--heartbeat-interval=").unwrap_or(usual.heartbeat),
            election: last("--election-timeout=").unwrap_or(usual.election),
        }
    }

    /// What to do where members that have these timeouts are as far from one another as this; none where they are near enough. Every member
    /// must have the same, so one that comes in does not choose its own.
    pub fn advice(self, round_trips: impl IntoIterator<Item = f64>) -> Option<String> {
        let wanted = Self::of(round_trips);
        let Self { heartbeat, election } = wanted;
        (self.election < election).then(|| {
            format!(
                "etcd's timeouts (heartbeat {} ms, election {} ms) were made for control planes that are nearer to one another: on each control plane, one after the other, put --heartbeat-interval={heartbeat} and --election-timeout={election} into /etc/kubernetes/manifests/etcd.yaml, upon which its etcd starts anew, and into the ConfigMap kube-system/kubeadm-config, from which those have them that join later; until then the cluster may be without a leader now and then. When a control plane dies the API is away for up to {:.0} s then",
                self.heartbeat,
                self.election,
                wanted.longest_outage().as_secs_f64()
            )
        })
    }

    /// For how long the API may be away when a control plane dies: until the endpoint has noticed, and etcd has a new leader
    /// after one or two election timeouts.
    pub fn longest_outage(self) -> Duration {
        Duration::from_secs(2) + Duration::from_millis(2 * self.election)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_members_have_etcds_own_timeouts() {
        let usual = Timing {
            heartbeat: 100,
            election: 1000,
        };
        assert_eq!(Timing::of([]), usual);
        assert_eq!(Timing::of([0.3, 10.0, 66.0]), usual);
        assert_eq!(usual.longest_outage(), Duration::from_secs(4));
    }

    #[test]
    fn far_members_have_ten_round_trips_at_least() {
        for rtt in [67.0, 80.0, 150.0, 400.0, 1e300] {
            let timing = Timing::of([1.0, rtt]);
            assert!(timing.election as f64 >= 10.0 * rtt.min(LONGEST), "{timing:?}");
            assert!(timing.election < 50_000, "{timing:?}");
            assert!(timing.heartbeat.is_multiple_of(STEP) && timing.election == 10 * timing.heartbeat);
        }
        assert_eq!(
            Timing::of([150.0]).longest_outage(),
            Duration::from_millis(2000 + 2 * 2500)
        );
    }

    #[test]
    fn who_comes_from_afar_is_told_what_the_others_need() {
        let manifest = "  - command:\n    - etcd\n    - --election-timeout=1000\n    - --heartbeat-interval=100\n    - --name=n1\n";
        let held = Timing::in_manifest(manifest);
        assert_eq!(held, Timing::of([]));
        assert_eq!(held.advice([3.0, 60.0]), None);
        let said = held.advice([3.0, 120.0]).unwrap();
        assert!(
            said.contains("--heartbeat-interval=200") && said.contains("--election-timeout=2000"),
            "{said}"
        );
        let wide = Timing::in_manifest("- \"--heartbeat-interval=200\"\n- '--election-timeout=2000'");
        assert_eq!((wide.heartbeat, wide.election), (200, 2000));
        assert_eq!(wide.advice([120.0]), None);
        assert_eq!(Timing::in_manifest("--election-timeout=x"), Timing::of([]));
    }

    #[test]
    fn an_odd_measurement_breaks_nothing() {
        assert_eq!(Timing::of([f64::NAN, -3.0]).heartbeat, 100);
    }
}
