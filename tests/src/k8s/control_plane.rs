//! etcd, API server, controller manager and scheduler, as plain processes on one node.

use std::fs;
use std::net::IpAddr;
use std::process::Output;
use std::time::Duration;

use super::{Host, Parts, files};
use crate::mesh::words;
use crate::process::Process;
use crate::wait::eventually;

/// Time for the API server to be ready, on a busy computer.
const START: Duration = Duration::from_secs(120);
/// The administrator's kubeconfig, of the group that needs no binding.
pub const ADMIN: &str = "/etc/kubernetes/super-admin.conf";

/// The programs of a control plane. They end when it is dropped.
pub struct ControlPlane {
    processes: Vec<Process>,
}

impl ControlPlane {
    /// Makes the cluster's certificates on `host`, whose mesh address is `address`.
    pub fn init(host: &Host, parts: &Parts, address: IpAddr) {
        let config = files::kubeadm(&parts.version(), host.machine().name(), address);
        fs::write(host.machine().file("/etc/kubernetes/kubeadm.yaml"), config)
            .expect("a file of the machine");
        for phase in ["certs", "kubeconfig"] {
            kubeadm(
                host,
                parts,
                &[
                    "init",
                    "phase",
                    phase,
                    "all",
                    "--config",
                    "/etc/kubernetes/kubeadm.yaml",
                ],
            );
        }
    }

    /// A kubeconfig for the user `name` of the group `group`, signed on `host`.
    pub fn credentials(host: &Host, parts: &Parts, name: &str, group: &str) -> Vec<u8> {
        let config = ["--config", "/etc/kubernetes/kubeadm.yaml"];
        let user = ["kubeconfig", "user", "--client-name", name, "--org", group];
        kubeadm(host, parts, &[&user[..], &config].concat()).stdout
    }

    /// Starts the programs; returns when the API server is ready.
    pub fn start(host: &Host, parts: &Parts, address: IpAddr) -> Self {
        let spawn = |name: &str, flags: &[String]| {
            let program = parts.program(name);
            let argv: Vec<&str> = [program.as_str()]
                .into_iter()
                .chain(flags.iter().map(String::as_str))
                .collect();
            host.spawn(&parts.programs(), &argv)
        };
        let etcd = [
            "--data-dir=/var/lib/etcd",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        .map(str::to_owned);
        let mut processes = vec![
            spawn("etcd", &etcd),
            spawn("kube-apiserver", &files::api_server(address)),
        ];
        eventually(START, "the API server is ready", || {
            for process in &processes {
                assert!(process.is_running(), "it ended: {}", process.log());
            }
            let ready = [
                parts.program("kubectl").as_str(),
                "--kubeconfig",
                ADMIN,
                "get",
                "--raw",
                "/readyz",
            ]
            .map(str::to_owned);
            let ready = ready.each_ref().map(String::as_str);
            host.output(&parts.programs(), &ready)
                .status
                .success()
                .then_some(())
        });
        processes.push(spawn("kube-controller-manager", &files::controller_manager()));
        let scheduler = [
            "--kubeconfig=/etc/kubernetes/scheduler.conf",
            "--leader-elect=false",
        ]
        .map(str::to_owned);
        processes.push(spawn("kube-scheduler", &scheduler));
        Self { processes }
    }

    /// Fails where one of the programs has ended.
    pub fn check(&self) {
        for process in &self.processes {
            assert!(
                process.is_running(),
                "a program of the control plane ended: {}",
                process.log()
            );
        }
    }
}

fn kubeadm(host: &Host, parts: &Parts, arguments: &[&str]) -> Output {
    let program = parts.program("kubeadm");
    let output = host.output(&parts.programs(), &[&[program.as_str()], arguments].concat());
    assert!(
        output.status.success(),
        "kubeadm {} failed: {}",
        arguments.join(" "),
        words(&output)
    );
    output
}
