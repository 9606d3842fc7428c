//! The lab's tests: one behaviour per file, each a sentence.

mod bed;
mod bystander;
mod joining;
mod lab_itself;
mod names;
mod networks;
mod packaging;
mod restart;
mod survival;
mod tokens;
