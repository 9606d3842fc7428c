//! The interface of a network: TUN device, addresses, and routes in a table of its own.
//!
//! Addresses are /32 and /128 without a prefix route; the network's prefixes are routes in our own table, looked up by a
//! rule before the main table. Where the machine has a LAN inside the network's range, a `throw` route lets that
//! LAN's own route win. Everything wanted is compared with what is there and put right, at the start and whenever
//! somebody else changed it.

use crate::config::Config;
use crate::descriptors::Descriptors;
use anyhow::Context;
use ipnet::IpNet;
use meshd_core::statement::Params;
use meshd_net::netlink::{
    Address, Family, LinkChange, Netlink, OWN_MARK, OWN_MARK_MASK, Route, RouteKind, Rule, RuleAction, Scope,
};
use meshd_net::tun::Tun;
use meshd_net::wanted::Wanted;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tracing::{debug, info};

/// Packets that the TUN queue holds: what a restart of meshd may take, at a few thousand packets a second.
const QUEUE_LEN: u32 = 2_000;

/// The interface of a network, as it should be.
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// IPv4 and IPv6 address.
    pub addresses: (Ipv4Addr, Ipv6Addr),
    /// The network's prefixes.
    pub prefixes: [IpNet; 2],
    table: u32,
    preference: u32,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Ranges behind gateways.
    ranges: Vec<IpNet>,
    /// Prefixes that are this machine's own: what of them nobody has is unreachable.
    own: Vec<IpNet>,
    /// LAN prefixes that keep their own route.
    throws: Vec<IpNet>,
    /// Addresses of endpoints.
    held: Vec<IpAddr>,
}

impl Interface {
    /// Opens the TUN device (or takes it back from a predecessor) and sets it up; `ranges` lead into it from the start.
    ///
    /// # Errors
    /// Sentences that name the interface and the step.
    pub async fn open(
        config: &Config,
        (number, params, addresses): (u16, &Params, (Ipv4Addr, Ipv6Addr)),
        ranges: Vec<IpNet>,
        (netlink, descriptors): (&Netlink, &Descriptors),
    ) -> anyhow::Result<(Self, Tun)> {
        let name = config.interface(number);
        let tun = open_tun(&name, descriptors)?;
        let interface = Self {
            index: tun.ifindex()?,
            name,
            addresses,
            prefixes: [params.ipv4.into(), params.ipv6.into()],
            table: config.table(number),
            preference: config.rule_preference(number),
            mtu: params.mtu,
            ranges,
            own: Vec::new(),
            throws: Vec::new(),
            held: Vec::new(),
        };
        interface.ensure(netlink).await?;
        Ok((interface, tun))
    }

    /// Compares what is there with what should be, and puts it right. Cheap where nothing changed.
    pub async fn ensure(&self, netlink: &Netlink) -> anyhow::Result<()> {
        let link = netlink
            .link(&self.name)
            .await?
            .with_context(|| format!("the interface {} is gone", self.name))?;
        if !link.up || link.mtu != u32::from(self.mtu) || link.queue_len != QUEUE_LEN {
            let change = LinkChange {
                up: Some(true),
                mtu: Some(self.mtu.into()),
                queue_len: Some(QUEUE_LEN),
            };
            netlink.set_link(self.index, change).await?;
        }
        self.wanted()
            .apply(netlink)
            .await
            .with_context(|| format!("cannot set up {}", self.name))?;
        Ok(())
    }

    /// Leads these ranges into the tunnel but for what is this machine's own, and lets these LAN prefixes keep their own routes; true where that is new.
    pub async fn route(
        &mut self,
        (ranges, own): (Vec<IpNet>, Vec<IpNet>),
        lans: Vec<IpNet>,
        netlink: &Netlink,
    ) -> anyhow::Result<bool> {
        let new = self.throws != lans || self.ranges != ranges || self.own != own;
        (self.ranges, self.own, self.throws) = (ranges, own, lans);
        self.ensure(netlink).await?;
        Ok(new)
    }

