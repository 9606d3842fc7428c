//! Which peer a packet goes to, and which peer may send from an address: longest-prefix match over all peers' allowed IPs.
//!
//! The table is made once from all prefixes and then only read; a change makes a new one. Nested prefixes are flattened
//! into disjoint ranges, so that a lookup is one binary search over a plain array and no walk from prefix to prefix.
//! Cloning is two reference counts, whatever the size.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

/// What a prefix leads to: a number of the caller's, less than `u32::MAX`.
pub type Slot = u32;

/// The value of a range that no prefix holds.
const NOBODY: Slot = Slot::MAX;

/// Longest-prefix match for IPv4 and IPv6.
#[derive(Clone, Debug, Default)]
pub struct AllowedIps {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Disjoint ranges that together cover the whole address space: range `n` goes from `starts[n]` to the next start.
#[derive(Clone, Debug)]
struct Ranges<A> {
    starts: Arc<[A]>,
    slots: Arc<[Slot]>,
}

impl<A> Default for Ranges<A> {
    fn default() -> Self {
        Ranges {
            starts: Arc::new([]),
            slots: Arc::new([]),
        }
    }
}

impl AllowedIps {
    /// The table of these prefixes; host bits are ignored. Where two are equal the later one holds, as with `wg set`.
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, Slot)>) -> AllowedIps {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, slot) in prefixes {
            match prefix.trunc() {
                IpNet::V4(net) => {
                    v4.push((
                        u32::from(net.network()),
                        net.prefix_len(),
                        u32::from(net.broadcast()),
                        slot,
                    ));
                }
                IpNet::V6(net) => {
                    v6.push((
                        u128::from(net.network()),
                        net.prefix_len(),
                        u128::from(net.broadcast()),
                        slot,
                    ));
                }
            }
        }
        AllowedIps {
            v4: flatten(v4, |last| last.checked_add(1)),
            v6: flatten(v6, |last| last.checked_add(1)),
        }
    }

    /// The slot of the longest prefix that holds `address`.
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<Slot> {
        match address {
            IpAddr::V4(address) => self.lookup_v4(address),
            IpAddr::V6(address) => self.lookup_v6(address),
        }
    }

    /// As [`AllowedIps::lookup`], for IPv4.
    #[inline]
    pub fn lookup_v4(&self, address: Ipv4Addr) -> Option<Slot> {
        self.v4.lookup(u32::from(address))
    }

    /// As [`AllowedIps::lookup`], for IPv6.
    #[inline]
    pub fn lookup_v6(&self, address: Ipv6Addr) -> Option<Slot> {
        self.v6.lookup(u128::from(address))
    }

    /// Whether there is no prefix at all.
    pub fn is_empty(&self) -> bool {
        self.v4.starts.is_empty() && self.v6.starts.is_empty()
    }
}

impl<A: Copy + Ord> Ranges<A> {
    #[inline]
    fn lookup(&self, address: A) -> Option<Slot> {
        let after = self.starts.partition_point(|start| *start <= address);
        let slot = *self.slots.get(after.checked_sub(1)?)?;
        (slot != NOBODY).then_some(slot)
    }
}

/// Flattens prefixes, each as first address, length, last address and slot.
///
/// 1. Sorted by first address, outer before inner, equal ones in the order they came in.
/// 2. A stack holds the prefixes around the present place; leaving one goes back to what lies around it.
fn flatten<A: Copy + Ord>(mut prefixes: Vec<(A, u8, A, Slot)>, after: impl Fn(A) -> Option<A>) -> Ranges<A> {
    prefixes.sort_by_key(|(first, length, ..)| (*first, *length));
    let mut ranges: Vec<(A, Slot)> = Vec::with_capacity(2 * prefixes.len());
    let mut around: Vec<(A, Slot)> = Vec::new();
    let leave = |ranges: &mut Vec<(A, Slot)>, around: &mut Vec<(A, Slot)>| {
        let next = around.pop().and_then(|(last, _)| after(last));
        if let Some(next) = next {
            begin(ranges, next, around.last().map_or(NOBODY, |(_, slot)| *slot));
        }
    };
    for (first, _, last, slot) in prefixes {
        while around.last().is_some_and(|(end, _)| *end < first) {
            leave(&mut ranges, &mut around);
        }
        begin(&mut ranges, first, slot);
        around.push((last, slot));
    }
    while !around.is_empty() {
        leave(&mut ranges, &mut around);
    }
    ranges.dedup_by_key(|(_, slot)| *slot);
    Ranges {
        starts: ranges.iter().map(|(start, _)| *start).collect(),
        slots: ranges.iter().map(|(_, slot)| *slot).collect(),
    }
}

