//! Is this the same machine? Told by several facts of which none is sure: machine-id, DMI UUID, device-tree serial,
//! UUID of the root filesystem.
//!
//! A fact that changed means nothing, and all that changed means a move (a board swap, an SD card in another Pi): an
//! identity is never taken away for it. Only two machines that are alive at the same time under one identity are a clone
//! and its original. Then the one that is further from the facts held is the clone, whichever came first; so the facts
//! held are the first ones, and a move does not overwrite them.

use std::collections::BTreeMap;

/// Hashed facts of a machine by name. A fact that either side lacks tells nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(pub BTreeMap<String, String>);

impl Facts {
    /// The names of the facts that both have and that differ.
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let differs =
            |(name, value): &(&String, &String)| other.0.get(*name).is_some_and(|other| other != *value);
        self.0
            .iter()
            .filter(differs)
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// Another connection under the same identity.
#[derive(Clone, Copy, Debug)]
pub struct Older<'a> {
    /// The facts that it gave.
    pub facts: &'a Facts,
    /// Whether it answered a ping within 2 s.
    pub alive: bool,
}

/// What the coordinator makes of a machine that shows an identity it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The machine that it was.
    Same,
    /// The machine that it was, and its older connection is dead or its own: close that.
    TakeOver,
    /// Another machine with the identity, alone: it goes on as the node. Close an older connection; tell the admin.
    Moved {
        /// The facts that changed.
        changed: Vec<String>,
    },
    /// Two machines with the identity, both alive.
    Clone {
        /// Which of them is the clone.
        which: Which,
        /// The facts in which they differ.
        differing: Vec<String>,
        /// What becomes of the clone.
        outcome: Outcome,
    },
}

/// Which of two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that comes now.
    Newcomer,
    /// The one that was there; the newcomer is the original.
    Older,
}

/// What becomes of a clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its token is a template's: it makes itself a new identity and joins by that token.
    NewIdentity,
    /// It is refused.
    Refused,
}

/// Judges a machine that shows an identity: by the facts first held for it, those that it gives now, and the connection
/// that is there already. `template`: whether the token by which the node came lets a clone have a new identity.
pub fn same_machine(held: &Facts, newcomer: &Facts, older: Option<Older<'_>>, template: bool) -> Whose {
    let changed = held.differing(newcomer);
    let owned = |facts: &[&str]| facts.iter().map(|&fact| fact.to_owned()).collect();
    if let Some(older) = older.filter(|older| older.alive) {
        let differing = older.facts.differing(newcomer);
        if !differing.is_empty() {
            let nearer = changed.len() < held.differing(older.facts).len();
            let which = if nearer { Which::Older } else { Which::Newcomer };
            let outcome = if template {
                Outcome::NewIdentity
            } else {
                Outcome::Refused
            };
            return Whose::Clone {
                which,
                differing: owned(&differing),
                outcome,
            };
        }
    }
    match (changed.len(), older) {
        (0 | 1, None) => Whose::Same,
        (0 | 1, Some(_)) => Whose::TakeOver,
        _ => Whose::Moved {
            changed: owned(&changed),
        },
    }
}

impl Whose {
    /// One sentence for the admin and the machines' people; none where nothing is to be said. `node` is the node's name,
    /// `newcomer` and `older` say from where the two connections come.
    pub fn sentence(&self, node: &str, newcomer: &str, older: &str) -> Option<String> {
        match self {
            Self::Same | Self::TakeOver => None,
            Self::Moved { changed } => Some(format!(
                "node \"{node}\" moved: it runs on another machine, at {newcomer} ({} changed); it goes on as \"{node}\"",
                changed.join(", ")
            )),
            Self::Clone {
                which,
                differing,
                outcome,
            } => {
                let (clone, original) = match which {
                    Which::Newcomer => (newcomer, older),
                    Which::Older => (older, newcomer),
                };
                let fate = match outcome {
                    Outcome::NewIdentity => "it gets an identity of its own by its template token",
                    Outcome::Refused => {
                        "it is refused; `meshctl leave` there forgets the copied identity (the original stays in), then join it with a token of its own"
                    }
                };
                Some(format!(
                    "the machine at {clone} is a clone of node \"{node}\" at {original}, both are alive ({} differs): {fate}",
                    differing.join(", ")
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(values: [&str; 4]) -> Facts {
        let names = ["machine-id", "dmi-uuid", "device-tree", "root-fs"];
        let present = names.iter().zip(values).filter(|(_, value)| !value.is_empty());
        Facts(
            present
                .map(|(name, value)| ((*name).into(), value.into()))
                .collect(),
        )
    }

    fn judge(held: [&str; 4], newcomer: [&str; 4], older: Option<([&str; 4], bool)>) -> Whose {
        let older_facts = older.map(|(values, _)| facts(values)).unwrap_or_default();
        let older = older.map(|(_, alive)| Older {
            facts: &older_facts,
            alive,
        });
        same_machine(&facts(held), &facts(newcomer), older, true)
    }

    const A: [&str; 4] = ["m", "d", "", "r"];
    const ONE: [&str; 4] = ["m", "d2", "", "r"];
    const OTHER: [&str; 4] = ["m2", "d2", "", "r"];

    #[test]
    fn one_fact_that_changes_never_matters() {
        for fact in 0..4 {
            let mut now = ["m", "d", "t", "r"];
            now[fact] = "new";
            assert_eq!(judge(["m", "d", "t", "r"], now, None), Whose::Same);
            now[fact] = "";
            assert_eq!(judge(["m", "d", "t", "r"], now, None), Whose::Same);
        }
    }

    #[test]
    fn a_machine_that_changed_altogether_alone_has_moved() {
        let Whose::Moved { changed } = judge(A, OTHER, None) else {
            panic!()
        };
        assert_eq!(changed, ["dmi-uuid", "machine-id"]);
        assert!(matches!(judge(A, OTHER, Some((A, false))), Whose::Moved { .. }));
    }

    #[test]
    fn a_half_open_connection_is_taken_over() {
        assert_eq!(judge(A, A, Some((A, false))), Whose::TakeOver);
        assert_eq!(judge(A, ONE, Some((A, false))), Whose::TakeOver);
        assert_eq!(judge(A, A, Some((A, true))), Whose::TakeOver);
    }

    #[test]
    fn a_clone_beside_its_living_original_is_told_apart() {
        for clone in [ONE, OTHER] {
            let Whose::Clone { which, outcome, .. } = judge(A, clone, Some((A, true))) else {
                panic!()
            };
            assert_eq!((which, outcome), (Which::Newcomer, Outcome::NewIdentity));
        }
    }

    #[test]
    fn a_clone_that_booted_first_is_still_the_clone() {
        let Whose::Clone { which, .. } = judge(A, A, Some((ONE, true))) else {
            panic!()
        };
        assert_eq!(which, Which::Older);
    }

    #[test]
    fn both_are_named() {
        let (held, now) = (facts(A), facts(OTHER));
        let older = Older {
            facts: &held,
            alive: true,
        };
        let sentence = same_machine(&held, &now, Some(older), false).sentence("db1", "10.0.0.9", "10.0.0.1");
        let sentence = sentence.unwrap();
        assert!(sentence.contains("the machine at 10.0.0.9 is a clone of node \"db1\" at 10.0.0.1"));
        assert!(sentence.contains("it is refused"));
        assert_eq!(Whose::Same.sentence("a", "b", "c"), None);
    }
}
