//! `meshctl restore`

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use hyper::Method;
use meshd_api::coordinator::admin::Done;

use crate::admin::Admin;
use crate::cli::Global;
use crate::failure::Failure;

/// Give a coordinator the state of a backup.
///
/// Nodes that joined after the backup come back by what they hold themselves; nodes that were removed after it stay out.
/// Works on the relay's own machine only.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl restore /mnt/backup/meshrelay-2026-01-31\n  \
    age -d -i key meshrelay.age | meshctl restore -"
)]
pub struct Restore {
    /// The file; `-` reads from stdin
    file: PathBuf,
}

impl Restore {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let bytes = self
            .read()
            .map_err(|e| Failure::usage(format!("the backup {} cannot be read: {e}", self.file.display())))?;
        let mut admin = Admin::connect(global).await?;
        admin.must_be_local("restore")?;
        let answer = admin.request(Method::POST, "restore", bytes).await?;
        let done: Done = serde_json::from_slice(&answer)
            .map_err(|e| Failure::failed(format!("the coordinator's answer is not understood: {e}")))?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }

    fn read(&self) -> std::io::Result<Vec<u8>> {
        if self.file.as_os_str() != "-" {
            return std::fs::read(&self.file);
        }
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
