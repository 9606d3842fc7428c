//! A rule set as text for `nft -f -`, which does all of it or nothing.
//!
//! ```text
//! table inet meshd-0-pods0 {
//!   counter denied-ingress { ... }                                 packets that no policy allowed
//!   counter denied-egress { ... }
//!   map leaving { type ifname : verdict; elements = { "mpod0123456789" : jump out-mpod0123456789 } }
//!   map coming { type ifname : verdict; elements = { "mpod0123456789" : jump in-mpod0123456789 } }
//!   set g1-4 { type ipv4_addr; elements = { 10.42.0.7, 10.42.1.9 } }        pods that some selectors select
//!   set g1-6 { type ipv6_addr; ... }
//!   set n1-4 { type ipv4_addr . inet_service; elements = { 10.42.0.8 . 8080 } }     ports of a name
//!   chain egress { type filter hook forward priority -6; answers and errors accept; iifname vmap @leaving }
//!   chain ingress { type filter hook forward priority -5; answers and errors accept; oifname vmap @coming }
//!   chain in-mpod0123456789 { iifname "mpod0123456789" accept; jump p1-in; counter name "denied-ingress" drop }
//!   chain p1-in { ip saddr @g1-4 tcp dport { 80, 443 } accept; ip saddr 10.0.0.0/8 ip saddr != { 10.1.0.0/16 } accept }
//! }
//! ```
//! A packet from one pod of this node to another meets both base chains: an accept ends the judgement of its own chain only.
//! What the node itself sends to a pod never passes the forward hook, nor does what a pod sends to its node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::net::IpAddr;

use super::model::{Direction, Name};
use super::rule_text::{rule_texts, words};
use super::ruleset::{Allowed, Ruleset};

/// Longest comment in bytes that nft takes, with some room.
const COMMENT: usize = 120;

impl Ruleset {
    /// Lines that make the table from nothing, whatever is there (`before` absent), or from `before`, which it must hold;
    /// empty where nothing is to be done. `table` is the name of a table of our own, in family `inet`.
    pub fn script(&self, table: &str, before: Option<&Self>) -> String {
        let empty = Self::default();
        let mut lines = Lines {
            table,
            text: String::new(),
        };
        if before.is_none() {
            lines.frame();
        }
        let before = before.unwrap_or(&empty);
        lines.declare(before, self);
        lines.fill(before, self);
        lines.forget(before, self);
        lines.text
    }

    /// Lines that take the table away, whether it is there or not.
    pub fn removal(table: &str) -> String {
        format!("add table inet {table}\ndelete table inet {table}\n")
    }
}

struct Lines<'a> {
    table: &'a str,
    text: String,
}

