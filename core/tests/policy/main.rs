//! Network policies: what is compiled is what the API means.

mod evaluate;
mod known;
mod matrix;
mod oracle;
mod random;
mod table;
mod text;
