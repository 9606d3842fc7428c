//! Joining: from a token to a membership.
//!
//! 1. The token is read offline (its checksum first), and keys are made, or taken up again where an earlier try
//!    broke off: joining again with the same key costs no use.
//! 2. The coordinator that the token pins says what the network is; its ranges are compared with the machine's.
//! 3. The enrolment, signed by the token's join key, is handed over together with the proof of this node's identity, and
//!    the coordinator allots name and addresses.
//! 4. The parameters and the delegation are verified against the token's root key, and everything is kept on disk.

use crate::config::MAX_NETWORKS;
use crate::machine;
use crate::network::Shared;
use crate::network::coordinator::connect_any;
use crate::state::{Allotted, Membership, NetworkFiles, StateDir};
use meshd_api::Problem;
use meshd_api::client::ClientError;
use meshd_api::coordinator::node::{self, JoinPreview};
use meshd_api::local::{self, Membership as Admission};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::{DiscoverySecret, IdentitySecret, RootPublic, WireGuardSecret};
use meshd_core::names::to_label;
use meshd_core::ranges::{LocalPrefix, collisions};
use meshd_core::statement::{Delegation, Enrolment, Params, Signed};
use meshd_core::token::JoinToken;
use rand_core::{OsRng, RngCore};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::debug;
use zeroize::Zeroizing;

/// Code of the problem that no coordinator answers.
pub const UNREACHABLE: &str = "coordinator-unreachable";
/// How long a join goes on where connections break, and the pause between two tries.
const PERSISTENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(200);
/// Most ranges of its own that a machine tells the coordinator.
const MAX_AVOID: usize = 64;

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

/// What of the machine's ranges lies in the network's: a forced join takes no address that is somebody's there.
fn avoided(preview: &JoinPreview, machine: &[LocalPrefix]) -> Vec<String> {
    let Ok(network) = preview.cidr.parse() else {
        return Vec::new();
    };
    let met = collisions(&[network], machine).into_iter();
    let ranges: BTreeSet<_> = met.map(|met| met.theirs.prefix).collect();
    ranges.iter().map(ToString::to_string).take(MAX_AVOID).collect()
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

fn fresh(token: &JoinToken, interface: u16) -> Membership {
    let identity = Arc::new(IdentitySecret::from_seed(&seed()));
    let mut node = [0; 16];
    OsRng.fill_bytes(&mut node);
    let node = NodeId::from_bytes(node);
    Membership {
        network: token.network(),
        root: token.root,
        name: String::new(),
        coordinators: vec![*token.coordinator.as_bytes()],
        addresses: token
            .addresses
            .iter()
            .map(|a| (a.host().to_owned(), a.port()))
            .collect(),
        node,
        enrolment: enrolment(token, node, &identity),
        identity,
        wireguard: WireGuardSecret::from_seed(&seed()),
        discovery: DiscoverySecret::from_seed(&seed()),
        allotted: None,
        interface,
        force: false,
    }
}

/// The keys of a try that got no answer, enrolled under the token at hand.
fn tried_again(earlier: &Membership, token: &JoinToken) -> Membership {
    Membership {
        enrolment: enrolment(token, earlier.node, &earlier.identity),
        node: earlier.node,
        identity: earlier.identity.clone(),
        wireguard: earlier.wireguard.clone(),
        discovery: earlier.discovery.clone(),
        ..fresh(token, earlier.interface)
    }
}

fn enrolment(token: &JoinToken, node: NodeId, identity: &IdentitySecret) -> Vec<u8> {
    let enrolment = Enrolment {
        network: token.network(),
        token: token.id,
        node,
        identity: identity.public(),
    };
    let signed = Signed::sign(enrolment, &token.secret).expect("an enrolment has no limits to break");
    signed.bytes().to_vec()
}

fn seed() -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *seed);
    seed
}

/// The lowest interface number that no network of this instance has.
fn free_interface(present: &[Membership]) -> Result<u16, Problem> {
    let taken: BTreeSet<u16> = present.iter().map(|m| m.interface).collect();
    (0..MAX_NETWORKS).find(|n| !taken.contains(n)).ok_or_else(|| {
        let sentence = format!(
            "this machine is in {MAX_NETWORKS} networks, and in no more; leave one, or run a second instance"
        );
        Problem::new("too-many-networks", sentence)
    })
}

