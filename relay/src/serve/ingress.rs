//! What nodes expose by themselves: the coordinator judges it, and the ingress says whether a port can be had.

use std::net::SocketAddrV4;

use axum::extract::State;
use axum::{Extension, Json};
use meshd_api::coordinator::ingress::{IngressAsk, IngressGiven, IngressPort};
use meshd_core::expose::Asked;
use meshd_core::statement::{Protocol, ProxyVersion};

use super::answer::{Answer, Body, Failure};
use super::proof::Member;
use crate::coordinator::Coordinator;
use crate::expose::Ingress;

/// Most bytes of an ask: 64 ports with 128 targets each.
pub const MAX_BODY: usize = 256 * 1024;

/// `PUT /v1/networks/{id}/ingress`.
pub async fn ask(
    State(coordinator): State<Coordinator>,
    Extension(ingress): Extension<Ingress>,
    member: Member,
    Body(ask): Body<IngressAsk>,
) -> Answer<Json<IngressGiven>> {
    let ports = ask.ports.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let addresses = ingress.public();
    let asked = (ask.allowance, ask.term, ports);
    let ports = coordinator
        .call(move |state| {
            let can = |asked: &Asked| ingress.can_listen(asked.protocol, asked.port);
            state.ask_ingress(member.network, member.node, asked, can)
        })
        .await?;
    Ok(Json(IngressGiven { addresses, ports }))
}

fn read(port: &IngressPort) -> Result<Asked, Failure> {
    let odd = |what: &str, text: &str| {
        let text: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
        Failure::bad_request(format!("\"{text}\" is no {what}"))
    };
    let target = |text: &String| {
        text.parse::<SocketAddrV4>()
            .map_err(|_| odd("IPv4 address and port", text))
    };
    Ok(Asked {
        namespace: port.namespace.clone(),
        service: port.service.clone(),
        protocol: match port.protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(odd("protocol; take tcp or udp", other)),
        },
        port: port.port,
        sites: port.sites.clone(),
        proxy: match port.proxy_protocol.as_deref() {
            None => None,
            Some("v1") => Some(ProxyVersion::V1),
            Some("v2") => Some(ProxyVersion::V2),
            Some(other) => return Err(odd("version of the PROXY protocol; take v1 or v2", other)),
        },
        targets: port.targets.iter().map(target).collect::<Result<_, _>>()?,
    })
}
