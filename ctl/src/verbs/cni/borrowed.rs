//! The usual plugins of a machine with k3s: k3s unpacks them in a folder of its own and, with `flannel-backend: none`, its containerd
//! looks for plugins and configurations where every other one does.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::failure::Failure;
use crate::files::failed;

/// Where k3s has them, the newer releases first.
const FOLDERS: [&str; 2] = [
    "/var/lib/rancher/k3s/data/cni",
    "/var/lib/rancher/k3s/data/current/bin",
];
/// The runtime wants the first, and hostPort and bandwidth the others.
const NAMES: [&str; 3] = ["loopback", "portmap", "bandwidth"];

/// Links those that are not there to k3s' own; nothing where k3s has none.
pub fn borrow_from_k3s(bin_dir: &Path) -> Result<(), Failure> {
    borrow_from(bin_dir, &FOLDERS.map(Path::new))
}

fn borrow_from(bin_dir: &Path, folders: &[&Path]) -> Result<(), Failure> {
    for name in NAMES {
        let link = bin_dir.join(name);
        let theirs = folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| file.exists());
        let Some(theirs) = theirs.filter(|_| !link.exists()) else {
            continue;
        };
        // what is there leads nowhere any more
        match fs::remove_file(&link) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", &link, &error)),
            _ => {}
        }
        symlink(&theirs, &link).map_err(|error| failed("write", &link, &error))?;
    }
    Ok(())
}

/// Takes the links away again.
pub fn give_back(bin_dir: &Path) -> Result<(), Failure> {
    give_back_to(bin_dir, &FOLDERS.map(Path::new))
}

fn give_back_to(bin_dir: &Path, folders: &[&Path]) -> Result<(), Failure> {
    for name in NAMES {
        let link = bin_dir.join(name);
        let to = fs::read_link(&link).unwrap_or_default();
        if folders.iter().any(|folder| to.starts_with(folder)) {
            fs::remove_file(&link).map_err(|error| failed("remove", &link, &error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_borrowed_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let (bin, newer, older) = (
            folder.path().join("bin"),
            folder.path().join("newer"),
            folder.path().join("older"),
        );
        for folder in [&bin, &newer, &older] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(bin.join("portmap"), "own").unwrap();
        symlink(folder.path().join("gone"), bin.join("loopback")).unwrap();
        for name in ["loopback", "portmap"] {
            fs::write(older.join(name), "theirs").unwrap();
        }
        let folders = [newer.as_path(), older.as_path()];
        for _ in 0..2 {
            borrow_from(&bin, &folders).unwrap();
            assert_eq!(
                fs::read_link(bin.join("loopback")).unwrap(),
                older.join("loopback")
            );
            assert_eq!(fs::read_to_string(bin.join("portmap")).unwrap(), "own");
            assert!(!bin.join("bandwidth").exists());
        }
        give_back_to(&bin, &folders).unwrap();
        assert!(!bin.join("loopback").exists() && bin.join("portmap").exists());
    }
}
