//! Where a join word comes from: the command line, a file, or stdin. It is looked at before it is sent anywhere.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use meshd_core::token::JoinToken;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Longer than any token with white space around.
const MAX_FILE: u64 = 64 << 10;

/// A token, in one of three ways.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct TokenSource {
    /// The join token, one word; `-` reads it from stdin
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    /// Read the token from a file, so that it does not show in the list of processes
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource")
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

impl TokenSource {
    /// The word, whose checksum is right.
    pub fn read(&self) -> Result<Zeroizing<String>, Failure> {
        let word = word(self.token.as_deref(), self.token_file.as_deref())?;
        match word.parse::<JoinToken>() {
            Ok(_) => Ok(word),
            Err(e) => Err(Failure::usage(e.to_string())),
        }
    }
}

/// A word from the command line, from a file, or, where either is `-`, from stdin; without white space around it.
pub fn word(given: Option<&str>, file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let word = match (given, file) {
        (Some(word), _) if word != "-" => Zeroizing::new(word.to_owned()),
        (_, Some(path)) if path.as_os_str() != "-" => read_file(path)?,
        _ => read_all(std::io::stdin().lock(), Path::new("stdin"))?,
    };
    Ok(Zeroizing::new(word.trim().to_owned()))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    match std::fs::File::open(path) {
        Ok(file) => read_all(file, path),
        Err(e) => Err(Failure::usage(format!("{} cannot be read: {e}", path.display()))),
    }
}

fn read_all(from: impl Read, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut word = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
    match from.take(MAX_FILE).read_to_string(&mut word) {
        Ok(_) => Ok(word),
        Err(e) => Err(Failure::usage(format!(
            "no word can be read from {}: {e}",
            path.display()
        ))),
    }
}
