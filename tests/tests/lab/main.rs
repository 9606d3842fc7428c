//! The lab's tests: one behaviour per file, each a sentence.

mod aarch64;
mod admin;
mod backup;
mod bed;
mod blocked;
mod bystander;
mod clock;
mod clones;
mod firewall;
mod gateways;
mod hostile;
mod interop;
mod joining;
mod lab_itself;
mod malicious;
mod names;
mod nat;
mod netcheck;
mod networks;
mod packaging;
mod restart;
mod soak;
mod state;
mod strangers;
mod survival;
mod tokens;
