//! What is wanted of the kernel for one interface with a routing table of its own, compared with what is there and put right.
//!
//! Other programs take routes and rules away that they do not know (networkd does at every reload). So the whole is
//! stated once and applied whenever something changed: what is missing is added, what is ours and no longer wanted goes, and
//! nothing else is touched.

use crate::netlink::{Address, Netlink, NetlinkError, OWN_PROTOCOL, Route, RouteFilter, RouteKind, Rule};

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
    /// Puts right what is not as wanted. Goes on past errors.
    ///
    /// # Errors
    /// The first one.
    pub async fn apply(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        let mut first = Ok(());
        let mut note = |done: Result<(), NetlinkError>| {
            if first.is_ok() {
                first = done;
            }
        };
        note(self.apply_addresses(netlink).await);
        note(self.apply_routes(netlink).await);
        note(self.apply_rules(netlink).await);
        first
    }

    async fn apply_addresses(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        if self.addresses.is_empty() {
            return Ok(());
        }
        let present = netlink.addresses(Some(self.interface)).await?;
        for address in self
            .addresses
            .iter()
            .filter(|wanted| !present.iter().any(|p| p.is_same(wanted)))
        {
            netlink.add_address(address).await?;
        }
        Ok(())
    }

    async fn apply_routes(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        let present = netlink
            .routes(RouteFilter {
                table: Some(self.table),
                ..RouteFilter::default()
            })
            .await?;
        let ours = present.iter().filter(|route| route.protocol == OWN_PROTOCOL);
        for route in ours.filter(|p| !self.routes.iter().any(|wanted| wanted.has_key_of(p))) {
            netlink.delete_route(route).await?;
        }
        for route in self
            .routes
            .iter()
            .filter(|wanted| !present.iter().any(|p| does_the_same(wanted, p)))
        {
            netlink.replace_route(route).await?;
        }
        Ok(())
    }

    async fn apply_rules(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        let all = netlink.rules(None).await?;
        let present: Vec<_> = all
            .iter()
            .filter(|rule| rule.preference == self.preference)
            .collect();
        let ours = present.iter().filter(|rule| rule.protocol == OWN_PROTOCOL);
        for rule in ours.filter(|p| !self.rules.contains(p)) {
            netlink.delete_rule(rule).await?;
        }
        for rule in self.rules.iter().filter(|wanted| !present.contains(wanted)) {
            netlink.add_rule(rule).await?;
        }
        Ok(())
    }
}

/// Whether the route that is there does what the wanted one would. The kernel shows IPv6 throw routes with a device.
fn does_the_same(wanted: &Route, present: &Route) -> bool {
    let (wanted, present) = (wanted.canonical(), present.canonical());
    match wanted.kind {
        RouteKind::Unicast => wanted == present,
        kind => kind == present.kind && wanted.has_key_of(&present),
    }
}
