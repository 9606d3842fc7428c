//! Foreign firewalls: where an accept of ours is needed because another chain drops, and where it goes.
//!
//! An accept in our own table cannot override a drop in another one: every base chain of a hook is asked (nft(8)). So
//! where a foreign chain drops by policy, or ends with an unconditional drop or reject, one commented accept for each of
//! our interfaces goes to the top of it: for forwarding into DOCKER-USER where that exists, which is the place that Docker
//! documents. What we add is found again by its comment; nothing else is touched.
//!
//! Input is what `nft --json list ruleset` prints (libnftables-json(5)); the output is lines for `nft -f -`.

use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// Why a rule set could not be judged.
#[derive(Debug, thiserror::Error)]
#[error("the rule set that nft printed cannot be read: {0}")]
pub struct RulesetError(#[from] serde_json::Error);

/// Which way packets go that a chain judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// To this machine.
    Input,
    /// Through this machine.
    Forward,
}

/// A chain, as nft names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChainName {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    #[serde(alias = "chain")]
    pub name: String,
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

impl ChainName {
    /// Whether it is made of what nft prints and reads without quotes; others are left alone.
    fn is_plain(&self) -> bool {
        let plain = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b'/'))
        };
        [&self.family, &self.table, &self.name]
            .into_iter()
            .all(|word| plain(word))
    }
}

/// Which packets of an interface an accept is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Those that come in by it.
    In,
    /// Those that leave by it.
    Out,
}

impl Way {
    /// As nft calls it.
    fn key(self) -> &'static str {
        match self {
            Self::In => "iifname",
            Self::Out => "oifname",
        }
    }
}

/// One accept that is needed, or that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Where it goes.
    pub chain: ChainName,
    /// The interface whose packets it accepts.
    pub interface: String,
    /// Which of them.
    pub way: Way,
}

/// A rule of ours that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Present {
    chain: ChainName,
    handle: u64,
    packets: Option<(Way, String)>,
}

impl Present {
    fn is(&self, accept: &Accept) -> bool {
        let Some((way, interface)) = &self.packets else {
            return false;
        };
        self.chain == accept.chain && *way == accept.way && *interface == accept.interface
    }
}

/// A machine's rule set.
#[derive(Debug, Default)]
pub struct Ruleset {
    chains: Vec<Chain>,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Chain {
    #[serde(flatten)]
    name: ChainName,
    hook: Option<String>,
    policy: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    #[serde(flatten)]
    name: ChainName,
    handle: u64,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    expr: Vec<Value>,
}

#[derive(Deserialize)]
struct Document {
    nftables: Vec<Value>,
}

impl Ruleset {
    /// Reads what `nft --json list ruleset` printed. Objects that it does not know are passed over.
    ///
    /// # Errors
    /// Where it is not such a document.
    pub fn parse(json: &[u8]) -> Result<Self, RulesetError> {
        let document: Document = serde_json::from_slice(json)?;
        let mut ruleset = Self::default();
        for mut object in document.nftables {
            if let Some(chain) = object.get_mut("chain") {
                ruleset
                    .chains
                    .extend(serde_json::from_value::<Chain>(chain.take()).ok());
            } else if let Some(rule) = object.get_mut("rule") {
                // A rule's own `chain` key is its chain's name; nothing of a rule is called `name`.
                let rule = serde_json::from_value::<Rule>(rule.take()).ok();
                ruleset.rules.extend(rule.filter(|rule| rule.name.is_plain()));
            }
        }
        Ok(ruleset)
    }

