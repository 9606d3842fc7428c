//! Seeds of the targets about relays and paths.

use meshd_core::demux::relay_header;
use meshd_core::id::NodeId;
use meshd_core::keys::LanKey;
use meshd_core::path::beacon::{self, Beacon};
use meshd_core::path::MapVersion;
use meshd_core::stun;

use super::{Any, tagged, write};

pub fn write_all() -> Any<()> {
    let seen = "[2001:db8::1]:5".parse()?;
    let request = stun::binding_request([7; 12]);
    write("stun", "request", &request)?;
    write("stun", "answer", &stun::binding_answer(&request, seen).ok_or("no answer")?)?;
    for (name, plain) in plain_texts() {
        write("discovery", name, &tagged(1, &plain))?;
    }
    let map = MapVersion { epoch: 4, version: 5 };
    let (node, boot) = (NodeId::from_bytes([2; 16]), [3; 8].into());
    let said = Beacon { node, boot, port: 51820, map, answer_wanted: true };
    let sealed = beacon::seal(&said, &LanKey::from_bytes([1; 32]), [6; 24]);
    write("discovery", "beacon", &tagged(2, &sealed))?;
    write("relay_frame", "bound", &relayed())?;
    for (name, world) in worlds() {
        write("world", name, &world)?;
    }
    Ok(())
}

/// Bodies of each type: transaction or address, boot nonces, sequence and the rest.
fn plain_texts() -> Vec<(&'static str, Vec<u8>)> {
    let padded = |kind: u8| {
        let mut plain = vec![kind];
        plain.extend([9; 50]);
        plain.resize(52, 0);
        plain
    };
    let mut ping = padded(1);
    ping[34..].fill(0);
    let mut call = vec![4; 21];
    call.push(2);
    call.extend([0x20; 36]);
    call.extend([4, 3, 2, 1, 1]);
    vec![("ping", ping), ("pong", padded(2)), ("initiate", vec![3; 21]), ("call", call), ("goodbye", vec![5; 21])]
}

/// Both nodes bind and open, then one sends a data frame of a session that is not there.
fn relayed() -> Vec<u8> {
    let mut run = Vec::new();
    for way in [0x80, 0x81, 0x80, 0x81, 0x80, 0x81, 0x80, 0x81] {
        run.extend([way, 255]);
    }
    let frame = [&relay_header(77)[..], &[4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    run.extend([0, frame.len() as u8]);
    run.extend(frame);
    run
}

/// Seed, two NATs, delay, misfortunes.
fn worlds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("homes", vec![1, 0x28, 0x28, 10, 7, 50]),
        ("carriers", vec![2, 0x2a, 0x2a, 30, 0, 100, 1, 50]),
        ("cut", vec![3, 0x28, 0x08, 0x4a, 2, 250, 3, 250]),
        ("reborn", vec![4, 0x08, 0x2a, 5, 5, 10, 5, 11, 4, 1, 4, 0]),
        ("blocked", vec![5, 0x28, 0x28, 5, 6, 200, 6, 200, 6, 201]),
        ("liar", vec![6, 0x28, 0x28, 5, 8, 200, 8, 3, 9, 100]),
    ]
}