/// From `start` on it is `slot`; a range that began there as well was empty.
fn begin<A: Copy + Ord>(ranges: &mut Vec<(A, Slot)>, start: A, slot: Slot) {
    match ranges.last_mut() {
        Some(last) if last.0 == start => last.1 = slot,
        _ => ranges.push((start, slot)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(prefixes: &[(&str, Slot)]) -> AllowedIps {
        AllowedIps::new(
            prefixes
                .iter()
                .map(|(prefix, slot)| (prefix.parse().unwrap(), *slot)),
        )
    }

    fn lookup(table: &AllowedIps, address: &str) -> Option<Slot> {
        table.lookup(address.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_wins_and_outside_is_nobody() {
        let table = table(&[
            ("10.77.0.0/16", 1),
            ("10.77.3.0/24", 2),
            ("10.77.3.9/32", 3),
            ("10.78.0.0/16", 4),
            ("fd00::/64", 5),
            ("fd00::7/128", 6),
        ]);
        for (address, slot) in [
            ("10.76.255.255", None),
            ("10.77.0.0", Some(1)),
            ("10.77.3.8", Some(2)),
            ("10.77.3.9", Some(3)),
            ("10.77.3.10", Some(2)),
            ("10.77.4.0", Some(1)),
            ("10.78.0.0", Some(4)),
            ("10.79.0.0", None),
            ("fd00::6", Some(5)),
            ("fd00::7", Some(6)),
            ("fd00:0:0:1::", None),
        ] {
            assert_eq!(lookup(&table, address), slot, "{address}");
        }
    }

    #[test]
    fn the_ends_of_the_address_space_and_equal_prefixes() {
        let table = table(&[
            ("0.0.0.0/0", 1),
            ("255.255.255.255/32", 2),
            ("::/0", 3),
            ("10.0.0.0/8", 4),
            ("10.9.9.9/8", 5),
        ]);
        assert_eq!(lookup(&table, "255.255.255.255"), Some(2));
        assert_eq!(lookup(&table, "255.255.255.254"), Some(1));
        assert_eq!(lookup(&table, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Some(3));
        assert_eq!(lookup(&table, "10.1.2.3"), Some(5), "the later one holds");
        assert_eq!(lookup(&AllowedIps::default(), "10.1.2.3"), None);
        assert!(AllowedIps::default().is_empty() && !table.is_empty());
    }

    proptest! {
        #[test]
        fn equals_a_walk_over_all_prefixes(
            prefixes in proptest::collection::vec((any::<u8>(), any::<u8>(), 0u8..=32, 0u32..5), 0..60),
            addresses in proptest::collection::vec((any::<u8>(), any::<u8>()), 20),
        ) {
            // few bits vary, so that prefixes nest and meet often
            let spread = |high: u8, low: u8| Ipv4Addr::new(10 + high % 2, high, low & 0xc3, low);
            let nets: Vec<(IpNet, Slot)> = prefixes
                .into_iter()
                .map(|(high, low, length, slot)| (IpNet::new(spread(high, low).into(), length).unwrap(), slot))
                .collect();
            let as_v6 = |address: Ipv4Addr| Ipv6Addr::from(u128::from(u32::from(address)) << 64);
            let nets_v6: Vec<(IpNet, Slot)> = nets
                .iter()
                .map(|(net, slot)| {
                    let IpNet::V4(net) = net else { unreachable!("built as such") };
                    (IpNet::new(as_v6(net.addr()).into(), 32 + net.prefix_len()).unwrap(), *slot)
                })
                .collect();
            let table = AllowedIps::new(nets.iter().chain(&nets_v6).copied());
            for (high, low) in addresses {
                let address = spread(high, low);
                let expected = nets
                    .iter()
                    .filter(|(net, _)| net.contains(&IpAddr::V4(address)))
                    .max_by_key(|(net, _)| net.prefix_len())
                    .map(|(_, slot)| *slot);
                prop_assert_eq!(table.lookup(address.into()), expected);
                prop_assert_eq!(table.lookup(as_v6(address).into()), expected);
            }
        }
    }
}
