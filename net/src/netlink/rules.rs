//! Rules of policy routing: which table is looked up for which packet.

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction as Code, RuleAttribute, RuleFlags, RuleHeader, RuleMessage};

use super::{Family, Mode, Netlink, NetlinkError, OWN_PROTOCOL};

/// The kernel's value for "do not suppress".
const NO_SUPPRESS: u32 = u32::MAX;

/// What a rule does with a packet that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleAction {
    /// Looks it up in this table.
    Table(u32),
    /// Goes on at the rule with this preference.
    Goto(u32),
    /// Anything else (nop, blackhole, unreachable, prohibit), by its number.
    Other(u8),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its IP version.
    pub family: Family,
    /// Its preference: lower ones are tried first.
    pub preference: u32,
    /// What it does.
    pub action: RuleAction,
    /// Only packets with a source in here.
    pub from: Option<IpNet>,
    /// Only packets with a destination in here.
    pub to: Option<IpNet>,
    /// Only packets whose mark, under the mask, is this: (mark, mask).
    pub mark: Option<(u32, u32)>,
    /// Only packets that came in by this interface (`lo`: those that this machine sends).
    pub input: Option<String>,
    /// Only packets of sockets bound to this interface.
    pub output: Option<String>,
    /// Whether it is for the packets that do not match.
    pub invert: bool,
    /// Ignore what the table gives if its prefix has at most this many bits (0: ignore a default route).
    pub suppress_prefix_len: Option<u32>,
    /// Who made it.
    pub protocol: u8,
    /// Whether it has selectors that are not described here. Never set on ours.
    pub more: bool,
}

impl Rule {
    /// A rule of ours, for all packets.
    pub fn new(family: Family, preference: u32, action: RuleAction) -> Self {
        Self {
            family,
            preference,
            action,
            from: None,
            to: None,
            mark: None,
            input: None,
            output: None,
            invert: false,
            suppress_prefix_len: None,
            protocol: OWN_PROTOCOL,
            more: false,
        }
    }

    pub(super) fn read(message: &RuleMessage) -> Option<Self> {
        let header = &message.header;
        let mut rule = Self::new(
            Family::from_code(header.family)?,
            0,
            RuleAction::Other(header.action.into()),
        );
        rule.invert = header.flags.contains(RuleFlags::Invert);
        rule.protocol = 0;
        rule.more = header.tos != 0;
        let (mut table, mut target, mut mark, mut mask) = (u32::from(header.table), None, None, u32::MAX);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(preference) => rule.preference = *preference,
                RuleAttribute::Table(number) => table = *number,
                RuleAttribute::Goto(preference) => target = Some(*preference),
                RuleAttribute::Source(ip) => rule.from = IpNet::new(*ip, header.src_len).ok(),
                RuleAttribute::Destination(ip) => rule.to = IpNet::new(*ip, header.dst_len).ok(),
                RuleAttribute::FwMark(value) => mark = Some(*value),
                RuleAttribute::FwMask(value) => mask = *value,
                RuleAttribute::Iifname(name) => rule.input = Some(name.clone()),
                RuleAttribute::Oifname(name) => rule.output = Some(name.clone()),
                RuleAttribute::SuppressPrefixLen(bits) => {
                    rule.suppress_prefix_len = Some(*bits).filter(|bits| *bits != NO_SUPPRESS);
                }
                RuleAttribute::Protocol(protocol) => rule.protocol = (*protocol).into(),
                RuleAttribute::SuppressIfGroup(group) => rule.more |= *group != NO_SUPPRESS,
                _ => rule.more = true,
            }
        }
        rule.mark = mark.map(|mark| (mark, mask));
        rule.action = match (header.action, target) {
            (Code::ToTable, _) => RuleAction::Table(table),
            (Code::Goto, Some(target)) => RuleAction::Goto(target),
            (other, _) => RuleAction::Other(other.into()),
        };
        Some(rule)
    }

    fn write(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let header = RuleHeader {
            family: self.family.code(),
            src_len: self.from.map_or(0, |net| net.prefix_len()),
            dst_len: self.to.map_or(0, |net| net.prefix_len()),
            flags: if self.invert {
                RuleFlags::Invert
            } else {
                RuleFlags::empty()
            },
            action: match self.action {
                RuleAction::Table(_) => Code::ToTable,
                RuleAction::Goto(_) => Code::Goto,
                RuleAction::Other(number) => Code::from(number),
            },
            ..RuleHeader::default()
        };
        message.header = header;
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Priority(self.preference));
        match self.action {
            RuleAction::Table(table) => attributes.push(RuleAttribute::Table(table)),
            RuleAction::Goto(preference) => attributes.push(RuleAttribute::Goto(preference)),
            RuleAction::Other(_) => {}
        }
        attributes.extend(self.from.map(|net| RuleAttribute::Source(net.network())));
        attributes.extend(self.to.map(|net| RuleAttribute::Destination(net.network())));
        if let Some((mark, mask)) = self.mark {
            attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
        }
        attributes.extend(self.input.clone().map(RuleAttribute::Iifname));
        attributes.extend(self.output.clone().map(RuleAttribute::Oifname));
        attributes.extend(self.suppress_prefix_len.map(RuleAttribute::SuppressPrefixLen));
        if self.protocol != 0 {
            attributes.push(RuleAttribute::Protocol(RouteProtocol::from(self.protocol)));
        }
        message
    }
}

impl Netlink {
    /// All rules of one IP version, or of both, in the order in which they are tried.
    pub async fn rules(&self, family: Option<Family>) -> Result<Vec<Rule>, NetlinkError> {
        let mut rules = Vec::new();
        for wanted in Family::BOTH {
            if family.is_some_and(|family| family != wanted) {
                continue;
            }
            let mut request = RuleMessage::default();
            request.header.family = wanted.code();
            let messages = self
                .dump(RouteNetlinkMessage::GetRule(request), "list the rules")
                .await?;
            // A kernel without IPv6 may answer for IPv4 again.
            let read = messages.iter().filter_map(|message| match message {
                RouteNetlinkMessage::NewRule(rule) => Rule::read(rule),
                _ => None,
            });
            rules.extend(read.filter(|rule| rule.family == wanted));
        }
        Ok(rules)
    }

    /// Adds a rule; no error where there is one that is equal.
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), NetlinkError> {
        let what = || format!("add the {:?} rule of preference {}", rule.family, rule.preference);
        self.act(
            RouteNetlinkMessage::NewRule(rule.write()),
            Mode::Create,
            &[libc::EEXIST],
            what,
        )
        .await
    }

    /// Deletes a rule that matches in all that is given; no error where there is none.
    pub async fn delete_rule(&self, rule: &Rule) -> Result<(), NetlinkError> {
        let what = || {
            format!(
                "delete the {:?} rule of preference {}",
                rule.family, rule.preference
            )
        };
        let fine = [libc::ENOENT, libc::ESRCH];
        self.act(RouteNetlinkMessage::DelRule(rule.write()), Mode::Act, &fine, what)
            .await
    }
}
