//! What is to be kept, as ratios of medians in one run, or as limits.

use crate::aead::RAW_AEAD;
use crate::beds::{BORINGTUN, GOTATUN, MESHD, NO_TUNNEL, WIREGUARD_GO};
use crate::figures::{Better, figure};
use crate::results::Results;

/// Where other programs use more of the computer than this before any round, only cost and memory are judged.
const QUIET: f64 = 0.1;

/// What meshd is held against.
#[derive(Clone, Copy, Debug)]
enum Against {
    /// So many times the value of this program.
    Program(&'static str, f64),
    /// So many times that of whoever is best at it.
    Best(f64),
    /// So many times another figure of meshd's.
    Own(&'static str, f64),
    /// The figure itself.
    Limit(f64),
}
use Against::{Best, Limit, Own, Program};

const TCP: [&str; 4] = ["tcp1", "tcp8", "tcp1r", "tcp8r"];

/// Figure and bar: throughput at least, everything else at most.
const BARS: [(&str, Against); 14] = [
    ("checked_gb", Limit(10.0)),
    ("checked_wrong", Limit(0.0)),
    ("pod1_gbit", Own("tcp1_gbit", 0.9)),
    ("pod8_gbit", Own("tcp8_gbit", 0.9)),
    ("both_cpu", Program(WIREGUARD_GO, 0.55)),
    ("both_gbit", Program(WIREGUARD_GO, 1.3)),
    ("udp64_kpps", Best(1.5)),
    ("udp64_us", Best(0.55)),
    ("idle_p50", Best(1.0)),
    ("idle_p99", Best(1.0)),
    ("loaded_p99", Program(WIREGUARD_GO, 0.5)),
    ("rss_peak", Limit(32.0)),
    ("rss_100", Limit(10.0)),
    ("rss_1000", Limit(25.0)),
];

/// CPU-seconds per GB and Gbit/s of TCP against each, in every direction and with one stream and eight.
const TCP_BARS: [(&str, f64, f64); 3] = [
    (WIREGUARD_GO, 0.55, 1.3),
    (GOTATUN, 0.2, 3.0),
    (BORINGTUN, 0.2, 5.0),
];

/// How a bar was kept.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The figure's title and what it is held against.
    pub what: String,
    /// Its ratio, or its value where the bar is a limit.
    pub measured: f64,
    /// The bar.
    pub bar: f64,
    /// Whether the bar is a least value.
    pub at_least: bool,
    /// Whether it is kept; none where that was not judged.
    pub kept: Option<bool>,
}

/// Every bar whose figures were measured.
pub fn judge(results: &Results) -> Vec<Verdict> {
    let quiet = results.others.iter().all(|share| *share <= QUIET);
    let tcp = TCP_BARS.into_iter().flat_map(|(program, cpu, gbit)| {
        TCP.into_iter().flat_map(move |name| {
            [
                (format!("{name}_cpu"), Program(program, cpu)),
                (format!("{name}_gbit"), Program(program, gbit)),
            ]
        })
    });
    let all = tcp.chain(BARS.into_iter().map(|(key, against)| (key.to_owned(), against)));
    all.filter_map(|(key, against)| verdict(results, &key, against, quiet))
        .collect()
}

/// Whether none was missed.
pub fn all_kept(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| verdict.kept != Some(false))
}

fn verdict(results: &Results, key: &str, against: Against, quiet: bool) -> Option<Verdict> {
    let median = |program: &str| results.spread(program, key).map(|spread| spread.median);
    let (own, figure) = (median(MESHD)?, figure(key));
    let (measured, bar, whom) = match against {
        Program(program, bar) => (own / median(program)?, bar, format!(" over {program}")),
        Best(bar) => {
            let (program, best) = best(results, key, figure.better)?;
            (
                own / best,
                bar,
                format!(" over the best of the others, {program}"),
            )
        }
        Own(other, bar) => (
            own / results.spread(MESHD, other)?.median,
            bar,
            format!(" over {}", crate::figures::figure(other).title),
        ),
        Limit(bar) => (own, bar, String::new()),
    };
    let kept = match figure.better {
        Better::More => measured >= bar,
        Better::Less => measured <= bar,
    };
    let is_cost =
        key.ends_with("_cpu") || key.ends_with("_us") || key.starts_with("rss") || key.starts_with("checked");
    Some(Verdict {
        what: format!("{}{whom}", figure.title),
        measured,
        bar,
        at_least: figure.better == Better::More,
        kept: (kept || quiet || is_cost).then_some(kept),
    })
}

fn best<'a>(results: &'a Results, key: &str, better: Better) -> Option<(&'a str, f64)> {
    let others = results
        .programs()
        .filter(|name| ![MESHD, NO_TUNNEL, RAW_AEAD].contains(name));
    let values = others.filter_map(|name| Some((name, results.spread(name, key)?.median)));
    match better {
        Better::More => values.max_by(|a, b| a.1.total_cmp(&b.1)),
        Better::Less => values.min_by(|a, b| a.1.total_cmp(&b.1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Values;

    fn results(others: f64, own: f64) -> Results {
        let mut results = Results::default();
        results.others.push(others);
        for (program, gbit, cpu) in [(MESHD, own, 2.0), (WIREGUARD_GO, 2.0, 4.0), (NO_TUNNEL, 9.0, 1.0)] {
            results.add(
                program,
                Values::from([("tcp1_gbit", gbit), ("tcp1_cpu", cpu), ("idle_p99", gbit)]),
            );
        }
        results
    }

    fn kept(results: &Results, what: &str) -> Option<bool> {
        let all = judge(results);
        let found = all.iter().find(|verdict| verdict.what.starts_with(what));
        found
            .unwrap_or_else(|| panic!("{what} is not among {all:?}"))
            .kept
    }

    #[test]
    fn bars_hold_medians_against_the_others() {
        let good = results(0.0, 2.7);
        assert_eq!(kept(&good, "TCP, 1 stream, Gbit/s"), Some(true));
        assert_eq!(kept(&good, "TCP, 1 stream, CPU-s/GB"), Some(true));
        // the best of the others is nobody without a tunnel
        assert_eq!(kept(&good, "round trip, idle, p99"), Some(false));
        assert!(!all_kept(&judge(&good)));
        assert_eq!(kept(&results(0.0, 2.5), "TCP, 1 stream, Gbit/s"), Some(false));
    }

    #[test]
    fn a_busy_computer_is_no_reason_to_fail_but_for_cost() {
        let busy = results(0.5, 1.0);
        assert_eq!(kept(&busy, "TCP, 1 stream, Gbit/s"), None);
        assert_eq!(kept(&busy, "TCP, 1 stream, CPU-s/GB"), Some(true));
    }
}
