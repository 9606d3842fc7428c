//! A whole batch of each direction without the kernel, beside ring's AEAD on the same bytes.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use meshd_bench::aead::{Bare, TAG_LEN};
use meshd_bench::batch::{SEGMENTS, Tunnel};

/// Bytes of a packet.
const MTU: usize = 1420;

fn batch(criterion: &mut Criterion) {
    let (mut tunnel, mut other) = (Tunnel::new(MTU), Tunnel::new(MTU));
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::ElementsAndBytes {
        elements: SEGMENTS as u64,
        bytes: tunnel.bytes() as u64,
    });
    let (mut bare, mut packets) = (Bare::new(), vec![0x5a; SEGMENTS * (MTU + TAG_LEN)]);
    group.bench_function("ring alone", |bencher| {
        bencher.iter(|| {
            for packet in packets.chunks_mut(MTU + TAG_LEN) {
                black_box(bare.seal(packet));
            }
        });
    });
    let mut wire = tunnel.wire();
    let packet = tunnel.packet();
    group.bench_function("tx", |bencher| {
        let send = |packet: &mut Vec<u8>| tunnel.send(packet, &mut wire);
        bencher.iter_batched_ref(|| packet.clone(), send, BatchSize::SmallInput);
    });
    let mut arena = vec![0; other.wire().len() + 64];
    let other = std::cell::RefCell::new(&mut other);
    group.bench_function("rx", |bencher| {
        let sealed = || {
            let mut other = other.borrow_mut();
            let (mut packet, mut wire) = (other.packet(), other.wire());
            other.send(&mut packet, &mut wire);
            wire
        };
        let receive = |wire: &mut Vec<u8>| other.borrow_mut().receive(wire, &mut arena);
        bencher.iter_batched_ref(sealed, receive, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, batch);
criterion_main!(benches);
