//! How many connections there may be, before and after a peer has shown who it is.
//!
//! A connection starts as a **guest**: few at once from one source, and for a short time only ([`GUEST_TIME`]). Where there
//! are too many, the oldest of them gives way to the newcomer, those that have sent nothing ([`Permit::spoke`]) before those with
//! a ClientHello: who means it is in within a few round trips, and who holds connections to keep others out loses them. A request whose proof holds makes a connection a **member**'s, which counts
//! against that node alone, so that a site of a thousand nodes behind one NAT is no attack.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use meshd_core::id::{NetworkId, NodeId};
use tokio::sync::Notify;

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

/// The silent first, then by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GuestKey {
    spoke: bool,
    number: u64,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    /// Guests in the order in which they give way: source, and how to tell them to go.
    guests: BTreeMap<GuestKey, (IpAddr, Arc<Notify>)>,
    sources: HashMap<IpAddr, BTreeSet<GuestKey>>,
    members: HashMap<MemberKey, usize>,
    next: u64,
}

/// The count of connections.
#[derive(Debug, Clone, Default)]
pub struct Limits(Arc<Mutex<Counts>>);

/// A place among the connections; given back on drop.
#[derive(Debug)]
pub struct Permit {
    limits: Limits,
    place: Mutex<Place>,
    go: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Guest(GuestKey),
    Member(MemberKey),
}

impl Limits {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A guest's place, the oldest guest's where there are too many, in all or from its source. None where members have
    /// all places.
    pub fn enter(&self, from: IpAddr) -> Option<Permit> {
        let source = source_of(from);
        let mut counts = self.counts();
        let of_source = counts
            .sources
            .get(&source)
            .filter(|held| held.len() >= MAX_GUESTS_PER_SOURCE);
        let oldest_of_source = of_source.and_then(|held| held.first().copied());
        let full = counts.guests.len() >= MAX_GUESTS || counts.total >= MAX_CONNECTIONS;
        let oldest = || counts.guests.keys().next().copied().filter(|_| full);
        if let Some(guest) = oldest_of_source.or_else(oldest) {
            counts.send_away(guest);
        }
        if counts.total >= MAX_CONNECTIONS {
            return None;
        }
        let guest = GuestKey {
            spoke: false,
            number: counts.next,
        };
        let go = Arc::new(Notify::new());
        counts.next += 1;
        counts.total += 1;
        counts.admit(guest, source, go.clone());
        Some(Permit {
            limits: self.clone(),
            place: Mutex::new(Place::Guest(guest)),
            go,
        })
    }
}

impl Counts {
    /// Ends a guest's stay; its place is free at once, though its connection takes a moment to end.
    fn send_away(&mut self, guest: GuestKey) {
        if let Some((_, go)) = self.forget_guest(guest) {
            self.total -= 1;
            go.notify_one();
        }
    }

    fn admit(&mut self, guest: GuestKey, source: IpAddr, go: Arc<Notify>) {
        self.guests.insert(guest, (source, go));
        self.sources.entry(source).or_default().insert(guest);
    }

    fn forget_guest(&mut self, guest: GuestKey) -> Option<(IpAddr, Arc<Notify>)> {
        let (source, go) = self.guests.remove(&guest)?;
        if let Some(held) = self.sources.get_mut(&source) {
            held.remove(&guest);
            if held.is_empty() {
                self.sources.remove(&source);
            }
        }
        Some((source, go))
    }

    fn forget_member(&mut self, member: MemberKey) {
        if let Some(count) = self.members.get_mut(&member) {
            *count -= 1;
            if *count == 0 {
                self.members.remove(&member);
            }
        }
    }
}

impl Permit {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What resolves when this connection must give way to another.
    pub fn must_go(&self) -> Arc<Notify> {
        self.go.clone()
    }

    /// Whether nobody has shown who they are on this connection.
    pub fn is_guest(&self) -> bool {
        matches!(*self.place(), Place::Guest(_))
    }

    /// It sent a ClientHello: from now on the silent give way before it.
    pub fn spoke(&self) {
        let mut place = self.place();
        let Place::Guest(guest) = *place else { return };
        let mut counts = self.limits.counts();
        if let Some((source, go)) = counts.forget_guest(guest) {
            let guest = GuestKey { spoke: true, ..guest };
            counts.admit(guest, source, go);
            *place = Place::Guest(guest);
        }
    }

