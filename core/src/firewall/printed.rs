//! What nft prints, down to what decides about our interfaces' packets.

use super::{Accept, ChainName, DOCKER, Hook, Way};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// What matters of a document.
///
/// # Errors
/// Where it is none of nft's.
pub(super) fn read(document: &[u8]) -> Result<Objects, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Document {
        nftables: Objects,
    }
    serde_json::from_slice(document).map(|Document { nftables }| nftables)
}

/// What matters of a document's objects, which are taken one by one: all of them at once need twenty times the memory of the text.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) chains: Vec<Chain>,
    pub(super) rules: Vec<Rule>,
}

impl Objects {
    fn take(&mut self, mut object: Value) {
        if let Some(chain) = object.get_mut("chain") {
            let chain = serde_json::from_value::<Chain>(chain.take()).ok();
            self.chains.extend(chain.filter(Chain::matters));
        } else if let Some(rule) = object.get_mut("rule") {
            let rule = Printed::read(rule.take()).filter(|rule| rule.chain.is_plain());
            rule.into_iter().for_each(|rule| self.take_rule(rule));
        }
    }

    fn take_rule(&mut self, rule: Rule) {
        let last = self.rules.last();
        if last.is_some_and(|last| last.chain == rule.chain && last.comment.is_none()) {
            self.rules.pop();
        }
        self.rules.push(rule);
    }
}

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Each)
    }
}

struct Each;

impl<'de> Visitor<'de> for Each {
    type Value = Objects;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of nft's objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Objects, A::Error> {
        let mut objects = Objects::default();
        while let Some(object) = list.next_element()? {
            objects.take(object);
        }
        Ok(objects)
    }
}

/// A chain of packets to or through this machine, or the place for rules beside Docker's.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Chain {
    #[serde(flatten)]
    pub(super) name: ChainName,
    hook: Option<String>,
    pub(super) policy: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Chain {
    pub(super) fn is_of(&self, hook: Hook) -> bool {
        self.hook.as_deref() == Some(hook.name()) && self.kind.as_deref() == Some("filter")
    }

    fn matters(&self) -> bool {
        self.is_of(Hook::Input) || self.is_of(Hook::Forward) || self.name.name == DOCKER
    }
}

/// A rule that has a comment, or is the last one of its chain.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) chain: ChainName,
    pub(super) handle: u64,
    pub(super) comment: Option<String>,
    /// The packets of an interface that it is for, if it is for such.
    packets: Option<(Way, String)>,
    /// Whether it drops whatever comes to it.
    pub(super) drops: bool,
}

impl Rule {
    pub(super) fn is(&self, accept: &Accept) -> bool {
        let Some((way, interface)) = &self.packets else {
            return false;
        };
        self.chain == accept.chain && *way == accept.way && *interface == accept.interface
    }
}

/// A rule as nft prints it.
#[derive(serde::Deserialize)]
struct Printed {
    // A rule's own `chain` key is its chain's name; nothing of a rule is called `name`.
    #[serde(flatten)]
    chain: ChainName,
    handle: u64,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    expr: Vec<Value>,
}

impl Printed {
    /// What of it matters; none where it is no rule.
    fn read(printed: Value) -> Option<Rule> {
        let Self {
            chain,
            handle,
            comment,
            expr,
        } = serde_json::from_value(printed).ok()?;
        let is_verdict = |e: &Value| e.get("drop").is_some() || e.get("reject").is_some();
        let is_harmless = |e: &Value| is_verdict(e) || e.get("counter").is_some() || e.get("log").is_some();
        Some(Rule {
            chain,
            handle,
            comment,
            packets: expr.iter().find_map(packets_of),
            drops: expr.iter().any(is_verdict) && expr.iter().all(is_harmless),
        })
    }
}

/// The name in an `iifname "NAME"` or `oifname "NAME"` match.
fn packets_of(expression: &Value) -> Option<(Way, String)> {
    let matched = expression.get("match")?;
    let key = matched.get("left")?.get("meta")?.get("key")?.as_str()?;
    let way = [Way::In, Way::Out].into_iter().find(|way| way.key() == key)?;
    Some((way, matched.get("right")?.as_str()?.to_owned()))
}
