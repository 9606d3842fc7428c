//! Rules of the code base that the compiler does not check, as tests: which crate may know which, where `unsafe` may
//! stand, what the core may not call, how long a file may be, that every dependency has its reason written down.

mod layering;
mod lengths;
mod purity;
mod sources;
mod words;
