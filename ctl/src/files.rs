//! Files of the system that other programs read: never half written.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::failure::Failure;

/// Writes a file beside and renames it: whoever looks sees the old one or the new one, whole.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Others read files by their endings, and start programs by their names: this one has neither.
    let temporary = folder.join(format!(".{name}.new"));
    let written = write(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed("write", path, &error)
    })?;
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed("write", folder, &error))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// What the system said of a file.
pub fn failed(verb: &str, path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run it as root, with sudo",
        _ => "",
    };
    Failure::failed(format!("cannot {verb} {}: {error}{hint}", path.display()))
}