impl Lines<'_> {
    fn line(&mut self, verb: &str, rest: impl Display) {
        let _ = writeln!(self.text, "{verb} inet {} {rest}", self.table);
    }

    /// The table without anything that depends on pods.
    fn frame(&mut self) {
        self.text.push_str(&Ruleset::removal(self.table));
        let _ = writeln!(self.text, "add table inet {}", self.table);
        for direction in Direction::BOTH {
            let words = words(direction);
            let hook = format!(
                "type filter hook forward priority {}; policy accept;",
                words.priority
            );
            self.line("add counter", words.counter);
            self.line(
                "add map",
                format_args!("{} {{ type ifname : verdict; }}", words.map),
            );
            self.line("add chain", format_args!("{} {{ {hook} }}", words.base));
            for rule in [
                "ct state established ct direction reply accept",
                "ct state related accept",
                &format!("{} vmap @{}", words.interface, words.map),
            ] {
                self.line("add rule", format_args!("{} {rule}", words.base));
            }
        }
    }

    /// Everything new gets its name, so that all that follows can refer to it.
    fn declare(&mut self, before: &Ruleset, now: &Ruleset) {
        for number in now.groups.keys().filter(|n| !before.groups.contains_key(n)) {
            self.line("add set", format_args!("g{number}-4 {{ type ipv4_addr; }}"));
            self.line("add set", format_args!("g{number}-6 {{ type ipv6_addr; }}"));
        }
        for number in now.ports.keys().filter(|n| !before.ports.contains_key(n)) {
            self.line(
                "add set",
                format_args!("n{number}-4 {{ type ipv4_addr . inet_service; }}"),
            );
            self.line(
                "add set",
                format_args!("n{number}-6 {{ type ipv6_addr . inet_service; }}"),
            );
        }
        for key in now
            .policies
            .keys()
            .filter(|key| !before.policies.contains_key(key))
        {
            self.line("add chain", policy_chain(*key));
        }
        for (host, direction) in chains(now).difference(&chains(before)) {
            self.line("add chain", pod_chain(host, *direction));
        }
    }

    /// What differs is said anew.
    fn fill(&mut self, before: &Ruleset, now: &Ruleset) {
        for (number, members) in &now.groups {
            let held = before.groups.get(number);
            self.elements(
                'g',
                *number,
                held.map(|held| &**held),
                members,
                ToString::to_string,
                |ip| *ip,
            );
        }
        for (number, members) in &now.ports {
            let held = before.ports.get(number).map(|held| &**held);
            let text = |(ip, port): &(IpAddr, u16)| format!("{ip} . {port}");
            self.elements('n', *number, held, members, text, |(ip, _)| *ip);
        }
        for (key, allowed) in &now.policies {
            let held = before.policies.get(key);
            if held.map(|held| &held.rules) != Some(&allowed.rules) {
                self.policy(*key, allowed, held.is_some());
            }
        }
        for (host, rules) in &now.pods {
            for direction in Direction::BOTH {
                let held = before.pods.get(host).and_then(|held| held.of(direction));
                self.pod(host, direction, rules.of(direction), held, now);
            }
        }
        let gone = before
            .pods
            .iter()
            .filter(|(host, _)| !now.pods.contains_key(*host));
        for (host, held) in gone {
            for direction in Direction::BOTH {
                self.pod(host, direction, None, held.of(direction), now);
            }
        }
    }

    fn elements<M: Ord>(
        &mut self,
        kind: char,
        number: u32,
        held: Option<&BTreeSet<M>>,
        members: &BTreeSet<M>,
        text: impl Fn(&M) -> String,
        ip: impl Fn(&M) -> IpAddr,
    ) {
        if held.is_some_and(|held| std::ptr::eq(held, members)) {
            return;
        }
        let empty = BTreeSet::new();
        let held = held.unwrap_or(&empty);
        for (verb, all) in [
            ("delete element", held.difference(members)),
            ("add element", members.difference(held)),
        ] {
            let mut by_version: BTreeMap<u8, Vec<String>> = BTreeMap::new();
            for member in all {
                let version = if ip(member).is_ipv4() { 4 } else { 6 };
                by_version.entry(version).or_default().push(text(member));
            }
            for (version, all) in by_version {
                self.line(
                    verb,
                    format_args!("{kind}{number}-{version} {{ {} }}", all.join(", ")),
                );
            }
        }
    }

    fn policy(&mut self, key: (u32, Direction), allowed: &Allowed, held: bool) {
        let chain = policy_chain(key);
        if held {
            self.line("flush chain", &chain);
        }
        for rule in allowed.rules.iter() {
            for text in rule_texts(rule, key.1) {
                self.line("add rule", format_args!("{chain} {text}accept"));
            }
        }
    }

    /// A pod's chain, and the way to it.
    fn pod(
        &mut self,
        host: &str,
        direction: Direction,
        wanted: Option<&[u32]>,
        held: Option<&[u32]>,
        now: &Ruleset,
    ) {
        let (words, chain) = (words(direction), pod_chain(host, direction));
        if wanted == held {
            return;
        }
        if wanted.is_none() {
            self.line("delete element", format_args!("{} {{ \"{host}\" }}", words.map));
        }
        if held.is_some() {
            self.line("flush chain", &chain);
        }
        let Some(policies) = wanted else { return };
        self.line(
            "add rule",
            format_args!("{chain} {} \"{host}\" accept", words.other_interface),
        );
        for number in policies {
            let comment = now
                .policies
                .get(&(*number, direction))
                .map(|allowed| comment(&allowed.name));
            let policy = policy_chain((*number, direction));
            self.line(
                "add rule",
                format_args!("{chain} jump {policy}{}", comment.unwrap_or_default()),
            );
        }
        self.line(
            "add rule",
            format_args!("{chain} counter name \"{}\" drop", words.counter),
        );
        if held.is_none() {
            self.line(
                "add element",
                format_args!("{} {{ \"{host}\" : jump {chain} }}", words.map),
            );
        }
    }

    /// What nothing refers to any more goes, chains before what they refer to.
    fn forget(&mut self, before: &Ruleset, now: &Ruleset) {
        for (host, direction) in chains(before).difference(&chains(now)) {
            self.line("delete chain", pod_chain(host, *direction));
        }
        for key in before
            .policies
            .keys()
            .filter(|key| !now.policies.contains_key(key))
        {
            self.line("flush chain", policy_chain(*key));
            self.line("delete chain", policy_chain(*key));
        }
        for number in before.groups.keys().filter(|n| !now.groups.contains_key(n)) {
            self.line("delete set", format_args!("g{number}-4"));
            self.line("delete set", format_args!("g{number}-6"));
        }
        for number in before.ports.keys().filter(|n| !now.ports.contains_key(n)) {
            self.line("delete set", format_args!("n{number}-4"));
            self.line("delete set", format_args!("n{number}-6"));
        }
    }
}

fn policy_chain((number, direction): (u32, Direction)) -> String {
    format!("p{number}-{}", words(direction).short)
}

fn pod_chain(host: &str, direction: Direction) -> String {
    format!("{}-{host}", words(direction).short)
}

/// The chains of isolated pods.
fn chains(ruleset: &Ruleset) -> BTreeSet<(&str, Direction)> {
    let isolated = |(host, direction): &(&str, Direction)| {
        ruleset
            .pods
            .get(*host)
            .is_some_and(|rules| rules.of(*direction).is_some())
    };
    let all = ruleset.pods.keys();
    let all = all.flat_map(|host| Direction::BOTH.map(|direction| (host.as_str(), direction)));
    all.filter(isolated).collect()
}

/// A policy's name where it is made of plain letters, which the API's names are.
fn comment(name: &Name) -> String {
    let text = name.to_string();
    let plain = text
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'/'));
    match plain && text.len() <= COMMENT {
        true => format!(" comment \"{text}\""),
        false => String::new(),
    }
}
