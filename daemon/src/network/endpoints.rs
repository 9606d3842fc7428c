//! Endpoints, as the network's task has to do with them: their addresses are on the interface, and what the map says goes to
//! those who serve them ([`crate::endpoint`]).

use super::task::Task;
use crate::endpoint::{Place, Wanted};
use meshd_core::balance::Endpoint;
use meshd_core::map::View;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use tracing::warn;

impl Task {
    /// Brings addresses and services in line with what is believed now.
    pub(super) async fn serve_endpoints(&mut self) {
        let Some(view) = self.map.view() else { return };
        let wanted: Vec<Wanted> = view
            .endpoints
            .iter()
            .map(|endpoint| wanted(endpoint, &view))
            .collect();
        let places = wanted.iter().flat_map(|endpoint| &endpoint.at);
        let held: BTreeSet<IpAddr> = places.map(SocketAddr::ip).collect();
        // an address goes when nobody is connected by it any more: else nobody would hear of the end
        let until_then = self.interface.held().iter().copied().chain(held.clone());
        self.hold(until_then.collect()).await;
        self.endpoints.set(wanted).await;
        self.hold(held).await;
        self.fence().await;
    }

    async fn hold(&mut self, held: BTreeSet<IpAddr>) {
        let held = held.into_iter().collect();
        if let Err(error) = self.interface.hold(held, &self.shared.netlink).await {
            warn!("{error:#}");
        }
    }

    /// Addresses that this machine holds for itself alone. One that another interface has as well is that network's business (a
    /// keepalived that is not switched off yet).
    pub(super) fn held_alone(&self) -> Vec<IpAddr> {
        let held = self.interface.held().iter();
        let elsewhere = |ip: &&IpAddr| self.underlay.addresses.iter().any(|net| net.addr() == **ip);
        held.filter(|ip| !elsewhere(ip)).copied().collect()
    }
}

fn wanted(endpoint: &Endpoint, view: &View) -> Wanted {
    let members = endpoint.terms.members.iter().filter_map(|member| {
        let node = view.nodes.get(&member.node)?;
        Some(Place {
            member: *member,
            name: node.name.clone(),
            address: (node.ipv4, member.port).into(),
        })
    });
    Wanted {
        name: endpoint.name.clone(),
        at: endpoint.at(&view.params),
        members: members.collect(),
        authorities: endpoint.terms.authorities.clone(),
    }
}
