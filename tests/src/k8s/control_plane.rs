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
    /// None while it was killed.
    api_server: Option<Process>,
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

    /// Starts the programs, the controller manager with more options; returns when the API server is ready.
    pub fn start(host: &Host, parts: &Parts, address: IpAddr, manager: &[&str]) -> Self {
        let etcd = [
            "--data-dir=/var/lib/etcd",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        .map(str::to_owned);
        let mut control_plane = Self {
            api_server: None,
            processes: vec![spawn(host, parts, "etcd", &etcd)],
        };
        control_plane.start_api_server(host, parts, address);
        let scheduler = [
            "--kubeconfig=/etc/kubernetes/scheduler.conf",
            "--leader-elect=false",
        ]
        .map(str::to_owned);
        let mut usual = files::controller_manager();
        // of an option that is given twice the last one counts
        usual.extend(manager.iter().map(|&option| option.to_owned()));
        let others = [
            ("kube-controller-manager", &usual[..]),
            ("kube-scheduler", &scheduler),
        ];
        let others = others.map(|(name, flags)| spawn(host, parts, name, flags));
        control_plane.processes.extend(others);
        control_plane
    }

    /// Starts the API server; returns when it is ready.
    pub fn start_api_server(&mut self, host: &Host, parts: &Parts, address: IpAddr) {
        self.api_server = Some(spawn(host, parts, "kube-apiserver", &files::api_server(address)));
        eventually(START, "the API server is ready", || {
            self.check();
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
    }

    /// Kills the API server; the others go on without it.
    pub fn kill_api_server(&mut self) {
        self.api_server = None;
    }

    /// Fails where one of the programs has ended.
    pub fn check(&self) {
        for process in self.processes.iter().chain(&self.api_server) {
            assert!(
                process.is_running(),
                "a program of the control plane ended: {}",
                process.log()
            );
        }
    }
}

fn spawn(host: &Host, parts: &Parts, name: &str, flags: &[String]) -> Process {
    let program = parts.program(name);
    let argv: Vec<&str> = [program.as_str()]
        .into_iter()
        .chain(flags.iter().map(String::as_str))
        .collect();
    host.spawn(&parts.programs(), &argv)
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
