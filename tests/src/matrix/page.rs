//! The table of docs/nat.md.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{Pair, Reach, Trial};

const BEGIN: &str = "<!-- written by the lab: begin -->\n";
const END: &str = "<!-- end -->\n";

/// The measured part of the page: a table for each number of relay addresses.
#[derive(Default)]
pub struct Page {
    tables: String,
    short: Vec<String>,
}

impl Page {
    /// Adds the results with a relay of `addresses` IPv4 addresses.
    pub fn add(&mut self, addresses: usize, results: &[(Pair, Vec<Trial>)]) {
        let noun = if addresses == 1 { "address" } else { "addresses" };
        let _ = writeln!(
            self.tables,
            "### Relay with {addresses} IPv4 {noun}, {} trials of each pair\n\n\
             | pair | possible | reached | first packet, median (worst) | direct, median (worst) | lost on the change, worst |\n\
             |---|---|---|---|---|---|",
            results.iter().map(|(_, trials)| trials.len()).max().unwrap_or(0)
        );
        for (pair, trials) in results {
            let _ = writeln!(self.tables, "{}", row(*pair, trials));
            if let Some(why) = shortfall(*pair, trials) {
                self.short.push(format!("{pair} ({addresses} {noun}): {why}"));
            }
        }
        self.tables.push('\n');
    }

    /// What falls short of the table or of a bar, a line each.
    pub fn shortfalls(&self) -> &[String] {
        &self.short
    }

    /// Replaces the measured part of the page at `path`.
    ///
    /// # Panics
    /// If the page cannot be read or written, or has no marks where the measured part stands.
    pub fn write(&self, path: &Path) {
        let page = std::fs::read_to_string(path).expect("the page is there");
        let (before, rest) = page.split_once(BEGIN).expect("the page has its begin mark");
        let (_, after) = rest.split_once(END).expect("the page has its end mark");
        let tables = format!("{before}{BEGIN}{}{END}{after}", self.tables);
        std::fs::write(path, tables).expect("the page can be written");
    }
}

fn row(pair: Pair, trials: &[Trial]) -> String {
    let direct: Vec<Option<Duration>> = trials.iter().map(|trial| trial.direct).collect();
    let count = direct.iter().flatten().count();
    let reached = match count {
        0 => "relay".to_owned(),
        all if all == trials.len() => "direct".to_owned(),
        some => format!("direct {some} of {}", trials.len()),
    };
    let short = if shortfall(pair, trials).is_some() {
        " **(!)**"
    } else {
        ""
    };
    let first: Vec<Option<Duration>> = trials.iter().map(|trial| trial.first_packet).collect();
    let lost = trials.iter().map(|trial| trial.lost).max().unwrap_or(0);
    let direct = if count == 0 {
        "-".to_owned()
    } else {
        spread(&direct)
    };
    format!(
        "| {pair} | {} | {reached}{short} | {} | {direct} | {lost} |",
        pair.best().letter(),
        spread(&first)
    )
}

/// `median (worst)` in ms; what never came is the worst there is.
fn spread(times: &[Option<Duration>]) -> String {
    let mut times: Vec<Option<Duration>> = times.to_vec();
    times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    let show = |time: Option<&Option<Duration>>| {
        time.copied()
            .flatten()
            .map_or("never".to_owned(), |time| format!("{} ms", time.as_millis()))
    };
    format!("{} ({})", show(times.get(times.len() / 2)), show(times.last()))
}

/// In what the trials of a pair fall short, if they do.
fn shortfall(pair: Pair, trials: &[Trial]) -> Option<String> {
    let first = trials
        .iter()
        .map(|trial| trial.first_packet)
        .max_by_key(|time| time.unwrap_or(Duration::MAX));
    let bar = if [pair.0, pair.1].contains(&crate::Nat::UdpBlocked) {
        3_000
    } else {
        1_000
    };
    if first
        .flatten()
        .is_none_or(|worst| worst > Duration::from_millis(bar))
    {
        return Some(format!("the first packet takes more than {bar} ms"));
    }
    let bar = match pair.best() {
        Reach::Relay => return None,
        Reach::Direct => Duration::from_secs(2),
        Reach::Prediction | Reach::Birthday => Duration::from_secs(10),
    };
    let late = trials
        .iter()
        .filter(|trial| trial.direct.is_none_or(|time| time > bar))
        .count();
    (late > 0).then(|| format!("{late} of {} not direct within {} s", trials.len(), bar.as_secs()))
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.tables)
    }
}
