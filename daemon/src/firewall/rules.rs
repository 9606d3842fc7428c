//! Our table's rules, in the order in which a packet meets them.
//!
//! 0. `pods` (only where there are pods): a pod sends from its own addresses alone;
//! 1. `translate` (only where a range is published under another prefix): addresses, one to one;
//! 2. `input`: by a mesh interface to the addresses of that network alone, and of the ranges that this node serves; by the
//!    underlay neither to a mesh address nor from one;
//! 3. `forward`: from the mesh into the ranges that this node serves or that were granted to it, to its pods, answers back,
//!    nothing else;
//! 4. `output` (only where routes of other programs lead to peers): what carries the tunnel never goes through it;
//! 5. `leave`: the gateway's own address as the source, or the translated one; pods that leave for anywhere but the mesh.
//!
//! A rule about a translated range speaks of the address to which the sender wrote (`ct original`), so that the range
//! itself is no way around the prefix under which it is published. Other rules about ranges look at addresses alone: without
//! NAT answers may come back by another gateway, so that this one sees half of a connection.

use super::{Fenced, FencedPods};
use ipnet::IpNet;
use meshd_core::gateway::Service;
use meshd_core::ipam::HOST_PREFIX;
use meshd_net::netlink::{OWN_MARK, OWN_MARK_MASK};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

/// Where an exit node does not lead: its own LAN, and what is nowhere on the internet (RFC 6890).
const NOT_INTERNET_V4: &str = "{ 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/3 }";
/// The same, IPv6.
const NOT_INTERNET_V6: &str = "{ ::/16, fc00::/7, fe80::/10, ff00::/8 }";

/// The script that makes our table anew in one transaction.
pub fn table<'a>(name: &str, fenced: impl Iterator<Item = &'a Fenced> + Clone) -> String {
    let mut script = format!("add table inet {name}\ndelete table inet {name}\n");
    if fenced.clone().next().is_none() {
        return script;
    }
    let mut chains = Chains::default();
    fenced.for_each(|fenced| chains.add(fenced));
    let _ = writeln!(script, "table inet {name} {{");
    let all = [
        ("pods", "type filter hook prerouting priority raw", chains.pods),
        (
            "translate",
            "type nat hook prerouting priority dstnat",
            chains.translate,
        ),
        ("input", "type filter hook input priority -10", chains.input),
        ("forward", "type filter hook forward priority -10", chains.forward),
        ("output", "type filter hook output priority -10", chains.output),
        ("leave", "type nat hook postrouting priority srcnat", chains.leave),
    ];
    for (chain, hook, rules) in all.into_iter().filter(|(.., rules)| !rules.is_empty()) {
        let _ = writeln!(script, "  chain {chain} {{\n    {hook}; policy accept;");
        for rule in rules {
            let _ = writeln!(script, "    {rule}");
        }
        script.push_str("  }\n");
    }
    script.push_str("}\n");
    script
}

/// The script that makes anew the table by which this machine is silent (ARP) about addresses that every node holds for itself: the
/// kernel answers for each address of any interface. IPv6 asks an interface about its own addresses only.
pub fn silence<'a>(name: &str, fenced: impl Iterator<Item = &'a Fenced>) -> String {
    let mut script = format!("add table arp {name}\ndelete table arp {name}\n");
    let held: BTreeSet<&IpAddr> = fenced
        .flat_map(|fenced| &fenced.held)
        .filter(|ip| ip.is_ipv4())
        .collect();
    if held.is_empty() {
        return script;
    }
    let _ = writeln!(script, "table arp {name} {{\n  chain input {{");
    script.push_str("    type filter hook input priority 0; policy accept;\n");
    for ip in held {
        let _ = writeln!(script, "    arp daddr ip {ip} drop");
    }
    script.push_str("  }\n}\n");
    script
}

#[derive(Default)]
struct Chains {
    pods: Vec<String>,
    translate: Vec<String>,
    input: Vec<String>,
    forward: Vec<String>,
    output: Vec<String>,
    leave: Vec<String>,
}

