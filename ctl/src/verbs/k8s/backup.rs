//! `meshctl k8s backup`

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use meshd_core::cluster::{About, FOLDER, SNAPSHOT};
use serde::Serialize;

use super::etcd::{MANIFEST, Tools};
use super::{archive, facts, kubeadm, made};
use crate::cli::{Global, OfNetwork};
use crate::failure::Failure;
use crate::files::failed;
use crate::units;

/// Write the cluster's data and the keys of its authorities to a file. On a control plane.
///
/// The file is a tar archive with a snapshot of etcd, in which the cluster's secrets are, and the keys by which anybody becomes its
/// administrator: it is made with mode 0600, is not encrypted, and belongs on another machine. `meshctl k8s restore` makes the cluster
/// of it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl k8s backup /mnt/backup/cluster-2026-01-31.tar
  meshctl k8s backup - | age -r age1... > cluster.tar.age")]
pub struct Backup {
    /// The file, which must not exist; `-` writes to stdout
    file: PathBuf,
    #[command(flatten)]
    network: OfNetwork,
}

#[derive(Debug, Serialize)]
struct Saved {
    file: PathBuf,
    bytes: u64,
    warning: &'static str,
}

/// A folder of ours for what is not to stay.
#[derive(Debug)]
pub struct Work(PathBuf);

impl Work {
    /// Makes it, readable by root alone.
    pub fn make() -> Result<Self, Failure> {
        let path = Path::new(FOLDER).join("backup");
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path.join("image"));
        made.map_err(|error| failed("make", &path, &error))?;
        // of a run that was killed
        let _ = fs::remove_file(path.join(SNAPSHOT));
        Ok(Self(path))
    }

    /// Where the snapshot is.
    pub fn snapshot(&self) -> PathBuf {
        self.0.join(SNAPSHOT)
    }

    /// Where an image is mounted.
    pub fn image(&self) -> PathBuf {
        self.0.join("image")
    }
}

impl Drop for Work {
    /// File by file: were an image still mounted there, nothing of it would be touched.
    fn drop(&mut self) {
        let _ = fs::remove_file(self.snapshot());
        let _ = fs::remove_dir(self.image());
        let _ = fs::remove_dir(&self.0);
    }
}

impl Backup {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        if !Path::new(MANIFEST).exists() {
            return Err(Failure::failed(format!(
                "there is no {MANIFEST}: this machine is no control plane with etcd of its own; run it on one"
            )));
        }
        let network = facts::network(global, self.network.name()).await?;
        let Some(ground) = facts::ground(&network) else {
            return Err(Failure::failed("the network has no prefixes for a cluster"));
        };
        let _lock = made::Lock::take()?;
        let work = Work::make()?;
        Tools::find(&work.image())?.save(&work.snapshot())?;
        let about = About::new(
            kubeadm::version(),
            &network.hostname,
            ground.endpoint(),
            facts::unix_time(),
        );
        if self.file.as_os_str() == "-" {
            return archive::write(std::io::stdout().lock(), &about, &work.snapshot());
        }
        self.write(&about, &work)?;
        let bytes = fs::metadata(&self.file).map_err(|error| failed("read", &self.file, &error))?;
        let saved = Saved {
            file: self.file,
            bytes: bytes.len(),
            warning: "it is not encrypted, and holds every secret of the cluster and the keys of its authorities: keep it where nobody else reads it, and not on this machine",
        };
        global.output().answer(&saved, |saved| {
            let size = units::bytes(saved.bytes);
            format!("saved {size} to {}\n! {}\n", saved.file.display(), saved.warning)
        })
    }

    fn write(&self, about: &About, work: &Work) -> Result<(), Failure> {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file);
        let file = opened.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::failed(format!(
                "there is a file {} already, and a backup is never written over another: name a new one",
                self.file.display()
            )),
            _ => failed("make", &self.file, &error),
        })?;
        let written = archive::write(&file, about, &work.snapshot());
        let written = written.and_then(|()| {
            file.sync_all()
                .map_err(|error| failed("write", &self.file, &error))
        });
        if written.is_err() {
            let _ = fs::remove_file(&self.file);
        }
        written
    }
}