    /// Holds these addresses besides its own: for this machine alone, and never as a source. Others that it held go, also those of a
    /// meshd before.
    ///
    /// # Errors
    /// In the kernel's words; what could be done is done.
    pub async fn hold(&mut self, held: Vec<IpAddr>, netlink: &Netlink) -> anyhow::Result<()> {
        let first = self.held.is_empty();
        if self.held == held && !first {
            return Ok(());
        }
        self.held = held;
        let (v4, v6) = self.addresses;
        for address in netlink.addresses(Some(self.index)).await? {
            let ours = self.held.contains(&address.ip) || address.ip == v4 || address.ip == v6;
            let whole = address.prefix_len == if address.ip.is_ipv4() { 32 } else { 128 };
            if whole && !ours {
                netlink.delete_address(&address).await?;
            }
        }
        match self.held.is_empty() {
            true => Ok(()),
            false => self.ensure(netlink).await,
        }
    }

    /// Addresses that it holds besides its own.
    pub fn held(&self) -> &[IpAddr] {
        &self.held
    }

    /// Its routing table.
    pub fn table(&self) -> u32 {
        self.table
    }

    /// LAN prefixes inside the network's that keep their own route.
    pub fn throws(&self) -> &[IpNet] {
        &self.throws
    }

    /// Takes routes and rules away; the device goes with its last descriptor.
    pub async fn remove(&self, netlink: &Netlink, descriptors: &Descriptors) {
        descriptors.forget(&self.name);
        let nothing = Wanted {
            addresses: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            ..self.wanted()
        };
        if let Err(error) = nothing.apply(netlink).await {
            debug!(interface = %self.name, %error, "not everything could be taken away");
        }
        if let Err(error) = netlink.delete_link(self.index).await {
            debug!(interface = %self.name, %error, "the interface is gone already");
        }
    }

    /// Everything is looked up in our table first, but for what carries the tunnel itself: a gateway's own address may lie
    /// in the range behind it.
    fn rule(&self, family: Family) -> Rule {
        Rule {
            mark: Some((OWN_MARK, OWN_MARK_MASK)),
            invert: true,
            ..Rule::new(family, self.preference, RuleAction::Table(self.table))
        }
    }

    fn wanted(&self) -> Wanted {
        let (v4, v6) = self.addresses;
        let one = |ip: IpAddr| Address::new(self.index, ip, if ip.is_ipv4() { 32 } else { 128 });
        let own = [IpAddr::from(v4), v6.into()].map(one);
        let held = self.held.iter().map(|ip| Address {
            scope: Scope::Host,
            ..one(*ip)
        });
        let addresses = own.into_iter().chain(held).collect();
        let route = |prefix: &IpNet| Route {
            source: Some(if prefix.addr().is_ipv4() {
                v4.into()
            } else {
                v6.into()
            }),
            ..Route::via_interface(*prefix, self.table, self.index)
        };
        let ours = self
            .prefixes
            .iter()
            .chain(&self.ranges)
            .filter(|prefix| !self.throws.contains(prefix))
            .map(route);
        let throws = self
            .throws
            .iter()
            .map(|lan| Route::without_target(*lan, self.table, RouteKind::Throw));
        let own = self
            .own
            .iter()
            .filter(|own| !self.throws.contains(own))
            .map(|own| Route::without_target(*own, self.table, RouteKind::Unreachable));
        Wanted {
            interface: self.index,
            table: self.table,
            preference: self.preference,
            addresses,
            routes: ours.chain(own).chain(throws).collect(),
            rules: Family::BOTH.map(|family| self.rule(family)).to_vec(),
        }
    }
}

fn open_tun(name: &str, descriptors: &Descriptors) -> anyhow::Result<Tun> {
    if let Some(fds) = descriptors.take(name) {
        match Tun::from_fds(fds) {
            Ok(tun) if tun.name() == name => {
                info!(interface = name, "the interface of the previous meshd goes on");
                return Ok(tun);
            }
            Ok(tun) => debug!(
                interface = name,
                found = tun.name(),
                "another interface was kept under this name"
            ),
            Err(error) => debug!(interface = name, %error, "what was kept is no longer usable"),
        }
    }
    let queues = 1;
    let tun = Tun::open(name, queues)?;
    descriptors.keep(name, tun.fds());
    Ok(tun)
}