impl Chains {
    fn add(&mut self, fenced: &Fenced) {
        let Fenced {
            interface,
            addresses: (v4, v6),
            services,
            guarded,
            ..
        } = fenced;
        let from_mesh = format!("iifname \"{interface}\"");
        if fenced.forwards() {
            let answers = format!("{from_mesh} ct state established,related counter accept");
            self.input.push(answers.clone());
            self.forward.push(answers);
        }
        services.iter().for_each(|service| self.serve(interface, service));
        self.pods(fenced);
        self.granted(fenced);
        self.input
            .push(format!("{from_mesh} ip daddr != {v4} counter drop"));
        self.input
            .push(format!("{from_mesh} ip6 daddr != {v6} counter drop"));
        self.forward.push(format!("{from_mesh} counter drop"));
        let guard = |other: &String| format!("iifname \"{other}\" oifname != \"{interface}\" counter drop");
        self.forward.extend(guarded.iter().map(guard));
        self.against_strangers(fenced);
    }

    /// A pod sends from the addresses that are routed to its interface, and from no other (RFC 3704's strict reverse path, for
    /// these interfaces alone). To pods lead: the mesh, this machine, each other, and what kube-proxy or portmap sends there.
    fn pods(&mut self, fenced: &Fenced) {
        let Some(FencedPods { part, limits }) = &fenced.pods else {
            return;
        };
        let (mesh, pod) = (&fenced.interface, format!("\"{HOST_PREFIX}*\""));
        self.pods
            .push(format!("iifname {pod} fib saddr . iif oif missing counter drop"));
        limits
            .iter()
            .for_each(|limit| self.forward.push(limited(&pod, limit)));
        self.forward
            .push(format!("iifname \"{mesh}\" ct status dnat counter accept"));
        for part in part {
            let ip = ip(part);
            self.forward
                .push(format!("iifname \"{mesh}\" {ip} daddr {part} counter accept"));
            self.leave.push(format!(
                "{ip} saddr {part} oifname != {{ \"{mesh}\", {pod} }} {}masquerade",
                but_served(fenced, part)
            ));
        }
        let strangers = plain(&fenced.underlay);
        if !strangers.is_empty() {
            let sent = format!("iifname {{ {strangers} }} ct direction original ct original");
            let (v4, v6) = fenced.addresses;
            // kube-proxy and portmap have translated these already: no rule for input sees them
            self.forward.push(format!("{sent} ip daddr {v4} counter drop"));
            self.forward.push(format!("{sent} ip6 daddr {v6} counter drop"));
        }
        for accepted in ["ct state established,related", "ct status dnat"] {
            self.forward
                .push(format!("oifname {pod} {accepted} counter accept"));
        }
        if !strangers.is_empty() {
            self.forward
                .push(format!("iifname {{ {strangers} }} oifname {pod} counter drop"));
        }
    }

    /// What was granted to this node lies behind it: pods of another CNI plugin, a LAN whose router speaks BGP with it. kube-proxy
    /// may send on what was for this machine. Routes of other programs know nothing of marks, so that one around a peer's
    /// own address would lead the tunnel into itself.
    fn granted(&mut self, fenced: &Fenced) {
        let (mesh, granted) = (&fenced.interface, &fenced.granted);
        if !granted.is_empty() {
            self.forward
                .push(format!("iifname \"{mesh}\" ct status dnat counter accept"));
        }
        for prefix in granted {
            let ip = ip(prefix);
            let whither = format!("{ip} daddr {prefix} counter accept");
            self.input.push(format!("iifname \"{mesh}\" {whither}"));
            self.forward
                .push(format!("iifname \"{mesh}\" oifname != \"{mesh}\" {whither}"));
        }
        if fenced.adopts {
            self.output.push(format!(
                "oifname \"{mesh}\" meta mark & {OWN_MARK_MASK:#x} == {OWN_MARK:#x} counter drop"
            ));
        }
    }

    /// From the underlay nobody reaches a mesh address, and nobody passes for a peer.
    fn against_strangers(&mut self, fenced: &Fenced) {
        let names = plain(&fenced.underlay);
        if names.is_empty() {
            return;
        }
        let from = format!("iifname {{ {names} }}");
        let (v4, v6) = fenced.addresses;
        self.input.push(format!("{from} ip daddr {v4} counter drop"));
        self.input.push(format!("{from} ip6 daddr {v6} counter drop"));
        for held in &fenced.held {
            let ip = ip(&IpNet::from(*held));
            self.input.push(format!("{from} {ip} daddr {held} counter drop"));
        }
        for prefix in fenced.prefixes {
            let ip = ip(&prefix);
            let lans = fenced.lans.iter().filter(|lan| prefix.contains(*lan));
            let but: String = lans.map(|lan| format!("{ip} saddr != {lan} ")).collect();
            self.input
                .push(format!("{from} {ip} saddr {prefix} {but}counter drop"));
        }
    }

