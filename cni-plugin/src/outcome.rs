//! What the plugin prints: results and errors (CNI specification, section 5).

use serde::Serialize;
use serde_json::{Value, json};

/// The version that results have where the configuration names none that is known.
pub const NEWEST: &str = "1.1.0";
/// The versions of the specification that are spoken.
pub const VERSIONS: [&str; 2] = ["1.0.0", NEWEST];

/// The error codes that are used; those below 100 are the specification's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Incompatible CNI version.
    Version = 1,
    /// Unsupported field in the configuration.
    Field = 2,
    /// The container does not exist: there is nothing to clean up.
    NoContainer = 3,
    /// A variable is missing or wrong.
    Environment = 4,
    /// Input or output failed.
    Io = 5,
    /// The configuration is no JSON, or not of its form.
    Decode = 6,
    /// The configuration makes no sense.
    Configuration = 7,
    /// Try again later.
    Later = 11,
    /// STATUS: no pod can be added now.
    NotAvailable = 50,
    /// meshd has no address left.
    Exhausted = 100,
    /// The kernel refused.
    Kernel = 101,
    /// CHECK: the pod's network is not as it was set up.
    Broken = 102,
    /// meshd refused, and trying again will not help.
    Refused = 103,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniError {
    /// What kind of failure.
    pub code: Code,
    /// One short sentence.
    pub message: String,
    /// More, for a person; may be empty.
    pub details: String,
}

impl CniError {
    /// A failure in one sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: String::new(),
        }
    }

    /// The same with more for a person.
    pub fn because(self, details: impl ToString) -> Self {
        Self {
            details: details.to_string(),
            ..self
        }
    }

    /// As it is printed.
    pub fn document(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code as u32, "msg": self.message, "details": self.details})
    }
}

/// Prints a document; a runtime that does not listen any more hears nothing.
pub fn tell(document: &Value) {
    use std::io::Write;
    if !document.is_null() {
        let _ = writeln!(std::io::stdout(), "{document}");
    }
}

/// The result of ADD.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AddResult {
    /// Version of this document.
    pub cni_version: String,
    /// The host's end, then the pod's.
    pub interfaces: Vec<Interface>,
    /// The pod's addresses.
    pub ips: Vec<Ip>,
    /// The pod's routes.
    pub routes: Vec<Route>,
    /// What the configuration says of DNS.
    pub dns: Value,
}

/// An interface.
#[derive(Debug, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Its MTU in bytes; from 1.1.0 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Path of the namespace that it is in, unless it is the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
}

/// An address.
#[derive(Debug, Serialize)]
pub struct Ip {
    /// With its prefix length.
    pub address: String,
    /// The next hop.
    pub gateway: String,
    /// Place of its interface in the list.
    pub interface: usize,
}

/// A route.
#[derive(Debug, Serialize)]
pub struct Route {
    /// Destination.
    pub dst: String,
    /// Next hop.
    pub gw: String,
}
