//! The table, the JSON and the picture.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use meshd_tests::measure::plot::{self, Panel};
use meshd_tests::measure::spread::{Spread, short};
use meshd_tests::measure::usage;
use serde_json::{Value, json};

use crate::bars::Verdict;
use crate::beds::MTU;
use crate::figures::{Better, FIGURES};
use crate::options::Options;
use crate::results::Results;

/// A page that is there keeps what is outside of these lines.
const MARKS: [&str; 2] = ["<!-- measured -->", "<!-- end -->"];

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
            let text = match name.ends_with(".md") {
                true => page(&std::fs::read_to_string(&path).unwrap_or_default(), &text),
                false => text,
            };
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

fn table(results: &Results, verdicts: &[Verdict], options: &Options) -> String {
    let programs: Vec<&str> = results.programs().collect();
    let mut text = format!(
        "Median (least-most) of {} rounds of {} s each, MTU {MTU}, {} processors, Linux {}. {}.\nOther programs used {:.0} % of the \
         computer at most.\n\n",
        options.rounds,
        options.time.as_secs_f64(),
        usage::processors(),
        std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim(),
        versions(),
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
            .map(|spread| spread.map_or_else(|| "-".into(), cell))
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

/// A spread, or the value alone where all rounds had the same, or there was one.
fn cell(spread: Spread) -> String {
    if spread.least == spread.most {
        short(spread.median)
    } else {
        spread.to_string()
    }
}

/// Which releases the others are, where it was said.
fn versions() -> String {
    std::env::var("MESHD_COMPARE_VERSIONS").unwrap_or_else(|_| "Releases of the others were not said".into())
}

/// What a page is with this table: between the two marks where it has them.
fn page(old: &str, table: &str) -> String {
    let [begin, end] = MARKS;
    match (old.split_once(begin), old.split_once(end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{begin}\n{table}{end}{after}"),
        _ => table.to_owned(),
    }
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
        "processors": usage::processors(),
        "others": versions(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_is_outside_of_the_marks() {
        let [begin, end] = MARKS;
        let old = format!("before\n{begin}\nold\n{end}\nafter\n");
        assert_eq!(
            page(&old, "new\n"),
            format!("before\n{begin}\nnew\n{end}\nafter\n")
        );
        assert_eq!(page("without marks", "new\n"), "new\n");
    }
}
