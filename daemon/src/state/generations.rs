//! Sealed files in two generations: what is cut or garbled gives way to the one before; what a newer release wrote does not.

use super::StateError;
use meshd_core::sealed::{self, SealKey, SealedError};
use meshd_net::file;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tracing::warn;
use zeroize::Zeroizing;

pub(super) fn make_folder(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|cause| StateError::Io {
            path: path.to_owned(),
            cause,
        })
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// The present generation, else the older one with a warning.
pub(super) fn read_generations(path: &Path, key: &SealKey) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
    let cause = match read_one(path, key)? {
        None => return Ok(read_one(&older(path), key)?.and_then(Result::ok)),
        Some(Ok(bytes)) => return Ok(Some(bytes)),
        Some(Err(cause)) => cause,
    };
    if let SealedError::NewerVersion(version) = cause {
        return Err(newer(path, version));
    }
    match read_one(&older(path), key)? {
        Some(Ok(bytes)) => {
            warn!(path = %path.display(), %cause, "a state file cannot be used; its older generation is");
            Ok(Some(bytes))
        }
        _ => Err(StateError::Damaged {
            path: path.to_owned(),
            cause: cause.to_string(),
        }),
    }
}

fn newer(path: &Path, version: u32) -> StateError {
    StateError::Newer {
        path: path.to_owned(),
        version,
    }
}

type Opened = Result<Zeroizing<Vec<u8>>, SealedError>;

fn read_one(path: &Path, key: &SealKey) -> Result<Option<Opened>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(
            sealed::open(key, &bytes).map(|b| Zeroizing::new(b.to_vec())),
        )),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StateError::Io {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Writes the new generation; the present one, where it is whole, becomes the older.
pub(super) fn write_generations(path: &Path, key: &SealKey, bytes: &[u8]) -> Result<(), StateError> {
    let io_error = |cause| StateError::Io {
        path: path.to_owned(),
        cause,
    };
    if let Ok(present) = fs::read(path) {
        match sealed::open(key, &present) {
            Ok(_) => file::write_atomic(&older(path), &present, 0o600).map_err(io_error)?,
            Err(SealedError::NewerVersion(version)) => return Err(newer(path, version)),
            Err(_) => {}
        }
    }
    file::write_atomic(path, &sealed::seal(key, bytes), 0o600).map_err(io_error)
}

pub(super) fn remove_generations(path: &Path) -> Result<(), StateError> {
    for path in [path.to_owned(), older(path)] {
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(StateError::Io { path, cause });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses a folder in which a newer release wrote anything, before anything in it is touched.
pub(super) fn refuse_newer(folder: &Path) -> Result<(), StateError> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => refuse_newer(&path)?,
            Ok(kind) if kind.is_file() => {
                if let Some(version) = format_of(&path).and_then(|head| sealed::newer_version(&head)) {
                    return Err(newer(&path, version));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The first bytes of a file; a file that cannot be read is somebody else's finding.
fn format_of(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(sealed::HEAD);
    let file = File::open(path).ok()?;
    file.take(sealed::HEAD as u64).read_to_end(&mut head).ok()?;
    Some(head)
}
