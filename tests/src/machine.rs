//! A machine: a network, mount and UTS namespace with its own files.
//!
//! 1. `unshare` starts a holder process with new namespaces; it mounts the machine's own `/etc`, `/run`, `/var/lib` and
//!    `/sys`, sets the host name, says `ready` and sleeps. When it is killed (by us, or by the kernel when the test
//!    runner dies) and nothing else runs on the machine, the namespaces are gone and all links with them.
//! 2. Programs enter by `nsenter` through the holder's pid, and die with the test runner too.
//! 3. [`Machine::reboot`] kills every process on it, empties `/run` and makes new namespaces over the same files.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Process;
use crate::spawner::spawn;
use crate::sweep::{self, MARK};
use crate::wait::{eventually, poll};

/// What a machine's `/etc` has in common with the computer's.
const SHARED_ETC: &str = "ld.so.cache ld.so.conf ld.so.conf.d passwd group shadow nsswitch.conf host.conf gai.conf protocols services iproute2 \
    ethertypes alternatives/awk alternatives/ip*tables* alternatives/arptables* alternatives/nc";

/// How the holder sets up the machine; `$1` is its folder, `$2` its host name.
const SET_UP: &str = r#"
set -e
mount --bind "$1/etc" /etc
mount --bind "$1/run" /run
mount --bind "$1/var/lib" /var/lib
mount -t sysfs sysfs /sys
if [ -e /sys/class/dmi/id/product_uuid ]; then mount --bind "$1/var/dmi-uuid" /sys/class/dmi/id/product_uuid; fi
hostname "$2" 2>/dev/null || printf %s "$2" > /proc/sys/kernel/hostname
ip link set lo up
for s in all default; do
  echo 0 > /proc/sys/net/ipv6/conf/$s/accept_dad
  echo 0 > /proc/sys/net/ipv4/conf/$s/rp_filter
done
echo ready
exec sleep infinity
"#;

/// A computer of the lab. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Machine {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    lab: String,
    folder: PathBuf,
    holder: Mutex<Process>,
    logs: AtomicU32,
}

impl Machine {
    /// Starts a machine of the lab `lab` (its id, see [`sweep`]) with its host name.
    pub(crate) fn start(lab: &str, name: &str) -> Self {
        let folder = sweep::folder(lab).join(name);
        make_files(&folder, name);
        let holder = hold(lab, name, &folder);
        let inner = Inner {
            name: name.into(),
            lab: lab.into(),
            folder,
            holder: Mutex::new(holder),
            logs: AtomicU32::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The id of the lab that it belongs to.
    pub(crate) fn lab(&self) -> &str {
        &self.inner.lab
    }

    /// Where a file of the machine's `/etc`, `/run` or `/var/lib` lies on the computer.
    ///
    /// # Panics
    /// If `path` is not below one of these.
    pub fn file(&self, path: &str) -> PathBuf {
        assert!(
            ["/etc", "/run", "/var/lib"]
                .iter()
                .any(|own| path.starts_with(own)),
            "{path} is not the machine's own"
        );
        self.inner.folder.join(&path[1..])
    }

    /// The text of one of its own files; empty if there is none.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.file(path)).unwrap_or_default()
    }

    /// Runs a program to its end. Its environment is the caller's.
    pub fn output(&self, argv: &[&str]) -> Output {
        self.command(argv)
            .stdin(Stdio::null())
            .output()
            .expect("nsenter runs")
    }

    /// Runs a program that must succeed, and gives its stdout.
    ///
    /// # Panics
    /// If it exits with another code than 0; the message has its stderr.
    #[track_caller]
    pub fn run(&self, argv: &[&str]) -> String {
        let output = self.output(argv);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}: {} failed ({}):\n{text}{}",
            self.inner.name,
            argv.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Runs a shell script that must succeed (`sh -e`), and gives its stdout.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-e", "-c", script])
    }

    /// Whether a program exits with 0.
    pub fn succeeds(&self, argv: &[&str]) -> bool {
        self.output(argv).status.success()
    }

