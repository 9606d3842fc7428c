//! Foreign firewalls: where an accept of ours is needed because another chain drops, and where it goes.
//!
//! An accept in our own table cannot override a drop in another one: every base chain of a hook is asked (nft(8)). So
//! where a foreign chain drops by policy, or ends with an unconditional drop or reject, one commented accept for each of
//! our interfaces goes to the top of it: for forwarding into DOCKER-USER where that exists, which is the place that Docker
//! documents. What we add is found again by its comment; nothing else is touched.
//!
//! Input is what nft prints as JSON (libnftables-json(5)): first all chains, then the rules of those few where a drop or an accept of
//! ours can be. On a node of a cluster all others, a chain for each service and each policy, are most of what there is, and are never
//! read. The output is lines for `nft -f -`.

mod printed;

use printed::{Chain, Rule};
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

impl Hook {
    /// As nft calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
        }
    }
}

/// A chain, as nft names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
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

/// Where Docker documents that rules of others go.
const DOCKER: &str = "DOCKER-USER";

/// What of a machine's rule set decides about our interfaces' packets.
#[derive(Debug, Default)]
pub struct Ruleset {
    chains: Vec<Chain>,
    rules: Vec<Rule>,
}

impl Ruleset {
    /// Reads what `nft --json list chains` printed; of rules nothing is known yet. Objects that it does not know are passed over.
    ///
    /// # Errors
    /// Where it is not such a document.
    pub fn parse(chains: &[u8]) -> Result<Self, RulesetError> {
        Ok(Self {
            chains: printed::read(chains)?.chains,
            rules: Vec::new(),
        })
    }

    /// The chains whose rules have to be read, too ([`Self::read`]): `nft --json list chain FAMILY TABLE NAME`.
    pub fn unread(&self, own_table: &str) -> Vec<ChainName> {
        let names = self.chains.iter().map(|chain| &chain.name);
        let foreign = names.filter(|name| name.table != own_table && name.is_plain());
        foreign.cloned().collect()
    }

    /// Reads what nft printed of one chain.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(&mut self, chain: &[u8]) -> Result<(), RulesetError> {
        self.rules.extend(printed::read(chain)?.rules);
        Ok(())
    }

    /// Lines for nft that put the needed accepts in and take stale ones of ours out; empty where all is as it should be.
    ///
    /// `wanted` are the hooks and, for each, the interfaces whose packets must pass it; through this machine that is both
    /// ways. `own` is the comment that marks our rules, `own_table` the table that is not foreign.
    pub fn repair(&self, wanted: &[(Hook, Vec<String>)], own: &str, own_table: &str) -> Vec<String> {
        let needed = self.needed(wanted, own_table);
        let ours = |rule: &&Rule| rule.comment.as_deref() == Some(own);
        let present: Vec<&Rule> = self.rules.iter().filter(ours).collect();
        let stale = present
            .iter()
            .filter(|rule| !needed.iter().any(|accept| rule.is(accept)))
            .map(|rule| format!("delete rule {} handle {}", rule.chain, rule.handle));
        let is_missing = |accept: &&Accept| !present.iter().any(|rule| rule.is(accept));
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
        self.chains.iter().filter(move |chain| {
            chain.is_of(hook)
                && chain.name.table != own_table
                && (chain.policy.as_deref() == Some("drop") || self.ends_with_drop(&chain.name))
        })
    }

    fn ends_with_drop(&self, chain: &ChainName) -> bool {
        let last = self.rules.iter().rfind(|rule| rule.chain == *chain);
        last.is_some_and(|rule| rule.drops)
    }

    fn place(&self, hook: Hook, dropper: &Chain) -> ChainName {
        let docker = ChainName {
            name: DOCKER.to_owned(),
            ..dropper.name.clone()
        };
        match hook == Hook::Forward && self.chains.iter().any(|chain| chain.name == docker) {
            true => docker,
            false => dropper.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
