//! Descriptors that outlive their process: the holder and the service manager's store. These tests start, kill and restart
//! processes, which are this program in other roles.

mod processes {
    pub mod holder;
    pub mod restart;
    pub mod service;
}
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use processes::{holder, restart, service};

const TESTS: [(&str, fn()); 9] = [
    (
        "holder::keeps_what_it_is_given_until_told_otherwise",
        holder::keeps_what_it_is_given_until_told_otherwise,
    ),
    (
        "holder::refuses_what_it_cannot_keep",
        holder::refuses_what_it_cannot_keep,
    ),
    ("holder::a_dead_one_is_replaced", holder::a_dead_one_is_replaced),
    ("holder::serves_a_path_alone", holder::serves_a_path_alone),
    ("holder::strangers_are_refused", holder::strangers_are_refused),
    (
        "restart::a_killed_process_leaves_its_interface_up",
        restart::a_killed_process_leaves_its_interface_up,
    ),
    (
        "service::descriptors_and_words_reach_the_manager",
        service::descriptors_and_words_reach_the_manager,
    ),
    (
        "service::passed_descriptors_are_taken_once_by_name",
        service::passed_descriptors_are_taken_once_by_name,
    ),
    (
        "service::without_a_manager_there_is_none",
        service::without_a_manager_there_is_none,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["role", "hold", path] => holder::hold(path),
        ["role", "visit", path] => holder::visit(path),
        ["role", "meshd", path, namespace] => restart::meshd(path, namespace),
        ["role", "service"] => service::report(),
        _ => return run(&arguments),
    }
    ExitCode::SUCCESS
}

/// Runs the tests whose names contain one of the arguments (all without any), one after the other.
fn run(arguments: &[&str]) -> ExitCode {
    let filters: Vec<&&str> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let chosen = TESTS
        .iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|filter| name.contains(**filter)));
    if arguments.contains(&"--list") {
        chosen.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in chosen {
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// This program.
fn myself() -> PathBuf {
    std::env::current_exe().unwrap()
}
