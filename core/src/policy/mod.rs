//! NetworkPolicy (networking.k8s.io/v1): what a cluster says, and what that means for the pods of this node.
//!
//! # The interface
//! 1. Whoever watches the API server makes plain values ([`Namespace`], [`Pod`], [`Policy`]; no JSON of Kubernetes comes in
//!    here) and tells a [`Cluster`]: `upsert_*`, `remove_*` for a change, `replace_*` for a whole list, at a start and after
//!    each time that the watch had to begin anew. A cluster is ready ([`Cluster::is_ready`]) when it has had a whole list of
//!    every kind; what it knew last stays while nobody tells it anything, and over a restart ([`Cluster::save_policies`]).
//! 2. Whoever hands out addresses tells a [`Compiler`] the pods of this node ([`Local`]).
//! 3. [`Compiler::compile`] gives the [`Ruleset`] that the kernel should hold; [`Ruleset::script`] is the way there, as text
//!    for `nft -f -`: from nothing, or from the rule set before. Nothing of a name or a label ever gets into that text but
//!    comments of plain letters.
//!
//! # What is judged
//! A pod is isolated for a direction where a policy with that type selects it. It may then do what any of its policies
//! allows, and nothing else. Answers always pass, and errors about allowed flows; so does a pod to itself, and everything
//! between a pod and its own node (the API's own rule), which makes probes pass. Pods of the host's network are no pods
//! here: they are their node. A packet is judged by the addresses that it has after translation (a Service's pod, the real
//! remote address), once where it leaves its pod and once where it comes to its pod. A named port is a port of the pod that
//! the packet goes to.
//!
//! Each packet in the direction in which a flow began is judged anew: a stricter policy ends flows that it forbids (upstream
//! leaves it open).
//!
//! # What is not known yet
//! A pod whose labels are unknown is taken for one that every policy of its namespace may select, and that only those which
//! select everything surely do: it is isolated where its namespace has a policy, and open where it has none. Before the
//! cluster is ready every pod that the runtime named is isolated. An address whose pod is unknown is nobody's.

mod cluster;
mod compile;
mod compiler;
mod groups;
mod model;
mod rule_text;
mod ruleset;
mod saved;
mod script;
mod selector;

pub use cluster::{Cluster, Full, MAX_NAMESPACES, MAX_PODS, MAX_POLICIES};
pub use compile::MAX_RULES;
pub use compiler::Compiler;
pub use model::{
    Direction, Local, Name, NamedPort, Namespace, Peer, Pod, PodIdentity, Policy, PolicyRule, Port,
    PortNumber, Protocol,
};
pub use ruleset::{Match, PodRules, Ports, Rule, Ruleset};
pub use saved::SavedError;
pub use selector::{Labels, Operator, Requirement, Selector};
