//! The table, the JSON and the picture.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use meshd_tests::measure::plot::{self, Panel};
use meshd_tests::measure::spread::{Spread, short};
use serde_json::{Value, json};

use crate::bars::Verdict;
use crate::beds::MTU;
use crate::figures::{Better, FIGURES};
use crate::options::Options;
use crate::results::Results;

/// Prints the table or the JSON, and writes files where a folder was named.
///
/// # Errors
/// A folder that cannot be written.
pub fn tell(results: &Results, verdicts: &[Verdict], options: &Options) -> Result<()> {
    let (table, document) = (
        table(results, verdicts, options),
        json(results, verdicts, options),
    );
    let document = serde_json::to_string_pretty(&document)? + "\n";
    print!("{}", if options.json { &document } else { &table });
    if let Some(folder) = &options.out {
        let files = [
            ("compare.md", table),
            ("compare.json", document),
            ("compare.svg", picture(results)),
        ];
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

fn table(results: &Results, verdicts: &[Verdict], options: &Options) -> String {
    let programs: Vec<&str> = results.programs().collect();
    let mut text = format!(
        "Median (least-most) of {} rounds of {} s each; MTU {MTU}; other programs used {:.0} % of the computer at most.\n\n",
        options.rounds,
        options.time.as_secs_f64(),
        results.others.iter().copied().fold(0.0, f64::max) * 100.0
    );
    let _ = writeln!(
        text,
        "| what | {} |\n|{}",
        programs.join(" | "),
        "---|".repeat(programs.len() + 1)
    );
    for figure in FIGURES {
        let spreads: Vec<Option<Spread>> = programs
            .iter()
            .map(|program| results.spread(program, figure.key))
            .collect();
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        let cells: Vec<String> = spreads
            .iter()
            .map(|spread| spread.map_or_else(|| "-".into(), |spread| spread.to_string()))
            .collect();
        let _ = writeln!(text, "| {} | {} |", figure.title, cells.join(" | "));
    }
    if !verdicts.is_empty() {
        let _ = writeln!(text, "\n| bar | measured | wanted | |\n|---|---|---|---|");
    }
    for verdict in verdicts {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            verdict.what,
            short(verdict.measured),
            verdict.wanted(),
            verdict.word()
        );
    }
    text
}

impl Verdict {
    fn wanted(&self) -> String {
        format!(
            "{} {}",
            if self.at_least { "at least" } else { "at most" },
            self.bar
        )
    }

    fn word(&self) -> &'static str {
        match self.kept {
            Some(true) => "pass",
            Some(false) => "**FAIL**",
            None => "not judged: the computer did other things",
        }
    }
}

fn json(results: &Results, verdicts: &[Verdict], options: &Options) -> Value {
    let programs = results.programs().map(|program| {
        let mut one = json!({"program": program});
        for figure in FIGURES {
            if let Some(spread) = results.spread(program, figure.key) {
                one[figure.key] = spread.json();
            }
        }
        one
    });
    let bars = verdicts.iter().map(|verdict| {
        let better = if verdict.at_least { "at_least" } else { "at_most" };
        json!({"bar": verdict.what, "measured": verdict.measured, better: verdict.bar, "kept": verdict.kept})
    });
    json!({
        "rounds": options.rounds,
        "seconds": options.time.as_secs_f64(),
        "mtu": MTU,
        "others_percent": results.others.iter().map(|share| share * 100.0).collect::<Vec<_>>(),
        "programs": programs.collect::<Vec<_>>(),
        "bars": bars.collect::<Vec<_>>(),
    })
}

fn picture(results: &Results) -> String {
    let panels = FIGURES.iter().filter(|figure| figure.shown).filter_map(|figure| {
        let bars: Vec<(String, Spread)> = results
            .programs()
            .filter(|program| *program != crate::beds::NO_TUNNEL)
            .filter_map(|program| Some((program.to_owned(), results.spread(program, figure.key)?)))
            .collect();
        let better = if figure.better == Better::More {
            "more is better"
        } else {
            "less is better"
        };
        (!bars.is_empty()).then(|| Panel {
            title: format!("{} ({better})", figure.title),
            bars,
        })
    });
    plot::draw(&panels.collect::<Vec<_>>())
}
