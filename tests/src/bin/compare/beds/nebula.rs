//! nebula as Debian has it, with the settings of its own example; the hub is the lighthouse.

use std::path::Path;

use meshd_tests::{Machine, Process, World};

use super::star::{Star, inner};
use super::{Bed, MTU, NEBULA, Shape};

const PORT: u16 = 4242;

/// nebula on each machine, with certificates of one authority.
pub fn bed(world: &World, program: &str, shape: Shape) -> Bed {
    let star = Star::new(world, NEBULA, shape.spokes);
    let authority = Authority::new(program, &star.machines[0]);
    let started: Vec<Process> = star
        .machines
        .iter()
        .enumerate()
        .map(|(number, machine)| {
            authority.sign(number, machine);
            let hub = star.hub(number.max(1));
            write(machine, "nebula.yml", &config(number, &hub.to_string()));
            machine.spawn(&[program, "-config", "/run/nebula.yml"], &[])
        })
        .collect();
    let agents = started.iter().map(Process::pid).collect();
    let addresses = (0..=shape.spokes).map(inner).collect();
    Bed::new(NEBULA, &star, addresses, (agents, Box::new(started)))
}

/// Who signs, on the hub.
struct Authority<'a> {
    program: String,
    machine: &'a Machine,
}

impl<'a> Authority<'a> {
    fn new(nebula: &str, machine: &'a Machine) -> Self {
        let program = Path::new(nebula)
            .with_file_name("nebula-cert")
            .display()
            .to_string();
        machine.sh(&format!(
            "cd /run; {program} ca -name bench -out-crt authority.crt -out-key authority.key"
        ));
        Self { program, machine }
    }

    /// Gives a machine its certificate and key.
    fn sign(&self, number: usize, to: &Machine) {
        let (program, address) = (&self.program, inner(number));
        self.machine.sh(&format!(
            "cd /run; {program} sign -ca-crt authority.crt -ca-key authority.key -name end{number} -ip {address}/24 \
             -out-crt end{number}.crt -out-key end{number}.key"
        ));
        let files = [
            ("authority.crt".to_owned(), "ca.crt"),
            (format!("end{number}.crt"), "host.crt"),
            (format!("end{number}.key"), "host.key"),
        ];
        for (from, name) in files {
            write(to, name, &self.machine.read(&format!("/run/{from}")));
        }
    }
}

fn write(machine: &Machine, name: &str, text: &str) {
    std::fs::write(machine.file(&format!("/run/{name}")), text).expect("the lab's folder is writable");
}

fn config(number: usize, hub: &str) -> String {
    let lighthouse = match number {
        0 => "am_lighthouse: true".to_owned(),
        _ => format!("am_lighthouse: false\n  hosts: [\"{}\"]", inner(0)),
    };
    let open = "    - port: any\n      proto: any\n      host: any\n";
    format!(
        "pki:\n  ca: /run/ca.crt\n  cert: /run/host.crt\n  key: /run/host.key\n\
         static_host_map:\n  \"{}\": [\"{hub}:{PORT}\"]\n\
         lighthouse:\n  {lighthouse}\n\
         listen:\n  host: 0.0.0.0\n  port: {PORT}\n\
         tun:\n  dev: nebula0\n  mtu: {MTU}\n  tx_queue: 500\n\
         logging:\n  level: error\n  format: text\n\
         firewall:\n  outbound:\n{open}  inbound:\n{open}",
        inner(0)
    )
}
