//! Joining: from a token to a membership.
//!
//! 1. The token is read offline (its checksum first), and keys are made, or taken up again where an earlier try
//!    broke off: joining again with the same key costs no use.
//! 2. The coordinator that the token pins says what the network is; its ranges are compared with the machine's.
//! 3. The enrolment, signed by the token's join key, is handed over together with the proof of this node's identity, and
//!    the coordinator allots name and addresses.
//! 4. The parameters and the delegation are verified against the token's root key, and everything is kept on disk.

mod failed;
mod keys;
mod ranges;

use crate::machine;
use crate::network::Shared;
use crate::network::coordinator::connect_any;
use crate::state::{Allotted, Membership, NetworkFiles, StateDir};
use failed::{Failed, PERSISTENCE, before_another, is_broken, problem, unreachable};
use keys::{free_interface, fresh, tried_again};
use meshd_api::Problem;
use meshd_api::coordinator::node::{self, JoinPreview};
use meshd_api::local::{self, Membership as Admission};
use meshd_core::id::NodeId;
use meshd_core::keys::RootPublic;
use meshd_core::names::to_label;
use meshd_core::ranges::{LocalPrefix, collisions};
use meshd_core::statement::{Delegation, Params, Signed};
use meshd_core::token::JoinToken;
use ranges::{avoided, ranges_of_others};
use std::time::Instant;
use zeroize::Zeroizing;

/// Code of the problem that no coordinator answers.
pub const UNREACHABLE: &str = "coordinator-unreachable";

/// A join that can begin: the token is whole and keys exist.
pub struct Join {
    membership: Membership,
    files: NetworkFiles,
    request: node::JoinRequest,
    /// Ranges of the other networks that this machine is in.
    others: Vec<LocalPrefix>,
    /// The word, kept where it turns out to be a template's: clones of this machine join by it.
    token: Option<Zeroizing<String>>,
}

/// Reads the token; the error is a sentence for the person who typed it.
pub fn check_token(word: &str) -> Result<JoinToken, Problem> {
    word.parse::<JoinToken>()
        .map_err(|error| Problem::new("bad-token", error.to_string()))
}

