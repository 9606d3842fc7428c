//! What changed in the kernel's network configuration, and what follows.

use super::candidates;
use super::task::Task;
use std::time::Instant;
use tracing::warn;

impl Task {
    /// Reads the kernel's interfaces, puts ours right, and tells agent and coordinator of new addresses.
    pub(super) async fn kernel_changed(&mut self) {
        if let Err(error) = self.interface.ensure(&self.shared.netlink).await {
            warn!("{error:#}");
        }
        match candidates::underlay(&self.shared, &self.interface.name).await {
            Ok(underlay) if underlay != self.underlay => {
                self.beacons.set_interfaces(underlay.lan_interfaces.clone());
                self.underlay = underlay;
                self.underlay_changed().await;
            }
            // Routes may have changed, by which a gateway reaches its range.
            Ok(_) => self.gateways.touch(),
            Err(error) => warn!("cannot read the machine's interfaces: {error:#}"),
        }
    }

    async fn underlay_changed(&mut self) {
        self.serve_gateways().await;
        self.carriers.network_changed();
        self.port_mapping.set_router(self.underlay.router);
        self.checks.want(Instant::now());
        self.publish(false);
    }
}
