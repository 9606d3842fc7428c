//! The runtime's variables (CNI specification, section 2), checked.

use std::env;
use std::path::PathBuf;

use meshd_api::local::PodName;

use crate::outcome::{CniError, Code};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Connect a pod.
    Add,
    /// Disconnect it.
    Del,
    /// Is it as it was set up?
    Check,
    /// Could another be connected?
    Status,
    /// Take back what the runtime forgot.
    Gc,
    /// Which versions are spoken?
    Version,
}

/// The interface that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Container id.
    pub container: String,
    /// Interface name inside.
    pub interface: String,
    /// The pod's network namespace; DEL may come without.
    pub namespace: Option<PathBuf>,
    /// What Kubernetes calls the pod, where the runtime says.
    pub pod: Option<PodName>,
}

/// Reads `CNI_COMMAND`.
pub fn command() -> Result<Command, CniError> {
    let word = variable("CNI_COMMAND").ok_or_else(|| missing("CNI_COMMAND"))?;
    match word.as_str() {
        "ADD" => Ok(Command::Add),
        "DEL" => Ok(Command::Del),
        "CHECK" => Ok(Command::Check),
        "STATUS" => Ok(Command::Status),
        "GC" => Ok(Command::Gc),
        "VERSION" => Ok(Command::Version),
        other => Err(wrong(
            "CNI_COMMAND",
            other,
            "one of ADD, DEL, CHECK, STATUS, GC, VERSION",
        )),
    }
}

/// Reads the variables that name an interface.
pub fn attachment(command: Command) -> Result<Attachment, CniError> {
    let container = variable("CNI_CONTAINERID").ok_or_else(|| missing("CNI_CONTAINERID"))?;
    if !is_identifier(&container) || container.len() > 256 {
        let form = "letters, digits, '_', '.' and '-', with a letter or digit first, at most 256";
        return Err(wrong("CNI_CONTAINERID", &container, form));
    }
    let interface = variable("CNI_IFNAME").ok_or_else(|| missing("CNI_IFNAME"))?;
    if !is_interface(&interface) {
        let form = "an interface's name: 1 to 15 bytes without '/', ':' and white space, and not '.' or '..'";
        return Err(wrong("CNI_IFNAME", &interface, form));
    }
    let namespace = variable("CNI_NETNS").map(PathBuf::from);
    if namespace.is_none() && command != Command::Del {
        return Err(missing("CNI_NETNS"));
    }
    Ok(Attachment {
        container,
        interface,
        namespace,
        pod: variable("CNI_ARGS").and_then(|arguments| pod(&arguments)),
    })
}

/// The pod's name in `KEY=VALUE;...`, which is how Kubernetes' runtimes tell it.
fn pod(arguments: &str) -> Option<PodName> {
    let value = |wanted: &str| {
        let pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
        let mut named = pairs.filter(|(key, _)| key.trim() == wanted);
        let value = named.next()?.1.trim();
        (!value.is_empty() && value.len() <= 256).then(|| value.to_owned())
    };
    Some(PodName {
        namespace: value("K8S_POD_NAMESPACE")?,
        name: value("K8S_POD_NAME")?,
        uid: value("K8S_POD_UID").unwrap_or_default(),
    })
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn missing(name: &str) -> CniError {
    CniError::new(Code::Environment, format!("{name} is not set"))
}

fn wrong(name: &str, value: &str, form: &str) -> CniError {
    CniError::new(Code::Environment, format!("{name} is {value:?}, not {form}"))
}

/// What names and container ids look like.
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_name_is_among_the_arguments() {
        let told = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u";
        let named = pod(told).unwrap();
        assert_eq!(
            (&*named.namespace, &*named.name, &*named.uid),
            ("shop", "web-0", "u")
        );
        assert_eq!(pod("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0").unwrap().uid, "");
        for other in [
            "",
            ";;=",
            "K8S_POD_NAME=x",
            "K8S_POD_NAMESPACE=;K8S_POD_NAME=x",
            "a",
        ] {
            assert_eq!(pod(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_those_of_the_specification() {
        for good in ["a", "0", "pod-1_a.b", "9f86d081884c"] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "ä"] {
            assert!(!is_identifier(bad), "{bad:?}");
        }
        for good in ["eth0", "e", "abcdefghijklmno"] {
            assert!(is_interface(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "abcdefghijklmnop"] {
            assert!(!is_interface(bad), "{bad:?}");
        }
    }
}
