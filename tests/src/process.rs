//! A process of the lab: its log, its end, what it uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::poll;

/// Lines of a log that are printed when a test fails.
const TAIL: usize = 60;

/// A running program on a machine. Killed when dropped; if the test is failing then, the end of its log is printed.
pub struct Process {
    label: String,
    child: Mutex<Child>,
    pid: u32,
    log: PathBuf,
}

impl Process {
    pub(crate) fn new(label: String, child: Child, log: PathBuf) -> Self {
        Self {
            label,
            pid: child.id(),
            child: Mutex::new(child),
            log,
        }
    }

    /// The process id in the computer's own PID namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        matches!(self.child.lock().expect("not poisoned").try_wait(), Ok(None))
    }

    /// Sends a signal; nothing happens where the process has ended.
    pub fn signal(&self, signal: Signal) {
        if self.is_running()
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        let _ = self.child.lock().expect("not poisoned").wait();
    }

    /// SIGTERM; gives the exit status, or `None` if it still runs after `bound`.
    pub fn stop(&self, bound: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(bound)
    }

    /// Waits for the end; `None` if it still runs after `bound`.
    pub fn wait(&self, bound: Duration) -> Option<ExitStatus> {
        poll(bound, || {
            self.child.lock().expect("not poisoned").try_wait().ok().flatten()
        })
    }

    /// Resident memory in KiB (`VmRSS`), 0 where the process has ended.
    pub fn rss_kib(&self) -> u64 {
        self.status_field("VmRSS:")
    }

    /// Resident memory of its own in KiB (`RssAnon`), without pages of files such as the program's code; 0 where the process has
    /// ended.
    pub fn own_kib(&self) -> u64 {
        self.status_field("RssAnon:")
    }

    /// The highest resident memory so far in KiB (`VmHWM`), 0 where the process has ended.
    pub fn peak_rss_kib(&self) -> u64 {
        self.status_field("VmHWM:")
    }

    /// Number of open descriptors, 0 where the process has ended.
    pub fn open_descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).map(Iterator::count).unwrap_or(0)
    }

    /// One numeric field of `/proc/PID/status`.
    fn status_field(&self, name: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(name)
    }

    fn print_tail(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        if lines.is_empty() {
            return;
        }
        let from = lines.len().saturating_sub(TAIL);
        eprintln!(
            "---- {} (last {} of {} lines)",
            self.label,
            lines.len() - from,
            lines.len()
        );
        for line in &lines[from..] {
            eprintln!("{line}");
        }
    }
}

/// CPU time that the threads of a process have used so far (`/proc/PID/task/*/schedstat`, in ns); none of those that ended.
pub fn cpu_of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let used = tasks.filter_map(|task| {
        let said = fs::read_to_string(task.path().join("schedstat")).ok()?;
        said.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_tail();
        }
        self.kill();
    }
}
