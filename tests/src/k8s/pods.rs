//! Pods that answer with their name and dial others (agnhost's netexec), asked over HTTP from their own node.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use serde_json::Value;

use crate::machine::Machine;

/// How long a connection or an answer may take, on a busy computer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The port that netexec listens on.
const PORT: u16 = 8080;

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name, which is its host name.
    pub name: String,
    /// The node that it runs on.
    pub node: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    uid: String,
}

impl Pod {
    /// What the API server says of a pod; `None` until it is ready and has an address.
    pub fn ready(object: &Value) -> Option<Self> {
        let conditions = object["status"]["conditions"].as_array()?;
        conditions
            .iter()
            .find(|one| one["type"] == "Ready" && one["status"] == "True")?;
        let addresses = object["status"]["podIPs"].as_array()?.iter();
        let mut addresses: Vec<IpAddr> = addresses
            .filter_map(|one| one["ip"].as_str()?.parse().ok())
            .collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        Some(Self {
            name: object["metadata"]["name"].as_str()?.to_owned(),
            node: object["spec"]["nodeName"].as_str()?.to_owned(),
            addresses,
            uid: object["metadata"]["uid"].as_str()?.to_owned(),
        })
    }

    /// A process of the pod, by its id on this computer.
    ///
    /// # Panics
    /// If there is none.
    pub fn process(&self) -> u32 {
        let mark = format!("/pod{}/", self.uid);
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let of_pod = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&mark))
        };
        pids.find(of_pod)
            .unwrap_or_else(|| panic!("{} has no process", self.name))
    }

    /// Its network namespace, by the name that the runtime gave it on the node's machine.
    ///
    /// # Panics
    /// If it has none there.
    pub fn namespace(&self, node: &Machine) -> crate::pods::Pod {
        let own = fs::metadata(format!("/proc/{}/ns/net", self.process())).map(|file| file.ino());
        let own = own.expect("the process is there").to_string();
        let names = node.sh("cd /run/netns; for name in *; do stat -Lc '%i %n' $name; done");
        let name = names.lines().find_map(|line| {
            let (number, name) = line.split_once(' ')?;
            (number == own).then_some(name)
        });
        let name = name.unwrap_or_else(|| panic!("{} has no network namespace on {}", self.name, self.node));
        crate::pods::Pod::of(node, name)
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }

    /// What the pod hears when it asks `http://HOST:PORT/REQUEST` so many times: the different answers, or what went wrong. `node` is
    /// the machine of the pod's own node.
    pub fn dial(
        &self,
        node: &Machine,
        to: (&str, u16),
        request: &str,
        times: u32,
    ) -> Result<BTreeSet<String>, String> {
        let (host, port) = to;
        let path = format!("/dial?host={host}&port={port}&request={request}&protocol=http&tries={times}");
        let said = get(node, SocketAddr::new(self.address(), PORT), &path)?;
        let said: Value = serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))?;
        let texts = |field: &str| -> Vec<String> {
            let list = said[field].as_array().into_iter().flatten();
            list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        match texts("errors").first() {
            Some(error) => Err(format!("{} -> {host}:{port}: {error}", self.name)),
            None => Ok(texts("responses").into_iter().collect()),
        }
    }
}

/// The body of what a server answers to `GET path`, asked from `machine`.
pub fn get(machine: &Machine, server: SocketAddr, path: &str) -> Result<String, String> {
    let answer = machine.inside(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE * 3))?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {server}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.map_err(|error| format!("{} -> {server}{path}: {error}", machine.name()))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or("an answer without an end of its head")?;
    if head.contains(" 200 ") {
        Ok(body.to_owned())
    } else {
        Err(format!(
            "{server}{path}: {}",
            head.lines().next().unwrap_or_default()
        ))
    }
}
