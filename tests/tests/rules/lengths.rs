//! A file that nobody can hold in their head is a defect.

use crate::sources::rust_files;

/// Lines above which a file is too long.
const LIMIT: usize = 600;
/// Lines above which it is worth a look; printed, not failed.
const WARNING: usize = 400;

#[test]
fn no_source_file_is_longer_than_600_lines() {
    let mut long = Vec::new();
    for (path, text) in rust_files(".") {
        let lines = text.lines().count();
        if lines > LIMIT {
            long.push(format!("{path}: {lines} lines"));
        } else if lines > WARNING {
            println!("worth splitting: {path}: {lines} lines");
        }
    }
    assert!(long.is_empty(), "too long (limit {LIMIT}):\n{}", long.join("\n"));
}
