//! What nodes may expose by themselves: a cluster's control plane asks for ports, and the root's allowance says which it gets.
//!
//! Nobody is believed further than what the root signed: not a port, a site, a namespace or a target outside of it, nor more ports than
//! it allows. Where two nodes of one cluster speak, who was elected later does ([`supersedes`]).

use std::net::SocketAddrV4;
use std::time::Duration;

use super::sites::is_site;
use crate::names::is_label;
use crate::statement::{ExposeTerms, IngressTerms, MAX_SITES, Protocol, ProxyVersion};

/// Most ports of one allowance, where it does not say less.
pub const MAX_LISTENERS: usize = 64;
/// Most targets of one port.
pub const MAX_TARGETS: usize = 128;
/// Who asked last and was silent for so long has no precedence over others any more.
const SILENT: Duration = Duration::from_secs(60);

/// A port that a node asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The namespace of its service.
    pub namespace: String,
    /// Its service.
    pub service: String,
    /// The transport.
    pub protocol: Protocol,
    /// The public port.
    pub port: u16,
    /// Sites, where the port is shared.
    pub sites: Vec<String>,
    /// How targets are told who the client is.
    pub proxy: Option<ProxyVersion>,
    /// Where what comes there goes.
    pub targets: Vec<SocketAddrV4>,
}

/// Why a port is not had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngressError {
    /// Not a port that the root allowed.
    #[error(
        "port {port} ({protocol}) is none that \"{allowance}\" allows ({ports}); `meshctl expose allow` changes that"
    )]
    Port {
        /// The port.
        port: u16,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The allowance.
        allowance: String,
        /// What it allows.
        ports: String,
    },
    /// Not a namespace that the root allowed.
    #[error("namespace {namespace} is none that \"{allowance}\" allows; `meshctl expose allow` changes that")]
    Namespace {
        /// The namespace.
        namespace: String,
        /// The allowance.
        allowance: String,
    },
    /// Not a site that the root allowed.
    #[error("the site {site} is none that \"{allowance}\" allows; `meshctl expose allow` changes that")]
    Site {
        /// The site.
        site: String,
        /// The allowance.
        allowance: String,
    },
    /// No name of a service.
    #[error("\"{0}\" is no name of a service and its namespace")]
    Name(String),
    /// More than there is room for.
    #[error("it has {count} {what}; at most {most} are possible")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are possible.
        most: usize,
    },
    /// A port 0.
    #[error("port 0 is none")]
    NoPort,
}

/// What a port is exposed as, where the allowance of this name allows it. `shared` says whether others have the port too, so that
/// it is had for sites alone. Targets are not in it: they are addresses.
///
/// # Errors
/// The first reason against it.
pub fn admit(
    (allowance, terms): (&str, &IngressTerms),
    asked: &Asked,
    shared: bool,
) -> Result<ExposeTerms, IngressError> {
    let names = [&asked.namespace, &asked.service];
    if let Some(odd) = names.into_iter().find(|name| !is_label(name)) {
        return Err(IngressError::Name(odd.chars().take(64).collect()));
    }
    few("targets", asked.targets.len(), MAX_TARGETS)?;
    few("sites", asked.sites.len(), MAX_SITES)?;
    if asked.port == 0 || asked.targets.iter().any(|target| target.port() == 0) {
        return Err(IngressError::NoPort);
    }
    let allowance = allowance.to_owned();
    if !terms.namespaces.is_empty() && !terms.namespaces.contains(&asked.namespace) {
        let namespace = asked.namespace.clone();
        return Err(IngressError::Namespace { namespace, allowance });
    }
    let mut ranges = terms.ports.iter();
    if !ranges.any(|range| range.contains(asked.protocol, asked.port)) {
        let ports: Vec<String> = terms.ports.iter().map(ToString::to_string).collect();
        return Err(IngressError::Port {
            port: asked.port,
            protocol: asked.protocol.word(),
            allowance,
            ports: ports.join(", "),
        });
    }
    let strange = |site: &&String| !is_site(site) || !may_take(&terms.sites, site);
    if let Some(site) = asked.sites.iter().find(strange) {
        let site = site.chars().take(253).collect();
        return Err(IngressError::Site { site, allowance });
    }
    let sites = match asked.sites.is_empty() && shared && asked.protocol == Protocol::Tcp {
        true => terms.sites.clone(),
        false => asked.sites.clone(),
    };
    Ok(ExposeTerms {
        protocol: asked.protocol,
        port: asked.port,
        targets: Vec::new(),
        sites,
        proxy: asked.proxy,
        limits: terms.limits,
    })
}

fn few(what: &'static str, count: usize, most: usize) -> Result<(), IngressError> {
    match count <= most {
        true => Ok(()),
        false => Err(IngressError::TooMany { what, count, most }),
    }
}