/// Refuses a join with other wishes than what this machine has in the network already.
pub fn check_wishes(
    request: &local::JoinRequest,
    held: &local::JoinReply,
    port: Option<u16>,
) -> Result<(), Problem> {
    let label = request.hostname.as_deref().and_then(to_label);
    let other_name = label.is_some_and(|label| {
        let numbered = held.hostname.strip_prefix(&label);
        !numbered.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    let other_port = request
        .listen_port
        .is_some_and(|wanted| port.is_some_and(|port| port != wanted));
    if !other_name && !other_port && request.ip.is_none_or(|ip| ip == held.ipv4) {
        return Ok(());
    }
    Err(Problem::new(
        "already-in",
        format!(
            "this machine is in {0} already, as {1} with {2}; an admin renames it with `meshctl node rename {1} NAME`, and for \
             another address or port it leaves first: `meshctl leave {0}`",
            held.network, held.hostname, held.ipv4
        ),
    ))
}

/// Prepares a join: reads the token and makes the keys, or takes those of an earlier try.
pub fn prepare(request: &local::JoinRequest, state: &StateDir) -> Result<Join, Problem> {
    let token = check_token(&request.token)?;
    let (present, _) = state.memberships();
    let network = token.network();
    let files = state.network(network);
    let mut membership = match present.iter().find(|m| m.network == network) {
        Some(earlier) if earlier.allotted.is_some() => earlier.clone(),
        Some(earlier) => tried_again(earlier, &token),
        None => fresh(&token, free_interface(&present)?),
    };
    membership.force = request.force;
    files
        .save_membership(&membership)
        .map_err(|error| Problem::new("state", error.to_string()))?;
    let template = request.token.clone();
    let request = node::JoinRequest {
        enrolment: membership.enrolment.clone().into(),
        hostname: request.hostname.clone().unwrap_or_else(machine::host_name),
        ip: request.ip,
        avoid: Vec::new(),
        listen_port: request.listen_port,
        facts: machine::hashed_facts(network),
    };
    Ok(Join {
        others: ranges_of_others(&present, network),
        membership,
        files,
        request,
        token: Some(Zeroizing::new(template)),
    })
}

/// Prepares the join of an identity that was in before, to learn what it is allotted now.
pub fn again(membership: Membership, state: &StateDir) -> Join {
    let request = node::JoinRequest {
        enrolment: membership.enrolment.clone().into(),
        hostname: membership
            .allotted
            .as_ref()
            .map_or_else(machine::host_name, |a| a.hostname.clone()),
        ip: None,
        avoid: Vec::new(),
        listen_port: membership.allotted.as_ref().and_then(|a| a.listen_port),
        facts: machine::hashed_facts(membership.network),
    };
    Join {
        others: ranges_of_others(&state.memberships().0, membership.network),
        files: state.network(membership.network),
        membership,
        request,
        token: None,
    }
}

/// A join that ended well.
pub struct Joined {
    /// What this node is in the network now.
    pub membership: Membership,
    /// The token's word, where it is one for templates: to be sealed, so that clones of this machine may join by it.
    pub template: Option<Zeroizing<String>>,
}

impl Join {
    /// Asks each coordinator address in turn; keeps and returns the membership. Where a connection breaks it tries again for some
    /// seconds: the same keys get the same answer, at the cost of one use.
    pub async fn run(mut self, shared: &Shared) -> Result<Joined, Problem> {
        let until = Instant::now() + PERSISTENCE;
        let template = loop {
            match self.try_once(shared).await {
                Ok(template) => break template,
                Err(failed) => before_another(failed, until).await?,
            }
        };
        Ok(Joined {
            membership: self.membership,
            template: self.token.filter(|_| template),
        })
    }

    /// One try; whether the token is a template's.
    async fn try_once(&mut self, shared: &Shared) -> Result<bool, Failed> {
        let connected = connect_any(&self.membership).await;
        let mut connection = connected.map_err(|failures| Failed {
            broke: failures.iter().any(is_broken),
            problem: unreachable(failures),
        })?;
        let preview: JoinPreview = connection
            .post("/v1/join/preview", &self.request)
            .await
            .map_err(Failed::of)?;
        let machine = machine::local_prefixes(shared).await;
        let machine = machine.map_err(|e| Problem::new("netlink", format!("{e:#}")))?;
        if !self.membership.force {
            self.refuse_collisions(&preview, &machine)?;
        }
        self.request.avoid = avoided(&preview, &machine);
        let reply: node::JoinReply = connection
            .post("/v1/join", &self.request)
            .await
            .map_err(Failed::of)?;
        let delegation = self.adopt(reply)?;
        // Twice: from now on either generation alone brings the node back into the network.
        for _generation in ["present", "older"] {
            let saved = self.files.save_membership(&self.membership);
            saved.map_err(|error| Problem::new("state", error.to_string()))?;
        }
        Ok(delegation.terms.template)
    }

    fn refuse_collisions(&self, preview: &JoinPreview, machine: &[LocalPrefix]) -> Result<(), Problem> {
        let prefixes: Vec<_> = [&preview.cidr, &preview.cidr6]
            .iter()
            .filter_map(|p| p.parse().ok())
            .collect();
        let local = [&self.others[..], machine].concat();
        let Some(first) = collisions(&prefixes, &local).into_iter().next() else {
            return Ok(());
        };
        Err(Problem::new(
            "range-collision",
            format!(
                "network {}: {first}; join with --force to keep both (what the machine has already then wins), or use another range",
                preview.network
            ),
        ))
    }

    /// Verifies what the coordinator answered against the token's root key, and takes it.
    fn adopt(&mut self, reply: node::JoinReply) -> Result<Delegation, Problem> {
        let wrong = |what: String| {
            Problem::new(
                "untrusted-answer",
                format!("the coordinator's answer is not trusted: {what}"),
            )
        };
        let root: &RootPublic = &self.membership.root;
        let delegation =
            Signed::<Delegation>::decode(&reply.delegation.0).map_err(|e| wrong(e.to_string()))?;
        delegation.verify(root).map_err(|e| wrong(e.to_string()))?;
        if let Some(params) = &reply.params {
            let params = Signed::<Params>::decode(&params.0).map_err(|e| wrong(e.to_string()))?;
            params.verify(root).map_err(|e| wrong(e.to_string()))?;
        }
        let node: NodeId = reply.node.parse().map_err(|e| wrong(format!("node id: {e}")))?;
        if node != self.membership.node {
            return Err(wrong(format!(
                "it names node {node} instead of {}",
                self.membership.node
            )));
        }
        if (reply.state == Admission::Joined) != reply.params.is_some() {
            return Err(wrong(
                "parameters come with an admission, and only with one".into(),
            ));
        }
        self.membership.name = reply.network;
        self.membership.allotted = Some(Allotted {
            hostname: reply.hostname,
            ipv4: reply.ipv4,
            ipv6: reply.ipv6,
            listen_port: reply.listen_port.or(self.request.listen_port),
            delegation: reply.delegation.0,
            params: reply.params.map(|p| p.0),
        });
        Ok(delegation.value().clone())
    }
}

/// What the coordinator says of a token: its network, and whether it is for templates. Nothing is kept.
pub async fn preview(word: &str) -> Result<JoinPreview, Problem> {
    let token = check_token(word)?;
    let membership = fresh(&token, 0);
    let request = node::JoinRequest {
        enrolment: membership.enrolment.clone().into(),
        hostname: machine::host_name(),
        ip: None,
        avoid: Vec::new(),
        listen_port: None,
        facts: Default::default(),
    };
    let mut connection = connect_any(&membership).await.map_err(unreachable)?;
    connection
        .post("/v1/join/preview", &request)
        .await
        .map_err(problem)
}
