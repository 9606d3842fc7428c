//! A thousand kills: a child process keeps changing the blocks of a hosts file, another program keeps rewriting the
//! file, and the child is killed (SIGKILL) at a random moment. After each kill a new start must find or make the file
//! whole: nothing outside of the blocks lost, the blocks there, nothing left beside the file.
//!
//! `MESHD_KILLS` sets the number of kills per case (500), `MESHD_KILL_SEED` the seed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use meshd::hosts::{HostsFile, Recovered};
use meshd_core::names::{self, Address, NetworkNames, NodeName, Wanted};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::thread::UnshareFlags;

const CHILD: &str = "MESHD_HOSTS_CHILD";

/// xorshift64*, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Two networks whose size changes from round to round: from nothing to several pages.
fn wanted(round: u64) -> Wanted {
    let mut dice = Dice(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut network = |name: &str| {
        let count = [0, 1, 3, 40, 300][dice.below(5) as usize];
        let node = |i: u32| NodeName {
            label: format!("{name}-{round}-{i}"),
            address: Address {
                ipv4: Some(Ipv4Addr::from(0x0a4d_0000 + i)),
                ipv6: None,
            },
        };
        NetworkNames {
            network: name.into(),
            nodes: (0..count).map(node).collect(),
            ..Default::default()
        }
    };
    let networks = vec![network("prod"), network("lab")];
    Wanted {
        own_host_name: "me".into(),
        networks,
    }
}

/// Not a test: the process that is killed. It runs for as long as it is let.
#[test]
fn child() {
    let Ok(dirs) = std::env::var(CHILD) else { return };
    let (file, state) = dirs.split_once('|').unwrap();
    let mut hosts = HostsFile::open(Path::new(file), Path::new(state), "default").unwrap();
    hosts.recover().unwrap();
    std::io::stderr().write_all(b"r").unwrap();
    for round in u64::from(std::process::id()).. {
        // another program may be in the way for longer than we wait
        _ = hosts.apply(&wanted(round));
    }
}

/// The other program: rewrites the file as programs do, and knows what must be in it outside of our blocks.
struct Rewriter {
    path: PathBuf,
    outside: Vec<u8>,
    version: u64,
    dice: Dice,
    /// Reading, editing and writing back is fair only where nobody ever sees a torn file.
    edits: bool,
}

impl Rewriter {
    fn fresh(&mut self) -> Vec<u8> {
        self.version += 1;
        let mut text = format!(
            "127.0.0.1\tlocalhost\n# version {}\r\n\n192.0.2.1 nas # \u{fffd}\n",
            self.version
        );
        for i in 0..self.dice.below(200) {
            text += &format!("198.51.100.7 host-{}-{i}\n", self.version);
        }
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(b"# \xff\xfe\xc3\n192.0.2.2 last");
        bytes.extend_from_slice(if self.dice.below(2) == 0 { b"\n" } else { b"" });
        bytes
    }

    fn step(&mut self) {
        match self.dice.below(if self.edits { 4 } else { 3 }) {
            0 => {
                let bytes = self.fresh();
                self.write_in_place(&bytes);
                self.outside = bytes;
            }
            1 if self.edits => {
                let bytes = self.fresh();
                self.write_by_rename(&bytes);
                self.outside = bytes;
            }
            1 | 2 => {
                self.version += 1;
                let line = format!("203.0.113.9 appended-{}\n", self.version);
                OpenOptions::new()
                    .append(true)
                    .open(&self.path)
                    .unwrap()
                    .write_all(line.as_bytes())
                    .unwrap();
                self.outside.extend_from_slice(line.as_bytes());
            }
            _ => {
                let mut bytes = std::fs::read(&self.path).unwrap();
                let edit = b"192.0.2.9 edited\n";
                bytes.splice(0..0, edit.iter().copied());
                self.outside.splice(0..0, edit.iter().copied());
                self.write_by_rename(&bytes);
            }
        }
    }

    /// Truncates, and writes in two steps: whoever looks in between sees a broken file.
    fn write_in_place(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&self.path)
            .unwrap();
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        file.write_all(head).unwrap();
        std::thread::yield_now();
        file.write_all(tail).unwrap();
    }

    fn write_by_rename(&self, bytes: &[u8]) {
        let part = self.path.with_extension("cloud");
        std::fs::write(&part, bytes).unwrap();
        std::fs::rename(&part, &self.path).unwrap();
    }
}

#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    rewrites: u64,
    before_first_write: u64,
    leftovers: u64,
    given_back: u64,
    journals_stale: u64,
    journals_completed: u64,
}

struct Case {
    dir: tempfile::TempDir,
    path: PathBuf,
    edits: bool,
}

