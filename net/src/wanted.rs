//! What is wanted of the kernel for one interface with a routing table of its own, compared with what is there and put right.
//!
//! Other programs take routes and rules away that they do not know (networkd does at every reload). So the whole is
//! stated once and applied whenever something changed: what is missing is added, what is ours and no longer wanted goes, and
//! nothing else is touched.

use crate::facts::has_ipv6;
use crate::netlink::{
    Address, Family, Netlink, NetlinkError, OWN_PROTOCOL, Route, RouteFilter, RouteKind, Rule,
};
use crate::sysctl::Setting;

/// The kernel's configuration of one interface, as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The interface's index.
    pub interface: u32,
    /// The routing table that is ours alone.
    pub table: u32,
    /// The rule preference that is ours alone.
    pub preference: u32,
    /// Addresses of the interface. Others on it are left alone.
    pub addresses: Vec<Address>,
    /// Every route of the table, besides those of other programs.
    pub routes: Vec<Route>,
    /// Every rule of the preference.
    pub rules: Vec<Rule>,
}

impl Wanted {
    /// Puts right what is not as wanted. Goes on past errors. On a kernel without IPv6 the IPv6 part is left out; where IPv6
    /// is switched off by a sysctl, it is switched on for this interface alone.
    ///
    /// # Errors
    /// The first one.
    pub async fn apply(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        if !has_ipv6() {
            return self.without_ipv6().apply_all(netlink).await;
        }
        self.apply_all(netlink).await
    }

    async fn apply_all(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        let addresses = self.apply_addresses(netlink).await;
        let routes = self.apply_routes(netlink).await;
        let rules = self.apply_rules(netlink).await;
        addresses.and(routes).and(rules)
    }

    fn without_ipv6(&self) -> Self {
        let mut wanted = self.clone();
        wanted.addresses.retain(|address| address.ip.is_ipv4());
        wanted.routes.retain(|route| route.destination.addr().is_ipv4());
        wanted.rules.retain(|rule| rule.family == Family::V4);
        wanted
    }

    async fn apply_addresses(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        if self.addresses.is_empty() {
            return Ok(());
        }
        let present = netlink.addresses(Some(self.interface)).await?;
        let is_there = |wanted: &&Address| present.iter().any(|address| address.is_same(wanted));
        let mut first = Ok(());
        for address in self.addresses.iter().filter(|wanted| !is_there(wanted)) {
            first = first.and(self.add_address(netlink, address).await);
        }
        first
    }

    async fn add_address(&self, netlink: &Netlink, address: &Address) -> Result<(), NetlinkError> {
        match netlink.add_address(address).await {
            Err(error) if address.ip.is_ipv6() && error.code() == Some(libc::EACCES) => {
                let links = netlink.links().await?;
                let link = links.iter().find(|link| link.index == self.interface);
                let setting = link.map(|link| Setting::new(Family::V6, &link.name, "disable_ipv6"));
                match setting.map(|setting| setting.set("0")) {
                    Some(Ok(_)) => netlink.add_address(address).await,
                    _ => Err(error),
                }
            }
            other => other,
        }
    }

    async fn apply_routes(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        let filter = RouteFilter {
            table: Some(self.table),
            ..RouteFilter::default()
        };
        let present = netlink.routes(filter).await?;
        let mut first = Ok(());
        let is_wanted = |route: &Route| self.routes.iter().any(|wanted| wanted.has_key_of(route));
        let ours = present.iter().filter(|route| route.protocol == OWN_PROTOCOL);
        for route in ours.filter(|route| !is_wanted(route)) {
            first = first.and(netlink.delete_route(route).await);
        }
        let is_there = |wanted: &Route| present.iter().any(|route| does_the_same(wanted, route));
        for route in self.routes.iter().filter(|wanted| !is_there(wanted)) {
            first = first.and(netlink.replace_route(route).await);
        }
        first
    }

    async fn apply_rules(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        let mut present = netlink.rules(None).await?;
        present.retain(|rule| rule.preference == self.preference);
        let mut first = Ok(());
        let ours = present.iter().filter(|rule| rule.protocol == OWN_PROTOCOL);
        for rule in ours.filter(|rule| !self.rules.contains(rule)) {
            first = first.and(netlink.delete_rule(rule).await);
        }
        for rule in self.rules.iter().filter(|wanted| !present.contains(wanted)) {
            first = first.and(netlink.add_rule(rule).await);
        }
        first
    }
}

/// Whether the route that is there does what the wanted one would.
fn does_the_same(wanted: &Route, present: &Route) -> bool {
    let (wanted, present) = (wanted.canonical(), present.canonical());
    match wanted.kind {
        RouteKind::Unicast => wanted == present,
        kind => kind == present.kind && wanted.has_key_of(&present),
    }
}
