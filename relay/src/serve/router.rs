//! Which path is served by whom. One table makes the router and its OpenAPI document, so neither knows a path that the
//! other does not.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Json, Router};
use meshd_api::coordinator::admin::{
    Done, EndpointInfo, EndpointRemove, EndpointSet, ExposeInfo, ExposeRemove, ExposeSet, GatewayAdd,
    GatewayInfo, GatewayRemove, GrantSet, IngressInfo, IngressRemove, IngressSet, NameFree, NetworkCreate,
    NetworkInfo, NetworkPods, NodeAct, NodeInfo, NodePods, NodeRelay, RelayCreate, RelayCreated, RelayInfo,
    TokenCreate, TokenCreated, TokenInfo, TokenRevoke,
};
use meshd_api::coordinator::ingress::{IngressAsk, IngressGiven};
use meshd_api::coordinator::node::{
    Entries, JoinPreview, JoinReply, JoinRequest, Leave, Parts, PartsTaken, Pong, RecordUpdate, StreamLine,
};
use meshd_api::coordinator::relay::RelayLine;
use serde_json::Value;

use super::answer::{Failure, not_found, wrong_method};
use super::openapi::{Doc, document};
use super::proof::admins_only;
use super::{admins, ingress, nodes, over_tls, relays};
use crate::coordinator::{Coordinator, State as Everything};
use crate::expose::Ingress;
use crate::packets::streams::StreamEntry;

/// How long a request may take until its answer starts, its body included.
const REQUEST_TIME: Duration = Duration::from_secs(20);
const DOCUMENT: &str = "/v1/openapi.json";

type Table = Vec<(Doc, MethodRouter<Coordinator>)>;

/// The whole API. Who may ask what is decided per request, by its session.
pub fn router(coordinator: Coordinator, streams: StreamEntry, ingress: Ingress) -> Router {
    let (of_nodes, of_admins) = (node_routes(), admin_routes());
    let own = Doc::new("get", DOCUMENT, "This document").gives::<Value>();
    let docs = of_nodes.iter().chain(&of_admins).map(|(doc, _)| doc.clone());
    let text = document(&docs.chain([own]).collect::<Vec<_>>());
    let of_nodes = fold(of_nodes).layer(DefaultBodyLimit::max(nodes::MAX_BODY));
    let of_admins = fold(of_admins)
        .layer(DefaultBodyLimit::max(admins::MAX_BODY))
        .layer(middleware::from_fn_with_state(coordinator.clone(), admins_only));
    Router::new()
        .merge(of_nodes)
        .merge(of_admins)
        .route(DOCUMENT, get(move || std::future::ready(Json(text.clone()))))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(in_time))
        .layer(Extension(streams))
        .layer(Extension(ingress))
        .with_state(coordinator)
}

fn fold(table: Table) -> Router<Coordinator> {
    table.into_iter().fold(Router::new(), |router, (doc, handler)| {
        router.route(doc.path(), handler)
    })
}

#[rustfmt::skip]
fn node_routes() -> Table {
    let at = |method, path, summary| Doc::new(method, path, summary);
    vec![
        (at("post", "/v1/join", "A machine joins by a token").takes::<JoinRequest>().gives::<JoinReply>(),
            post(nodes::join)),
        (at("post", "/v1/join/preview", "What a token's network is; allots nothing and costs no use")
            .takes::<JoinRequest>().gives::<JoinPreview>(), post(nodes::preview)),
        (at("put", "/v1/networks/{id}/record", "A node says what it is").takes::<RecordUpdate>().gives::<Done>(),
            put(nodes::put_record)),
        (at("post", "/v1/networks/{id}/leave", "A node leaves, for good").takes::<Leave>().gives::<Done>(),
            post(nodes::leave)),
        (at("post", "/v1/networks/{id}/statements", "A node hands in what it can prove").takes::<Entries>()
            .gives::<Done>(), post(nodes::statements)),
        (at("post", "/v1/networks/{id}/pong", "A node is alive").takes::<Pong>().gives::<Done>(), post(nodes::pong)),
        (at("post", "/v1/networks/{id}/parts", "A control plane tells which prefixes Kubernetes gave nodes' pods")
            .takes::<Parts>().gives::<PartsTaken>(), post(nodes::parts)),
        (at("put", "/v1/networks/{id}/ingress", "All that a cluster exposes, by a node that may say so")
            .takes::<IngressAsk>().gives::<IngressGiven>(),
            put(ingress::ask).layer(DefaultBodyLimit::max(ingress::MAX_BODY))),
        (at("get", "/v1/networks/{id}/map", "The map, and each of its changes")
            .query(&[("epoch", "integer"), ("version", "integer"), ("facts", "string")])
            .gives_lines::<StreamLine>(), get(nodes::map)),
        (at("get", "/v1/relay", "The connection becomes a stream of relay frames (`Upgrade: meshd-relay`)"),
            get(over_tls::relay)),
        (at("get", "/v1/relays/stream", "For a relay on another host: who may use it, and each change of that")
            .query(&[("udp", "string"), ("tls", "string")]).gives_lines::<RelayLine>(), get(relays::stream)),
    ]
}