/// The ranges of the networks that this machine is in, but for `own`: up or down.
fn ranges_of_others(present: &[Membership], own: NetworkId) -> Vec<LocalPrefix> {
    let others = present.iter().filter(|m| m.network != own);
    let params = others.filter_map(|m| m.allotted.as_ref()?.params.as_ref());
    let decoded = params.filter_map(|bytes| Signed::<Params>::decode(bytes).ok());
    decoded
        .flat_map(|params| {
            let Params { name, ipv4, ipv6, .. } = params.value();
            [(*ipv4).into(), (*ipv6).into()].map(|prefix| LocalPrefix {
                prefix,
                owner: format!("network {name}"),
            })
        })
        .collect()
}

fn unreachable(failures: Vec<ClientError>) -> Problem {
    let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let sentence = format!(
        "no coordinator of the token can be used: {}; is this machine online, and meshrelay running?",
        failures.join("; ")
    );
    Problem::new(UNREACHABLE, sentence)
}

/// Why a try to join failed.
#[derive(Debug)]
struct Failed {
    problem: Problem,
    /// A connection broke off: another try may end well.
    broke: bool,
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            broke: false,
        }
    }
}

impl Failed {
    fn of(error: ClientError) -> Self {
        Self {
            broke: is_broken(&error),
            problem: problem(error),
        }
    }
}

/// Whether the other side was there and the connection ended early, as a busy relay ends those that prove nothing.
fn is_broken(error: &ClientError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        ClientError::Broken { .. } => true,
        ClientError::Untrusted { cause, .. } | ClientError::Unreachable { cause, .. } => {
            matches!(cause.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        }
        _ => false,
    }
}

/// Waits before another try, where one may end well and it is not yet `until`; else gives the problem back.
async fn before_another(failed: Failed, until: Instant) -> Result<(), Problem> {
    if !failed.broke || Instant::now() >= until {
        return Err(failed.problem);
    }
    debug!("joining: {}; once more", failed.problem);
    tokio::time::sleep(AGAIN).await;
    Ok(())
}

/// A failed exchange as a problem: the coordinator's own word where it said one.
fn problem(error: ClientError) -> Problem {
    match error {
        ClientError::Refused { problem, .. } => problem,
        other => Problem::new(UNREACHABLE, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_core::keys::{CoordinatorSecret, JoinSecret, RootSecret};
    use meshd_core::token::CoordinatorAddress;

    #[tokio::test]
    async fn a_join_whose_connection_breaks_tries_again_and_a_refused_one_does_not() {
        let broken = || {
            Failed::of(ClientError::Untrusted {
                address: "a".into(),
                cause: std::io::ErrorKind::UnexpectedEof.into(),
            })
        };
        let now = Instant::now();
        assert!(before_another(broken(), now + PERSISTENCE).await.is_ok());
        assert!(before_another(broken(), now).await.is_err(), "not for ever");
        let expired = Failed::from(Problem::new("token-expired", "expired"));
        let refused = before_another(expired, now + PERSISTENCE).await;
        assert_eq!(refused.unwrap_err().code, "token-expired");
    }

    fn memberships(interfaces: impl IntoIterator<Item = u16>) -> Vec<Membership> {
        let token = JoinToken {
            id: [1; 8].into(),
            secret: JoinSecret::from_seed(&[2; 32]),
            coordinator: CoordinatorSecret::from_seed(&[3; 32]).public(),
            root: RootSecret::from_seed(&[4; 32]).public(),
            addresses: vec![CoordinatorAddress::new("192.0.2.1", 443).unwrap()],
        };
        interfaces.into_iter().map(|n| fresh(&token, n)).collect()
    }

    #[test]
    fn the_lowest_free_interface_is_taken_and_a_full_machine_is_told_what_to_do() {
        assert_eq!(free_interface(&memberships([0, 1, 3])).unwrap(), 2);
        let said = free_interface(&memberships(0..MAX_NETWORKS)).unwrap_err();
        assert_eq!(said.code, "too-many-networks");
        assert!(
            said.message.contains("64 networks") && said.message.contains("leave one"),
            "{said}"
        );
    }

    #[test]
    fn only_the_machines_ranges_that_the_network_meets_are_avoided() {
        let local = |prefix: &str| LocalPrefix {
            prefix: prefix.parse().unwrap(),
            owner: "eth0".into(),
        };
        let preview = JoinPreview {
            network: "prod".into(),
            cidr: "10.77.0.0/16".into(),
            cidr6: "fd00::/64".into(),
            template: false,
        };
        let machine = ["10.77.3.0/24", "10.77.3.0/24", "192.168.1.0/24", "fd00::/64"].map(local);
        assert_eq!(avoided(&preview, &machine), ["10.77.3.0/24"]);
    }
}
