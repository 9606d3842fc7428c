//! nftables, through the `nft` program (the one program that meshd runs): one script on its standard input is one
//! transaction. Tables of ours are called `meshd-...` and are the only ones that [`OwnTable`] touches.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longest run of the program. It ends within milliseconds unless the machine is in trouble.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where it is looked for besides PATH, which services often have without the sbin directories.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];
/// First words of what it says where something does not exist.
const MISSING: &str = "No such file or directory";

/// What went wrong with nftables.
#[derive(Debug, Error)]
pub enum NftError {
    /// The program is not there.
    #[error("the program `nft` was not found; install nftables")]
    NotFound,
    /// It could not be started or talked to.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("`nft` did not end within {} s and was killed", TIMEOUT.as_secs())]
    TimedOut,
    /// It refused; nothing was changed.
    #[error("`nft` refused: {words}")]
    Refused {
        /// What it said.
        words: String,
    },
    /// A table name or body that would reach beyond the own table.
    #[error("not a table of ours: {0}")]
    NotOwn(String),
}

/// The `nft` program.
#[derive(Clone, Debug)]
pub struct Nft {
    program: PathBuf,
}

impl Nft {
    /// Looks for the program.
    pub fn find() -> Result<Self, NftError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::env::split_paths(&path).chain(DIRECTORIES.iter().map(PathBuf::from));
        let mut candidates = directories.map(|directory| directory.join("nft"));
        candidates
            .find(|program| program.is_file())
            .map(|program| Self { program })
            .ok_or(NftError::NotFound)
    }

    /// Uses this program.
    pub fn at(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// Runs a script as one transaction: all of it, or (on an error) nothing, is done. Whose tables it touches is the
    /// caller's responsibility; for our own there is [`OwnTable`].
    pub async fn run(&self, script: &str) -> Result<(), NftError> {
        self.execute(&["-f", "-"], script).await.map(drop)
    }

    /// What `nft ARGUMENTS list WHAT` prints, as with `(&["-j"], &["chains"])`; `None` where it does not exist.
    pub async fn list(&self, arguments: &[&str], what: &[&str]) -> Result<Option<String>, NftError> {
        let all: Vec<&str> = arguments.iter().chain(&["list"]).chain(what).copied().collect();
        match self.execute(&all, "").await {
            Ok(printed) => Ok(Some(printed)),
            Err(NftError::Refused { words }) if words.contains(MISSING) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn execute<S: AsRef<OsStr>>(&self, arguments: &[S], input: &str) -> Result<String, NftError> {
        let failed = |source| NftError::Run {
            program: self.program.clone(),
            source,
        };
        let mut command = Command::new(&self.program);
        command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let talk = async {
            let feed = async {
                if let Some(mut stdin) = stdin {
                    // It may end before it read all; what it says then is the error to tell.
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
            };
            tokio::join!(feed, child.wait_with_output()).1
        };
        match tokio::time::timeout(TIMEOUT, talk).await {
            Err(_) => Err(NftError::TimedOut),
            Ok(output) => judge(output.map_err(failed)?),
        }
    }
}

fn judge(output: Output) -> Result<String, NftError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let words = if words.is_empty() {
        output.status.to_string()
    } else {
        words
    };
    Err(NftError::Refused { words })
}

/// A table of ours: `inet meshd-SUFFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnTable {
    name: String,
}

impl OwnTable {
    /// The table of an instance; the suffix is 1 to 32 letters, digits, `-` and `_`.
    pub fn new(suffix: &str) -> Result<Self, NftError> {
        let valid = (1..=32).contains(&suffix.len())
            && suffix
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
        if valid {
            Ok(Self {
                name: format!("meshd-{suffix}"),
            })
        } else {
            Err(NftError::NotOwn(suffix.to_owned()))
        }
    }

    /// Its name, without the family.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a table with this body (what stands between its braces) in the place of the present one, if any, in one
    /// transaction: there is no moment without rules.
    pub async fn replace(&self, nft: &Nft, body: &str) -> Result<(), NftError> {
        if !is_balanced(body) {
            return Err(NftError::NotOwn(format!(
                "the braces in the body of table {} do not match",
                self.name
            )));
        }
        let name = &self.name;
        // The first line makes the table where it is missing, so that deleting it never fails.
        nft.run(&format!(
            "table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{body}\n}}\n"
        ))
        .await
    }

    /// What is in the table; `None` where there is no such table.
    pub async fn list(&self, nft: &Nft) -> Result<Option<String>, NftError> {
        nft.list(&[], &["table", "inet", &self.name]).await
    }

    /// Deletes the table; no error where there is none.
    pub async fn delete(&self, nft: &Nft) -> Result<(), NftError> {
        let name = &self.name;
        nft.run(&format!("table inet {name}\ndelete table inet {name}\n"))
            .await
    }
}

/// Whether the body stays within the braces that are put around it. Quoted text and comments do not count.
fn is_balanced(body: &str) -> bool {
    let (mut depth, mut quoted, mut comment) = (0u32, false, false);
    for c in body.chars() {
        match c {
            '\n' => comment = false,
            _ if comment => {}
            '"' => quoted = !quoted,
            _ if quoted => {}
            '#' => comment = true,
            '{' => depth += 1,
            '}' if depth == 0 => return false,
            '}' => depth -= 1,
            _ => {}
        }
    }
    depth == 0 && !quoted && !comment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cannot_leave_its_table() {
        assert!(is_balanced(
            "chain c { ip saddr { 1.2.3.4 } accept comment \"} {\" } # }\n"
        ));
        for body in [
            "}",
            "chain c {",
            "} table inet other {",
            "chain c { } # no end of line",
            "\"",
            "} {",
        ] {
            assert!(!is_balanced(body), "{body}");
        }
    }

    #[test]
    fn only_tables_with_our_prefix_can_be_named() {
        assert_eq!(OwnTable::new("prod_1").unwrap().name(), "meshd-prod_1");
        for suffix in ["", "a b", "x;flush ruleset", "ä", &"x".repeat(33)] {
            assert!(
                matches!(OwnTable::new(suffix), Err(NftError::NotOwn(_))),
                "{suffix}"
            );
        }
    }
}
