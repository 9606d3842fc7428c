//! etcd's own tools: etcdctl takes a snapshot, etcdutl makes data of one.
//!
//! They are taken from where they are installed, or, as kubeadm installs none, from the image of which etcd runs: containerd, which has
//! it, mounts it, and the tools in it are programs without libraries. So nothing has to be there that a control plane has not.

use std::io::stderr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::failure::Failure;
use crate::files::failed;

/// The tools.
const NAMES: [&str; 2] = ["etcdctl", "etcdutl"];
/// Where they are in an image.
const INSIDE: [&str; 3] = ["usr/local/bin", "bin", "usr/bin"];
/// containerd's ways to keep images, the usual one first.
const SNAPSHOTTERS: [&str; 2] = ["overlayfs", "native"];
/// The static pod, which names the image.
pub const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// The tools; an image that was mounted for them is unmounted when this is dropped.
#[derive(Debug)]
pub struct Tools {
    programs: [PathBuf; 2],
    mounted: Option<PathBuf>,
}

impl Tools {
    /// Finds them; `folder` is empty and ours.
    pub fn find(folder: &Path) -> Result<Self, Failure> {
        if let [Some(etcdctl), Some(etcdutl)] = NAMES.map(installed) {
            return Ok(Self {
                programs: [etcdctl, etcdutl],
                mounted: None,
            });
        }
        let missing = |why: &str| {
            Failure::failed(format!(
                "etcdctl and etcdutl are not installed, and cannot be taken from etcd's image: {why}; install them (Debian's etcd-client has them)"
            ))
        };
        let image = image().ok_or_else(|| missing("kubeadm does not say which one it is"))?;
        let mount = |image: &str| SNAPSHOTTERS.iter().any(|kind| mounts(image, folder, kind));
        if !mount(&image) {
            // a machine that never ran etcd
            let _ = Command::new("kubeadm")
                .args(["config", "images", "pull"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
            if !mount(&image) {
                return Err(missing(&format!(
                    "`ctr --namespace k8s.io images mount {image}` failed"
                )));
            }
        }
        let mut tools = Self {
            programs: [PathBuf::new(), PathBuf::new()],
            mounted: Some(folder.to_owned()),
        };
        for (program, name) in tools.programs.iter_mut().zip(NAMES) {
            let places = INSIDE.map(|place| folder.join(place).join(name));
            let found = places.into_iter().find(|place| place.is_file());
            *program = found.ok_or_else(|| missing(&format!("{image} has no {name}")))?;
        }
        Ok(tools)
    }

    /// Takes a snapshot of this machine's member.
    pub fn save(&self, to: &Path) -> Result<(), Failure> {
        let pki = "/etc/kubernetes/pki/etcd";
        let to = to.display().to_string();
        let words = [
            "--endpoints=https://127.0.0.1:2379",
            &format!("--cacert={pki}/ca.crt"),
            &format!("--cert={pki}/healthcheck-client.crt"),
            &format!("--key={pki}/healthcheck-client.key"),
            "snapshot",
            "save",
            &to,
        ];
        run(&self.programs[0], &words)
    }

    /// Makes data of a snapshot.
    pub fn restore(&self, words: &[String]) -> Result<(), Failure> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(&self.programs[1], &words)
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        if let Some(folder) = &self.mounted {
            let _ = ctr(&["images", "unmount", "--rm", &folder.display().to_string()]);
        }
    }
}

fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The image of which etcd runs here, or would.
fn image() -> Option<String> {
    let manifest = fs::read_to_string(MANIFEST).unwrap_or_default();
    let named = manifest
        .lines()
        .find_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "));
    if let Some(image) = named {
        return Some(image.trim().trim_matches('"').to_owned());
    }
    let mut list = vec!["config".to_owned(), "images".to_owned(), "list".to_owned()];
    // else it asks the Internet which release is the newest
    if let Some(version) = super::kubeadm::version() {
        list.extend(["--kubernetes-version".to_owned(), version]);
    }
    let output = Command::new("kubeadm")
        .args(&list)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let is_etcd = |line: &&str| line.split(':').next().is_some_and(|name| name.ends_with("/etcd"));
    text.lines().find(is_etcd).map(str::to_owned)
}

fn mounts(image: &str, folder: &Path, snapshotter: &str) -> bool {
    let folder = folder.display().to_string();
    ctr(&["images", "mount", "--snapshotter", snapshotter, image, &folder])
}

fn ctr(arguments: &[&str]) -> bool {
    let status = Command::new("ctr")
        .args(["--namespace", "k8s.io"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// What it says goes to stderr, so that stdout is the answer's.
fn run(program: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let its_words = stderr().as_fd().try_clone_to_owned();
    let its_words = its_words.map_err(|error| failed("start", program, &error))?;
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::from(its_words))
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::failed(format!(
            "{name} failed ({status}); why is said above"
        ))),
        Err(error) => Err(failed("start", program, &error)),
    }
}
