//! From merged packets to writes on the TUN device, and what to do where the kernel refuses one.

use std::io::IoSlice;

use meshd_core::packet::{Coalescer, DropReason, GsoKind, MAX_HEADER_LEN, MAX_MERGED, Offload, Parts};
use meshd_net::tun::{TunSendError, VnetHeader};

use super::shared::Drops;

/// Writes each group by `send`, in order. A super-packet that is refused for its header is written as the packets that it was
/// made of; UDP is not merged any more then.
pub(super) fn write_groups(
    coalescer: &mut Coalescer,
    arena: &[u8],
    drops: &Drops,
    mut send: impl FnMut(&VnetHeader, &[IoSlice<'_>]) -> Result<(), TunSendError>,
) {
    let mut refused_udp = false;
    let mut header = [0; MAX_HEADER_LEN];
    for group in 0..coalescer.groups() {
        if let Some(packet) = coalescer.alone(group, arena) {
            if send(&VnetHeader::PLAIN, &[IoSlice::new(packet)]).is_err() {
                drops.count(DropReason::TunWriteFailed);
            }
            continue;
        }
        let mut parts = Parts::default();
        let offload = coalescer.group(group, arena, &mut header, &mut parts);
        let mut slices = [IoSlice::new(&[]); MAX_MERGED + 1];
        for (slice, part) in slices.iter_mut().zip(parts.as_slice()) {
            *slice = IoSlice::new(part);
        }
        match send(&vnet_header(&offload), &slices[..parts.as_slice().len()]) {
            Ok(()) => {}
            Err(TunSendError::Refused) if offload.kind != GsoKind::None => {
                refused_udp |= offload.kind == GsoKind::Udp;
                for packet in coalescer.singles(group, arena) {
                    if send(&VnetHeader::PLAIN, &[IoSlice::new(packet)]).is_err() {
                        drops.count(DropReason::TunWriteFailed);
                    }
                }
            }
            Err(_) => {
                let lost = coalescer.singles(group, arena).count();
                drops.add(DropReason::TunWriteFailed, lost as u64);
            }
        }
    }
    if refused_udp {
        // kernels before 6.2 know no USO; TCP may be refused for one packet's sake and is tried again
        coalescer.set_merge_udp(false);
    }
}

fn vnet_header(offload: &Offload) -> VnetHeader {
    VnetHeader {
        flags: if offload.needs_checksum {
            VnetHeader::NEEDS_CSUM
        } else {
            0
        },
        gso_type: match offload.kind {
            GsoKind::None => VnetHeader::GSO_NONE,
            GsoKind::Tcp4 => VnetHeader::GSO_TCPV4,
            GsoKind::Tcp6 => VnetHeader::GSO_TCPV6,
            GsoKind::Udp => VnetHeader::GSO_UDP_L4,
        },
        hdr_len: offload.header_len,
        gso_size: offload.gso_size,
        csum_start: offload.checksum_start,
        csum_offset: offload.checksum_offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_core::packet::checksum::{Sum, pseudo_header};

    /// UDP from port 1 to port 2, number `id`, with right checksums.
    fn datagram(id: u16) -> Vec<u8> {
        let mut packet = vec![0; 128];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 128, (id >> 8) as u8, id as u8, 0x40, 0, 64, 17]);
        packet[12..20].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
        packet[20..28].copy_from_slice(&[0, 1, 0, 2, 0, 108, 0, 0]);
        packet[28] = id as u8;
        let checksum = Sum::of(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        let checksum = pseudo_header(&packet[12..20], 17, 108)
            .with(&packet[20..])
            .checksum();
        packet[26..28].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// Writes ten datagrams of one flow to a kernel that says `verdict` to super-packets; gives what it took.
    fn write(coalescer: &mut Coalescer, drops: &Drops, verdict: Result<(), TunSendError>) -> Vec<Vec<u8>> {
        let (packets, mut taken) = ((0..10).map(datagram).collect::<Vec<_>>(), Vec::new());
        let arena = packets.concat();
        coalescer.clear();
        for place in 0..packets.len() {
            assert!(coalescer.push(&arena, place * 128, 128));
        }
        write_groups(coalescer, &arena, drops, |header, parts| {
            if header.gso_type != VnetHeader::GSO_NONE {
                verdict?;
            }
            taken.push(parts.iter().flat_map(|part| part.to_vec()).collect());
            Ok(())
        });
        taken
    }

    #[test]
    fn a_refused_super_packet_is_written_singly_in_order_and_udp_is_merged_no_more() {
        let (mut coalescer, drops) = (Coalescer::new(64), Drops::default());
        assert_eq!(
            write(&mut coalescer, &drops, Ok(())).len(),
            1,
            "merged where the kernel takes it"
        );
        let singles: Vec<_> = (0..10).map(datagram).collect();
        assert_eq!(write(&mut coalescer, &drops, Err(TunSendError::Refused)), singles);
        // this kernel would take it, but is not asked again
        assert_eq!(write(&mut coalescer, &drops, Ok(())), singles);
        assert_eq!(drops.get(DropReason::TunWriteFailed), 0);
    }

    #[test]
    fn what_the_kernel_has_no_room_for_is_counted_packet_by_packet() {
        let (mut coalescer, drops) = (Coalescer::new(64), Drops::default());
        let taken = write(&mut coalescer, &drops, Err(TunSendError::WouldBlock));
        assert!(taken.is_empty());
        assert_eq!(drops.get(DropReason::TunWriteFailed), 10);
    }
}
