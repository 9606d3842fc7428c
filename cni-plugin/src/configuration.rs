//! The configuration on standard input (CNI specification, section 1), checked.

use std::io::Read;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::environment::is_identifier;
use crate::outcome::{CniError, Code, NEWEST, VERSIONS};

/// Beginning of the names of cables' ends on the host.
const HOST_PREFIX: &str = "mpod";
/// Longest name of a network in bytes.
const MAX_NAME: usize = 256;
/// Longest configuration in bytes.
const MAX: u64 = 4 << 20;

/// What the runtime configured. Fields of other plugins and of the runtime are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Version of the specification in use.
    #[serde(default)]
    pub cni_version: String,
    /// Name of the CNI network.
    #[serde(default)]
    pub name: String,
    /// Where meshd listens.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// The mesh network; not needed where one network of this machine has pods.
    #[serde(default)]
    pub network: Option<String>,
    /// What the result says of DNS.
    #[serde(default)]
    pub dns: Value,
    /// The result of the ADD before.
    #[serde(default)]
    pub prev_result: Option<PreviousResult>,
    /// GC: what the runtime still knows.
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid: Option<Vec<ValidAttachment>>,
    /// Not supported: addresses come from meshd.
    #[serde(default)]
    ipam: Value,
}

/// What CHECK compares with.
#[derive(Debug, Deserialize)]
pub struct PreviousResult {
    /// Interfaces.
    #[serde(default)]
    pub interfaces: Vec<PreviousInterface>,
    /// Addresses.
    #[serde(default)]
    pub ips: Vec<PreviousIp>,
}

/// An interface of the result before.
#[derive(Debug, Deserialize)]
pub struct PreviousInterface {
    /// Its name.
    pub name: String,
    /// Its namespace; empty for the host's.
    #[serde(default)]
    pub sandbox: String,
}

/// An address of the result before.
#[derive(Debug, Deserialize)]
pub struct PreviousIp {
    /// With its prefix length.
    pub address: String,
    /// Place of its interface in the list.
    #[serde(default)]
    pub interface: Option<usize>,
}

/// An interface that exists.
#[derive(Debug, Deserialize)]
pub struct ValidAttachment {
    /// Container id.
    #[serde(rename = "containerID")]
    pub container: String,
    /// Interface name inside.
    pub ifname: String,
}

fn default_socket() -> PathBuf {
    meshd_api::local::DEFAULT_SOCKET.into()
}

impl Configuration {
    /// Reads standard input; the version for an error's document comes first.
    pub fn read() -> (String, Result<Self, CniError>) {
        let mut text = String::new();
        let read = std::io::stdin().take(MAX).read_to_string(&mut text);
        let parsed = match read {
            Err(error) => Err(
                CniError::new(Code::Io, "the configuration on standard input cannot be read").because(error),
            ),
            Ok(_) => Self::parse(&text),
        };
        let version = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|document| Some(document.get("cniVersion")?.as_str()?.to_owned()));
        let known = version.filter(|version| VERSIONS.contains(&version.as_str()));
        (known.unwrap_or_else(|| NEWEST.to_owned()), parsed)
    }

    /// The host's end of the cable, as the result before names it.
    pub fn host_interface(&self) -> Option<&str> {
        let interfaces = &self.prev_result.as_ref()?.interfaces;
        let ours = |one: &&PreviousInterface| one.sandbox.is_empty() && one.name.starts_with(HOST_PREFIX);
        interfaces.iter().find(ours).map(|one| one.name.as_str())
    }

    fn parse(text: &str) -> Result<Self, CniError> {
        let decode = |error: serde_json::Error| {
            CniError::new(
                Code::Decode,
                "the configuration on standard input is not of its form",
            )
            .because(error)
        };
        // a list would be taken for the fields in their order
        if !text.trim_start().starts_with('{') {
            let message = "the configuration on standard input is no JSON object";
            return Err(CniError::new(Code::Decode, message));
        }
        let configuration: Self = serde_json::from_str(text).map_err(decode)?;
        configuration.check()?;
        Ok(configuration)
    }

    fn check(&self) -> Result<(), CniError> {
        let version = &self.cni_version;
        if !VERSIONS.contains(&version.as_str()) {
            let said = if version.is_empty() { "none" } else { version };
            return Err(CniError::new(
                Code::Version,
                format!("cniVersion is {said}; mesh-cni speaks {}", VERSIONS.join(" and ")),
            ));
        }
        if !self.ipam.is_null() && self.ipam != Value::Object(Default::default()) {
            return Err(CniError::new(
                Code::Field,
                format!("ipam: {} is not supported: addresses come from meshd", self.ipam),
            ));
        }
        if !is_identifier(&self.name) || self.name.len() > MAX_NAME {
            let shown: String = self.name.chars().take(64).collect();
            return Err(CniError::new(
                Code::Configuration,
                format!(
                    "name: {shown:?} is no network's name: letters, digits, '_', '.' and '-', with a letter or digit first, at most {MAX_NAME}"
                ),
            ));
        }
        Ok(())
    }

    /// Whether the version in use is `version` or newer.
    pub fn is_at_least(&self, version: &str) -> bool {
        let place = |wanted: &str| VERSIONS.iter().position(|known| *known == wanted);
        place(&self.cni_version) >= place(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<Code> {
        Configuration::parse(text).err().map(|error| error.code)
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        for (text, wanted) in [
            (r#"{"cniVersion":"1.1.0","name":"mesh","type":"mesh-cni"}"#, None),
            (
                r#"{"cniVersion":"1.0.0","name":"mesh","ipam":{},"capabilities":{"portMappings":true}}"#,
                None,
            ),
            ("", Some(Code::Decode)),
            ("[1]", Some(Code::Decode)),
            (r#"{"cniVersion":7,"name":"mesh"}"#, Some(Code::Decode)),
            (r#"{"name":"mesh"}"#, Some(Code::Version)),
            (r#"{"cniVersion":"0.4.0","name":"mesh"}"#, Some(Code::Version)),
            (r#"{"cniVersion":"1.2.0","name":"mesh"}"#, Some(Code::Version)),
            (
                r#"{"cniVersion":"1.1.0","name":"mesh","ipam":{"type":"host-local"}}"#,
                Some(Code::Field),
            ),
            (r#"{"cniVersion":"1.1.0"}"#, Some(Code::Configuration)),
            (
                r#"{"cniVersion":"1.1.0","name":"a b"}"#,
                Some(Code::Configuration),
            ),
        ] {
            assert_eq!(code(text), wanted, "{text}");
        }
    }

    #[test]
    fn versions_have_an_order() {
        let old = Configuration::parse(r#"{"cniVersion":"1.0.0","name":"mesh"}"#).unwrap();
        assert!(old.is_at_least("1.0.0") && !old.is_at_least("1.1.0"));
    }
}
