//! The internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A [`Sum`] is the one's-complement sum before folding. It is kept in the machine's byte order, which RFC 1071
//! section 2 (B) allows: only [`Sum::fold`] brings it into the network's.

/// An unfolded one's-complement sum over 16-bit words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum over `data`; an odd last byte is padded with zero.
    #[inline]
    pub fn of(data: &[u8]) -> Sum {
        Sum::default().with(data)
    }

    /// Adds `data`, which has to start at an even offset of what is summed.
    #[inline]
    pub fn with(self, data: &[u8]) -> Sum {
        let (mut low, mut high) = (self.0, 0u64);
        let mut blocks = data.chunks_exact(32);
        for block in &mut blocks {
            for half in block.chunks_exact(8) {
                let word = u64::from_ne_bytes([
                    half[0], half[1], half[2], half[3], half[4], half[5], half[6], half[7],
                ]);
                low += word & 0xffff_ffff;
                high += word >> 32;
            }
        }
        // each 32-byte block adds less than 2^34, a packet has less than 2^12 of them: no overflow
        let mut words = blocks.remainder().chunks_exact(2);
        for word in &mut words {
            low += u64::from(u16::from_ne_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            low += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(reduce(low) + reduce(high))
    }

    /// Adds one number of 16 bits.
    #[inline]
    pub fn with_u16(self, value: u16) -> Sum {
        Sum(self.0 + u64::from(value.to_be()))
    }

    /// Folds to 16 bits, in host order, not complemented: what a partial checksum holds.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = reduce(self.0);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(sum as u16)
    }

    /// The checksum: folded and complemented. Zero over data that holds its own right checksum.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Brings a sum below 2^33, so that sums can be added without care.
#[inline]
fn reduce(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// The sum of the pseudo header of RFC 9293 section 3.1 and RFC 8200 section 8.1. `addresses` is source and
/// destination as they stand in the IP header (8 or 32 bytes), `length` that of transport header and payload in bytes.
#[inline]
pub fn pseudo_header(addresses: &[u8], protocol: u8, length: u16) -> Sum {
    Sum::of(addresses).with_u16(u16::from(protocol)).with_u16(length)
}

/// The checksum after one 16-bit word changed from `old` to `new` (RFC 1624 equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(data: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in data.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        assert_eq!(
            Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold(),
            0xddf2
        );
    }

    #[test]
    fn all_ones_over_a_whole_datagram() {
        let data = vec![0xff; 65_535];
        assert_eq!(Sum::of(&data).checksum(), naive(&data));
    }

    proptest! {
        #[test]
        fn equals_the_definition(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(Sum::of(&data).checksum(), naive(&data));
        }

        #[test]
        fn parts_add_up(data in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..150) {
            let cut = (cut * 2).min(data.len() & !1);
            prop_assert_eq!(Sum::of(&data[..cut]).with(&data[cut..]).checksum(), naive(&data));
        }

        #[test]
        fn an_update_is_a_recomputation(mut data in proptest::collection::vec(1u8.., 20..40), at in 0usize..10, new: u16) {
            let before = Sum::of(&data).checksum();
            let old = u16::from_be_bytes([data[at * 2], data[at * 2 + 1]]);
            data[at * 2..at * 2 + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), Sum::of(&data).checksum());
        }
    }
}
