//! The network's range beside those that this machine has already.

use crate::state::Membership;
use meshd_api::coordinator::node::JoinPreview;
use meshd_core::id::NetworkId;
use meshd_core::ranges::{LocalPrefix, collisions};
use meshd_core::statement::{Params, Signed};
use std::collections::BTreeSet;

/// Most ranges of its own that a machine tells the coordinator.
const MAX_AVOID: usize = 64;

/// What of the machine's ranges lies in the network's: a forced join takes no address that is somebody's there.
pub(super) fn avoided(preview: &JoinPreview, machine: &[LocalPrefix]) -> Vec<String> {
    let Ok(network) = preview.cidr.parse() else {
        return Vec::new();
    };
    let met = collisions(&[network], machine).into_iter();
    let ranges: BTreeSet<_> = met.map(|met| met.theirs.prefix).collect();
    ranges.iter().map(ToString::to_string).take(MAX_AVOID).collect()
}

/// The ranges of the networks that this machine is in, but for `own`: up or down.
pub(super) fn ranges_of_others(present: &[Membership], own: NetworkId) -> Vec<LocalPrefix> {
    let others = present.iter().filter(|m| m.network != own);
    let params = others.filter_map(|m| m.allotted.as_ref()?.params.as_ref());
    let decoded = params.filter_map(|bytes| Signed::<Params>::decode(bytes).ok());
    decoded
        .flat_map(|params| {
            let Params { name, ipv4, ipv6, .. } = params.value();
            [(*ipv4).into(), (*ipv6).into()].map(|prefix| LocalPrefix {
                prefix,
                owner: format!("network {name}"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machines_ranges_that_the_network_meets_are_avoided() {
        let local = |prefix: &str| LocalPrefix {
            prefix: prefix.parse().unwrap(),
            owner: "eth0".into(),
        };
        let preview = JoinPreview {
            network: "prod".into(),
            cidr: "10.77.0.0/16".into(),
            cidr6: "fd00::/64".into(),
            template: false,
        };
        let machine = ["10.77.3.0/24", "10.77.3.0/24", "192.168.1.0/24", "fd00::/64"].map(local);
        assert_eq!(avoided(&preview, &machine), ["10.77.3.0/24"]);
    }
}
