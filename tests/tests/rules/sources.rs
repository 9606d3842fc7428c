//! The source files of the workspace, as the rules see them.

use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
        .to_owned()
}

/// Every `.rs` file below `folder` (relative to the workspace), with its path relative to the workspace and its text.
pub fn rust_files(folder: &str) -> Vec<(String, String)> {
    files(folder)
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .collect()
}

/// Every text file below `folder` that is not a build product.
pub fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&top().join(folder), &mut found);
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_symlink()
            || [".git", "target", "corpus", "artifacts"]
                .iter()
                .any(|skip| name == *skip)
        {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let relative = path
                .strip_prefix(top())
                .expect("below the workspace")
                .display()
                .to_string();
            found.push((relative, text));
        }
    }
}

/// The lines of a Rust source with their numbers, comments blanked: what is left is code (and strings).
pub fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| {
        let code = line.split("//").next().unwrap_or("");
        (index + 1, code)
    })
}
