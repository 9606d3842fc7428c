//! The commands (CNI specification, section 2), one function each.

use meshd_api::Done;
use meshd_api::local::{PodAttachment, PodLease, PodNetwork, PodRequest, PodsForgotten, PodsKept};
use serde_json::{Value, json};

use crate::cable::{self, HOST_MAC, Namespace, addresses, gateway, pod_mac};
use crate::configuration::Configuration;
use crate::environment::{self, Attachment, Command};
use crate::fault;
use crate::kernel::{Mac, bits};
use crate::meshd::{self, Answer};
use crate::outcome::{AddResult, CniError, Code, Interface, Ip, NEWEST, Route, VERSIONS};

/// Does what the runtime asks: the version for documents, and what is to be printed (null: nothing).
pub fn run() -> (String, Result<Value, CniError>) {
    match environment::command() {
        Err(error) => (NEWEST.to_owned(), Err(error)),
        Ok(Command::Version) => (NEWEST.to_owned(), Ok(version())),
        Ok(command) => {
            let (version, configuration) = Configuration::read();
            let outcome = configuration.and_then(|configuration| obey(command, &configuration));
            (version, outcome)
        }
    }
}

fn version() -> Value {
    json!({"cniVersion": NEWEST, "supportedVersions": VERSIONS})
}

fn obey(command: Command, configuration: &Configuration) -> Result<Value, CniError> {
    if matches!(command, Command::Status | Command::Gc) && !configuration.is_at_least("1.1.0") {
        let message = format!(
            "cniVersion {} has neither STATUS nor GC; 1.1.0 has",
            configuration.cni_version
        );
        return Err(CniError::new(Code::Version, message));
    }
    match command {
        Command::Status => status(configuration),
        Command::Gc => collect(configuration),
        Command::Add => add(configuration, &environment::attachment(command)?),
        Command::Del => del(configuration, &environment::attachment(command)?),
        Command::Check => check(configuration, &environment::attachment(command)?),
        Command::Version => Ok(version()),
    }
}

fn request(configuration: &Configuration, attachment: &Attachment) -> PodRequest {
    PodRequest {
        network: configuration.network.clone(),
        cni_network: configuration.name.clone(),
        attachment: PodAttachment {
            container: attachment.container.clone(),
            interface: attachment.interface.clone(),
        },
        pod: attachment.pod.clone(),
    }
}

/// ADD: a lease, the cable, then the routes. Whatever fails is undone.
fn add(configuration: &Configuration, attachment: &Attachment) -> Result<Value, CniError> {
    let (socket, request) = (&configuration.socket, request(configuration, attachment));
    let path = attachment.namespace.as_deref().unwrap_or_else(|| "".as_ref());
    let namespace = Namespace::open(path)?;
    let lease: PodLease = meshd::ask(socket, "add", &request).given(socket)?;
    fault::point("lease");
    let made = cable::make(&namespace, &attachment.interface, &lease).and_then(|()| {
        fault::point("cable");
        meshd::ask(socket, "ready", &request).given(socket)
    });
    match made {
        Ok(ready) => {
            let _: PodLease = ready;
            fault::point("ready");
            let result = result(configuration, attachment, &lease);
            serde_json::to_value(result)
                .map_err(|error| CniError::new(Code::Io, "the result cannot be written").because(error))
        }
        Err(error) => {
            let _ = cable::delete(&lease.host);
            let _: Answer<Done> = meshd::ask(socket, "del", &request);
            Err(error)
        }
    }
}

fn result(configuration: &Configuration, attachment: &Attachment, lease: &PodLease) -> AddResult {
    let mtu = configuration.is_at_least("1.1.0").then_some(lease.mtu);
    let interface = |name: &str, mac: Mac, sandbox: Option<String>| Interface {
        name: name.to_owned(),
        mac: written(mac),
        mtu,
        sandbox,
    };
    let sandbox = attachment
        .namespace
        .as_ref()
        .map(|path| path.display().to_string());
    let ip = |ip| Ip {
        address: format!("{ip}/{}", bits(ip)),
        gateway: gateway(ip).to_string(),
        interface: 1,
    };
    let route = |ip: std::net::IpAddr| Route {
        dst: if ip.is_ipv4() { "0.0.0.0/0" } else { "::/0" }.to_owned(),
        gw: gateway(ip).to_string(),
    };
    AddResult {
        cni_version: configuration.cni_version.clone(),
        interfaces: vec![
            interface(&lease.host, HOST_MAC, None),
            interface(&attachment.interface, pod_mac(lease), sandbox),
        ],
        ips: addresses(lease).map(ip).collect(),
        routes: addresses(lease).map(route).collect(),
        dns: match &configuration.dns {
            Value::Null => json!({}),
            dns => dns.clone(),
        },
    }
}

