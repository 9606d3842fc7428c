//! What was measured of whom.

use std::collections::BTreeMap;

use meshd_tests::measure::spread::Spread;

/// Figures of one program in one round, or of all rounds.
pub type Values = BTreeMap<&'static str, f64>;

/// All values of all rounds, programs in the order of the table.
#[derive(Clone, Debug, Default)]
pub struct Results {
    programs: Vec<(String, BTreeMap<&'static str, Vec<f64>>)>,
    /// Share of the computer that other programs used just before each round.
    pub others: Vec<f64>,
}

impl Results {
    /// Adds what a round measured.
    pub fn add(&mut self, program: &str, values: Values) {
        let at = match self.programs.iter().position(|(name, _)| name == program) {
            Some(at) => at,
            None => {
                self.programs.push((program.to_owned(), BTreeMap::new()));
                self.programs.len() - 1
            }
        };
        for (key, value) in values {
            self.programs[at].1.entry(key).or_default().push(value);
        }
    }

    /// The programs.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.programs.iter().map(|(name, _)| name.as_str())
    }

    /// Median, least and most of a program's figure; none where it was not measured.
    pub fn spread(&self, program: &str, key: &str) -> Option<Spread> {
        let (_, figures) = self.programs.iter().find(|(name, _)| name == program)?;
        Some(Spread::of(figures.get(key)?.iter().copied()))
    }
}