/// Whether a site is one of those allowed, or lies under one of them.
fn may_take(allowed: &[String], site: &str) -> bool {
    let under = |allowed: &String| match allowed.strip_prefix("*.") {
        Some(rest) => site.split_once('.').is_some_and(|(_, parent)| parent == rest),
        None => false,
    };
    allowed.is_empty() || allowed.iter().any(|one| one == site || under(one))
}

/// How many ports an allowance gives at once.
pub fn most_ports(terms: &IngressTerms) -> usize {
    let most = terms.listeners.map_or(MAX_LISTENERS, usize::from);
    most.min(MAX_LISTENERS)
}

/// Whether what a node says counts, after another one of its cluster spoke: terms are counted by the cluster's election. Who has
/// been silent for `silence` gives way to anybody.
pub fn supersedes(term: u64, held: u64, silence: Duration) -> bool {
    term >= held || silence >= SILENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> IngressTerms {
        IngressTerms {
            ports: vec![
                "80".parse().unwrap(),
                "443".parse().unwrap(),
                "5000-5010/udp".parse().unwrap(),
            ],
            sites: vec!["*.example.org".into(), "www.example.net".into()],
            namespaces: vec!["web".into()],
            ..IngressTerms::default()
        }
    }

    fn asked(protocol: Protocol, port: u16) -> Asked {
        Asked {
            namespace: "web".into(),
            service: "shop".into(),
            protocol,
            port,
            sites: Vec::new(),
            proxy: None,
            targets: vec!["10.42.1.7:8080".parse().unwrap()],
        }
    }

    fn may(asked: &Asked, shared: bool) -> Result<ExposeTerms, IngressError> {
        admit(("cluster", &terms()), asked, shared)
    }

    #[test]
    fn only_what_the_root_allowed_is_had() {
        assert_eq!(may(&asked(Protocol::Tcp, 80), false).unwrap().port, 80);
        assert!(may(&asked(Protocol::Udp, 5010), false).is_ok());
        for (protocol, port) in [(Protocol::Udp, 80), (Protocol::Tcp, 81), (Protocol::Udp, 5011)] {
            let refused = may(&asked(protocol, port), false).unwrap_err();
            assert!(matches!(refused, IngressError::Port { .. }), "{refused}");
            assert!(
                refused.to_string().contains("80/tcp, 443/tcp, 5000-5010/udp"),
                "{refused}"
            );
        }
        let elsewhere = Asked {
            namespace: "kube-system".into(),
            ..asked(Protocol::Tcp, 80)
        };
        let refused = may(&elsewhere, false).unwrap_err();
        assert!(matches!(refused, IngressError::Namespace { .. }), "{refused}");
        let nothing = admit(
            ("none", &IngressTerms::default()),
            &asked(Protocol::Tcp, 80),
            false,
        );
        assert!(matches!(nothing, Err(IngressError::Port { .. })), "{nothing:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let odd = [
            Asked {
                namespace: "A b".into(),
                ..asked(Protocol::Tcp, 80)
            },
            Asked {
                service: String::new(),
                ..asked(Protocol::Tcp, 80)
            },
            Asked {
                targets: vec!["10.42.1.7:80".parse().unwrap(); MAX_TARGETS + 1],
                ..asked(Protocol::Tcp, 80)
            },
            Asked {
                targets: vec!["10.42.1.7:0".parse().unwrap()],
                ..asked(Protocol::Tcp, 80)
            },
            Asked {
                sites: vec!["a.example.org".into(); MAX_SITES + 1],
                ..asked(Protocol::Tcp, 80)
            },
            asked(Protocol::Tcp, 0),
        ];
        for asked in odd {
            assert!(may(&asked, false).is_err(), "{asked:?}");
        }
    }

    #[test]
    fn sites_lie_under_those_allowed_and_at_a_shared_port_are_given() {
        let with = |site: &str| Asked {
            sites: vec![site.into()],
            ..asked(Protocol::Tcp, 443)
        };
        for good in ["shop.example.org", "*.example.org", "www.example.net"] {
            assert_eq!(may(&with(good), true).unwrap().sites, [good]);
        }
        for bad in [
            "example.org",
            "a.b.example.org",
            "example.net",
            "*.example.net",
            "EXAMPLE.org",
            "192.0.2.1",
        ] {
            assert!(
                matches!(may(&with(bad), true), Err(IngressError::Site { .. })),
                "{bad}"
            );
        }
        assert_eq!(
            may(&asked(Protocol::Tcp, 443), true).unwrap().sites,
            terms().sites
        );
        assert!(may(&asked(Protocol::Tcp, 443), false).unwrap().sites.is_empty());
    }

    #[test]
    fn who_was_elected_later_is_heard_and_after_a_silence_anybody() {
        let second = Duration::from_secs(1);
        assert!(supersedes(4, 4, second) && supersedes(5, 4, second) && !supersedes(3, 4, second));
        assert!(supersedes(0, u64::MAX, SILENT));
    }
}