#[rustfmt::skip]
fn admin_routes() -> Table {
    let at = |method, path, summary| Doc::new(method, path, summary);
    vec![
        (at("get", "/v1/admin/networks", "All networks; over TLS the one whose root key signed")
            .gives_list::<NetworkInfo>(), get(admins::list_networks)),
        (at("post", "/v1/admin/networks", "Makes a network (admin socket only)").takes::<NetworkCreate>()
            .gives::<NetworkInfo>(), post(admins::create_network)),
        (at("get", "/v1/admin/networks/{network}", "A network, by name or id").gives::<NetworkInfo>(),
            admins::reads(Everything::show_network)),
        (at("delete", "/v1/admin/networks/{network}", "Deletes a network here").gives::<Done>(),
            delete(admins::delete_network)),
        (at("get", "/v1/admin/networks/{network}/tokens", "Its tokens").gives_list::<TokenInfo>(),
            admins::reads(Everything::list_tokens)),
        (at("post", "/v1/admin/networks/{network}/tokens", "Makes a token").takes::<TokenCreate>()
            .gives::<TokenCreated>(), admins::changes(Everything::create_token)),
        (at("post", "/v1/admin/networks/{network}/tokens/{token}/revoke", "Takes a token back").takes::<TokenRevoke>()
            .gives::<Done>(), admins::changes_of(Everything::revoke_token)),
        (at("get", "/v1/admin/networks/{network}/nodes", "Its nodes").gives_list::<NodeInfo>(),
            admins::reads(Everything::list_nodes)),
        (at("get", "/v1/admin/networks/{network}/nodes/{node}", "A node, by name or id").gives::<NodeInfo>(),
            admins::reads_of(Everything::show_node)),
        (at("post", "/v1/admin/networks/{network}/nodes/{node}/approve", "Lets a node in that waits")
            .takes::<NodeAct>().gives::<Done>(), admins::changes_of(Everything::approve_node)),
        (at("post", "/v1/admin/networks/{network}/nodes/{node}/remove", "Removes a node, for good")
            .takes::<NodeAct>().gives::<Done>(), admins::changes_of(Everything::remove_node)),
        (at("post", "/v1/admin/networks/{network}/nodes/{node}/rename", "Renames a node")
            .takes::<NodeAct>().gives::<Done>(), admins::changes_of(Everything::rename_node)),
        (at("post", "/v1/admin/networks/{network}/nodes/{node}/relay", "Has a node relay for others, or no longer")
            .takes::<NodeRelay>().gives::<Done>(), admins::changes_of(Everything::set_relay)),
        (at("post", "/v1/admin/networks/{network}/nodes/{node}/replace", "Makes a token that takes a node's place")
            .takes::<NodeAct>().gives::<TokenCreated>(), admins::changes_of(Everything::replace_node)),
        (at("post", "/v1/admin/networks/{network}/names/free", "Frees a blocked name").takes::<NameFree>()
            .gives::<Done>(), admins::changes(Everything::free_name)),
        (at("get", "/v1/admin/networks/{network}/gateways", "Its egress gateways").gives_list::<GatewayInfo>(),
            admins::reads(Everything::list_gateways)),
        (at("post", "/v1/admin/networks/{network}/gateways", "Makes a node a gateway for a range")
            .takes::<GatewayAdd>().gives::<Done>(), admins::changes(Everything::add_gateway)),
        (at("post", "/v1/admin/networks/{network}/gateways/remove", "Withdraws a gateway's range")
            .takes::<GatewayRemove>().gives::<Done>(), admins::changes(Everything::remove_gateway)),
        (at("post", "/v1/admin/networks/{network}/pods", "Gives its pods and services prefixes").takes::<NetworkPods>()
            .gives::<Done>(), admins::changes(Everything::set_pods)),
        (at("post", "/v1/admin/networks/{network}/nodes/{node}/pods", "Gives a node its part of the pods' prefixes")
            .takes::<NodePods>().gives::<Done>(), admins::changes_of(Everything::give_pods)),
        (at("post", "/v1/admin/networks/{network}/grants", "Grants prefixes in which routes of other programs count")
            .takes::<GrantSet>().gives::<Done>(), admins::changes(Everything::set_grant)),
        (at("get", "/v1/admin/networks/{network}/endpoints", "Addresses that every node balances")
            .gives_list::<EndpointInfo>(), admins::reads(Everything::list_endpoints)),
        (at("post", "/v1/admin/networks/{network}/endpoints", "Makes an endpoint, or changes it")
            .takes::<EndpointSet>().gives::<Done>(), admins::changes(Everything::set_endpoint)),
        (at("post", "/v1/admin/networks/{network}/endpoints/remove", "Takes an endpoint away")
            .takes::<EndpointRemove>().gives::<Done>(), admins::changes(Everything::remove_endpoint)),
        (at("get", "/v1/admin/networks/{network}/exposures", "Public ports of this host, and the nodes behind them")
            .gives_list::<ExposeInfo>(), get(admins::list_exposures)),
        (at("post", "/v1/admin/networks/{network}/exposures", "Exposes something, or changes what is exposed")
            .takes::<ExposeSet>().gives::<Done>(), post(admins::set_exposure)),
        (at("post", "/v1/admin/networks/{network}/exposures/remove", "Exposes something no longer")
            .takes::<ExposeRemove>().gives::<Done>(), admins::changes(Everything::remove_exposure)),
        (at("get", "/v1/admin/networks/{network}/allowances", "What nodes may expose by themselves, and what they do")
            .gives_list::<IngressInfo>(), admins::reads(Everything::list_allowances)),
        (at("post", "/v1/admin/networks/{network}/allowances", "Says what nodes may expose by themselves")
            .takes::<IngressSet>().gives::<Done>(), admins::changes(Everything::set_allowance)),
        (at("post", "/v1/admin/networks/{network}/allowances/remove", "Nodes may expose nothing by that name any more")
            .takes::<IngressRemove>().gives::<Done>(), admins::changes(Everything::remove_allowance)),
        (at("get", "/v1/admin/relays", "All relays (admin socket only)").gives_list::<RelayInfo>(),
            get(admins::list_relays)),
        (at("post", "/v1/admin/relays", "Makes a relay on another host (admin socket only)").takes::<RelayCreate>()
            .gives::<RelayCreated>(), post(admins::create_relay)),
        (at("post", "/v1/admin/relays/{relay}/remove", "Removes a relay (admin socket only)").gives::<Done>(),
            post(admins::remove_relay)),
        (at("get", "/v1/admin/backup", "Everything, as a file (admin socket only)"), get(admins::backup)),
        (at("post", "/v1/admin/restore", "Takes a backup into service (admin socket only)").takes_file()
            .gives::<Done>(), post(admins::restore)),
    ]
}

/// Gives up on a request whose body does not come, or that is stuck.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = "the request took longer than 20 s; try again";
            Failure::new(StatusCode::REQUEST_TIMEOUT, "too-slow", text).into_response()
        }
    }
}
