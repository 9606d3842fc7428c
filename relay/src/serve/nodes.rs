//! The API for nodes.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::response::Response;
use ipnet::Ipv4Net;
use meshd_api::Base64Bytes;
use meshd_api::coordinator::admin::Done;
use meshd_api::coordinator::node::{
    Entries, JoinPreview, JoinReply, JoinRequest, Leave, Parts, PartsTaken, Pong, RecordUpdate,
};
use meshd_core::admission::Facts;
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::map::Entry;
use meshd_core::statement::{Signed, Statement};
use serde::Deserialize;

use super::answer::{Answer, Body, Failure, lines, parse};
use super::proof::{Claim, Member, check_network, promote};
use super::session::Session;
use crate::coordinator::{Asked, Coordinator, JoinInput, Newcomer, Opening, Refusal};

/// How long an older connection has to show that it is alive.
const PONG_TIME: Duration = Duration::from_secs(2);
/// Ranges in which a machine wants no address: so many.
const MAX_AVOID: usize = 64;
/// Facts of a machine: so many, so long.
const MAX_FACTS: usize = 16;
const MAX_FACT_BYTES: usize = 128;
/// Entries that a node may bring which is not known here: those of its own chain.
const MAX_STRANGER_ENTRIES: usize = 16;
/// Most bytes of a join or a record.
pub const MAX_BODY: usize = 32 * 1024;
/// Most bytes of what a node remembers, base64 and all: a whole map.
pub const MAX_ENTRIES_BODY: usize = 8 << 20;
/// Most bytes of the same from a node that is not known.
const MAX_STRANGER_BODY: usize = 64 * 1024;

/// `POST /v1/join`.
pub async fn join(
    State(coordinator): State<Coordinator>,
    claim: Claim,
    Body(request): Body<JoinRequest>,
) -> Answer<Json<JoinReply>> {
    let session = claim.session.clone();
    let input = join_input(claim, request)?;
    let asking = input.clone();
    let asked = coordinator.call(move |state| state.join_asks(&asking)).await?;
    promote(&session, input.proof.network, input.proof.node)?;
    let alive = answers(asked).await;
    Ok(Json(
        coordinator.call(move |state| state.join(&input, alive)).await?,
    ))
}

/// `POST /v1/join/preview`.
pub async fn preview(
    State(coordinator): State<Coordinator>,
    claim: Claim,
    Body(request): Body<JoinRequest>,
) -> Answer<Json<JoinPreview>> {
    let input = join_input(claim, request)?;
    Ok(Json(coordinator.call(move |state| state.preview(&input)).await?))
}

fn join_input(claim: Claim, request: JoinRequest) -> Answer<JoinInput> {
    let from = claim.session.tls().map(|tls| tls.from);
    Ok(JoinInput {
        enrolment: statement(&request.enrolment)?,
        proof: claim.proof,
        exporter: claim.exporter,
        host_name: request.hostname,
        ip: request.ip,
        avoid: avoid(&request.avoid)?,
        newcomer: Newcomer {
            facts: facts(request.facts)?,
            from,
        },
    })
}

/// `PUT /v1/networks/{id}/record`.
pub async fn put_record(
    State(coordinator): State<Coordinator>,
    member: Member,
    Body(update): Body<RecordUpdate>,
) -> Answer<Json<Done>> {
    let record = statement(&update.record)?;
    let from = member.session.tls().map(|tls| tls.from);
    let newcomer = Newcomer {
        facts: facts(update.facts)?,
        from,
    };
    let Member {
        network,
        node,
        session,
    } = member;
    let alive = is_older_alive(&coordinator, network, node, &newcomer).await?;
    coordinator
        .call(move |state| {
            let judged = state.put_record(network, node, record, &newcomer, alive);
            marked(&session, judged)
        })
        .await?;
    done("the record is taken")
}

/// `POST /v1/networks/{id}/leave`.
pub async fn leave(
    State(coordinator): State<Coordinator>,
    member: Member,
    Body(leave): Body<Leave>,
) -> Answer<Json<Done>> {
    let departure = statement(&leave.departure)?;
    let newcomer = Newcomer {
        facts: facts(leave.facts)?,
        from: member.session.tls().map(|tls| tls.from),
    };
    let Member {
        network,
        node,
        session,
    } = member;
    if session.is_clones() {
        return Err(Refusal::CloneLeaves.into());
    }
    let alive = is_older_alive(&coordinator, network, node, &newcomer).await?;
    coordinator
        .call(move |state| {
            let judged = state.leave(network, node, departure, &newcomer, alive);
            marked(&session, judged)
        })
        .await?;
    done("this node left the network")
}

