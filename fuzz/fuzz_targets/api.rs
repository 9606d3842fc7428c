//! Any bytes are a body of one of the APIs, or refused; what was read can be written, and reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshd_api::coordinator::{admin, ingress, node};
use meshd_api::{Problem, local};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn round<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(first) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&first).expect("what was read can be written");
    let second: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&second).expect("again"), written);
}

fuzz_target!(|data: &[u8]| {
    let Some((what, bytes)) = data.split_first() else { return };
    match what % 18 {
        0 => round::<local::JoinRequest>(bytes),
        1 => round::<local::Status>(bytes),
        2 => round::<local::CleanRequest>(bytes),
        3 => round::<local::LeaveRequest>(bytes),
        4 => round::<node::JoinRequest>(bytes),
        5 => round::<node::JoinReply>(bytes),
        6 => round::<node::RecordUpdate>(bytes),
        7 => round::<node::Entries>(bytes),
        8 => round::<node::Pong>(bytes),
        9 => round::<node::StreamLine>(bytes),
        10 => round::<admin::NetworkCreate>(bytes),
        11 => round::<admin::TokenCreate>(bytes),
        12 => round::<admin::TokenRevoke>(bytes),
        13 => round::<admin::NodeAct>(bytes),
        14 => round::<admin::NameFree>(bytes),
        15 => round::<Problem>(bytes),
        16 => round::<ingress::IngressAsk>(bytes),
        _ => round::<ingress::IngressSet>(bytes),
    }
});