    fn serve(&mut self, interface: &str, service: &Service) {
        let Service {
            range,
            published,
            nat,
            sources,
        } = service;
        let ip = ip(range);
        let from_mesh = format!("iifname \"{interface}\"");
        let whither = whither(service);
        if let Some(who) = who(ip, sources.as_deref()) {
            self.input
                .push(format!("{from_mesh} {whither} {who}counter accept"));
            self.forward.push(format!(
                "{from_mesh} oifname != \"{interface}\" {whither} {who}counter accept"
            ));
        }
        if published != range {
            self.translate.push(format!(
                "{from_mesh} {ip} daddr {published} dnat {ip} prefix to {ip} daddr map {{ {published} : {range} }}"
            ));
        }
        if *nat {
            self.leave.push(format!(
                "{from_mesh} oifname != \"{interface}\" {whither} masquerade"
            ));
        } else if published != range {
            self.leave.push(format!(
                "oifname \"{interface}\" {ip} saddr {range} snat {ip} prefix to {ip} saddr map {{ {range} : {published} }}"
            ));
        }
        if *nat && range.prefix_len() > 0 {
            // Hosts behind a masquerading gateway answer; they begin nothing.
            self.forward.push(format!(
                "oifname \"{interface}\" {ip} saddr {range} ct state new counter drop"
            ));
        }
    }
}

/// Packets of pods that are not among those that may never go into a range; also those of connections that began before.
fn limited(pod: &str, (range, may): &(IpNet, Vec<IpAddr>)) -> String {
    let ip = ip(range);
    let same = may
        .iter()
        .filter(|address| address.is_ipv4() == range.addr().is_ipv4());
    let may: Vec<String> = same.map(IpAddr::to_string).collect();
    let but = match may.is_empty() {
        true => String::new(),
        false => format!("{ip} saddr != {{ {} }} ", may.join(", ")),
    };
    format!("iifname {pod} {ip} daddr {range} {but}counter drop")
}

/// The names as elements of a set, without those that nft cannot quote.
fn plain(names: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = names
        .iter()
        .filter(is_plain)
        .map(|n| format!("\"{n}\""))
        .collect();
    quoted.join(", ")
}

/// Ranges that this node serves without NAT see pods' own addresses, as they see nodes'.
fn but_served(fenced: &Fenced, part: &IpNet) -> String {
    let seen = fenced
        .services
        .iter()
        .filter(|service| !service.nat && service.range.prefix_len() > 0);
    let same = seen.filter(|service| service.range.addr().is_ipv4() == part.addr().is_ipv4());
    same.map(|service| format!("{} daddr != {} ", ip(&service.range), service.range))
        .collect()
}

/// Whether nft can quote this interface name: the kernel takes any byte but `/`, `:` and white space.
fn is_plain(name: &&String) -> bool {
    name.bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"._-@+".contains(&c))
}

fn ip(range: &IpNet) -> &'static str {
    if range.addr().is_ipv4() { "ip" } else { "ip6" }
}

/// What a packet must have been written to.
fn whither(service: &Service) -> String {
    let ip = ip(&service.range);
    match (service.range.prefix_len(), ip) {
        (0, "ip") => format!("ip daddr != {NOT_INTERNET_V4}"),
        (0, _) => format!("ip6 daddr != {NOT_INTERNET_V6}"),
        _ if service.published != service.range => format!("ct original {ip} daddr {}", service.published),
        _ => format!("{ip} daddr {}", service.range),
    }
}

/// Whose packets pass, as a match with a space after it; `None` where nobody's do.
fn who(ip: &str, sources: Option<&[IpNet]>) -> Option<String> {
    match sources {
        None => Some(String::new()),
        Some([]) => None,
        Some(sources) => {
            let all: Vec<String> = sources.iter().map(element).collect();
            Some(format!("{ip} saddr {{ {} }} ", all.join(", ")))
        }
    }
}

/// A prefix as an element of a set: one address without its length.
fn element(prefix: &IpNet) -> String {
    match prefix.prefix_len() == prefix.max_prefix_len() {
        true => prefix.addr().to_string(),
        false => prefix.to_string(),
    }
}

#[cfg(test)]
mod tests;
