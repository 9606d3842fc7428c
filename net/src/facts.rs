//! Facts of this machine: its name, its kernel, and what tells it from others.
//!
//! No single fact is trusted to stay: a board is swapped, a card goes into another Pi, a VM gets new firmware. Facts
//! that are missing, empty or known fillers are left out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Lowest kernel: the 5.10 LTS.
const LOWEST_KERNEL: (u32, u32) = (5, 10);
/// Values that vendors leave in place of a serial.
const FILLERS: [&str; 6] = [
    "none",
    "not specified",
    "to be filled by o.e.m.",
    "default string",
    "00000000-0000-0000-0000-000000000000",
    "0000000000000000",
];

/// What tells this machine from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// /etc/machine-id (machine-id(5)).
    pub machine_id: Option<String>,
    /// UUID that the firmware gives (SMBIOS system UUID).
    pub dmi_uuid: Option<String>,
    /// Serial number in the device tree.
    pub device_tree_serial: Option<String>,
    /// UUID of the root filesystem.
    pub root_uuid: Option<String>,
}

impl Facts {
    /// Reads them.
    pub fn read() -> Self {
        Self {
            machine_id: read("/etc/machine-id"),
            dmi_uuid: read("/sys/class/dmi/id/product_uuid"),
            device_tree_serial: read("/proc/device-tree/serial-number"),
            root_uuid: root_uuid(),
        }
    }

    /// The ones that are there, by name.
    pub fn named(self) -> Vec<(&'static str, String)> {
        let all = [
            ("machine-id", self.machine_id),
            ("dmi-uuid", self.dmi_uuid),
            ("device-tree-serial", self.device_tree_serial),
            ("root-uuid", self.root_uuid),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// The machine's host name (the running one).
pub fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    (!name.is_empty() && name != "(none)").then_some(name)
}

/// Whether this kernel is new enough; the error is a sentence.
///
/// # Errors
/// For kernels before 5.10, and where the version cannot be read.
pub fn check_kernel() -> Result<(), String> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    match version(&release) {
        Some(found) if found >= LOWEST_KERNEL => Ok(()),
        _ => Err(format!(
            "this kernel is {release}; meshd needs Linux {}.{} or newer",
            LOWEST_KERNEL.0, LOWEST_KERNEL.1
        )),
    }
}

/// How many processors this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .to_lowercase();
    (!value.is_empty() && !FILLERS.contains(&value.as_str())).then_some(value)
}

/// The name under /dev/disk/by-uuid of the device that the root filesystem is on.
fn root_uuid() -> Option<String> {
    let root = fs::metadata("/").ok()?.dev();
    let is_root = |link: &Path| fs::metadata(link).is_ok_and(|device| device.rdev() == root);
    let links = fs::read_dir("/dev/disk/by-uuid").ok()?.flatten();
    links
        .map(|entry| entry.path())
        .find(|link| is_root(link))?
        .file_name()?
        .to_str()
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc-v509"), Some((6, 18)));
        assert_eq!(version("5.10.0-28-amd64"), Some((5, 10)));
        assert!(version("5.9.1").unwrap() < LOWEST_KERNEL);
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_processor() {
        check_kernel().unwrap();
        assert!(cores() >= 1);
    }
}
