//! The lab's tests: one behaviour per file, each a sentence.

mod lab_itself;
mod packaging;