    /// Starts a program in the background; its output goes to a log of its own.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(&self, argv: &[&str], environment: &[(&str, &str)]) -> Process {
        let program = Path::new(argv[0]).file_name().and_then(OsStr::to_str);
        self.spawn_as(program.unwrap_or("program"), argv, environment)
    }

    /// The same, with another name in messages than that of the program.
    pub(crate) fn spawn_as(&self, program: &str, argv: &[&str], environment: &[(&str, &str)]) -> Process {
        self.spawn_command(program, self.command(argv), environment)
    }

    /// The same of a command that [`Self::command_at`] gave.
    pub(crate) fn spawn_command(
        &self,
        program: &str,
        mut command: Command,
        environment: &[(&str, &str)],
    ) -> Process {
        let number = self.inner.logs.fetch_add(1, Ordering::Relaxed);
        let log = self.inner.folder.join(format!("{program}-{number}.log"));
        let file = fs::File::create(&log).expect("a log can be made");
        command
            .stdin(Stdio::null())
            .stderr(file.try_clone().expect("a descriptor"))
            .stdout(file);
        command.envs(environment.iter().copied());
        let child = spawn(command).expect("nsenter starts");
        Process::new(format!("{program} on {}", self.inner.name), child, log)
    }

    /// Runs `work` on a thread of its own inside the machine's network namespace; sockets opened there stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.pid())).expect("the machine is up");
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("needs root");
                work()
            });
            worker.join().expect("the work inside the machine did not panic")
        })
    }

    /// Power off and on: every process is killed, `/run` is emptied, interfaces are gone, files stay. Links must be
    /// plugged in anew.
    pub fn reboot(&self) {
        let mut holder = self.inner.holder.lock().expect("not poisoned");
        let pid = holder.pid();
        end_all(|| processes_on(pid));
        let run = self.inner.folder.join("run");
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run).expect("the lab's folder is writable");
        *holder = hold(&self.inner.lab, &self.inner.name, &self.inner.folder);
    }

    /// Kills everything that runs on the machine but its holder, whoever started it.
    pub fn kill_everything(&self) {
        let holder = self.pid();
        end_all(|| {
            processes_on(holder)
                .into_iter()
                .filter(|pid| *pid != holder)
                .collect()
        });
    }

    /// The pid of the holder, for `nsenter --target`.
    pub fn pid(&self) -> u32 {
        self.inner.holder.lock().expect("not poisoned").pid()
    }

    fn command(&self, argv: &[&str]) -> Command {
        self.command_at(self.pid(), &[], argv)
    }

    /// A program in the namespaces of the process `pid` of this machine: network, mounts, host name, and those whose flags of
    /// `nsenter` are given. It dies with the test runner.
    pub(crate) fn command_at(&self, pid: u32, namespaces: &[&str], argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &pid.to_string(), "--net", "--mount", "--uts"])
            .args(namespaces);
        command
            .arg("--")
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .args(argv)
            .env(MARK, &self.inner.lab);
        command
    }
}

impl AsRef<Self> for Machine {
    fn as_ref(&self) -> &Self {
        self
    }
}

fn make_files(folder: &Path, name: &str) {
    for own in ["etc", "run", "var/lib"] {
        fs::create_dir_all(folder.join(own)).expect("the lab's folder is writable");
    }
    let script =
        format!("cd /etc && for f in {SHARED_ETC}; do test ! -e $f || cp -a --parents $f \"$1/etc\"; done");
    let copied = Command::new("sh")
        .args(["-c", &script, "copy"])
        .arg(folder)
        .status()
        .expect("sh runs");
    assert!(copied.success(), "copying from /etc failed");
    let hosts =
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{name}\n");
    let machine_id = fs::read_to_string("/proc/sys/kernel/random/uuid")
        .expect("a random id")
        .replace('-', "");
    for (file, text) in [
        ("hosts", hosts),
        ("hostname", format!("{name}\n")),
        ("machine-id", machine_id),
        // as Debian's base-files has it: a name's IPv4 and IPv6 lines belong together
        ("host.conf", "multi on\n".to_owned()),
    ] {
        fs::write(folder.join("etc").join(file), text).expect("the lab's folder is writable");
    }
    fs::write(folder.join("etc/resolv.conf"), "").expect("the lab's folder is writable");
}

fn hold(lab: &str, name: &str, folder: &Path) -> Process {
    let log = folder.join("holder.log");
    let file = fs::File::create(&log).expect("a log can be made");
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        "--net",
        "--mount",
        "--uts",
        "--propagation",
        "private",
        "--",
    ]);
    command
        .args(["sh", "-c", SET_UP, "machine"])
        .arg(folder)
        .arg(name)
        .env(MARK, lab);
    command
        .stdin(Stdio::null())
        .stderr(file.try_clone().expect("a descriptor"))
        .stdout(file);
    let child = spawn(command).expect("unshare starts");
    let holder = Process::new(format!("machine {name}"), child, log);
    eventually(Duration::from_secs(20), &format!("machine {name} is up"), || {
        assert!(
            holder.is_running(),
            "machine {name} did not start: {}",
            holder.log()
        );
        holder.log().contains("ready").then_some(())
    });
    holder
}

/// Every process in the network namespace of the holder `pid`.
fn processes_on(pid: u32) -> Vec<u32> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let Some(wanted) = namespace(pid) else {
        return Vec::new();
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // threads of the test runner itself enter namespaces, the process does not
    pids.filter(|pid| *pid != std::process::id() && namespace(*pid).as_ref() == Some(&wanted))
        .collect()
}

/// Kills what `living` gives until it gives nothing.
fn end_all(living: impl Fn() -> Vec<u32>) {
    let ended = poll(Duration::from_secs(10), || {
        let pids = living();
        for pid in pids.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::KILL);
        }
        pids.is_empty().then_some(())
    });
    assert!(ended.is_some(), "processes of the lab do not die: {:?}", living());
}
