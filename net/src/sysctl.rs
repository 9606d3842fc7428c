//! Settings of single interfaces under /proc/sys/net (`net.ipv4.conf.IF.*`, `net.ipv6.conf.IF.*`), never global ones,
//! and putting them back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::netlink::Family;

/// A setting could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {verb} {}: {source}{}", path.display(), hint(source))]
pub struct SysctlError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl SysctlError {
    /// Whether the setting (or the interface) does not exist.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EROFS) => "; /proc/sys is read-only here (a container, or ProtectKernelTunables=yes)",
        Some(libc::EACCES | libc::EPERM) => "; CAP_NET_ADMIN is needed",
        _ => "",
    }
}

/// One setting of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// IP version of the setting.
    pub family: Family,
    /// The interface's name; `all` and `default` are refused.
    pub interface: String,
    /// The last part of the setting's name, like `forwarding`.
    pub key: String,
}

impl Setting {
    /// Names a setting.
    pub fn new(family: Family, interface: &str, key: &str) -> Self {
        Self {
            family,
            interface: interface.to_owned(),
            key: key.to_owned(),
        }
    }

    /// Its value, without the newline.
    pub fn read(&self) -> Result<String, SysctlError> {
        let path = self.path("read")?;
        let read = fs::read_to_string(&path);
        read.map(|value| value.trim_end().to_owned())
            .map_err(|source| SysctlError {
                verb: "read",
                path,
                source,
            })
    }

    /// Sets it where it differs, and returns the value it had if it did.
    pub fn set(&self, value: &str) -> Result<Option<String>, SysctlError> {
        let previous = self.read()?;
        if previous == value {
            return Ok(None);
        }
        let path = self.path("set")?;
        match fs::write(&path, value) {
            Ok(()) => Ok(Some(previous)),
            Err(source) => Err(SysctlError {
                verb: "set",
                path,
                source,
            }),
        }
    }

    fn path(&self, verb: &'static str) -> Result<PathBuf, SysctlError> {
        let family = match self.family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let base = Path::new("/proc/sys/net").join(family).join("conf");
        let single =
            |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0']);
        let global = matches!(self.interface.as_str(), "all" | "default");
        let path = base.join(&self.interface).join(&self.key);
        if single(&self.interface) && single(&self.key) && !global {
            return Ok(path);
        }
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a setting of a single interface");
        Err(SysctlError {
            verb,
            path: base,
            source,
        })
    }
}

/// Settings that were changed, with what they were before, to be put back. The caller keeps the list over restarts
/// ([`Changes::list`], [`Changes::from_list`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    previous: Vec<(Setting, String)>,
}

impl Changes {
    /// Takes over a list that was kept.
    pub fn from_list(previous: Vec<(Setting, String)>) -> Self {
        Self { previous }
    }

    /// Settings and the values that they had before the first change.
    pub fn list(&self) -> &[(Setting, String)] {
        &self.previous
    }

    /// Sets a setting and remembers the value it had, if it is the first change.
    pub fn set(&mut self, setting: Setting, value: &str) -> Result<(), SysctlError> {
        let previous = setting.set(value)?;
        let known = self.previous.iter().any(|(other, _)| *other == setting);
        self.previous
            .extend(previous.filter(|_| !known).map(|previous| (setting, previous)));
        Ok(())
    }

    /// Puts everything back, last change first, past errors. Interfaces that are gone are no error.
    pub fn restore(&mut self) -> Vec<SysctlError> {
        let undone = self
            .previous
            .drain(..)
            .rev()
            .map(|(setting, value)| setting.set(&value));
        undone
            .filter_map(Result::err)
            .filter(|error| !error.is_missing())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_settings_and_paths_are_refused() {
        for (interface, key) in [
            ("all", "forwarding"),
            ("default", "x"),
            ("..", "x"),
            ("lo", "../../x"),
            ("", "x"),
        ] {
            let error = Setting::new(Family::V4, interface, key).read().unwrap_err();
            assert!(error.to_string().contains("single interface"), "{error}");
        }
    }
}
