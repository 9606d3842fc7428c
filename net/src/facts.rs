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
const FILLERS: [&str; 5] = [
    "none",
    "uninitialized",
    "not specified",
    "to be filled by o.e.m.",
    "default string",
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
    /// Tells the root filesystem apart: `fsid:` and the id that it derives from its UUID, or the UUID itself.
    pub root_uuid: Option<String>,
}

impl Facts {
    /// Reads them.
    pub fn read() -> Self {
        Self::read_below(Path::new("/"))
    }

    /// Reads them from the files below `root`, which stands for `/`.
    pub fn read_below(root: &Path) -> Self {
        Self {
            machine_id: read(&root.join("etc/machine-id")),
            dmi_uuid: read(&root.join("sys/class/dmi/id/product_uuid")),
            device_tree_serial: read(&root.join("proc/device-tree/serial-number")),
            root_uuid: fsid(root).or_else(|| uuid_of_device(root)),
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

/// Whether the kernel has IPv6 (it may be left out, or switched off at boot by `ipv6.disable=1`).
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").is_dir()
}

/// How many processors this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn read(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let value = text
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .to_lowercase();
    let blank = |filler: char| value.chars().all(|c| c == filler || c == '-');
    (!blank('0') && !blank('f') && !FILLERS.contains(&value.as_str())).then_some(value)
}

/// The filesystem's id, where it is made from the UUID (ext4, btrfs, f2fs) and not from the device's number, which
/// changes. It needs no device node to be there, so it is the same early at boot and in a sandbox.
fn fsid(root: &Path) -> Option<String> {
    const FROM_UUID: [u64; 3] = [0xef53, 0x9123_683e, 0xf2f5_2010];
    let kind = rustix::fs::statfs(root).ok()?.f_type as u64;
    let id = rustix::fs::statvfs(root).ok()?.f_fsid;
    (FROM_UUID.contains(&kind) && id != 0).then(|| format!("fsid:{id:016x}"))
}

/// The name under /dev/disk/by-uuid of the device that the root filesystem is on.
fn uuid_of_device(root: &Path) -> Option<String> {
    let device = fs::metadata(root).ok()?.dev();
    let is_root = |link: &Path| fs::metadata(link).is_ok_and(|found| found.rdev() == device);
    let links = fs::read_dir(root.join("dev/disk/by-uuid")).ok()?.flatten();
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

    #[test]
    fn facts_are_read_and_fillers_are_none() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let facts = Facts::read_below(root.path());
        assert_eq!(
            (facts.machine_id, facts.dmi_uuid, facts.device_tree_serial),
            (None, None, None)
        );
        write("etc/machine-id", b"3d1219c7c4c5404aaa1f6d2a48adfda4\n");
        write(
            "sys/class/dmi/id/product_uuid",
            b"8D2F1C00-0B5A-11EE-BE56-0242AC120002\n",
        );
        write("proc/device-tree/serial-number", b"10000000d2f1c3a4\0");
        let facts = Facts::read_below(root.path());
        assert_eq!(
            facts.machine_id.as_deref(),
            Some("3d1219c7c4c5404aaa1f6d2a48adfda4")
        );
        assert_eq!(
            facts.dmi_uuid.as_deref(),
            Some("8d2f1c00-0b5a-11ee-be56-0242ac120002")
        );
        assert_eq!(facts.device_tree_serial.as_deref(), Some("10000000d2f1c3a4"));
        let zero = "00000000-0000-0000-0000-000000000000";
        for filler in ["", "\n", zero, "FFFFFFFF", "Not Specified", "0\0"] {
            write("sys/class/dmi/id/product_uuid", filler.as_bytes());
            assert_eq!(Facts::read_below(root.path()).dmi_uuid, None, "{filler:?}");
        }
        write("etc/machine-id", b"uninitialized\n");
        assert_eq!(Facts::read_below(root.path()).machine_id, None);
        assert_eq!(Facts::read(), Facts::read());
    }
}
