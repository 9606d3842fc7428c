//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What `--help` says.
pub const HELP: &str = "\
compare: meshd beside other userspace tunnels, in turns, in one run, on network namespaces of this computer

  --rounds N        rounds, each with every program once (5)
  --seconds S       how long each figure is measured in a round (1)
  --only WORDS      programs or measures, with commas between: meshd,wireguard-go,tcp1; all of the one or the other that is not named
  --full            also what takes long: see docs/compare.md
  --out FOLDER      compare.md, compare.json and compare.svg go there
  --json            prints the JSON instead of the table
  --help            this

Exits with 1 where a bar is missed.
";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each program once in each.
    pub rounds: usize,
    /// Of one figure.
    pub time: Duration,
    /// Programs and measures; empty: all.
    pub only: Vec<String>,
    /// What takes long, too.
    pub full: bool,
    /// Where files go.
    pub out: Option<PathBuf>,
    /// JSON on stdout.
    pub json: bool,
    /// `--help`.
    pub help: bool,
}

impl Options {
    /// From the arguments after the program's name.
    ///
    /// # Errors
    /// Which argument is not understood.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            rounds: 5,
            time: Duration::from_secs(1),
            only: Vec::new(),
            full: false,
            out: None,
            json: false,
            help: false,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} wants a value: see --help"))
            };
            match argument.as_str() {
                "--rounds" => options.rounds = number(&value()?)?,
                "--seconds" => options.time = Duration::try_from_secs_f64(number(&value()?)?)?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--out" => options.out = Some(value()?.into()),
                "--full" => options.full = true,
                "--json" => options.json = true,
                "--help" | "-h" => options.help = true,
                other => bail!("unknown argument {other:?}: see --help"),
            }
        }
        if options.rounds == 0 || options.time.is_zero() {
            bail!("at least one round, and more than 0 seconds");
        }
        Ok(options)
    }

    /// Whether `word` is meant, of the kind whose words are `all`: those that were named, or all where none was.
    pub fn wants(&self, word: &str, all: &[&str]) -> bool {
        let named = |name: &str| self.only.iter().any(|only| only == name);
        named(word) || !all.iter().any(|name| named(name))
    }

    /// # Errors
    /// A word of `--only` that nothing is called.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        match self.only.iter().find(|word| !known.contains(&word.as_str())) {
            Some(word) => bail!("--only {word}: it is none of {}", known.join(", ")),
            None => Ok(()),
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse()
        .ok()
        .with_context(|| format!("{text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn words_choose_programs_and_measures_apart() {
        let options = parsed("--rounds 2 --seconds 0.5 --only meshd,tcp1").unwrap();
        assert_eq!((options.rounds, options.time), (2, Duration::from_millis(500)));
        let (programs, measures) = (["meshd", "nebula"], ["tcp1", "udp64"]);
        assert!(options.wants("meshd", &programs) && !options.wants("nebula", &programs));
        assert!(options.wants("tcp1", &measures) && !options.wants("udp64", &measures));
        let only_programs = parsed("--only nebula").unwrap();
        assert!(only_programs.wants("udp64", &measures) && !only_programs.wants("meshd", &programs));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (words, named) in [
            ("--rounds", "--rounds"),
            ("--rounds x", "x"),
            ("--seconds 0", "0 seconds"),
            ("--loud", "--loud"),
        ] {
            let error = parsed(words).unwrap_err().to_string();
            assert!(error.contains(named), "{words}: {error}");
        }
        let options = parsed("--only meshd,tpc1").unwrap();
        assert!(
            options
                .check(&["meshd", "tcp1"])
                .unwrap_err()
                .to_string()
                .contains("tpc1")
        );
    }
}
