//! nebula as Debian has it, with the settings of its own example; the first machine is the lighthouse.

use std::net::IpAddr;
use std::path::Path;

use meshd_tests::{Process, World};

use super::{Bed, INNER, MTU, NEBULA, OUTER, pair};

const PORT: u16 = 4242;

/// nebula on two machines, with certificates of one authority.
pub fn bed(world: &World, program: &str) -> Bed {
    let machines = pair(world, NEBULA);
    let cert = Path::new(program)
        .with_file_name("nebula-cert")
        .display()
        .to_string();
    machines[0].run(&[
        &cert,
        "ca",
        "-name",
        "bench",
        "-out-crt",
        "/run/ca.crt",
        "-out-key",
        "/run/ca.key",
    ]);
    let started: Vec<Process> = (0..2)
        .map(|own| {
            let (name, address) = (format!("end{own}"), format!("{}/24", INNER[own]));
            machines[0].sh(&format!(
                "{cert} sign -ca-crt /run/ca.crt -ca-key /run/ca.key -name {name} -ip {address} \
                 -out-crt /run/{name}.crt -out-key /run/{name}.key"
            ));
            for (from, to) in [
                (format!("{name}.crt"), "host.crt"),
                (format!("{name}.key"), "host.key"),
                ("ca.crt".into(), "ca.crt"),
            ] {
                let text = machines[0].read(&format!("/run/{from}"));
                std::fs::write(machines[own].file(&format!("/run/{to}")), text)
                    .expect("the lab's folder is writable");
            }
            std::fs::write(machines[own].file("/run/nebula.yml"), config(own))
                .expect("the lab's folder is writable");
            machines[own].spawn(&[program, "-config", "/run/nebula.yml"], &[])
        })
        .collect();
    let agents = started.iter().map(Process::pid).collect();
    Bed::new(
        NEBULA,
        &machines,
        INNER.map(IpAddr::V4),
        (agents, Box::new(started)),
    )
}

fn config(own: usize) -> String {
    let lighthouse = match own {
        0 => "am_lighthouse: true".to_owned(),
        _ => format!("am_lighthouse: false\n  hosts: [\"{}\"]", INNER[0]),
    };
    format!(
        "pki:\n  ca: /run/ca.crt\n  cert: /run/host.crt\n  key: /run/host.key\n\
         static_host_map:\n  \"{}\": [\"{}:{PORT}\"]\n\
         lighthouse:\n  {lighthouse}\n\
         listen:\n  host: 0.0.0.0\n  port: {PORT}\n\
         tun:\n  dev: nebula0\n  mtu: {MTU}\n  tx_queue: 500\n\
         logging:\n  level: error\n  format: text\n\
         firewall:\n  outbound:\n    - port: any\n      proto: any\n      host: any\n  inbound:\n    - port: any\n      proto: any\n      host: any\n",
        INNER[0], OUTER[0]
    )
}
