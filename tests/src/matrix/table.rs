//! What two NATs between them allow, as data.
//!
//! Endpoint-independent mapping on both sides always punches; a dependent one needs a peer that filters by address at
//! most, or ports that can be foretold, or a birthday's worth of probes; random ports on both sides need a relay.

use crate::nat::Nat;

/// The best that a pair of NATs allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A direct path, by punching.
    Direct,
    /// A direct path, by foretelling the port of the next mapping.
    Prediction,
    /// A direct path, by probing until two of many sockets meet.
    Birthday,
    /// A relay.
    Relay,
}

/// Two NATs, the first not behind the second in [`Nat::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair(pub Nat, pub Nat);

/// One line for each NAT of [`Nat::ALL`], one letter for each that does not come before it.
const TABLE: [&str; 13] = [
    "DDDDDDDDDDDDR",
    "DDDDDBPBDDBR",
    "DDDDDDDDDDR",
    "DDDDDDDDDR",
    "DDBPBDDBR",
    "DBPBDDBR",
    "RRRBBRR",
    "PRPPRR",
    "RBBRR",
    "DDBR",
    "DBR",
    "RR",
    "R",
];

impl Pair {
    /// All 91, in the order of the table.
    pub fn all() -> Vec<Self> {
        let rows = Nat::ALL.iter().enumerate();
        rows.flat_map(|(row, first)| Nat::ALL[row..].iter().map(|second| Self(*first, *second)))
            .collect()
    }

    /// What the table says.
    ///
    /// # Panics
    /// If the two are not in the order of [`Nat::ALL`].
    pub fn best(self) -> Reach {
        let (first, second) = (self.0.place(), self.1.place());
        match TABLE[first].as_bytes()[second - first] {
            b'D' => Reach::Direct,
            b'P' => Reach::Prediction,
            b'B' => Reach::Birthday,
            _ => Reach::Relay,
        }
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", self.0.label(), self.1.label())
    }
}

impl Reach {
    /// Its letter in the table.
    pub fn letter(self) -> char {
        match self {
            Self::Direct => 'D',
            Self::Prediction => 'P',
            Self::Birthday => 'B',
            Self::Relay => 'R',
        }
    }
}
