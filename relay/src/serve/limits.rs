//! How many connections there may be, before and after a peer has shown who it is.
//!
//! A connection starts as a **guest**: few at once from one source, and for a short time only ([`GUEST_TIME`]). A request
//! whose proof holds makes it a **member**'s, which counts against that node alone, so that a site of a thousand nodes
//! behind one NAT is no attack, and an attack from one address takes nothing from the rest.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use meshd_core::id::{NetworkId, NodeId};

/// Connections at once, of whatever kind.
pub const MAX_CONNECTIONS: usize = 8192;
/// Guests at once.
pub const MAX_GUESTS: usize = 1024;
/// Guests at once from one source: an IPv4 address or an IPv6 /64.
pub const MAX_GUESTS_PER_SOURCE: usize = 256;
/// Connections at once of one node.
pub const MAX_PER_MEMBER: usize = 16;
/// How long a connection may stay a guest's.
pub const GUEST_TIME: Duration = Duration::from_secs(20);

/// Who a member's connection belongs to.
pub type MemberKey = (NetworkId, NodeId);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    guests: usize,
    sources: HashMap<IpAddr, usize>,
    members: HashMap<MemberKey, usize>,
}

/// The count of connections.
#[derive(Debug, Clone, Default)]
pub struct Limits(Arc<Mutex<Counts>>);

/// A place among the connections; given back on drop.
#[derive(Debug)]
pub struct Permit {
    limits: Limits,
    place: Mutex<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Guest(IpAddr),
    Member(MemberKey),
}

impl Limits {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A guest's place; none where there are too many, in all or from its source.
    pub fn enter(&self, from: IpAddr) -> Option<Permit> {
        let source = source_of(from);
        let mut counts = self.counts();
        let of_source = counts.sources.get(&source).copied().unwrap_or(0);
        if counts.total >= MAX_CONNECTIONS
            || counts.guests >= MAX_GUESTS
            || of_source >= MAX_GUESTS_PER_SOURCE
        {
            return None;
        }
        counts.total += 1;
        counts.guests += 1;
        counts.sources.insert(source, of_source + 1);
        Some(Permit {
            limits: self.clone(),
            place: Mutex::new(Place::Guest(source)),
        })
    }
}

impl Permit {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether nobody has shown who they are on this connection.
    pub fn is_guest(&self) -> bool {
        matches!(*self.place(), Place::Guest(_))
    }

    /// From now on this member's. False where it has too many; then nothing changed.
    pub fn promote(&self, member: MemberKey) -> bool {
        let mut place = self.place();
        if *place == Place::Member(member) {
            return true;
        }
        let mut counts = self.limits.counts();
        let held = counts.members.entry(member).or_default();
        if *held >= MAX_PER_MEMBER {
            return false;
        }
        *held += 1;
        leave(&mut counts, *place);
        *place = Place::Member(member);
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let place = *self.place();
        let mut counts = self.limits.counts();
        counts.total -= 1;
        leave(&mut counts, place);
    }
}

fn leave(counts: &mut Counts, place: Place) {
    match place {
        Place::Guest(source) => {
            counts.guests -= 1;
            count_down(&mut counts.sources, source);
        }
        Place::Member(member) => count_down(&mut counts.members, member),
    }
}

fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// An IPv6 customer has at least a /64 (RFC 6177), so that is one source.
fn source_of(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn member(n: u8) -> MemberKey {
        ([1; 16].into(), [n; 16].into())
    }

    #[test]
    fn one_source_cannot_take_the_places_of_others() {
        let limits = Limits::default();
        let held: Vec<_> = std::iter::from_fn(|| limits.enter(A)).collect();
        assert_eq!(held.len(), MAX_GUESTS_PER_SOURCE);
        assert!(limits.enter(B).is_some());
        drop(held);
        assert!(limits.enter(A).is_some());
    }

    #[test]
    fn a_slash_64_is_one_source_and_mapped_ipv4_is_ipv4() {
        assert_eq!(
            source_of("2001:db8::1".parse().unwrap()),
            source_of("2001:db8::ffff:1".parse().unwrap())
        );
        assert_ne!(
            source_of("2001:db8::1".parse().unwrap()),
            source_of("2001:db8:0:1::1".parse().unwrap())
        );
        assert_eq!(source_of("::ffff:192.0.2.1".parse().unwrap()), A);
    }

    #[test]
    fn members_leave_their_source_free() {
        let limits = Limits::default();
        let held: Vec<_> = (0..2000u16)
            .map(|n| {
                let permit = limits.enter(A).unwrap();
                let mut id = [0; 16];
                id[..2].copy_from_slice(&n.to_le_bytes());
                assert!(permit.promote(([1; 16].into(), id.into())));
                permit
            })
            .collect();
        assert!(held.iter().all(|permit| !permit.is_guest()));
        drop(held);
        let counts = limits.counts();
        assert!(counts.total == 0 && counts.guests == 0);
        assert!(counts.sources.is_empty() && counts.members.is_empty());
    }

    #[test]
    fn one_member_has_so_many_and_no_more() {
        let limits = Limits::default();
        let enter = || limits.enter(A).filter(|permit| permit.promote(member(1)));
        let held: Vec<_> = std::iter::from_fn(enter).collect();
        assert_eq!(held.len(), MAX_PER_MEMBER);
        assert!(held[0].promote(member(1)), "it has its place");
        assert!(limits.enter(A).unwrap().promote(member(2)));
    }

    #[test]
    fn the_total_is_bounded() {
        let limits = Limits::default();
        let sources = (0..u32::MAX).map(|n| IpAddr::V4((0x0a00_0000 + n).into()));
        assert_eq!(
            sources.map_while(|s| limits.enter(s)).collect::<Vec<_>>().len(),
            MAX_GUESTS
        );
    }
}