    /// From now on this member's. False where it has too many, or was sent away; then nothing changed.
    pub fn promote(&self, member: MemberKey) -> bool {
        let mut place = self.place();
        let Place::Guest(guest) = *place else {
            return *place == Place::Member(member);
        };
        let mut counts = self.limits.counts();
        let held = counts.members.get(&member).copied().unwrap_or(0);
        if held >= MAX_PER_MEMBER || counts.forget_guest(guest).is_none() {
            return false;
        }
        counts.members.insert(member, held + 1);
        *place = Place::Member(member);
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let place = *self.place();
        let mut counts = self.limits.counts();
        match place {
            Place::Guest(guest) if counts.forget_guest(guest).is_none() => return,
            Place::Guest(_) => {}
            Place::Member(member) => counts.forget_member(member),
        }
        counts.total -= 1;
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

    fn member(n: u16) -> MemberKey {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_le_bytes());
        ([1; 16].into(), id.into())
    }

    /// Whether a permit was told to go.
    fn gone(permit: &Permit) -> bool {
        let go = permit.must_go();
        let told = is_ready(go.notified());
        if told {
            go.notify_one();
        }
        told
    }

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(future).poll(&mut context).is_ready()
    }

    #[test]
    fn the_oldest_of_a_source_gives_way_and_others_are_left_alone() {
        let limits = Limits::default();
        let other = limits.enter(B).unwrap();
        let held: Vec<_> = (0..MAX_GUESTS_PER_SOURCE + 3)
            .map(|_| limits.enter(A).unwrap())
            .collect();
        let told: Vec<bool> = held.iter().take(5).map(gone).collect();
        assert_eq!(told, [true, true, true, false, false]);
        assert!(!gone(&other));
        drop(held);
        assert_eq!(limits.counts().total, 1);
    }

    #[test]
    fn who_has_sent_nothing_gives_way_before_who_has() {
        let limits = Limits::default();
        let shaking = limits.enter(A).unwrap();
        shaking.spoke();
        let silent: Vec<_> = (0..3 * MAX_GUESTS).map(|_| limits.enter(A).unwrap()).collect();
        assert!(gone(&silent[0]) && !gone(&shaking));
        assert!(shaking.promote(member(1)), "it comes to its proof");
        drop((shaking, silent));
        let counts = limits.counts();
        assert!(counts.total == 0 && counts.sources.is_empty());
    }

    #[test]
    fn the_oldest_of_all_gives_way_where_guests_are_too_many() {
        let limits = Limits::default();
        let source = |n: usize| IpAddr::V4((0x0a00_0000 + n as u32).into());
        let held: Vec<_> = (0..MAX_GUESTS + 2)
            .map(|n| limits.enter(source(n)).unwrap())
            .collect();
        assert!(gone(&held[0]) && gone(&held[1]) && !gone(&held[2]));
        assert_eq!(limits.counts().guests.len(), MAX_GUESTS);
    }

    #[test]
    fn a_slash_64_is_one_source_and_mapped_ipv4_is_ipv4() {
        let of = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), A);
    }

    #[test]
    fn members_leave_their_source_free_and_everything_is_given_back() {
        let limits = Limits::default();
        let enter = |n| {
            let permit = limits.enter(A).unwrap();
            assert!(permit.promote(member(n)) && !permit.is_guest());
            permit
        };
        let held: Vec<_> = (0..2000u16).map(enter).collect();
        drop(held);
        let counts = limits.counts();
        assert!(counts.total == 0 && counts.guests.is_empty());
        assert!(counts.sources.is_empty() && counts.members.is_empty());
    }

    #[test]
    fn one_member_has_so_many_and_no_more() {
        let limits = Limits::default();
        let enter = || limits.enter(A).filter(|permit| permit.promote(member(1)));
        let held: Vec<_> = std::iter::from_fn(enter).collect();
        assert_eq!(held.len(), MAX_PER_MEMBER);
        assert!(held[0].promote(member(1)), "it has its place");
        assert!(!held[0].promote(member(2)), "a connection is one member's");
        assert!(limits.enter(A).unwrap().promote(member(2)));
    }

    #[test]
    fn members_are_bounded_too_and_guests_give_way_to_nobody_then() {
        let limits = Limits::default();
        let held: Vec<_> = (0..MAX_CONNECTIONS as u32)
            .map(|n| {
                let permit = limits.enter(A).unwrap();
                assert!(permit.promote(member((n / 8) as u16)));
                permit
            })
            .collect();
        assert!(limits.enter(B).is_none());
        drop(held);
        assert!(limits.enter(B).is_some());
    }
}
