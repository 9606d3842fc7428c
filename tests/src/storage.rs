//! Storage by programs alone, without the kernel's NFS and iSCSI: servers in a pod, clients anywhere.
//!
//! NFS is nfs-ganesha's and libnfs' (version 3: with version 4 this libnfs writes nothing of some length), iSCSI is tgt's and libiscsi's (by qemu-img). What is stored lies in memory (tmpfs), so that a disk's pauses
//! are not taken for the network's. A [`Watch`] sees a copy grow and knows its longest pause.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::pods::Pod;
use crate::process::Process;
use crate::wait::eventually;

/// Where everything lies, on servers and clients.
pub const FOLDER: &str = "/run/storage";
/// NFS' port.
const NFS: u16 = 2049;
/// iSCSI's port.
const ISCSI: u16 = 3260;
/// The iSCSI target with the logical unit 1.
const TARGET: &str = "iqn.2020-01.net.example:lab";
/// For servers to start on a busy computer.
const SOON: Duration = Duration::from_secs(30);
/// How often a copy is looked at.
const LOOK: Duration = Duration::from_millis(50);

const GANESHA: &str = "
NFS_CORE_PARAM { Protocols = 3; NFS_Port = 2049; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
                 mount_path_pseudo = true; }
NFSv4 { Graceless = true; RecoveryBackend = fs; }
EXPORT { Export_Id = 1; Path = /run/storage; Pseudo = /storage; Protocols = 3; Transports = TCP; Access_Type = RW;
         Squash = No_Root_Squash; SecType = sys, none; FSAL { Name = VFS; } }
";

/// Which of the programs that a test of storage needs are not installed.
pub fn missing() -> Vec<&'static str> {
    let programs = ["ganesha.nfsd", "rpcbind", "nfs-cp", "tgtd", "tgtadm", "qemu-img"];
    let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    let there = |name: &&str| folders.iter().any(|folder| Path::new(folder).join(name).exists());
    let mut missing: Vec<&str> = programs.into_iter().filter(|name| !there(name)).collect();
    let libraries = [
        ("ganesha/libfsalvfs.so", "nfs-ganesha-vfs"),
        ("qemu/block-iscsi.so", "qemu-block-extra"),
    ];
    let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let absent = |(file, _): &(&str, &str)| !Path::new(&folder).join(file).exists();
    missing.extend(libraries.into_iter().filter(absent).map(|(_, package)| package));
    missing
}

/// Makes [`FOLDER`] on a machine: in memory, as large as `mebibytes`.
pub fn make_folder(machine: &Machine, mebibytes: u64) {
    machine.sh(&format!(
        "mkdir -p {FOLDER}; mount -t tmpfs -o size={mebibytes}m,mode=0755 storage {FOLDER}"
    ));
}

/// Where a file of [`FOLDER`] on a machine is seen from here.
pub fn file(machine: &Machine, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{FOLDER}/{name}", machine.pid()))
}

/// Serves [`FOLDER`] of the pod's machine by NFS, in the pod, and waits until it answers.
fn serve_nfs(machine: &Machine, pod: &Pod, at: IpAddr) -> Vec<Process> {
    // it looks for file systems where mount(8) once kept them
    machine.sh("mkdir -p /var/lib/nfs/ganesha /run/ganesha /run/rpcbind; ln -sf /proc/self/mounts /etc/mtab");
    fs::copy("/etc/netconfig", machine.file("/etc/netconfig")).expect("it came with the server");
    fs::write(machine.file("/run/ganesha/lab.conf"), GANESHA).expect("the lab's folder is writable");
    // it does not start where it cannot register
    let register = pod.spawn(&["rpcbind", "-f"]);
    answers(pod, &register, at, 111);
    let server = [
        "ganesha.nfsd",
        "-F",
        "-L",
        "STDOUT",
        "-f",
        "/run/ganesha/lab.conf",
        "-p",
        "/run/ganesha/lab.pid",
    ];
    let server = pod.spawn(&server);
    answers(pod, &server, at, NFS);
    vec![server, register]
}

/// Serves the file `disk` of [`FOLDER`] by iSCSI, in the pod, and waits until it answers.
fn serve_iscsi(machine: &Machine, pod: &Pod, at: IpAddr) -> Vec<Process> {
    machine.sh("mkdir -p /run/tgtd");
    let server = pod.spawn(&["sh", "-c", TGTD]);
    answers(pod, &server, at, ISCSI);
    machine.sh(&format!(
        "tgtadm --lld iscsi --mode target --op new --tid 1 --targetname {TARGET}
         tgtadm --lld iscsi --mode logicalunit --op new --tid 1 --lun 1 --backing-store {FOLDER}/disk
         tgtadm --lld iscsi --mode target --op bind --tid 1 --initiator-address ALL"
    ));
    vec![server]
}

/// tgtd wants to be spared when memory is short, which not every machine lets it want; it then would not start.
const TGTD: &str =
    "echo 0 > /run/tgtd/oom; mount --bind /run/tgtd/oom /proc/$$/oom_score_adj; exec tgtd -f -d 0";

