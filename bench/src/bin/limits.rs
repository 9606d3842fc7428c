//! Holds the packet path against its limit: what a whole batch out costs, without the kernel, over what ring's AEAD alone costs for the same
//! bytes. The two in turns, the median of the rounds' ratios: exits 1 where that is above the bar. `bench/limits` runs it.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use meshd_bench::aead::{Bare, TAG_LEN};
use meshd_bench::batch::{SEGMENTS, Tunnel};

/// Bytes of a packet.
const MTU: usize = 1420;
/// Of the time of ring alone, a whole batch takes at most so much.
const BAR: f64 = 1.35;
const ROUNDS: usize = 101;
/// Batches of a round, made before it.
const BATCHES: usize = 32;

fn main() -> ExitCode {
    let mut tunnel = Tunnel::new(MTU);
    let (mut bare, mut packets) = (Bare::new(), vec![0x5a; SEGMENTS * (MTU + TAG_LEN)]);
    let mut wire = tunnel.wire();
    let (mut whole, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut read: Vec<Vec<u8>> = (0..BATCHES).map(|_| tunnel.packet()).collect();
        let limit = timed(|| {
            for _ in 0..BATCHES {
                for packet in packets.chunks_mut(MTU + TAG_LEN) {
                    black_box(bare.seal(packet));
                }
            }
        });
        let batch = timed(|| read.iter_mut().for_each(|packet| tunnel.send(packet, &mut wire)));
        ratios.push(batch / limit);
        whole.push(batch);
        alone.push(limit);
    }
    let per_packet = |times: Vec<f64>| median(times) * 1e9 / (BATCHES * SEGMENTS) as f64;
    let (whole, alone, ratio) = (per_packet(whole), per_packet(alone), median(ratios));
    let kept = ratio <= BAR;
    println!(
        "whole batch out at {MTU} B: {whole:.0} ns a packet; ring alone: {alone:.0} ns; ratio {ratio:.2} (bar: at most {BAR}, {})",
        if kept { "pass" } else { "FAIL" }
    );
    if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn timed(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