/// `POST /v1/networks/{id}/statements`. A node that is not known (after a restore) brings its own chain with it.
pub async fn statements(State(coordinator): State<Coordinator>, request: Request) -> Answer<Json<Done>> {
    let (mut parts, body) = request.into_parts();
    let Claim {
        proof,
        exporter,
        session,
    } = Claim::from_request_parts(&mut parts, &coordinator).await?;
    check_network(&mut parts, &proof).await?;
    let (of_state, network, node) = (proof.clone(), proof.network, proof.node);
    let stranger = match coordinator
        .call(move |state| state.authenticate(&of_state, &exporter))
        .await
    {
        Ok(()) => false,
        Err(Refusal::Unknown { what: "node", .. }) => true,
        Err(refusal) => return Err(refusal.into()),
    };
    let limit = if stranger {
        MAX_STRANGER_BODY
    } else {
        MAX_ENTRIES_BODY
    };
    let bytes = axum::body::to_bytes(body, limit).await;
    let bytes = bytes.map_err(|_| Failure::bad_request("the body is cut off, or too long"))?;
    let Entries { entries } = parse(&bytes)?;
    if stranger && entries.len() > MAX_STRANGER_ENTRIES {
        return Err(Failure::unproven(
            "a node that is not known here brings its own chain and no more",
        ));
    }
    let taken = coordinator
        .call(move |state| {
            let decoded = entries
                .iter()
                .filter_map(|bytes| Entry::decode(bytes.as_ref()).ok())
                .collect::<Vec<_>>();
            if stranger {
                state.recognise(&proof, &exporter, &decoded)?;
            }
            state.absorb(network, decoded)
        })
        .await?;
    promote(&session, network, node)?;
    done(format!("{taken} statement(s) were news and are taken"))
}

/// `POST /v1/networks/{id}/pong`.
pub async fn pong(
    State(coordinator): State<Coordinator>,
    member: Member,
    Body(pong): Body<Pong>,
) -> Answer<Json<Done>> {
    coordinator
        .call(move |state| state.pong(member.network, member.node, pong.nonce))
        .await?;
    done("noted")
}

/// `POST /v1/networks/{id}/parts`.
pub async fn parts(
    State(coordinator): State<Coordinator>,
    member: Member,
    Body(parts): Body<Parts>,
) -> Answer<Json<PartsTaken>> {
    let taken = coordinator
        .call(move |state| state.tell_parts(member.network, member.node, &parts))
        .await?;
    Ok(Json(taken))
}

/// The map that a node holds, and its machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Holds {
    /// Epoch; 0 where it holds none.
    pub epoch: u32,
    /// Version.
    pub version: u64,
    /// Hashed facts of the machine, `name:value` with commas between.
    pub facts: String,
}

/// `GET /v1/networks/{id}/map`: lines without end.
pub async fn map(
    State(coordinator): State<Coordinator>,
    member: Member,
    Query(holds): Query<Holds>,
) -> Answer<Response> {
    let Member {
        network,
        node,
        session,
    } = member;
    let given = holds.facts.split(',').filter_map(|fact| fact.split_once(':'));
    let given = given
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let newcomer = Newcomer {
        facts: facts(given)?,
        from: session.tls().map(|tls| tls.from),
    };
    let alive = is_older_alive(&coordinator, network, node, &newcomer).await?;
    let holds = (holds.epoch, holds.version);
    let of_clone = session.clone();
    let opening = Opening {
        network,
        node,
        session,
        newcomer,
        alive,
        holds,
    };
    let reader = coordinator
        .call(move |state| marked(&of_clone, state.open_stream(opening)))
        .await?;
    Ok(lines(reader))
}

/// A connection whose owner was told that it is the clone stays a clone's.
fn marked<T>(session: &Session, judged: Result<T, Refusal>) -> Result<T, Refusal> {
    judged.inspect_err(|refusal| {
        if matches!(refusal, Refusal::Clone { .. }) {
            session.mark_as_clones();
        }
    })
}

/// Where another machine shows the node's identity: whether the one that is connected answers.
async fn is_older_alive(
    coordinator: &Coordinator,
    network: NetworkId,
    node: NodeId,
    newcomer: &Newcomer,
) -> Answer<bool> {
    let newcomer = newcomer.clone();
    let asked = coordinator
        .call(move |state| Ok(state.ask_older(network, node, &newcomer)))
        .await?;
    Ok(answers(asked).await)
}

async fn answers(asked: Option<Asked>) -> bool {
    match asked {
        Some(asked) => matches!(tokio::time::timeout(PONG_TIME, asked.pong).await, Ok(Ok(()))),
        None => false,
    }
}

fn statement<T: Statement>(bytes: &Base64Bytes) -> Answer<Signed<T>> {
    Signed::decode(bytes.as_ref()).map_err(|error| Refusal::from(error).into())
}

fn avoid(given: &[String]) -> Answer<Vec<Ipv4Net>> {
    let wrong = || Failure::bad_request("avoid is at most 64 IPv4 prefixes");
    match given.len() <= MAX_AVOID {
        true => given
            .iter()
            .map(|range| range.parse().map_err(|_| wrong()))
            .collect(),
        false => Err(wrong()),
    }
}

fn facts(given: std::collections::BTreeMap<String, String>) -> Answer<Facts> {
    let fits =
        |(name, value): (&String, &String)| name.len() <= MAX_FACT_BYTES && value.len() <= MAX_FACT_BYTES;
    match given.len() <= MAX_FACTS && given.iter().all(fits) {
        true => Ok(Facts(given)),
        false => Err(Failure::bad_request("at most 16 facts of at most 128 bytes each")),
    }
}

fn done(message: impl Into<String>) -> Answer<Json<Done>> {
    Ok(Json(Done {
        message: message.into(),
    }))
}