impl Case {
    fn new(edits: bool) -> Self {
        // where syncing costs nothing, more of the time is spent at points where a kill can hurt
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() {
            shm.to_owned()
        } else {
            std::env::temp_dir()
        };
        let dir = tempfile::Builder::new()
            .prefix("meshd-hosts-")
            .tempdir_in(base)
            .unwrap();
        let path = dir.path().join("etc/hosts");
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::create_dir_all(dir.path().join("state")).unwrap();
        std::fs::write(&path, b"").unwrap();
        Self { dir, path, edits }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn spawn(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(
                CHILD,
                format!("{}|{}", self.path.display(), self.state().display()),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, name: &str) {
        let seed = from_env("MESHD_KILL_SEED", 0x5eed);
        let (kills, started) = (from_env("MESHD_KILLS", 500), Instant::now());
        let outside = std::fs::read(&self.path).unwrap();
        let rewriter = Rewriter {
            path: self.path.clone(),
            outside,
            version: 0,
            dice: Dice(seed | 1),
            edits: self.edits,
        };
        let (rewriter, stop) = (Mutex::new(rewriter), AtomicBool::new(false));
        let mut figures = Figures::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut rewriter = lock(&rewriter);
                    rewriter.step();
                    let pause = rewriter.dice.below(3000);
                    drop(rewriter);
                    std::thread::park_timeout(Duration::from_micros(pause));
                }
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut dice = Dice(seed.wrapping_mul(31) | 1);
                for _ in 0..kills {
                    self.kill_once(&mut dice, &mut figures);
                    self.check(&lock(&rewriter), &mut figures);
                }
            }));
            stop.store(true, Ordering::Relaxed);
            figures.rewrites = lock(&rewriter).version;
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        println!("{name}: {figures:?} in {:.1} s", started.elapsed().as_secs_f64());
        assert_eq!(figures.kills, kills);
    }

    /// Most kills hit the running child within a few rounds of its writing, some its start.
    fn kill_once(&self, dice: &mut Dice, figures: &mut Figures) {
        let mut child = self.spawn();
        let early = dice.below(8) == 0;
        if !early {
            let mut ready = [0];
            let mut pipe = child.stderr.take().unwrap();
            if pipe.read_exact(&mut ready).is_err() || ready != *b"r" {
                let mut text = String::from_utf8_lossy(&ready).into_owned();
                _ = pipe.read_to_string(&mut text);
                panic!("the child failed: {text}");
            }
        }
        figures.before_first_write += u64::from(early);
        let delay = Duration::from_micros(dice.below(5000));
        let from = Instant::now();
        while from.elapsed() < delay {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the child ended by itself: {status}");
        figures.kills += 1;
    }

    fn check(&self, rewriter: &Rewriter, figures: &mut Figures) {
        let mut hosts = HostsFile::open(&self.path, &self.state(), "default").unwrap();
        let found: Recovered = hosts.recover().unwrap();
        figures.leftovers += u64::from(found.leftovers);
        figures.given_back += u64::from(found.given_back);
        figures.journals_stale += u64::from(found.journal_stale);
        figures.journals_completed += u64::from(found.journal_completed);
        assert!(!found.journal_unreadable);
        let (now, round) = (std::fs::read(&self.path).unwrap(), figures.kills);
        let rest = names::outside(&now, "default");
        assert!(
            rest == rewriter.outside,
            "after kill {round} ({found:?}) outside of the blocks:\n{}\nexpected:\n{}",
            String::from_utf8_lossy(&rest),
            String::from_utf8_lossy(&rewriter.outside),
        );
        let wanted = wanted(round);
        hosts.apply(&wanted).unwrap();
        let now = std::fs::read(&self.path).unwrap();
        assert!(
            names::outside(&now, "default") == rewriter.outside,
            "after kill {round} and apply"
        );
        assert!(
            now == names::update(&now, "default", &wanted).bytes,
            "the blocks are not back after kill {round}"
        );
        let folder = std::fs::read_dir(self.path.parent().unwrap())
            .unwrap()
            .map(|e| e.unwrap().file_name());
        let left: Vec<_> = folder
            .filter(|name| name.to_string_lossy().contains("meshd"))
            .collect();
        assert!(left.is_empty(), "left beside the file: {left:?}");
        assert!(!self.state().join("hosts.journal").exists(), "a journal was left");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn kills_while_the_file_is_renamed() {
    Case::new(true).run("rename");
}

#[test]
fn kills_while_the_file_is_a_bind_mount() {
    let case = Case::new(false);
    // a mount namespace of this thread and of what it starts; it goes with them
    #[expect(
        deprecated,
        reason = "its unsafe successor is about descriptor tables, which are not unshared here"
    )]
    let unshared = rustix::thread::unshare(UnshareFlags::NEWNS);
    if let Err(e) = unshared {
        eprintln!("skipped: a mount namespace needs root ({e})");
        return;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    let source = case.dir.path().join("source");
    File::create(&source).unwrap();
    mount_bind(&source, &case.path).unwrap();
    case.run("bind mount");
    unmount(&case.path, UnmountFlags::DETACH).unwrap();
}
