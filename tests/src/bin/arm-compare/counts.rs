//! What `bench/emulation/count.c` counted so far, read from its file.

use std::collections::HashMap;
use std::path::Path;

/// Bytes of a row: two counters and a name.
const ROW: usize = 128;
const SYSTEM_CALLS: &str = "system calls";

/// Of one function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub instructions: f64,
    /// Of these, those with vector registers.
    pub vector: f64,
}

/// By function; at an instant, or between two.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub functions: HashMap<String, Count>,
    pub system_calls: f64,
}

impl Counts {
    /// What the file says now.
    pub fn read(file: &Path) -> Self {
        Self::parse(&std::fs::read(file).expect("the plugin's file"))
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut counts = Self::default();
        for row in bytes.chunks_exact(ROW) {
            let number =
                |at: usize| u64::from_le_bytes(row[at..at + 8].try_into().expect("eight bytes")) as f64;
            let name: Vec<u8> = row[16..].iter().copied().take_while(|byte| *byte != 0).collect();
            let name = String::from_utf8_lossy(&name).into_owned();
            if name == SYSTEM_CALLS {
                counts.system_calls = number(0);
            } else if number(0) > 0.0 {
                // names that are longer than a row's begin alike
                let count = counts.functions.entry(name).or_default();
                count.instructions += number(0);
                count.vector += number(8);
            }
        }
        counts
    }

    /// What came after `before`, less `idle` times `times`, for each of `packets`.
    pub fn since(&self, before: &Self, idle: &Self, times: f64, packets: f64) -> Self {
        let of = |counts: &Self, name: &str| counts.functions.get(name).copied().unwrap_or_default();
        let less = |now: f64, before: f64, idle: f64| ((now - before) - idle * times) / packets;
        let functions = self.functions.iter().map(|(name, now)| {
            let (before, idle) = (of(before, name), of(idle, name));
            let count = Count {
                instructions: less(now.instructions, before.instructions, idle.instructions),
                vector: less(now.vector, before.vector, idle.vector),
            };
            (name.clone(), count)
        });
        Self {
            functions: functions.collect(),
            system_calls: less(self.system_calls, before.system_calls, idle.system_calls),
        }
    }

    /// All instructions.
    pub fn instructions(&self) -> f64 {
        self.functions.values().map(|count| count.instructions).sum()
    }

    /// The sum over functions whose name has one of `parts`.
    pub fn of(&self, parts: &[&str]) -> Count {
        let mut sum = Count::default();
        for (name, count) in &self.functions {
            if parts.iter().any(|part| name.contains(part)) {
                sum.instructions += count.instructions;
                sum.vector += count.vector;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(instructions: u64, vector: u64, name: &str) -> Vec<u8> {
        let mut row = [instructions.to_le_bytes(), vector.to_le_bytes()].concat();
        row.extend(name.as_bytes());
        row.resize(ROW, 0);
        row
    }

    #[test]
    fn counts_are_what_came_between_less_idleness() {
        let before = Counts::parse(&[row(5, 0, "system calls"), row(100, 10, "seal")].concat());
        let now = Counts::parse(
            &[
                row(25, 0, "system calls"),
                row(500, 110, "seal"),
                row(40, 0, "new"),
            ]
            .concat(),
        );
        let idle = Counts::parse(&[row(2, 0, "system calls"), row(20, 0, "seal")].concat());
        let each = now.since(&before, &idle, 2.0, 4.0);
        assert_eq!(each.system_calls, 4.0);
        assert_eq!(each.instructions(), 90.0 + 10.0);
        assert_eq!(each.of(&["ea"]).vector, 25.0);
    }
}
