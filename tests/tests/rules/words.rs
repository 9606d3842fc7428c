//! What a file in this tree must not say: paths of one person's machine, and marks of unfinished work.

use crate::sources::{code_lines, files, rust_files};

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let marks = [
        ["/wo", "rk/"],
        ["/root/.", "cargo"],
        ["/home/run", "ner"],
        ["target/", "wt"],
    ]
    .map(|mark| mark.concat());
    let mut found = Vec::new();
    for (path, text) in files(".") {
        for mark in marks.iter().filter(|mark| text.contains(mark.as_str())) {
            found.push(format!("{path}: {mark}"));
        }
    }
    assert!(found.is_empty(), "a path of one machine:\n{}", found.join("\n"));
}

#[test]
fn nothing_is_left_to_do_in_code() {
    let macros = ["todo!", "unimplemented!", "dbg!"].map(|name| format!("{name}("));
    let mut found = Vec::new();
    for (path, text) in rust_files(".") {
        for (number, code) in code_lines(&text) {
            for name in macros.iter().filter(|name| code.contains(name.as_str())) {
                found.push(format!("{path}:{number}: {name}"));
            }
        }
    }
    assert!(found.is_empty(), "unfinished:\n{}", found.join("\n"));
}
