//! Captures made by hand, each with something wrong that has to be found.

use super::*;

const MTU: usize = 1408;

fn with_ip(protocol: u8, id: u16, mut transport: Vec<u8>, field: usize, partial: bool) -> Vec<u8> {
    let length = 20 + transport.len();
    let mut header = vec![0x45, 0];
    header.extend((length as u16).to_be_bytes());
    header.extend(id.to_be_bytes());
    header.extend([0x40, 0, 64, protocol, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
    let checksum = (!sum(0, &header)).to_be_bytes();
    header[10..12].copy_from_slice(&checksum);
    let mut pseudo = header[12..20].to_vec();
    pseudo.extend([0, protocol]);
    pseudo.extend((transport.len() as u16).to_be_bytes());
    let pseudo = sum(0, &pseudo);
    let value = if partial { pseudo } else { !sum(pseudo, &transport) };
    transport[field..field + 2].copy_from_slice(&value.to_be_bytes());
    [header, transport].concat()
}

fn tcp(id: u16, flags: u8, payload: usize) -> Vec<u8> {
    let mut transport = vec![
        0, 80, 0, 90, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0,
    ];
    transport.extend((0..payload).map(|at| at as u8));
    with_ip(TCP, id, transport, 16, payload > MTU)
}

/// Datagrams with these numbers, as one super-packet if there are several.
fn udp(numbers: &[u64]) -> Vec<u8> {
    let mut transport = vec![0, 80, 0, 90];
    transport.extend((8 + numbers.len() as u16 * SIZE as u16).to_be_bytes());
    transport.extend([0, 0]);
    for number in numbers {
        transport.extend(number.to_be_bytes());
        transport.extend(vec![7; SIZE - 8]);
    }
    with_ip(UDP, 0, transport, 6, numbers.len() > 1)
}

fn faults(packets: &[Vec<u8>]) -> Vec<(usize, Fault)> {
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    judge(&packets, MTU).faults
}

#[test]
fn a_good_capture_has_no_fault_and_is_counted() {
    let packets = [
        tcp(65_534, 0x10, 100),
        tcp(65_535, 0x10, 3000),
        tcp(2, 0x10, 0),
        tcp(0, 0x02, 0),
        udp(&[1]),
        udp(&[2, 3, 5]),
    ];
    assert_eq!(faults(&packets), []);
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let verdict = judge(&packets, MTU);
    assert_eq!((verdict.packets, verdict.super_packets), (6, 1));
    assert_eq!((verdict.tcp, verdict.udp), (3, 4));
}

#[test]
fn a_segment_that_comes_twice_or_late_is_found() {
    for ids in [[5, 5], [5, 4], [0, 65_535]] {
        let packets = ids.map(|id| tcp(id, 0x10, 100));
        assert_eq!(faults(&packets), [(1, Fault::OutOfOrder)], "{ids:?}");
    }
    // 3,000 bytes are three packets: the second of them comes again
    let inside = [tcp(7, 0x10, 3000), tcp(8, 0x10, 100)];
    assert_eq!(faults(&inside), [(1, Fault::OutOfOrder)]);
}

#[test]
fn a_datagram_that_comes_twice_or_late_is_found_in_a_super_packet_too() {
    assert_eq!(faults(&[udp(&[5]), udp(&[5])]), [(1, Fault::OutOfOrder)]);
    assert_eq!(faults(&[udp(&[5, 7, 6])]), [(0, Fault::OutOfOrder)]);
    assert_eq!(faults(&[udp(&[5, 6]), udp(&[6])]), [(1, Fault::OutOfOrder)]);
}

#[test]
fn every_wrong_byte_of_header_or_payload_is_found() {
    for good in [tcp(9, 0x10, 64), udp(&[3])] {
        for at in 0..good.len() {
            // the number in the identification field is covered by the header's checksum
            let mut bad = good.clone();
            bad[at] ^= 0x04;
            assert_eq!(faults(&[bad]).len(), 1, "byte {at}");
        }
        for end in 0..good.len() {
            assert_eq!(faults(&[good[..end].to_vec()]).len(), 1, "cut at {end}");
        }
    }
}

#[test]
fn any_bytes_are_judged() {
    let mut seed = 1_u32;
    for length in 0..300 {
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        for first in [0x45, 0x4f, 0x60] {
            bytes.iter_mut().take(1).for_each(|byte| *byte = first);
            let _ = faults(std::slice::from_ref(&bytes));
        }
    }
}
