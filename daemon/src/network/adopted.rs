//! Routes of other programs on this network's interface, as the task has to do with them: read from the kernel whenever
//! something changed there, judged anew with every map, and given to the packet path. What counts is decided in
//! [`meshd_core::adopted`].

use super::task::Task;
use ipnet::IpNet;
use meshd_core::adopted::{Adopted, Foreign, MAX_ROUTES, granted_to};
use meshd_core::id::NodeId;
use meshd_net::netlink::{OWN_PROTOCOL, POD_PROTOCOL, RouteOver};
use tracing::{info, warn};

/// Routes that are remembered to be judged; more than are used, so that a sentence can say so.
const MAX_SEEN: usize = 2 * MAX_ROUTES;

/// What a network's task knows of routes of other programs.
#[derive(Debug, Default)]
pub(super) struct AdoptedRoutes {
    /// Those on the interface when the kernel was last asked.
    seen: Vec<Foreign>,
    adopted: Adopted,
    /// What is granted to this node itself.
    granted: Vec<IpNet>,
}

impl AdoptedRoutes {
    /// Whether there are any on the interface.
    pub fn is_any(&self) -> bool {
        !self.seen.is_empty()
    }

    /// What is granted to this node itself.
    pub fn granted(&self) -> &[IpNet] {
        &self.granted
    }

    /// The prefixes that go to `node`.
    pub fn to(&self, node: NodeId) -> impl Iterator<Item = IpNet> + '_ {
        self.adopted.to(node)
    }

    /// The prefixes from which `node` may send besides.
    pub fn also_from(&self, node: NodeId) -> impl Iterator<Item = IpNet> + '_ {
        self.adopted.also_from(node)
    }

    /// Sentences for `status`.
    pub fn sentences(&self) -> impl Iterator<Item = String> + '_ {
        self.adopted.sentences()
    }
}

impl Task {
    /// Asks the kernel for routes of other programs, and follows where something changed.
    pub(super) async fn look_for_routes(&mut self) {
        match self.shared.netlink.routes_over(self.interface.index).await {
            Ok(routes) => self.routes.seen = foreign(routes, self.interface.table()),
            Err(error) => return warn!("{error}"),
        }
        if self.judge_routes() {
            self.set_plane_peers();
        }
    }

    /// Judges the routes by the present map; whether that changed anything.
    pub(super) fn judge_routes(&mut self) -> bool {
        let Some(view) = self.map.view() else { return false };
        let adopted = Adopted::of(&view, self.membership.node, &self.routes.seen);
        if adopted == self.routes.adopted {
            return false;
        }
        let before = std::mem::replace(&mut self.routes.adopted, adopted);
        let new = |sentence: &String| before.sentences().all(|old| old != *sentence);
        self.routes
            .adopted
            .sentences()
            .filter(new)
            .for_each(|s| warn!("{s}"));
        let count = self.routes.adopted.destinations().count();
        if count != before.destinations().count() {
            info!(count, "routes of other programs lead to peers");
        }
        true
    }

    /// Takes what the map says now. Allowed IPs follow with it; rules with [`Self::serve_gateways`].
    pub(super) fn judge_grants(&mut self) {
        self.judge_routes();
        let granted = self.granted();
        if granted != self.routes.granted {
            self.routes.granted = granted;
            self.gateways.touch();
        }
    }

    /// What was granted to this node itself.
    fn granted(&self) -> Vec<IpNet> {
        let view = self.map.view();
        let own = self.membership.node;
        let mut granted: Vec<_> = view.iter().flat_map(|view| granted_to(view, own)).collect();
        granted.sort();
        granted.dedup();
        granted
    }
}

/// Those that are not ours.
fn foreign(routes: Vec<RouteOver>, own_table: u32) -> Vec<Foreign> {
    let ours = |route: &RouteOver| {
        route.table == own_table || [OWN_PROTOCOL, POD_PROTOCOL].contains(&route.protocol)
    };
    let others = routes.into_iter().filter(|route| !ours(route));
    let foreign = others.map(|route| Foreign {
        destination: route.destination,
        next_hops: route.next_hops,
    });
    foreign.take(MAX_SEEN).collect()
}
