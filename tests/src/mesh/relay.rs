//! `meshrelay` on the cloud host.

use std::process::Output;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::{json, program, words};
use crate::machine::Machine;
use crate::process::Process;
use crate::wait::eventually;
use crate::world::{CLOUD_V4, CLOUD_V6};

/// Time for meshrelay to answer after its start, on a busy computer.
const START: Duration = Duration::from_secs(20);

/// A running coordinator and relay.
pub struct Relay {
    machine: Machine,
    flags: Vec<String>,
    process: Mutex<Process>,
}

impl Relay {
    /// Starts meshrelay with the cloud host's public addresses, and waits until it answers.
    pub fn start(cloud: &Machine) -> Self {
        Self::start_with(cloud, &["--public-addr", CLOUD_V4, "--public-addr", CLOUD_V6])
    }

    /// The same with other flags of `meshrelay run`.
    pub fn start_with(cloud: &Machine, flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let process = Mutex::new(run(cloud, &flags));
        let relay = Self {
            machine: cloud.clone(),
            flags,
            process,
        };
        relay.wait_until_it_answers();
        relay
    }

    /// The cloud host.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A network of the given name and IPv4 prefix.
    pub fn create_network(&self, name: &str, cidr: &str) {
        self.ctl(&["network", "create", name, "--cidr", cidr]);
    }

    /// A token of the network; `flags` are those of `token create`.
    pub fn token(&self, network: &str, flags: &[&str]) -> String {
        let printed = self.ctl(&[&["token", "create", "--network", network], flags].concat());
        let token = printed.trim().to_owned();
        assert!(
            token.starts_with("mesh1") && !token.contains(char::is_whitespace),
            "one word: {printed:?}"
        );
        token
    }

    /// `meshctl` on the cloud host; gives its stdout.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.try_ctl(arguments);
        assert!(
            output.status.success(),
            "meshctl {} failed: {}",
            arguments.join(" "),
            words(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `meshctl` on the cloud host, whatever becomes of it.
    pub fn try_ctl(&self, arguments: &[&str]) -> Output {
        self.machine
            .output(&[&[program("meshctl").as_str()], arguments].concat())
    }

    /// `meshctl ... --json` on the cloud host.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        json(
            &arguments.join(" "),
            &self.try_ctl(&[arguments, &["--json"]].concat()),
        )
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.process.lock().expect("not poisoned").kill();
    }

    /// Starts it again after a kill, a stop or a reboot, and waits until it answers.
    pub fn start_again(&self) {
        self.spawn_again();
        self.wait_until_it_answers();
    }

    /// Starts it again without waiting.
    pub fn spawn_again(&self) {
        let mut process = self.process.lock().expect("not poisoned");
        process.kill();
        *process = run(&self.machine, &self.flags);
    }

    /// Looks at the process.
    pub fn with_process<T>(&self, look: impl FnOnce(&Process) -> T) -> T {
        look(&self.process.lock().expect("not poisoned"))
    }

    fn wait_until_it_answers(&self) {
        eventually(START, "meshrelay answers", || {
            let running = self.with_process(Process::is_running);
            assert!(running, "meshrelay ended: {}", self.with_process(Process::log));
            self.try_ctl(&["network", "list", "--json"])
                .status
                .success()
                .then_some(())
        });
    }
}

fn run(machine: &Machine, flags: &[String]) -> Process {
    let binary = program("meshrelay");
    let mut argv = vec![binary.as_str(), "run"];
    argv.extend(flags.iter().map(String::as_str));
    machine.spawn(&argv, &[])
}
