//! The packet path beside the naive reference of `fuzz/reference`: each comparison on the fuzzers' committed inputs, on these with some
//! bytes changed, and on bytes drawn at random. `MESHD_REFERENCE_CASES`: how many of the latter two.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test stands outside the core: it reads files and brings the time"
)]

use std::path::Path;

#[path = "../../fuzz/reference/mod.rs"]
mod reference;

const CASES: u32 = 400;
const LONGEST: u32 = 1_200;

/// Numbers that are the same in each run: a linear congruential generator (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(below)) as u32
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.next(LONGEST)).map(|_| self.next(256) as u8).collect()
    }
}

fn compare(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus is committed")
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    let inputs: Vec<Vec<u8>> = inputs.iter().map(|path| std::fs::read(path).unwrap()).collect();
    inputs.iter().for_each(|input| check(input));
    let cases = std::env::var("MESHD_REFERENCE_CASES");
    let cases = cases.map_or(CASES, |text| text.parse().expect("a number"));
    let mut numbers = Numbers(1);
    for _ in 0..cases {
        check(&numbers.bytes());
        let mut changed = inputs[numbers.next(inputs.len() as u32) as usize].clone();
        for _ in 0..1 + numbers.next(6) {
            let at = numbers.next(changed.len() as u32) as usize;
            changed[at] = numbers.next(256) as u8;
        }
        check(&changed);
    }
}

#[test]
fn segments_are_those_of_the_reference() {
    compare("segment_reference", reference::check_segment::check);
}

#[test]
fn super_packets_are_those_of_the_reference() {
    compare("coalesce_reference", reference::check_coalesce::check);
}

#[test]
fn a_tunnel_that_handles_batches_is_one_that_handles_packets() {
    compare("tunnel_reference", reference::check_tunnel::check);
}
