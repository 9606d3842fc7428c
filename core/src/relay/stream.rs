//! Relay frames over a byte stream: each after its u16 length in little endian (docs/wire.md section 6).

use std::collections::VecDeque;

/// Frames that wait to be written, as the bytes to be written: bounded, the oldest dropped where there is no room. A
/// stream that is slow makes packets late, and late packets are worth less than new ones.
#[derive(Debug)]
pub struct FrameRing {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl FrameRing {
    /// An empty one that holds at most `limit` bytes, length prefixes included.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            limit,
        }
    }

    /// Adds the frames of a run, `size` bytes each and the last maybe shorter; gives how many frames were dropped:
    /// older ones for want of room, or what is too long for a frame.
    pub fn push(&mut self, run: &[u8], size: usize) -> u64 {
        run.chunks(size.max(1)).map(|frame| self.push_one(frame)).sum()
    }

    fn push_one(&mut self, frame: &[u8]) -> u64 {
        let Some(len) = u16::try_from(frame.len())
            .ok()
            .filter(|_| 2 + frame.len() <= self.limit)
        else {
            return 1;
        };
        let mut dropped = 0;
        while self.bytes.len() + 2 + frame.len() > self.limit {
            let oldest = [0, 1].map(|at| self.bytes.get(at).copied().unwrap_or(0));
            let whole = 2 + usize::from(u16::from_le_bytes(oldest));
            self.bytes.drain(..whole.min(self.bytes.len()));
            dropped += 1;
        }
        self.bytes.extend(len.to_le_bytes());
        self.bytes.extend(frame);
        dropped
    }

    /// All bytes that wait, whole frames, in exchange for `spare`, which is cleared; none where nothing waits.
    pub fn take(&mut self, spare: &mut VecDeque<u8>) -> bool {
        spare.clear();
        if self.bytes.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.bytes, spare);
        true
    }

    /// Gives back memory beyond `kept` bytes.
    pub fn shrink(&mut self, kept: usize) {
        self.bytes.shrink_to(kept);
    }
}

/// The frame whose length prefix is at `at` of what was read: its first byte and the one after its last; none where it
/// is not there wholly.
pub fn frame_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let &[low, high] = bytes.get(at..at + 2)? else {
        return None;
    };
    let (start, end) = (at + 2, at + 2 + usize::from(u16::from_le_bytes([low, high])));
    (end <= bytes.len()).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(ring: &mut FrameRing) -> Vec<Vec<u8>> {
        let mut taken = VecDeque::new();
        ring.take(&mut taken);
        let bytes: Vec<u8> = taken.into();
        let mut at = 0;
        let mut frames = Vec::new();
        while let Some((start, end)) = frame_at(&bytes, at) {
            frames.push(bytes[start..end].to_vec());
            at = end;
        }
        assert_eq!(at, bytes.len(), "whole frames");
        frames
    }

    #[test]
    fn a_run_comes_out_as_its_frames() {
        let mut ring = FrameRing::new(100);
        assert_eq!(ring.push(&[1, 1, 1, 2, 2, 2, 3], 3), 0);
        assert_eq!(frames(&mut ring), [vec![1; 3], vec![2; 3], vec![3]]);
        assert_eq!(frames(&mut ring), [[0; 0]; 0]);
    }

    #[test]
    fn where_the_reader_is_slow_the_oldest_go_and_are_counted() {
        let mut ring = FrameRing::new(10_000);
        let dropped: u64 = (0..200_u8).map(|number| ring.push(&[number; 1400], 1400)).sum();
        let held = frames(&mut ring);
        assert_eq!((held.len(), dropped), (7, 193));
        assert_eq!(held.first(), Some(&vec![193; 1400]));
        assert_eq!(held.last(), Some(&vec![199; 1400]));
    }

    #[test]
    fn what_no_frame_can_be_is_dropped_alone() {
        let mut ring = FrameRing::new(100_000);
        assert_eq!(ring.push(&[9], 1), 0);
        assert_eq!(ring.push(&vec![0; 70_000], 70_000), 1);
        assert_eq!(frames(&mut ring), [vec![9]]);
    }

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        let bytes = [3, 0, 9, 9, 9, 2, 0, 7];
        assert_eq!(frame_at(&bytes, 0), Some((2, 5)));
        assert_eq!(frame_at(&bytes, 5), None);
        assert_eq!(frame_at(&bytes[..1], 0), None);
        assert_eq!(frame_at(&[0, 0], 0), Some((2, 2)), "an empty frame is whole");
    }
}
