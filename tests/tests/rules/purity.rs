//! What the core may not call, and where `unsafe` may stand.

use crate::sources::{code_lines, rust_files};

/// Calls that read a clock, the system's randomness, files, sockets, threads or the environment.
const IMPURE: [&str; 12] = [
    "Instant::now",
    "SystemTime::now",
    "OsRng",
    "thread_rng",
    "getrandom(",
    "std::fs",
    "std::net::UdpSocket",
    "std::net::Tcp",
    "std::thread",
    "std::env",
    "std::process",
    "std::io::std",
];

fn offences(folder: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in rust_files(folder) {
        for (number, code) in code_lines(&text) {
            for word in words.iter().filter(|word| code.contains(*word)) {
                found.push(format!("{path}:{number}: {word}"));
            }
        }
    }
    found
}

#[test]
fn the_core_reads_no_clock_file_socket_or_randomness() {
    let found = offences("core/src", &IMPURE);
    assert!(found.is_empty(), "the core is pure:\n{}", found.join("\n"));
}

#[test]
fn unsafe_stands_only_in_net() {
    let keyword = concat!("uns", "afe");
    let forms = [" {", " fn", " impl", " trait", " extern"].map(|after| format!("{keyword}{after}"));
    let forms: Vec<&str> = forms.iter().map(String::as_str).collect();
    let found: Vec<String> = offences(".", &forms)
        .into_iter()
        .filter(|offence| !offence.starts_with("net/"))
        .collect();
    assert!(
        found.is_empty(),
        "only net/ may hold such code:\n{}",
        found.join("\n")
    );
}
