//! What an admin may do, one of each kind.

use super::{NODE, TOKEN};
use crate::statement::*;

fn grant(to: Grantee, on: bool) -> Deed {
    let prefix = "10.244.0.0/16".parse().unwrap();
    Deed::Grant {
        grant: Grant { to, prefix },
        on,
    }
}

fn endpoint(address: Option<std::net::IpAddr>, authorities: Vec<Vec<u8>>) -> Deed {
    let member = |port| Member { node: NODE, port };
    Deed::Endpoint {
        name: "api".into(),
        terms: EndpointTerms {
            address,
            port: 7443,
            members: vec![member(6443), member(6444)],
            authorities,
        },
    }
}

fn expose(protocol: Protocol, proxy: Option<ProxyVersion>) -> Deed {
    Deed::Expose {
        name: "web".into(),
        terms: ExposeTerms {
            protocol,
            port: 443,
            targets: vec![Member {
                node: NODE,
                port: 8443,
            }],
            sites: vec!["www.example.org".into(), "*.example.net".into()],
            proxy,
            limits: ExposeLimits {
                connections: Some(100),
                per_second: None,
                idle: Some(60),
            },
        },
    }
}

fn ingress() -> Deed {
    Deed::Ingress {
        name: "cluster".into(),
        terms: IngressTerms {
            askers: Tellers {
                nodes: vec![NODE],
                tags: vec!["control-plane".into()],
            },
            ports: vec!["80/tcp".parse().unwrap(), "30000-32767/udp".parse().unwrap()],
            sites: vec!["*.example.org".into()],
            namespaces: vec!["default".into()],
            pool: vec!["10.88.0.0/24".parse().unwrap()],
            default_class: true,
            listeners: Some(20),
            limits: ExposeLimits {
                connections: Some(100),
                per_second: Some(10),
                idle: None,
            },
        },
    }
}

/// One of each kind, and of each form that a kind has.
pub fn deeds() -> [Deed; 22] {
    let name = || "web".to_owned();
    [
        Deed::Remove {
            node: NODE,
            name: Some(name()),
            blocked_until: Some(5),
        },
        Deed::Approve { node: NODE },
        Deed::Rename {
            node: NODE,
            name: name(),
        },
        Deed::FreeName { name: name() },
        Deed::RevokeToken { token: TOKEN },
        Deed::RevokeTokenAndNodes { token: TOKEN },
        Deed::Gateway {
            node: NODE,
            terms: GatewayTerms {
                range: "192.168.50.0/24".parse().unwrap(),
                published: Some("10.200.1.0/24".parse().unwrap()),
                nat: false,
                priority: 20,
                to_nodes: vec![NODE],
                to_tags: vec!["office".into()],
                pods: None,
                names: vec!["printer=192.168.50.9".parse().unwrap()],
            },
        },
        Deed::WithdrawGateway {
            node: NODE,
            range: "2001:db8::/32".parse().unwrap(),
        },
        grant(Grantee::Node(NODE), true),
        grant(Grantee::Tag("worker".into()), false),
        grant(Grantee::Everybody, true),
        endpoint(None, vec![vec![0x30; 800]; 2]),
        endpoint(Some("fd44::99".parse().unwrap()), Vec::new()),
        Deed::WithdrawEndpoint { name: name() },
        expose(Protocol::Tcp, None),
        expose(Protocol::Tcp, Some(ProxyVersion::V1)),
        expose(Protocol::Udp, Some(ProxyVersion::V2)),
        Deed::WithdrawExpose { name: name() },
        ingress(),
        Deed::WithdrawIngress { name: name() },
        Deed::Relay { node: NODE, on: true },
        Deed::Relay {
            node: NODE,
            on: false,
        },
    ]
}
