//! A machine on which a kubelet can run: besides a lab machine's namespaces a process namespace, control groups and the
//! folders that container runtimes write to.
//!
//! 1. In the machine's mount namespace `/opt` and `/var/log` become its own, and what is mounted below `/run` is seen by
//!    whoever is started there, as on a real host: meshd sees the network namespaces that containerd names there.
//! 2. An init process enters one control group per hierarchy, then new control group, process and mount namespaces; it
//!    mounts its own `/proc` and the hierarchies anew, and reaps. Settings of the whole kernel that a kubelet writes
//!    are shadowed by files. When init is killed (by us, or because the test runner died) the kernel kills every
//!    process of the node, containers too.
//! 3. Programs enter by `nsenter` through init, and move into the node's control groups first.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::cgroups;
use crate::machine::Machine;
use crate::process::Process;
use crate::wait::eventually;

/// Time for the namespaces to be made, on a busy computer.
const START: Duration = Duration::from_secs(20);

/// What is done in the machine's own mount namespace.
const PREPARE: &str = "
mkdir -p /var/lib/opt/cni/bin /var/lib/log /var/lib/kubelet /var/lib/containerd /etc/kubernetes
mount --bind /var/lib/opt /opt
mount --bind /var/lib/log /var/log
mount --make-shared /run
";

/// Enters control groups named `$1`: all paths are read before the first move, because a move changes them.
const ENTER_GROUPS: &str = r#"
set -e
mount -t tmpfs none /mnt
while IFS=: read -r number controllers path; do
  case $number:$controllers in 0:*) continue ;; *:name=*) options=none,$controllers ;; *) options=$controllers ;; esac
  hierarchy=/mnt/${controllers#name=}
  mkdir -p "$hierarchy"
  mount -t cgroup -o "$options" cgroup "$hierarchy"
  echo "$controllers" >> /mnt/list; echo "$hierarchy$path/$1" >> /mnt/groups
done < /proc/self/cgroup
while read -r group; do
  mkdir -p "$group"
  for f in cpuset.cpus cpuset.mems; do [ ! -e "$group/$f" ] || cat "$group/../$f" > "$group/$f"; done
  echo $$ > "$group/cgroup.procs"
done < /mnt/groups
exec unshare --cgroup --mount --pid --fork --kill-child=KILL --propagation unchanged -- bash -c "$2" init
"#;

/// Process 1 of the node.
const INIT: &str = r#"
set -e
read -r pid rest < /proc/self/stat
lists=$(cat /mnt/list)
umount -R /mnt
mount -t proc proc /proc
mount -t tmpfs none /sys/fs/cgroup
for controllers in $lists; do
  hierarchy=/sys/fs/cgroup/${controllers#name=}
  case $controllers in name=*) options=none,$controllers ;; *) options=$controllers ;; esac
  mkdir -p "$hierarchy"
  mount -t cgroup -o "$options" cgroup "$hierarchy"
  for alias in ${controllers//,/ }; do [ -e "/sys/fs/cgroup/${alias#name=}" ] || ln -s "$hierarchy" "/sys/fs/cgroup/$alias"; done
done
mkdir -p /var/lib/shadows
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
               kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=/proc/sys/${setting%=*}; shadow=/var/lib/shadows/$(echo "${setting%=*}" | tr / .)
  [ -e "$file" ] || continue
  echo "${setting#*=}" > "$shadow"; mount --bind "$shadow" "$file"
done
echo "ready $pid"
while :; do sleep infinity & wait $! || true; done
"#;

/// Moves a program into the node's control groups.
const JOIN_GROUPS: &str =
    r#"for group in /sys/fs/cgroup/*/; do echo $$ > "${group}cgroup.procs"; done; exec "$@""#;

/// A machine with an init process of its own. Everything on it dies with it.
pub struct Host {
    machine: Machine,
    init: Process,
    pid: u32,
}

impl Host {
    /// Makes the machine ready; before meshd starts on it, and again after a reboot.
    pub fn start(machine: &Machine) -> Self {
        machine.sh(PREPARE);
        let group = cgroups::name(machine.lab(), machine.name());
        let argv = [
            "unshare",
            "--mount",
            "--propagation",
            "unchanged",
            "--",
            "sh",
            "-c",
            ENTER_GROUPS,
        ];
        let init = machine.spawn_as("init", &[&argv[..], &["groups", &group, INIT]].concat(), &[]);
        let pid = eventually(START, &format!("init on {} is ready", machine.name()), || {
            assert!(
                init.is_running(),
                "init on {} ended: {}",
                machine.name(),
                init.log()
            );
            let log = init.log();
            log.lines()
                .find_map(|line| line.strip_prefix("ready ")?.parse().ok())
        });
        Self {
            machine: machine.clone(),
            init,
            pid,
        }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Starts a program on the node, with `path` before the computer's own `PATH`.
    pub fn spawn(&self, path: &str, argv: &[&str]) -> Process {
        let program = argv[0].rsplit('/').next().unwrap_or("program");
        self.machine.spawn_command(program, self.command(path, argv), &[])
    }

    /// Runs a program on the node to its end.
    pub fn output(&self, path: &str, argv: &[&str]) -> Output {
        let mut command = self.command(path, argv);
        command.stdin(Stdio::null()).output().expect("nsenter runs")
    }

    /// Kills every process of the node but those of the machine itself (meshd), and forgets its control groups.
    pub fn stop(&self) {
        self.init.kill();
        let group = cgroups::name(self.machine.lab(), self.machine.name());
        cgroups::remove_named(&group);
    }

    fn command(&self, path: &str, argv: &[&str]) -> Command {
        let (own, namespaces) = (self.pid, ["--cgroup", "--pid"]);
        let argv = [&["sh", "-c", JOIN_GROUPS, "join"], argv].concat();
        let mut command = self.machine.command_at(own, &namespaces, &argv);
        let inherited = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:{inherited}"));
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}
