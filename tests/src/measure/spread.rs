//! Values of several rounds, and how they are told.

use serde_json::{Value, json};

/// Median, least and most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// The middle value, or half way between the two in the middle.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        match values[..] {
            [] => Self::default(),
            [least, .., most] => Self {
                median: (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0,
                least,
                most,
            },
            [only] => Self {
                median: only,
                least: only,
                most: only,
            },
        }
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({"median": rounded(self.median), "min": rounded(self.least), "max": rounded(self.most)})
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.most == 0.0 {
            return f.write_str("-");
        }
        write!(
            f,
            "{} ({}-{})",
            short(self.median),
            short(self.least),
            short(self.most)
        )
    }
}

/// A value with as many digits as anybody reads.
pub fn short(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_half_way() {
        let spread = |values: &[f64]| {
            let spread = Spread::of(values.iter().copied());
            (spread.median, spread.least, spread.most)
        };
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), (3.0, 1.0, 9.0));
        assert_eq!(spread(&[7.0]), (7.0, 7.0, 7.0));
    }
}