    /// Lines for nft that put the needed accepts in and take stale ones of ours out; empty where all is as it should be.
    ///
    /// `wanted` are the hooks and, for each, the interfaces whose packets must pass it; through this machine that is both
    /// ways. `own` is the comment that marks our rules, `own_table` the table that is not foreign.
    pub fn repair(&self, wanted: &[(Hook, Vec<String>)], own: &str, own_table: &str) -> Vec<String> {
        let needed = self.needed(wanted, own_table);
        let present = self.present(own);
        let stale = present
            .iter()
            .filter(|p| !needed.iter().any(|accept| p.is(accept)))
            .map(|p| format!("delete rule {} handle {}", p.chain, p.handle));
        let is_missing = |accept: &&Accept| !present.iter().any(|p| p.is(accept));
        let missing = needed.iter().filter(is_missing).map(|accept| {
            format!(
                "insert rule {} {} \"{}\" counter accept comment \"{own}\"",
                accept.chain,
                accept.way.key(),
                accept.interface
            )
        });
        stale.chain(missing).collect()
    }

    /// The foreign chains of these hooks that drop what they do not know, as sentences for a person.
    pub fn dropping(&self, hooks: &[Hook], own_table: &str) -> Vec<String> {
        hooks
            .iter()
            .flat_map(|hook| self.droppers(*hook, own_table))
            .map(|chain| chain.name.to_string())
            .collect()
    }

    fn needed(&self, wanted: &[(Hook, Vec<String>)], own_table: &str) -> Vec<Accept> {
        let mut needed: Vec<Accept> = Vec::new();
        for (hook, interfaces) in wanted {
            let ways: &[Way] = match hook {
                Hook::Input => &[Way::In],
                Hook::Forward => &[Way::In, Way::Out],
            };
            for dropper in self.droppers(*hook, own_table) {
                let chain = self.place(*hook, dropper);
                for (interface, way) in interfaces
                    .iter()
                    .flat_map(|i| ways.iter().map(move |way| (i, *way)))
                {
                    let accept = Accept {
                        chain: chain.clone(),
                        interface: interface.clone(),
                        way,
                    };
                    if !needed.contains(&accept) {
                        needed.push(accept);
                    }
                }
            }
        }
        needed
    }

    fn droppers(&self, hook: Hook, own_table: &str) -> impl Iterator<Item = &Chain> {
        let hook = match hook {
            Hook::Input => "input",
            Hook::Forward => "forward",
        };
        self.chains.iter().filter(move |chain| {
            chain.hook.as_deref() == Some(hook)
                && chain.kind.as_deref() == Some("filter")
                && chain.name.table != own_table
                && (chain.policy.as_deref() == Some("drop") || self.ends_with_drop(&chain.name))
        })
    }

    fn ends_with_drop(&self, chain: &ChainName) -> bool {
        let last = self.rules.iter().rfind(|rule| rule.name == *chain);
        last.is_some_and(|rule| {
            let is_verdict = |e: &Value| e.get("drop").is_some() || e.get("reject").is_some();
            let is_harmless =
                |e: &Value| is_verdict(e) || e.get("counter").is_some() || e.get("log").is_some();
            rule.expr.iter().any(is_verdict) && rule.expr.iter().all(is_harmless)
        })
    }

    fn place(&self, hook: Hook, dropper: &Chain) -> ChainName {
        let docker = ChainName {
            name: "DOCKER-USER".to_owned(),
            ..dropper.name.clone()
        };
        match hook == Hook::Forward && self.chains.iter().any(|chain| chain.name == docker) {
            true => docker,
            false => dropper.name.clone(),
        }
    }

