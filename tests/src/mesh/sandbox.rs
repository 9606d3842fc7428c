//! meshd's systemd unit as a sandbox: the capabilities, the read-only file system with its exceptions, the hidden homes.
//! What the unit says is read from the unit, so that a test fails when the unit forbids what meshd needs. The system-call
//! filter and the device list need systemd itself and are not applied.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// What of a unit file the lab applies.
pub struct Sandbox {
    capabilities: Vec<String>,
    writable: Vec<String>,
    strict: bool,
    hidden_homes: bool,
    kernel_tunables: bool,
}

/// The values of one setting, in the order of the file.
fn values<'a>(unit: &'a str, setting: &'a str) -> impl Iterator<Item = &'a str> {
    unit.lines()
        .filter_map(move |line| line.strip_prefix(setting)?.strip_prefix('='))
}

impl Sandbox {
    /// Reads `packaging/systemd/NAME.service`.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn of_unit(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
        let unit = std::fs::read_to_string(folder.join(format!("{name}.service")));
        Self::parse(&unit.expect("the unit is there"))
    }

    /// The same of `meshd@N.service`, which `packaging/instance-unit` makes of meshd's unit.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn of_instance(number: u16) -> Self {
        let maker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/instance-unit");
        let made = Command::new(maker)
            .output()
            .expect("packaging/instance-unit runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::parse(&String::from_utf8_lossy(&made.stdout).replace("%i", &number.to_string()))
    }

    fn parse(unit: &str) -> Self {
        let words = |setting: &str| -> Vec<String> {
            values(unit, setting)
                .flat_map(str::split_whitespace)
                .map(str::to_owned)
                .collect()
        };
        let says = |setting: &str, value: &str| values(unit, setting).last() == Some(value);
        let own = [("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")];
        let own = own
            .into_iter()
            .flat_map(|(setting, above)| words(setting).into_iter().map(move |d| format!("{above}/{d}")));
        Self {
            capabilities: words("CapabilityBoundingSet"),
            writable: words("ReadWritePaths").into_iter().chain(own).collect(),
            strict: says("ProtectSystem", "strict"),
            hidden_homes: says("ProtectHome", "yes"),
            kernel_tunables: says("ProtectKernelTunables", "yes"),
        }
    }

    /// The command line that runs `argv` inside the sandbox; the process keeps its pid.
    pub fn wrap(&self, argv: &[&str]) -> Vec<String> {
        let mut command: Vec<String> = [
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "--",
            "sh",
            "-e",
            "-c",
        ]
        .map(str::to_owned)
        .to_vec();
        command.push(self.script(argv[0]));
        command.push("sandbox".into());
        command.extend(argv[1..].iter().map(|argument| (*argument).to_owned()));
        command
    }

    fn script(&self, program: &str) -> String {
        let mut script = String::new();
        let own = Path::new(program)
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("program");
        // the program stays visible where the homes are not
        let _ = writeln!(
            script,
            "mkdir -p /run/lab; : >> /run/lab/{own}; mount --bind {program} /run/lab/{own}"
        );
        for path in &self.writable {
            let _ = writeln!(script, "mkdir -p {path}; mount --rbind {path} {path}");
        }
        let mut read_only = Vec::new();
        if self.strict {
            read_only.extend(["/etc", "/run", "/var/lib", "/"]);
        }
        if self.kernel_tunables {
            script.push_str("mount --bind /proc/sys /proc/sys\n");
            if self.writable.iter().any(|path| path == "/proc/sys/net") {
                script.push_str("mount --bind /proc/sys/net /proc/sys/net\n");
            }
            read_only.extend(["/proc/sys", "/sys"]);
        }
        for path in read_only
            .into_iter()
            .filter(|path| !self.writable.iter().any(|own| own == path))
        {
            let _ = writeln!(script, "mount -o remount,bind,ro {path}");
        }
        if self.hidden_homes {
            script.push_str("for h in /root /home; do mount -t tmpfs -o ro,mode=0 tmpfs $h; done\n");
        }
        let capabilities: String = self
            .capabilities
            .iter()
            .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let _ = writeln!(
            script,
            "cd /; exec setpriv --pdeathsig keep --no-new-privs --bounding-set -all{capabilities} \
             --inh-caps -all{capabilities} -- /run/lab/{own} \"$@\""
        );
        script
    }
}