fn answers(pod: &Pod, server: &Process, at: IpAddr, port: u16) {
    eventually(
        SOON,
        &format!("the storage server answers at {at}:{port}"),
        || {
            assert!(server.is_running(), "the storage server ended: {}", server.log());
            pod.inside(|| {
                std::net::TcpStream::connect_timeout(&(at, port).into(), Duration::from_secs(1)).ok()
            })
            .map(drop)
        },
    );
}

/// How a file of [`FOLDER`] on a client is written to a file of the server's, and how that is read into another, as commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// By libnfs.
    Nfs,
    /// By libiscsi.
    Iscsi,
}

impl Protocol {
    /// The server's files that two copies one after the other go to. A server of NFS remembers for a while which files there were.
    pub fn disks(self) -> [&'static str; 2] {
        match self {
            Self::Nfs => ["first", "second"],
            Self::Iscsi => ["disk"; 2],
        }
    }

    /// The command that copies the client's file `from` to the server.
    pub fn write(self, server: IpAddr, disk: &str, from: &str) -> Vec<String> {
        self.copy(&format!("{FOLDER}/{from}"), &self.url(server, disk))
    }

    /// The command that copies from the server to the client's file `to`.
    pub fn read(self, server: IpAddr, disk: &str, to: &str) -> Vec<String> {
        self.copy(&self.url(server, disk), &format!("{FOLDER}/{to}"))
    }

    fn url(self, server: IpAddr, disk: &str) -> String {
        match self {
            Self::Nfs => format!("nfs://{server}/storage/{disk}?version=3&nfsport={NFS}&mountport=20048"),
            Self::Iscsi => format!("iscsi://{server}:{ISCSI}/{TARGET}/1"),
        }
    }

    fn copy(self, from: &str, to: &str) -> Vec<String> {
        let program: &[&str] = match self {
            Self::Nfs => &["nfs-cp"],
            // a disk is there already, a file is made
            Self::Iscsi if to.contains("://") => &["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw"],
            Self::Iscsi => &["qemu-img", "convert", "-f", "raw", "-O", "raw"],
        };
        program
            .iter()
            .chain(&[from, to])
            .map(|word| (*word).to_owned())
            .collect()
    }

    /// Makes the server's disk empty: a client of NFS makes the file itself, one of iSCSI finds as many bytes of it.
    ///
    /// # Panics
    /// If the folder is not writable.
    pub fn make_disk(self, disk: &Path, bytes: u64) {
        match self {
            Self::Nfs => drop(fs::remove_file(disk)),
            Self::Iscsi => {
                // the same file, for a server has it open
                let mut open = File::options();
                let open = open.write(true).create(true).truncate(true).open(disk);
                open.and_then(|file| file.set_len(bytes))
                    .expect("the folder is writable");
            }
        }
    }

    /// Starts the server in the pod, which is on `machine`, and waits until it answers; it lives as long as what is given back.
    pub fn serve(self, machine: &Machine, pod: &Pod, at: IpAddr) -> Vec<Process> {
        match self {
            Self::Nfs => serve_nfs(machine, pod, at),
            Self::Iscsi => serve_iscsi(machine, pod, at),
        }
    }
}

/// Writes `bytes` of a stream whose every part differs from every other.
///
/// # Panics
/// If there is no room.
pub fn fill(path: &Path, bytes: u64) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).expect("the folder is writable"));
    for number in 0..bytes / 8 {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        file.write_all(&mixed.to_le_bytes()).expect("there is room");
    }
    file.flush().expect("there is room");
}

/// Whether two files have the same bytes.
///
/// # Panics
/// If one cannot be read.
pub fn same(one: &Path, other: &Path) -> bool {
    let open = |path: &Path| BufReader::with_capacity(1 << 20, File::open(path).expect("the file is there"));
    let (mut one, mut other) = (open(one), open(other));
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let (read, also) = (fill_buffer(&mut one, &mut a), fill_buffer(&mut other, &mut b));
        if read != also || a[..read] != b[..also] {
            return false;
        }
        if read == 0 {
            return true;
        }
    }
}

fn fill_buffer(file: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("reading: {error}"),
        }
    }
    length
}

/// How a copy went.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// From its start to its end.
    pub took: Duration,
    /// The longest time in which its target did not grow; connecting is part of the first.
    pub longest_pause: Duration,
}

/// Looks at a copy until its program has ended, which must succeed within `bound`.
///
/// # Panics
/// If it fails, or takes longer.
#[track_caller]
pub fn watch(program: &Process, target: &Path, bound: Duration) -> Watch {
    let begin = Instant::now();
    let (mut last, mut blocks, mut longest_pause) = (begin, 0, Duration::ZERO);
    let status = loop {
        let now = fs::metadata(target).map_or(0, |metadata| metadata.blocks());
        longest_pause = longest_pause.max(last.elapsed());
        if now != blocks {
            (last, blocks) = (Instant::now(), now);
        }
        if let Some(status) = program.wait(Duration::ZERO) {
            break status;
        }
        assert!(
            begin.elapsed() < bound,
            "still copying after {bound:?}, {blocks} blocks: {}",
            program.log()
        );
        thread::sleep(LOOK);
    };
    assert!(status.success(), "{status}: {}", program.log());
    Watch {
        took: begin.elapsed(),
        longest_pause,
    }
}
