//! What a test tells the person who runs it: figures, and what could not be tested here.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use crate::flow::FlowReport;

/// Prints a measured value beside its bar, and notes it for the summary of `./test`.
pub fn figure(what: &str, measured: impl Display, bar: impl Display) {
    println!("figure: {what}: {measured} (bar: {bar})");
    note("MESHD_LAB_FIGURES", &format!("{what}: {measured} (bar: {bar})"));
}

/// How many times its bar a time may be where bars are not enforced: far enough for a busy computer, near enough for a test
/// that can fail.
const PATIENCE: u32 = 4;

/// Whether a measured time keeps its bar. Enforced by `./test --long` (`MESHD_LAB_STRICT`); elsewhere, on computers that do
/// other things as well, four times as long will do.
pub fn keeps(measured: Duration, bar: Duration) -> bool {
    measured <= if is_strict() { bar } else { bar * PATIENCE }
}

/// Whether a flow that should lose nothing did not. Where bars are not enforced one packet of 20 may be missing: a computer whose
/// programs wait a second for a processor drops what no queue holds.
pub fn keeps_all(flow: &FlowReport) -> bool {
    match is_strict() {
        true => flow.lost() == 0,
        false => flow.lost() * 20 <= flow.sent,
    }
}

fn is_strict() -> bool {
    std::env::var_os("MESHD_LAB_STRICT").is_some()
}

/// Says that `test` cannot run on this computer, and why. The test returns after it; the summary counts it as skipped.
pub fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
    note("MESHD_LAB_SKIPS", &format!("{test}: {why}"));
}

/// Appends one line to the file that the variable names, if it is set.
fn note(variable: &str, line: &str) {
    let Some(path) = std::env::var_os(variable) else {
        return;
    };
    let file = OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
