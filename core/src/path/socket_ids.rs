//! Sockets besides the primary ones: which are open, and for whom.

use std::collections::BTreeMap;

use crate::id::NodeId;

use super::SocketId;

/// Sockets of one birthday search (docs/nat.md): with 256 of them a search among all ports needs 200 probes in the median.
pub(super) const BIRTHDAY_SOCKETS: u16 = 256;

/// Open sockets and their owners.
#[derive(Debug, Default)]
pub(super) struct SocketIds {
    open: BTreeMap<SocketId, NodeId>,
    last: u16,
}

impl SocketIds {
    /// Ids for `count` sockets of a peer, one after the other; none where there are as many open as may be. A single one is
    /// for a path, many are for a search, of which only one runs at a time.
    pub(super) fn open(&mut self, owner: NodeId, count: u16) -> Option<SocketId> {
        let room = match count {
            1 => SocketId::MAX_ADOPTED,
            _ => SocketId::MAX_ADOPTED + usize::from(BIRTHDAY_SOCKETS),
        };
        (self.open.len() + usize::from(count) <= room).then_some(())?;
        let mut first = self.last.wrapping_add(1);
        loop {
            let end = first.checked_add(count).filter(|_| first != 0);
            let taken = end.map(|end| self.open.range(SocketId(first)..SocketId(end)).next_back());
            match taken {
                None => first = 1,
                Some(Some((taken, _))) => first = taken.0.wrapping_add(1),
                Some(None) => break,
            }
        }
        self.last = first + (count - 1);
        self.open
            .extend((first..=self.last).map(|id| (SocketId(id), owner)));
        Some(SocketId(first))
    }

    pub(super) fn close(&mut self, first: SocketId, count: u16) {
        for id in first.0..first.0.saturating_add(count) {
            self.open.remove(&SocketId(id));
        }
    }

    /// Whether there is such a socket; the primary ones always are.
    pub(super) fn is_open(&self, socket: SocketId) -> bool {
        socket.is_primary() || self.open.contains_key(&socket)
    }

    /// The peer for which a socket was opened.
    pub(super) fn owner(&self, socket: SocketId) -> Option<NodeId> {
        self.open.get(&socket).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_never_shared_and_never_the_primary_ones() {
        let mut ids = SocketIds {
            last: u16::MAX - 100,
            ..SocketIds::default()
        };
        let owner = NodeId::from_bytes([1; 16]);
        let single = ids.open(owner, 1).unwrap();
        assert_eq!(
            ids.open(owner, BIRTHDAY_SOCKETS),
            Some(SocketId(1)),
            "around the end, not over 0"
        );
        assert_eq!(ids.owner(SocketId(256)), Some(owner));
        ids.close(SocketId(1), 100);
        ids.last = 0;
        let next = ids.open(owner, 101).unwrap();
        assert_eq!(next, SocketId(257), "not into what is left of the others");
        assert_eq!(ids.owner(single), Some(owner));
    }

    #[test]
    fn there_are_never_more_than_a_machine_can_bear() {
        let mut ids = SocketIds::default();
        let owner = NodeId::from_bytes([1; 16]);
        for _ in 0..SocketId::MAX_ADOPTED {
            assert!(ids.open(owner, 1).is_some());
        }
        assert_eq!(ids.open(owner, 1), None);
        assert!(ids.open(owner, BIRTHDAY_SOCKETS).is_some());
        assert_eq!(ids.open(owner, BIRTHDAY_SOCKETS), None);
    }
}