fn written(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// DEL: what is there goes, and what is not there is no error. Where meshd is away the cable of the result before goes, or goes
/// with its namespace, and meshd takes the lease back when it sees that.
fn del(configuration: &Configuration, attachment: &Attachment) -> Result<Value, CniError> {
    let request = request(configuration, attachment);
    if let Some(host) = configuration.host_interface()
        && let Err(error) = cable::delete(host)
    {
        return Err(CniError::new(Code::Kernel, "the pod's interface cannot be deleted").because(error));
    }
    fault::point("deleted");
    match meshd::ask::<_, Done>(&configuration.socket, "del", &request) {
        Answer::Given(_) | Answer::Away(_) => Ok(Value::Null),
        // Not being in a network, it has nothing of this pod's.
        Answer::Refused(problem) if problem.code != "pods-kernel" => Ok(Value::Null),
        Answer::Refused(problem) => Err(CniError::new(Code::Kernel, problem.message)),
    }
}

/// CHECK: the lease, the cable's two ends, the addresses and routes, against each other and the result before.
fn check(configuration: &Configuration, attachment: &Attachment) -> Result<Value, CniError> {
    let Some(before) = &configuration.prev_result else {
        return Err(CniError::new(
            Code::Configuration,
            "prevResult is missing: CHECK compares with it",
        ));
    };
    let socket = &configuration.socket;
    let request = request(configuration, attachment);
    let lease: PodLease = meshd::ask(socket, "check", &request).given(socket)?;
    let path = attachment.namespace.as_deref().unwrap_or_else(|| "".as_ref());
    let namespace = Namespace::open(path)?;
    let mut wrong = cable::check(&namespace, &attachment.interface, &lease).map_err(|error| {
        CniError::new(Code::Kernel, "the pod's interface cannot be looked at").because(error)
    })?;
    let inside = |ip: &&crate::configuration::PreviousIp| {
        let interface = ip.interface.and_then(|place| before.interfaces.get(place));
        interface.is_none_or(|found| found.name == attachment.interface && !found.sandbox.is_empty())
    };
    let expected: Vec<String> = addresses(&lease).map(|ip| format!("{ip}/{}", bits(ip))).collect();
    let claimed: Vec<&String> = before.ips.iter().filter(inside).map(|ip| &ip.address).collect();
    if claimed.iter().any(|address| !expected.contains(address)) || claimed.len() != expected.len() {
        wrong.push(format!(
            "prevResult says {claimed:?}, and meshd leased {expected:?}"
        ));
    }
    match wrong.is_empty() {
        true => Ok(Value::Null),
        false => Err(
            CniError::new(Code::Broken, "the pod's network is not as it was set up")
                .because(wrong.join("; ")),
        ),
    }
}

/// STATUS: nothing where another pod could be added.
fn status(configuration: &Configuration) -> Result<Value, CniError> {
    let question = PodNetwork {
        network: configuration.network.clone(),
    };
    let answer: Answer<Done> = meshd::ask(&configuration.socket, "status", &question);
    answer
        .given(&configuration.socket)
        .map(|_| Value::Null)
        .map_err(|error| CniError {
            code: Code::NotAvailable,
            ..error
        })
}

/// GC: meshd takes back what the runtime does not name.
fn collect(configuration: &Configuration) -> Result<Value, CniError> {
    let Some(valid) = &configuration.valid else {
        let message = "cni.dev/valid-attachments is missing: without it everything would be taken back";
        return Err(CniError::new(Code::Configuration, message));
    };
    let kept = PodsKept {
        network: configuration.network.clone(),
        cni_network: configuration.name.clone(),
        valid: valid
            .iter()
            .map(|valid| PodAttachment {
                container: valid.container.clone(),
                interface: valid.ifname.clone(),
            })
            .collect(),
    };
    let socket = &configuration.socket;
    let _: PodsForgotten = meshd::ask(socket, "gc", &kept).given(socket)?;
    Ok(Value::Null)
}
