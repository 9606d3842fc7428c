//! Which sequence numbers of a peer were seen (the sliding window of RFC 4303 section 3.4.3, 64 wide).

const WIDTH: u32 = 64;

/// Starts with everything unseen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u64,
}

impl Window {
    /// A window in which everything up to `sequence` is old.
    pub(super) fn after(sequence: u32) -> Self {
        Self {
            highest: sequence,
            seen: u64::MAX,
        }
    }

    /// Notes a sequence number; whether it is new.
    pub(super) fn accept(&mut self, sequence: u32) -> bool {
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.seen = if ahead < WIDTH { self.seen << ahead | 1 } else { 1 };
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        let new = behind < WIDTH && self.seen & (1 << behind) == 0;
        if new {
            self.seen |= 1 << behind;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once_in_any_order() {
        let mut window = Window::default();
        for sequence in [5, 3, 70, 7, 8, 69] {
            assert!(window.accept(sequence), "{sequence}");
            assert!(!window.accept(sequence), "{sequence} again");
        }
        assert!(!window.accept(6), "64 below the highest");
    }

    #[test]
    fn what_was_before_the_pong_is_old() {
        let mut window = Window::after(10);
        assert!(!window.accept(10) && !window.accept(1) && window.accept(11) && window.accept(13));
        assert!(window.accept(12));
        assert!(window.accept(u32::MAX) && !window.accept(13));
    }
}
