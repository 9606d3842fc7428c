//! Any export of Netmaker is a plan or a sentence; in a plan names and addresses are each one machine's.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use meshd_core::names::is_label;
use meshd_core::netmaker::plan;

fuzz_target!(|data: &[u8]| {
    match plan(data, None) {
        Ok(plan) => {
            let names: BTreeSet<&str> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
            assert!(names.len() == plan.nodes.len() && names.iter().all(|name| is_label(name)));
            let addresses = plan.nodes.iter().filter_map(|node| node.ipv4);
            let mut seen = BTreeSet::new();
            assert!(addresses.into_iter().all(|ip| plan.ipv4.contains(&ip) && seen.insert(ip)));
            assert!(plan.gateways.iter().all(|gateway| names.contains(gateway.node.as_str())));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
