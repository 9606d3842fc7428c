//! `meshctl backup`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use hyper::Method;
use serde::Serialize;

use crate::admin::Admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::{output, units};

/// Save the coordinator's state to a file.
///
/// The file holds the coordinator's keys: it is made with mode 0600 and belongs on another disk. Works on the relay's own
/// machine only.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl backup /mnt/backup/meshrelay-2026-01-31\n  \
    meshctl backup - | age -r age1... > meshrelay.age"
)]
pub struct Backup {
    /// The file, which must not exist; `-` writes to stdout
    file: PathBuf,
}

/// What was saved.
#[derive(Debug, Serialize)]
struct Saved {
    /// Where to.
    file: PathBuf,
    /// How much.
    bytes: u64,
}

impl Backup {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        admin.must_be_local("backup")?;
        let bytes = admin.request(Method::GET, "backup", Vec::new()).await?;
        if self.file.as_os_str() == "-" {
            return output::write(&bytes);
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file);
        let written = file.and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        if let Err(e) = written {
            let advice = match e.kind() {
                ErrorKind::AlreadyExists => {
                    "there is such a file, and a backup is never written over another; name a new one"
                        .to_owned()
                }
                ErrorKind::NotFound => "there is no such folder; make it, or name another".to_owned(),
                ErrorKind::PermissionDenied => {
                    "permission denied; run it as root, or name another place".to_owned()
                }
                ErrorKind::StorageFull => {
                    "the disk is full; remove what is there of it, and name another place".to_owned()
                }
                _ => e.to_string(),
            };
            let file = self.file.display();
            return Err(Failure::failed(format!(
                "the backup cannot be written to {file}: {advice}"
            )));
        }
        let saved = Saved {
            file: self.file,
            bytes: bytes.len() as u64,
        };
        global.output().answer(&saved, |saved| {
            let size = units::bytes(saved.bytes);
            format!(
                "saved {size} to {}; it holds the coordinator's keys\n",
                saved.file.display()
            )
        })
    }
}
