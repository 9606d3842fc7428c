//! What a test tells the person who runs it: figures, and what could not be tested here.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;

/// Prints a measured value beside its bar, and notes it for the summary of `./test`.
pub fn figure(what: &str, measured: impl Display, bar: impl Display) {
    println!("figure: {what}: {measured} (bar: {bar})");
    note("MESHD_LAB_FIGURES", &format!("{what}: {measured} (bar: {bar})"));
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
