//! The file of a backup: a tar archive that any tar opens.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use meshd_core::cluster::{ABOUT, About, PKI, PKI_FOLDER, SNAPSHOT};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files::failed;

/// Before the names of keys and certificates.
const PKI_PREFIX: &str = "pki/";
/// Longest of the small files, in bytes.
const MAX_SMALL: u64 = 64 << 10;

/// The small files of a backup.
pub struct Small {
    /// What it says of itself.
    pub about: About,
    /// Names below the folder of keys, each with what is in it.
    pub pki: Vec<(String, Zeroizing<Vec<u8>>)>,
}

/// Writes an archive; the keys are this machine's.
pub fn write(to: impl Write, about: &About, snapshot: &Path) -> Result<(), Failure> {
    let mut archive = tar::Builder::new(to);
    let text = serde_json::to_vec_pretty(about).map_err(|error| Failure::failed(error.to_string()))?;
    let put = |archive: &mut tar::Builder<_>, name: &str, length: u64, from: &mut dyn Read| {
        let mut header = tar::Header::new_ustar();
        header.set_size(length);
        header.set_mode(0o600);
        header.set_mtime(about.made);
        archive
            .append_data(&mut header, name, from)
            .map_err(|error| Failure::failed(format!("the backup cannot be written: {error}")))
    };
    put(&mut archive, ABOUT, text.len() as u64, &mut text.as_slice())?;
    for name in PKI {
        let path = Path::new(PKI_FOLDER).join(name);
        let bytes = fs::read(&path).map_err(|error| failed("read", &path, &error))?;
        let bytes = Zeroizing::new(bytes);
        let name = format!("{PKI_PREFIX}{name}");
        put(&mut archive, &name, bytes.len() as u64, &mut bytes.as_slice())?;
    }
    let mut file = File::open(snapshot).map_err(|error| failed("read", snapshot, &error))?;
    let length = file
        .metadata()
        .map_err(|error| failed("read", snapshot, &error))?
        .len();
    put(&mut archive, SNAPSHOT, length, &mut file)?;
    let ended = archive.into_inner().and_then(|mut to| to.flush());
    ended.map_err(|error| Failure::failed(format!("the backup cannot be written: {error}")))
}

/// Reads an archive, and puts the snapshot in it at `snapshot`. Nothing else in it is taken, and nothing of it says where it goes.
///
/// # Errors
/// A sentence where it is no backup, or not whole.
pub fn read(from: impl Read, snapshot: &Path) -> Result<Small, Failure> {
    let odd = |why: String| {
        Failure::failed(format!(
            "this is no backup of `meshctl k8s backup`, or not the whole of one: {why}"
        ))
    };
    let mut archive = tar::Archive::new(from);
    let (mut about, mut pki, mut seen) = (None, Vec::new(), BTreeSet::new());
    for entry in archive.entries().map_err(|error| odd(error.to_string()))? {
        let mut entry = entry.map_err(|error| odd(error.to_string()))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !seen.insert(name.clone()) {
            return Err(odd(format!("{name} is in it twice")));
        }
        let key = name.strip_prefix(PKI_PREFIX).filter(|key| PKI.contains(key));
        match (name.as_str(), key) {
            (ABOUT, _) => {
                let text = small(&mut entry).map_err(|error| odd(error.to_string()))?;
                about = Some(serde_json::from_slice(&text).map_err(|error| odd(error.to_string()))?);
            }
            (_, Some(key)) => {
                let bytes = small(&mut entry).map_err(|error| odd(error.to_string()))?;
                pki.push((key.to_owned(), bytes));
            }
            (SNAPSHOT, _) => {
                let mut file = File::create(snapshot).map_err(|error| failed("make", snapshot, &error))?;
                std::io::copy(&mut entry, &mut file).map_err(|error| odd(error.to_string()))?;
            }
            _ => return Err(odd(format!("{name} is in it"))),
        }
    }
    let missing = PKI
        .iter()
        .find(|name| !pki.iter().any(|(found, _)| found == *name));
    match (about, missing, seen.contains(SNAPSHOT)) {
        (None, ..) => Err(odd(format!("{ABOUT} is missing"))),
        (_, Some(name), _) => Err(odd(format!("{PKI_PREFIX}{name} is missing"))),
        (.., false) => Err(odd(format!("{SNAPSHOT} is missing"))),
        (Some(about), None, true) => Ok(Small { about, pki }),
    }
}

fn small(entry: &mut impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    entry.take(MAX_SMALL + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_SMALL {
        true => Err(std::io::Error::other("a file in it is too long")),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, name, *bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn about() -> Vec<u8> {
        let about = About::new(None, "n1", "10.77.255.254:7443".parse().unwrap(), 7);
        serde_json::to_vec(&about).unwrap()
    }

    #[test]
    fn a_whole_backup_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("etcd.db");
        let about = about();
        let names = PKI.map(|name| format!("{PKI_PREFIX}{name}"));
        let mut entries: Vec<(&str, &[u8])> = vec![(ABOUT, &about)];
        entries.extend(names.iter().map(|name| (name.as_str(), name.as_bytes())));
        let without = archive(&entries);
        entries.push((SNAPSHOT, b"data"));
        let whole = archive(&entries);
        let small = read(whole.as_slice(), &snapshot).unwrap();
        assert_eq!((small.about.node.as_str(), small.pki.len()), ("n1", PKI.len()));
        assert_eq!(fs::read(&snapshot).unwrap(), b"data");
        let refused = |bytes: &[u8]| match read(bytes, &snapshot) {
            Err(failure) => failure.message().to_owned(),
            Ok(_) => panic!("{} bytes are taken", bytes.len()),
        };
        assert!(refused(&without).contains("etcd.db is missing"));
        entries.push(("etc/passwd", b"x"));
        assert!(refused(&archive(&entries)).contains("etc/passwd is in it"));
        entries.pop();
        entries.push((ABOUT, &about));
        assert!(refused(&archive(&entries)).contains("twice"));
        let long = vec![b' '; MAX_SMALL as usize + 1];
        assert!(refused(&archive(&[(ABOUT, &long)])).contains("too long"));
        for length in (0..whole.len() - 1024).step_by(97) {
            assert!(refused(&whole[..length]).contains("no backup"), "{length}");
        }
    }
}
