//! Explicit congestion notification through the tunnel (RFC 6040, normal mode).

use super::DropReason;
use super::checksum;
use super::ip::{read_u16, traffic_class, write_u16};

/// Congestion experienced.
pub const CE: u8 = 0b11;
const ECT1: u8 = 0b01;
const ECN_MASK: u8 = 0b11;

/// The ECN bits of the outer header for this inner packet (RFC 6040 section 4.1): a copy.
#[inline]
pub fn outer(inner: &[u8]) -> u8 {
    traffic_class(inner) & ECN_MASK
}

/// Brings the mark of the outer header into the opened packet (RFC 6040 section 4.2, figure 4).
///
/// # Errors
/// [`DropReason::CongestionMarked`] where the outer header says congestion and the inner packet knows no ECN.
#[inline]
pub fn inner(packet: &mut [u8], outer: u8) -> Result<(), DropReason> {
    let (outer, old) = (outer & ECN_MASK, traffic_class(packet) & ECN_MASK);
    let new = match (outer, old) {
        (CE, 0) => return Err(DropReason::CongestionMarked),
        (CE, _) => CE,
        (ECT1, 0b10) => ECT1,
        _ => old,
    };
    if new != old {
        set(packet, new);
    }
    Ok(())
}

fn set(packet: &mut [u8], ecn: u8) {
    if packet[0] >> 4 == 6 {
        if let Some(second) = packet.get_mut(1) {
            *second = *second & !(ECN_MASK << 4) | ecn << 4;
        }
    } else if packet.len() >= super::ip::IPV4_HEADER_LEN {
        let old = read_u16(packet, 0);
        packet[1] = packet[1] & !ECN_MASK | ecn;
        let checksum = checksum::update(read_u16(packet, 10), old, read_u16(packet, 0));
        write_u16(packet, 10, checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Recipe;
    use super::super::ip::UDP;
    use super::*;

    #[test]
    fn the_table_of_rfc_6040() {
        // rows: inner; columns: outer Not-ECT, ECT(0), ECT(1), CE
        let table = [
            (0b00, [Some(0b00), Some(0b00), Some(0b00), None]),
            (0b10, [Some(0b10), Some(0b10), Some(0b01), Some(0b11)]),
            (0b01, [Some(0b01), Some(0b01), Some(0b01), Some(0b11)]),
            (0b11, [Some(0b11), Some(0b11), Some(0b11), Some(0b11)]),
        ];
        for base in [Recipe::v4(UDP, b"x"), Recipe::v6(UDP, b"x")] {
            for (old, row) in table {
                for (mark, expected) in [0b00, 0b10, 0b01, 0b11].into_iter().zip(row) {
                    let recipe = Recipe {
                        traffic_class: 0xb8 | old,
                        ..base.clone()
                    };
                    let mut packet = recipe.build();
                    assert_eq!(outer(&packet), old);
                    let result = inner(&mut packet, mark);
                    assert_eq!(result.is_ok(), expected.is_some());
                    if let Some(new) = expected {
                        assert_eq!(
                            packet,
                            Recipe {
                                traffic_class: 0xb8 | new,
                                ..recipe
                            }
                            .build()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn short_bytes_are_left_alone() {
        for mut bytes in [vec![], vec![0x45], vec![0x60], vec![0x45, 2], vec![0x60, 0x20]] {
            let _ = inner(&mut bytes, CE);
        }
    }
}
