//! In which of a tunnel's sessions packets are sealed, and which of them must not be overwritten.
//!
//! boringtun keeps the session with the local index `i` in slot `i % 8`. Every initiation and every response takes the next
//! index, and a new session takes its slot, whatever is there. So eight steps on, the answer to an initiation may take the
//! place of the session in use: packets would be sealed in one that the peer may never have, and those under way in the old
//! one be dropped. Under load, when initiations are repeated and answered late, all of them, eight steps are soon taken.
//!
//! boringtun shows nothing of this. What it does is followed here by the indices that stand in the messages; a slot that is
//! in use is passed over by an initiation that nobody gets.

/// Sessions that boringtun keeps of one peer.
const SLOTS: usize = 8;
/// Sessions of which packets may be under way. With the one to seal in and the three that wait for the peer, one slot of eight is
/// always free.
const OPENED: usize = 3;

/// The sessions of one tunnel, by their local indices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    /// The last index that was taken.
    last: u32,
    /// The one in which packets are sealed, once there was any.
    sealing: Option<u32>,
    /// The last few in which the peer's packets were sealed, the last first: more of them may be under way.
    opened: [Option<u32>; OPENED],
    /// The last two in which we answered and that the peer has not used yet.
    unconfirmed: [Option<u32>; 2],
    /// The last one that we initiated, until the peer uses it: it may do so when packets are sealed in another one by now, as
    /// where the peer initiated in the same moment.
    offered: Option<u32>,
    /// When the session in each slot began: the how manieth it was.
    born: [u64; SLOTS],
    births: u64,
}

/// What a packet of the peer has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// It is the first of a session in which we answered.
    pub(super) confirmed: bool,
    /// From now on packets are sealed in another session than before.
    pub(super) renewed: bool,
}

fn slot(index: u32) -> usize {
    index as usize % SLOTS
}

impl Slots {
    /// Those of a new tunnel, for the peer with this index.
    pub(super) fn new(index: u32) -> Self {
        Self {
            last: index << 8,
            sealing: None,
            opened: [None; OPENED],
            unconfirmed: [None; 2],
            offered: None,
            born: [0; SLOTS],
            births: 0,
        }
    }

    /// An initiation or a response with this index was written.
    pub(super) fn took(&mut self, index: u32) {
        self.last = index;
    }

    /// The index that the next message will have.
    pub(super) fn next(&self) -> u32 {
        self.last & !0xff | u32::from((self.last as u8).wrapping_add(1))
    }

    /// Whether a session with this index would take the place of one that is in use. While there is none to seal in, boringtun
    /// would seal in whatever comes into the slot of the last one, which is the first slot at the beginning.
    pub(super) fn is_taken(&self, index: u32) -> bool {
        let ours = [Some(self.sealing.unwrap_or(0)), self.offered].into_iter();
        let mut in_use = ours.chain(self.opened).chain(self.unconfirmed).flatten();
        in_use.any(|used| slot(used) == slot(index))
    }

    /// We answered an initiation: a session began.
    pub(super) fn answered(&mut self, index: u32) {
        self.took(index);
        self.begin(index);
        self.unconfirmed = [Some(index), self.unconfirmed[0]];
    }

    /// The peer answered an initiation of ours: a session began, and packets are sealed in it.
    pub(super) fn established(&mut self, index: u32) {
        self.begin(index);
        (self.sealing, self.offered) = (Some(index), Some(index));
    }

    /// A packet of the peer was opened. Packets are sealed in its session from now on, unless the one in which they are is
    /// younger; `ready` is whether there was any.
    #[inline]
    pub(super) fn opened(&mut self, index: u32, ready: bool) -> Change {
        if self.opened[0] != Some(index) {
            let known = self.opened.iter().position(|opened| *opened == Some(index));
            self.opened[..=known.unwrap_or(OPENED - 1)].rotate_right(1);
            self.opened[0] = Some(index);
        }
        self.offered = self.offered.filter(|offered| *offered != index);
        let born = |index: u32| self.born[slot(index)];
        let held = self.sealing.filter(|held| ready && born(*held) > born(index));
        let sealing = held.unwrap_or(index);
        Change {
            confirmed: self.unconfirmed.contains(&Some(index)),
            renewed: self.sealing.replace(sealing) != Some(sealing),
        }
    }

    /// The peer uses the session in which it sent the packet that was opened last. It may yet come to use the other one in which
    /// we answered: where it initiated again before our first answer came, it takes both answers.
    pub(super) fn confirmed(&mut self) {
        let used = self.opened[0];
        for waiting in &mut self.unconfirmed {
            *waiting = waiting.filter(|index| Some(*index) != used);
        }
    }

    fn begin(&mut self, index: u32) {
        self.births += 1;
        self.born[slot(index)] = self.births;
    }
}
