//! The same machine, a moved one, or a clone: asked where an identity shows itself while another connection is open.
//!
//! The judgement is the core's ([`same_machine`]). Here the older connection is asked whether it is alive, and what
//! follows is done: a dead one is closed, a clone is told, and both are named.

use std::net::SocketAddr;

use meshd_core::admission::{Facts, Older, Outcome, Which, Whose, same_machine};
use meshd_core::id::{NetworkId, NodeId};

use super::hub::Asked;
use super::network::Network;
use super::refusal::Refusal;
use super::state::{State, notice};

/// Who shows an identity now.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The facts of its machine; empty where it gave none.
    pub facts: Facts,
    /// Where it comes from.
    pub from: Option<SocketAddr>,
}

/// What became of who showed an identity, where it may go on.
#[derive(Debug, Default)]
pub struct Judged {
    /// One sentence, where there is something to say.
    pub line: Option<String>,
    /// Whether it is another machine than at first.
    pub moved: bool,
}

fn place(from: Option<SocketAddr>) -> String {
    from.map_or_else(
        || "an unknown address".into(),
        |from| from.ip().to_canonical().to_string(),
    )
}

impl State {
    /// Asks the open stream of a node, where another machine shows its identity. None: nothing needs asking.
    pub fn ask_older(&mut self, network: NetworkId, node: NodeId, newcomer: &Newcomer) -> Option<Asked> {
        let hub = &mut self.networks.get_mut(&network)?.hub;
        let (facts, _) = hub.facts(node)?;
        if facts.differing(&newcomer.facts).is_empty() {
            return None;
        }
        hub.ask(node)
    }
}

impl Network {
    /// Judges who shows the identity of a node that is in, and does what follows for an older connection. `alive`:
    /// whether the older one answered.
    pub(super) fn judge(&mut self, id: NodeId, newcomer: &Newcomer, alive: bool) -> Result<Judged, Refusal> {
        let Some(node) = self.nodes.get(&id) else {
            return Ok(Judged::default());
        };
        let held = Facts(node.row.facts.clone());
        let template = self.delegation_of(node).is_some_and(|held| held.terms.template);
        let older = self.hub.facts(id);
        let of_older = older.as_ref().map(|(facts, _)| Older { facts, alive });
        let whose = same_machine(&held, &newcomer.facts, of_older, template);
        let older_place = place(older.as_ref().and_then(|(_, from)| *from));
        let name = self.name_of(id, node);
        let sentence = whose
            .sentence(name, &place(newcomer.from), &older_place)
            .unwrap_or_default();
        let foreign = older.is_some_and(|(facts, _)| !facts.differing(&newcomer.facts).is_empty());
        let news = !node.row.moved;
        self.follow(id, whose, sentence, foreign, news)
    }

    /// What follows from a judgement. `foreign`: the older connection is another machine's; `news`: a move was not known.
    fn follow(
        &mut self,
        id: NodeId,
        whose: Whose,
        sentence: String,
        foreign: bool,
        news: bool,
    ) -> Result<Judged, Refusal> {
        let moved = matches!(whose, Whose::Moved { .. });
        match whose {
            Whose::Same | Whose::TakeOver | Whose::Moved { .. } => {
                if foreign {
                    let last = "another machine took over this node's identity, while this one was silent";
                    self.hub.end(id, &notice("taken-over", last));
                }
                Ok(Judged {
                    line: (moved && news).then_some(sentence),
                    moved,
                })
            }
            Whose::Clone {
                which: Which::Older, ..
            } => {
                self.hub.end(id, &notice("clone", sentence.clone()));
                Ok(Judged {
                    line: Some(sentence),
                    moved: false,
                })
            }
            Whose::Clone {
                which: Which::Newcomer,
                outcome,
                ..
            } => {
                self.hub.tell(id, &notice("clone", sentence.clone()));
                Err(Refusal::Clone {
                    sentence,
                    new_identity: outcome == Outcome::NewIdentity,
                })
            }
        }
    }

    /// Takes the facts of who was judged to be the node; whether its row changed.
    pub(super) fn take_facts(&mut self, id: NodeId, newcomer: &Newcomer, judged: &Judged) -> bool {
        let Some(node) = self.nodes.get_mut(&id) else {
            return false;
        };
        node.facts_now = newcomer.facts.clone();
        let first = node.row.facts.is_empty() && !newcomer.facts.0.is_empty();
        if first {
            node.row.facts = newcomer.facts.0.clone();
        }
        let moves = judged.moved && !node.row.moved;
        node.row.moved |= judged.moved;
        first || moves
    }
}
