//! `meshctl k8s restore`

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use meshd_core::cluster::{ETCD_FOLDER, FOLDER, Ground, Machine, PKI_FOLDER, pki_mode, restore_words};

use super::backup::Work;
use super::etcd::Tools;
use super::init::Init;
use super::{archive, made};
use crate::cli::Global;
use crate::failure::Failure;
use crate::files::{failed, replace};

/// In our folder: how far putting a backup's data in place came, so that it goes on and is not done twice.
const STEP: &str = "restored";
/// They may be there in part.
const BEGUN: &str = "begun";
/// They are there.
const DONE: &str = "done";

/// Make a cluster again of a backup, with this machine as its first control plane.
///
/// For a cluster whose control planes are all lost. The machine is in the mesh network of the backup (a rebuilt one by `meshctl node
/// replace`, which keeps name and address), with containerd, kubeadm and kubelet, and in no cluster (`meshctl k8s reset`). Prints words
/// for the other control planes, as `init` does; workers come back by themselves. Give the --patch files that the cluster was made with.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl k8s restore cluster-2026-01-31.tar
  age -d cluster.tar.age | meshctl k8s restore -")]
pub struct Restore {
    /// The file that `meshctl k8s backup` made; `-` reads it from stdin
    file: PathBuf,
    #[command(flatten)]
    init: Init,
}

/// A backup that was read.
pub struct Contents {
    small: archive::Small,
    work: Work,
}

impl Restore {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let in_cluster = made::read().is_some_and(|made| made.done);
        if in_cluster || data().exists() && step().is_none() {
            return Err(Failure::failed(
                "this machine is in a cluster, or has the data of one: `meshctl k8s reset --yes` takes them away first",
            ));
        }
        let contents = read(&self.file)?;
        let mut init = self.init;
        init.restored = true;
        init.make(global, Some(&contents)).await
    }
}

fn read(file: &Path) -> Result<Contents, Failure> {
    let work = Work::make()?;
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(
            File::open(file).map_err(|error| failed("read", file, &error))?,
        )),
    };
    let small = archive::read(source, &work.snapshot())?;
    Ok(Contents { small, work })
}

fn step() -> Option<String> {
    fs::read_to_string(Path::new(FOLDER).join(STEP)).ok()
}

fn set_step(step: &str) -> Result<(), Failure> {
    replace(&Path::new(FOLDER).join(STEP), step.as_bytes(), 0o644)
}

/// What etcd keeps; the folder around may be a disk of its own.
fn data() -> PathBuf {
    Path::new(ETCD_FOLDER).join("member")
}

impl Contents {
    /// Puts keys and data where kubeadm finds them; once.
    pub fn put(&self, machine: &Machine, ground: &Ground) -> Result<(), Failure> {
        self.small
            .about
            .fits(ground.endpoint())
            .map_err(Failure::failed)?;
        if step().as_deref() == Some(DONE) {
            return Ok(());
        }
        set_step(BEGUN)?;
        for (name, bytes) in &self.small.pki {
            replace(&Path::new(PKI_FOLDER).join(name), bytes, pki_mode(name))?;
        }
        // what an interrupted run left; nothing else is there, which was looked at before
        match fs::remove_dir_all(data()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", &data(), &error));
            }
            _ => {}
        }
        let tools = Tools::find(&self.work.image())?;
        let snapshot = self.work.snapshot().display().to_string();
        tools.restore(&restore_words(&snapshot, machine))?;
        set_step(DONE)
    }
}
