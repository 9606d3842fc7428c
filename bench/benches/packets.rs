//! The parts of the packet path that are not cryptography: cutting, merging, checksums, the longest prefix; and discovery messages.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use meshd_bench::batch::{SEGMENTS, merged};
use meshd_bench::packets::{cut, super_packet};
use meshd_core::allowed_ips::AllowedIps;
use meshd_core::id::{BootNonce, NodeId};
use meshd_core::keys::DiscoverySecret;
use meshd_core::packet::checksum::Sum;
use meshd_core::packet::{Coalescer, Segments};
use meshd_core::path::MapVersion;
use meshd_core::path::discovery::{self, Address, Call, End, Message, PairKeys, Ping};

const MSS: usize = 1368;

fn super_packets(criterion: &mut Criterion) {
    let (packet, offload) = super_packet(SEGMENTS, MSS);
    let per_batch = Throughput::ElementsAndBytes {
        elements: SEGMENTS as u64,
        bytes: packet.len() as u64,
    };
    let mut group = criterion.benchmark_group("super-packet of 64 KiB");
    group.throughput(per_batch);
    let mut out = vec![0; 2048];
    group.bench_function("segment", |bencher| {
        bencher.iter(|| {
            let mut segments = Segments::new(&packet, &offload, 1408).expect("a super-packet");
            while let Some(length) = segments.write_next(&mut out) {
                black_box(&out[..length]);
            }
        });
    });
    let (packets, mut coalescer) = (cut(SEGMENTS, MSS), Coalescer::new(256));
    group.bench_function("coalesce", |bencher| {
        bencher.iter(|| {
            coalescer.clear();
            for offset in (0..packets.len()).step_by(MSS + 40) {
                coalescer.push(&packets, offset, MSS + 40);
            }
            merged(&mut coalescer, &packets);
        });
    });
    group.bench_function("checksum alone", |bencher| {
        bencher.iter(|| black_box(Sum::of(&packet).checksum()))
    });
    group.finish();
}

fn allowed_ips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allowed_ips");
    for count in [10u32, 1000, 100_000] {
        let address = |place: u32| Ipv4Addr::from(0x0a00_0000 + place * 4 + place % 3);
        let table = AllowedIps::new((0..count).map(|place| (IpAddr::V4(address(place)).into(), place)));
        let places = (0..1024u32).map(|place| address(place.wrapping_mul(7919) % count).into());
        let addresses: Vec<IpAddr> = places.collect();
        group.throughput(Throughput::Elements(addresses.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            let found = |address: &&IpAddr| table.lookup(**address).is_some();
            bencher.iter(|| addresses.iter().filter(found).count());
        });
    }
    group.finish();
}

fn discovery(criterion: &mut Criterion) {
    let secrets = [1, 2].map(|byte| DiscoverySecret::from_seed(&[byte; 32]));
    let ends = [0, 1].map(|end| End {
        node: NodeId::from_bytes([end as u8; 16]),
        key: secrets[end].public(),
    });
    let agree = |own: usize| PairKeys::agree(&secrets[own], &ends[own], &ends[1 - own]).expect("keys");
    let (ours, theirs, boot) = (agree(0), agree(1), BootNonce::from_bytes([3; 8]));
    let ping = Message::Ping(Ping {
        transaction: [7; 8],
        boot,
        sequence: 1,
        map: MapVersion::default(),
        in_use: true,
    });
    let candidates = (1..=16).map(|port| ([198, 18, 0, 1], port).into()).collect();
    let address = Address {
        to: boot,
        from: boot,
        sequence: 1,
    };
    let call = Message::CallMeMaybe(
        address,
        Call {
            candidates,
            ..Call::default()
        },
    );
    let mut group = criterion.benchmark_group("discovery");
    group.throughput(Throughput::Elements(1));
    for (name, message) in [("ping", ping), ("call with 16 candidates", call)] {
        let least = if name == "ping" { discovery::PING_LEN } else { 0 };
        let seal = |out: &mut Vec<u8>| {
            out.clear();
            discovery::seal_padded(&message, &ends[0].key, &ours, [9; 24], least, out);
        };
        let mut out = Vec::with_capacity(discovery::MAX_LEN);
        group.bench_function(BenchmarkId::new("seal", name), |bencher| {
            bencher.iter(|| seal(&mut out))
        });
        seal(&mut out);
        group.bench_function(BenchmarkId::new("open", name), |bencher| {
            bencher.iter(|| black_box(discovery::open(&out, &theirs).expect("opened")))
        });
    }
    group.finish();
}

criterion_group!(benches, super_packets, allowed_ips, discovery);
criterion_main!(benches);