    fn present(&self, own: &str) -> Vec<Present> {
        let ours = self
            .rules
            .iter()
            .filter(|rule| rule.comment.as_deref() == Some(own));
        ours.map(|rule| Present {
            chain: rule.name.clone(),
            handle: rule.handle,
            packets: rule.expr.iter().find_map(packets_of),
        })
        .collect()
    }
}

/// The name in an `iifname "NAME"` or `oifname "NAME"` match.
fn packets_of(expression: &Value) -> Option<(Way, String)> {
    let matched = expression.get("match")?;
    let key = matched.get("left")?.get("meta")?.get("key")?.as_str()?;
    let way = [Way::In, Way::Out].into_iter().find(|way| way.key() == key)?;
    Some((way, matched.get("right")?.as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(family: &str, table: &str, name: &str, hook: &str, policy: &str) -> Value {
        json!({"chain": {"family": family, "table": table, "name": name, "handle": 1, "type": "filter", "hook": hook, "prio": 0, "policy": policy}})
    }

    fn ours(handle: u64, interface: &str) -> Value {
        json!({"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": handle, "comment": "meshd-0", "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": interface}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}})
    }

    fn ruleset(objects: Vec<Value>) -> Ruleset {
        Ruleset::parse(&serde_json::to_vec(&json!({"nftables": objects})).unwrap()).unwrap()
    }

    fn repair(objects: Vec<Value>, hooks: &[Hook], interfaces: &[&str]) -> Vec<String> {
        let interfaces: Vec<String> = interfaces.iter().map(|i| (*i).to_owned()).collect();
        let wanted: Vec<_> = hooks.iter().map(|hook| (*hook, interfaces.clone())).collect();
        ruleset(objects).repair(&wanted, "meshd-0", "meshd-0")
    }

    #[test]
    fn a_machine_that_accepts_is_left_alone() {
        let objects = vec![
            chain("ip", "filter", "INPUT", "input", "accept"),
            chain("inet", "meshd-0", "input", "input", "drop"),
        ];
        assert!(repair(objects, &[Hook::Input, Hook::Forward], &["meshd0"]).is_empty());
    }

    #[test]
    fn a_dropping_input_chain_gets_one_accept_for_each_interface() {
        let objects = vec![chain("ip", "filter", "INPUT", "input", "drop")];
        let lines = repair(objects, &[Hook::Input], &["meshd0", "meshd1"]);
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            "insert rule ip filter INPUT iifname \"meshd0\" counter accept comment \"meshd-0\""
        );
    }

    #[test]
    fn what_is_there_is_not_added_twice_and_what_is_stale_goes() {
        let base = chain("ip", "filter", "INPUT", "input", "drop");
        assert!(repair(vec![base.clone(), ours(7, "meshd0")], &[Hook::Input], &["meshd0"]).is_empty());
        let lines = repair(
            vec![base, ours(7, "meshd0"), ours(8, "meshd9")],
            &[Hook::Input],
            &["meshd0"],
        );
        assert_eq!(lines, ["delete rule ip filter INPUT handle 8"]);
    }

    #[test]
    fn without_interfaces_everything_of_ours_goes() {
        let lines = repair(
            vec![chain("ip", "filter", "INPUT", "input", "drop"), ours(7, "meshd0")],
            &[Hook::Input],
            &[],
        );
        assert_eq!(lines, ["delete rule ip filter INPUT handle 7"]);
    }

    #[test]
    fn a_final_reject_counts_as_a_drop() {
        let reject = json!({"rule": {"family": "inet", "table": "filter", "chain": "in", "handle": 3, "expr": [{"counter": null}, {"reject": null}]}});
        let objects = vec![chain("inet", "filter", "in", "input", "accept"), reject];
        assert_eq!(repair(objects, &[Hook::Input], &["meshd0"]).len(), 1);
    }

    #[test]
    fn forwarding_goes_to_the_place_that_docker_documents() {
        let docker =
            json!({"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER", "handle": 9}});
        let objects = vec![chain("ip", "filter", "FORWARD", "forward", "drop"), docker];
        let lines = repair(objects, &[Hook::Forward], &["meshd0"]);
        assert!(
            lines[0].starts_with("insert rule ip filter DOCKER-USER iifname"),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("insert rule ip filter DOCKER-USER oifname"),
            "answers come back the other way: {lines:?}"
        );
    }

    #[test]
    fn other_documents_are_refused() {
        for bad in [&b""[..], b"{}", b"[]", b"{\"nftables\": 3}"] {
            assert!(Ruleset::parse(bad).is_err());
        }
        assert!(
            ruleset(vec![json!(3), json!({"chain": 5}), json!({"rule": {}})])
                .chains
                .is_empty()
        );
    }
}
