//! The parts of the packet path, each in batches, and the whole of them without the kernel. Beside sealing and opening
//! stand the limit (ring, the bare AEAD in place) and boringtun's tunnel driven directly.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use boringtun::noise::TunnResult;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use meshd_bench::{packet, sessions, super_packet, tunnels};
use meshd_core::allowed_ips::AllowedIps;
use meshd_core::packet::checksum::Sum;
use meshd_core::packet::{Coalescer, MAX_HEADER_LEN, Parts, Segments, ip};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Packets in one batch.
const BATCH: usize = 64;
const SIZES: [usize; 4] = [64, 576, 1420, 8920];
const MSS: usize = 1368;

fn ring_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("32 bytes"))
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for size in SIZES {
        group.throughput(Throughput::Bytes((size * BATCH) as u64));
        let packet = packet(size, 1, 1);
        let mut wire = vec![0; size + 64];
        let (key, mut counter) = (ring_key(), 0);
        group.bench_function(BenchmarkId::new("ring", size), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    counter += 1;
                    let tag = key.seal_in_place_separate_tag(
                        nonce(counter),
                        Aad::empty(),
                        &mut wire[16..16 + size],
                    );
                    black_box(tag.expect("sealed").as_ref().len());
                }
            });
        });
        let (mut tunnel, _) = tunnels();
        group.bench_function(BenchmarkId::new("boringtun", size), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    black_box(matches!(
                        tunnel.encapsulate(&packet, &mut wire),
                        TunnResult::WriteToNetwork(_)
                    ));
                }
            });
        });
        let (mut session, _) = sessions();
        group.bench_function(BenchmarkId::new("meshd", size), |bencher| {
            bencher.iter(|| {
                let mut sealer = session.sealer().expect("a session");
                for _ in 0..BATCH {
                    black_box(sealer.seal(&packet, &mut wire).expect("sealed"));
                }
            });
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for size in SIZES {
        group.throughput(Throughput::Bytes((size * BATCH) as u64));
        let packet = packet(size, 1, 1);
        let mut plain = vec![0; size + 64];
        let key = ring_key();
        group.bench_function(BenchmarkId::new("ring", size), |bencher| {
            let sealed = || {
                let mut datagrams = vec![[&packet[..], &[0; 16]].concat(); BATCH];
                for (datagram, counter) in datagrams.iter_mut().zip(0..) {
                    let tag =
                        key.seal_in_place_separate_tag(nonce(counter), Aad::empty(), &mut datagram[..size]);
                    datagram[size..].copy_from_slice(tag.expect("sealed").as_ref());
                }
                datagrams
            };
            let open = |datagrams: &mut Vec<Vec<u8>>| {
                for (datagram, counter) in datagrams.iter_mut().zip(0..) {
                    black_box(
                        key.open_in_place(nonce(counter), Aad::empty(), datagram)
                            .expect("opened")
                            .len(),
                    );
                }
            };
            bencher.iter_batched_ref(sealed, open, BatchSize::SmallInput);
        });
        let (mut left, mut right) = tunnels();
        group.bench_function(BenchmarkId::new("boringtun", size), |bencher| {
            let sealed = || {
                let mut datagrams = vec![vec![0; size + 32]; BATCH];
                for datagram in &mut datagrams {
                    left.encapsulate(&packet, datagram);
                }
                datagrams
            };
            let open = |datagrams: &mut Vec<Vec<u8>>| {
                for datagram in datagrams {
                    black_box(matches!(
                        right.decapsulate(None, datagram, &mut plain),
                        TunnResult::WriteToTunnelV4(..)
                    ));
                }
            };
            bencher.iter_batched_ref(sealed, open, BatchSize::SmallInput);
        });
        let (mut left, mut right) = sessions();
        group.bench_function(BenchmarkId::new("meshd", size), |bencher| {
            let sealed = || {
                let mut datagrams = vec![vec![0; size + 32]; BATCH];
                for datagram in &mut datagrams {
                    left.sealer()
                        .expect("a session")
                        .seal(&packet, datagram)
                        .expect("sealed");
                }
                datagrams
            };
            let open = |datagrams: &mut Vec<Vec<u8>>| {
                for datagram in datagrams {
                    black_box(right.open(datagram, &mut plain).expect("opened"));
                }
            };
            bencher.iter_batched_ref(sealed, open, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn segment(criterion: &mut Criterion) {
    let (packet, offload) = super_packet(47, MSS);
    let mut out = vec![0; 2048];
    let mut group = criterion.benchmark_group("segment");
    group.throughput(Throughput::Bytes(packet.len() as u64));
    group.bench_function("tcp4 of 64 KiB", |bencher| {
        bencher.iter(|| {
            let mut segments = Segments::new(&packet, &offload, 1408).expect("a super-packet");
            while let Some(length) = segments.write_next(&mut out) {
                black_box(&out[..length]);
            }
        });
    });
    group.bench_function("checksum alone", |bencher| {
        bencher.iter(|| black_box(Sum::of(&packet).checksum()))
    });
    group.finish();
}

/// The packets of one super-packet, one after the other, each of `MSS + 40` bytes.
fn arena(segments: usize) -> Vec<u8> {
    let (packet, offload) = super_packet(segments, MSS);
    let mut cut = Segments::new(&packet, &offload, 1408).expect("a super-packet");
    let mut arena = vec![0; segments * (MSS + 40)];
    let mut filled = 0;
    while let Some(length) = cut.write_next(&mut arena[filled..]) {
        filled += length;
    }
    arena
}

fn merge(coalescer: &mut Coalescer, arena: &[u8]) {
    coalescer.clear();
    for offset in (0..arena.len()).step_by(MSS + 40) {
        coalescer.push(arena, offset, MSS + 40);
    }
    let mut header = [0; MAX_HEADER_LEN];
    for group in 0..coalescer.groups() {
        let mut parts = Parts::default();
        black_box(coalescer.group(group, arena, &mut header, &mut parts));
        black_box(parts.as_slice());
    }
}

fn coalesce(criterion: &mut Criterion) {
    let (arena, mut coalescer) = (arena(47), Coalescer::new(256));
    let mut group = criterion.benchmark_group("coalesce");
    group.throughput(Throughput::Bytes(arena.len() as u64));
    group.bench_function("tcp4 to 64 KiB", |bencher| {
        bencher.iter(|| merge(&mut coalescer, &arena))
    });
    group.finish();
}

fn allowed_ips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allowed_ips");
    for count in [10u32, 1000, 100_000] {
        let address = |place: u32| Ipv4Addr::from(0x0a00_0000 + place * 4 + place % 3);
        let table = AllowedIps::new((0..count).map(|place| (IpAddr::V4(address(place)).into(), place)));
        let addresses: Vec<IpAddr> = (0..1024u32)
            .map(|place| address(place.wrapping_mul(7919) % count).into())
            .collect();
        group.throughput(Throughput::Elements(addresses.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                addresses
                    .iter()
                    .filter(|address| table.lookup(**address).is_some())
                    .count()
            });
        });
    }
    group.finish();
}

/// All that a batch costs besides system calls.
fn whole(criterion: &mut Criterion) {
    const SEGMENTS: usize = 47;
    let (packet, offload) = super_packet(SEGMENTS, MSS);
    let table = AllowedIps::new([("10.77.0.2/32".parse().expect("a prefix"), 1)]);
    let (mut left, mut right) = sessions();
    let (mut plain, mut coalescer) = (vec![0; 2048], Coalescer::new(256));
    let datagram = MSS + 40 + 32;
    let mut tx = |wire: &mut [u8]| {
        black_box(ip::destination(&packet).and_then(|address| table.lookup(address)));
        let mut segments = Segments::new(&packet, &offload, 1408).expect("a super-packet");
        let (mut sealer, mut used) = (left.sealer().expect("a session"), 0);
        while let Some(length) = segments.write_next(&mut plain) {
            used += sealer.seal(&plain[..length], &mut wire[used..]).expect("sealed");
        }
    };
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Bytes(packet.len() as u64));
    let mut wire = vec![0; SEGMENTS * datagram];
    group.bench_function("tx", |bencher| bencher.iter(|| tx(&mut wire)));
    let mut arena = vec![0; SEGMENTS * datagram + 64];
    group.bench_function("rx", |bencher| {
        let sealed = || {
            let mut wire = vec![0; SEGMENTS * datagram];
            tx(&mut wire);
            wire
        };
        let open = |wire: &mut Vec<u8>| {
            let mut filled = 0;
            for datagram in wire.chunks(datagram) {
                filled += right.open(datagram, &mut arena[filled..]).expect("opened").length;
            }
            merge(&mut coalescer, &arena[..filled]);
        };
        bencher.iter_batched_ref(sealed, open, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, seal, open, segment, coalesce, allowed_ips, whole);
criterion_main!(benches);
