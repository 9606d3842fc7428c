//! Routes to pods: one for each address, in the network's own table, so that they are looked up before anything else.
//!
//! They carry a protocol number of their own, so that the network's task, which states its whole table, leaves them alone.
//! They end with their interface: the kernel takes them away, and nothing of a pod can stay behind.

use super::Setting;
use ipnet::IpNet;
use meshd_core::ipam::Lease;
use meshd_net::netlink::{Link, Netlink, NetlinkError, POD_PROTOCOL, Route, RouteFilter};
use std::net::IpAddr;

/// Routes to the pods of one network.
pub struct Routes {
    netlink: Netlink,
    setting: Option<Setting>,
}

impl Routes {
    /// None yet.
    pub fn new(netlink: Netlink) -> Self {
        Self {
            netlink,
            setting: None,
        }
    }

    /// What holds from now on.
    pub fn set(&mut self, setting: Option<Setting>) {
        self.setting = setting;
    }

    /// Routes to one pod.
    pub async fn add(&self, lease: &Lease, interface: u32) -> Result<(), NetlinkError> {
        for route in self.wanted(lease, interface) {
            self.netlink.replace_route(&route).await?;
        }
        Ok(())
    }

    /// Whether the routes to one pod are there.
    pub async fn has(&self, lease: &Lease, interface: u32) -> Result<bool, NetlinkError> {
        let present = self.present().await?;
        Ok(self
            .wanted(lease, interface)
            .iter()
            .all(|wanted| is_there(wanted, &present)))
    }

    /// Puts missing routes back; goes on past errors and gives the first.
    pub async fn ensure(
        &self,
        leases: impl Iterator<Item = &Lease>,
        links: &[Link],
    ) -> Result<(), NetlinkError> {
        let wanted = leases.flat_map(|lease| {
            let link = links.iter().find(|link| link.name == lease.host);
            link.map_or(Vec::new(), |link| self.wanted(lease, link.index))
        });
        let wanted: Vec<Route> = wanted.collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let present = self.present().await?;
        let mut first = Ok(());
        for route in wanted.iter().filter(|wanted| !is_there(wanted, &present)) {
            first = first.and(self.netlink.replace_route(route).await);
        }
        first
    }

    fn wanted(&self, lease: &Lease, interface: u32) -> Vec<Route> {
        let Some(Setting { table, source, .. }) = self.setting.clone() else {
            return Vec::new();
        };
        let route = |ip: IpAddr| Route {
            protocol: POD_PROTOCOL,
            source: Some(if ip.is_ipv4() {
                source.0.into()
            } else {
                source.1.into()
            }),
            ..Route::via_interface(IpNet::from(ip), table, interface)
        };
        let addresses = [IpAddr::from(lease.ipv4)]
            .into_iter()
            .chain(lease.ipv6.map(IpAddr::from));
        addresses.map(route).collect()
    }

    async fn present(&self) -> Result<Vec<Route>, NetlinkError> {
        let Some(setting) = &self.setting else {
            return Ok(Vec::new());
        };
        self.netlink
            .routes(RouteFilter {
                table: Some(setting.table),
                protocol: Some(POD_PROTOCOL),
                ..RouteFilter::default()
            })
            .await
    }
}

fn is_there(wanted: &Route, present: &[Route]) -> bool {
    present
        .iter()
        .any(|route| route.canonical() == wanted.canonical())
}
