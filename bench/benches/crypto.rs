//! Sealing and opening in batches: ours, beside the limit (ring, the bare AEAD in place), boringtun's tunnel driven directly, and
//! RustCrypto's implementation.

use std::hint::black_box;

use boringtun::noise::TunnResult;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use meshd_bench::aead::{Bare, TAG_LEN};
use meshd_bench::packets::packet;
use meshd_bench::peers::{sessions, tunnels};

/// Packets in one batch.
const BATCH: usize = 64;
const SIZES: [usize; 4] = [64, 576, 1420, 8920];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn sized(group: &mut Group<'_>, size: usize) {
    group.throughput(Throughput::ElementsAndBytes {
        elements: BATCH as u64,
        bytes: (size * BATCH) as u64,
    });
}

fn rustcrypto() -> (ChaCha20Poly1305, [u8; 12]) {
    (ChaCha20Poly1305::new(&[7; 32].into()), [0; 12])
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for size in SIZES {
        sized(&mut group, size);
        let (packet, mut wire) = (packet(size, 1, 1), vec![0; size + 64]);
        let mut bare = Bare::new();
        group.bench_function(BenchmarkId::new("ring", size), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    black_box(bare.seal(&mut wire[..size + TAG_LEN]));
                }
            });
        });
        let (cipher, nonce) = rustcrypto();
        group.bench_function(BenchmarkId::new("rustcrypto", size), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    let tag = cipher.encrypt_in_place_detached(&nonce.into(), &[], &mut wire[..size]);
                    black_box(tag.expect("sealed"));
                }
            });
        });
        let (mut tunnel, _) = tunnels();
        group.bench_function(BenchmarkId::new("boringtun", size), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    let sealed = tunnel.encapsulate(&packet, &mut wire);
                    black_box(matches!(sealed, TunnResult::WriteToNetwork(_)));
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

/// Times `open` on batches of datagrams of `length` bytes that `seal` writes.
fn open_one(
    group: &mut Group<'_>,
    (name, size, length): (&str, usize, usize),
    mut seal: impl FnMut(&mut [u8]),
    mut open: impl FnMut(&mut [u8]),
) {
    let mut sealed = || {
        let mut datagrams = vec![vec![0x5a; length]; BATCH];
        datagrams.iter_mut().for_each(|datagram| seal(datagram));
        datagrams
    };
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        let all = |datagrams: &mut Vec<Vec<u8>>| datagrams.iter_mut().for_each(|datagram| open(datagram));
        bencher.iter_batched_ref(&mut sealed, all, BatchSize::SmallInput);
    });
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for size in SIZES {
        sized(&mut group, size);
        let (packet, mut plain) = (packet(size, 1, 1), vec![0; size + 64]);
        let bare = |datagram: &mut [u8]| {
            Bare::new().seal(datagram);
        };
        let key = Bare::new();
        let length = size + TAG_LEN;
        open_one(&mut group, ("ring", size, length), bare, |datagram| {
            black_box(key.open(1, datagram));
        });
        let (cipher, nonce) = rustcrypto();
        open_one(
            &mut group,
            ("rustcrypto", size, length),
            bare_of(&cipher, nonce),
            |datagram| {
                let (body, tag) = datagram.split_at_mut(size);
                let tag: &[u8] = tag;
                let opened = cipher.decrypt_in_place_detached(&nonce.into(), &[], body, tag.into());
                opened.expect("opened");
            },
        );
        let (mut left, mut right) = tunnels();
        let seal = |datagram: &mut [u8]| {
            left.encapsulate(&packet, datagram);
        };
        open_one(&mut group, ("boringtun", size, size + 32), seal, |datagram| {
            let opened = right.decapsulate(None, datagram, &mut plain);
            black_box(matches!(opened, TunnResult::WriteToTunnelV4(..)));
        });
        let (mut left, mut right) = sessions();
        let seal = |datagram: &mut [u8]| {
            let mut sealer = left.sealer().expect("a session");
            sealer.seal(&packet, datagram).expect("sealed");
        };
        open_one(&mut group, ("meshd", size, size + 32), seal, |datagram| {
            black_box(right.open(datagram, &mut plain).expect("opened"));
        });
    }
    group.finish();
}

fn bare_of(cipher: &ChaCha20Poly1305, nonce: [u8; 12]) -> impl FnMut(&mut [u8]) {
    move |datagram| {
        let (body, tag) = datagram.split_at_mut(datagram.len() - TAG_LEN);
        let sealed = cipher.encrypt_in_place_detached(&nonce.into(), &[], body);
        tag.copy_from_slice(&sealed.expect("sealed"));
    }
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
