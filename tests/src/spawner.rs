//! One thread that starts every process of the lab.
//!
//! A process started with a parent-death signal dies with the *thread* that started it, so a short-lived test thread must
//! not be the one. This one lives as long as the test runner.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

type Job = (Command, Sender<io::Result<Child>>);

/// Starts `command` from the lab's own thread. Errors are those of [`Command::spawn`].
pub fn spawn(command: Command) -> io::Result<Child> {
    static JOBS: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| Mutex::new(start()));
    let (reply, answer) = channel();
    let gone = || io::Error::other("the lab's spawner thread is gone");
    jobs.lock()
        .map_err(|_| gone())?
        .send((command, reply))
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn start() -> Sender<Job> {
    crate::sweep::stale();
    let (sender, jobs) = channel::<Job>();
    thread::Builder::new()
        .name("lab-spawner".into())
        .spawn(move || {
            for (mut command, reply) in jobs {
                // a caller that gave up no longer listens: its child is then ended by the sweep
                let _ = reply.send(command.spawn());
            }
        })
        .expect("a thread can be started");
    sender
}
