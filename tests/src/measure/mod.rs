//! What the side-by-side comparisons of `bench/` have in common: what is sent ([`load`], [`flood`]), what it costs ([`usage`]), how values
//! of several rounds are told ([`spread`]) and drawn ([`plot`]).

pub mod flood;
pub mod load;
pub mod plot;
pub mod spread;
pub mod usage;
pub mod wireguard;
