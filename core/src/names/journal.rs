//! Writing a file in place so that a crash can be told from somebody else's work.
//!
//! Where the hosts file is a bind mount nothing can be renamed over it. Then old and new bytes go to a journal first,
//! the file is overwritten from front to back, and cut. [`Journal::explain`] looks at what a crash left.

use blake2::digest::consts::U16;
use blake2::{Blake2s, Digest as _};

/// A write that a signal kills ends at a multiple of this many bytes.
const PAGE: usize = 4096;

const MAGIC: &[u8] = b"meshd hosts journal 1\n";

/// BLAKE2s-128 (RFC 7693) of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

/// The digest by which the writer knows contents again.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(Blake2s::<U16>::digest(bytes).into())
}

/// What is about to be written, and over what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// The file's path, as bytes.
    pub path: Vec<u8>,
    /// Its contents before.
    pub old: Vec<u8>,
    /// Its contents after.
    pub new: Vec<u8>,
}

/// What a file is, seen from a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Not a byte was written.
    NotStarted,
    /// All of it was written.
    Done,
    /// The write was cut short; whatever somebody appended since is here.
    Torn {
        /// Bytes after those that the write explains.
        appended: Vec<u8>,
    },
    /// Somebody else wrote it since: it is theirs, and whole.
    Foreign,
}

impl Journal {
    /// The journal file: magic, three lengths (u64, little endian), path, old, new, digest of all that.
    pub fn encode(&self) -> Vec<u8> {
        let parts = [&self.path, &self.old, &self.new];
        let mut out = MAGIC.to_vec();
        parts
            .iter()
            .for_each(|part| out.extend_from_slice(&(part.len() as u64).to_le_bytes()));
        parts.iter().for_each(|part| out.extend_from_slice(part));
        let sum = digest(&out);
        out.extend_from_slice(&sum.0);
        out
    }

    /// Reads a journal file; `None` where it is torn or not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(16)?)?;
        if digest(body).0 != sum {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut lengths = [0usize; 3];
        for length in &mut lengths {
            let (head, tail) = rest.split_first_chunk::<8>()?;
            *length = usize::try_from(u64::from_le_bytes(*head)).ok()?;
            rest = tail;
        }
        let mut parts = Vec::with_capacity(3);
        for length in lengths {
            let (head, tail) = rest.split_at_checked(length)?;
            parts.push(head.to_vec());
            rest = tail;
        }
        let [path, old, new] = parts.try_into().ok()?;
        rest.is_empty().then_some(Self { path, old, new })
    }

    /// What `current` is.
    ///
    /// Our write explains a byte that is the old one, the new one, or zero (a page that a power cut left unwritten).
    /// Where bytes were appended to a torn file, the end of ours is a page boundary, because a kill cuts a write
    /// there; else the first appended bytes could pass for ours by chance.
    pub fn explain(&self, current: &[u8]) -> Found {
        let (old, new) = (self.old.as_slice(), self.new.as_slice());
        if current == new {
            return Found::Done;
        }
        if current == old {
            return Found::NotStarted;
        }
        let ours = |(i, byte): (usize, &u8)| *byte == 0 || [old.get(i), new.get(i)].contains(&Some(byte));
        let longest = old.len().max(new.len());
        let explained = current
            .iter()
            .take(longest)
            .enumerate()
            .take_while(|e| ours(*e))
            .count();
        if explained < old.len() {
            return Found::Foreign;
        }
        let power_cut = explained == current.len() && !current[old.len()..].trim_ascii().is_empty();
        let end = match explained {
            all if all == longest || power_cut => all,
            part => old.len().max(part - part % PAGE),
        };
        Found::Torn {
            appended: current[end..].to_vec(),
        }
    }

    /// The bytes that finish a torn write.
    pub fn complete(&self, appended: &[u8]) -> Vec<u8> {
        [self.new.as_slice(), appended].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn journal(old: &[u8], new: &[u8]) -> Journal {
        Journal {
            path: b"/etc/hosts".to_vec(),
            old: old.to_vec(),
            new: new.to_vec(),
        }
    }

    /// The file after `written` bytes of the new contents reached it.
    fn torn(j: &Journal, written: usize) -> Vec<u8> {
        let mut file = j.old.clone();
        file.resize(file.len().max(written), 0);
        file[..written].copy_from_slice(&j.new[..written]);
        file
    }

    const HOSTS: &[u8] = b"127.0.0.1 localhost\n::1 localhost\n";
    const BLOCK: &[u8] =
        b"127.0.0.1 localhost\n# meshd begin a/b\n10.0.0.1\tx.b.mesh\n# meshd end a/b\n::1 localhost\n";

    #[test]
    fn every_cut_of_a_write_is_finished_or_harmless() {
        for (old, new) in [
            (HOSTS, BLOCK),
            (BLOCK, HOSTS),
            (&b""[..], BLOCK),
            (BLOCK, &b""[..]),
        ] {
            let j = journal(old, new);
            for written in 0..=new.len() {
                let file = torn(&j, written);
                match j.explain(&file) {
                    Found::Torn { appended } => assert_eq!(j.complete(&appended), new, "after {written}"),
                    Found::Done => assert_eq!(file, new),
                    Found::NotStarted => assert_eq!(file, old),
                    Found::Foreign => panic!("after {written}"),
                }
            }
        }
    }

    #[test]
    fn what_somebody_appended_to_a_torn_file_stays() {
        let lines = |n: u32, at: u32| {
            (0..n)
                .map(|i| format!("10.{at}.{i}.1\tx{i}.b.mesh\n"))
                .collect::<String>()
        };
        let (old, new) = (lines(400, 1), lines(100, 1) + &lines(500, 2) + &lines(300, 1));
        let j = journal(old.as_bytes(), new.as_bytes());
        for written in [0, 4096, 8192, 12288, 16384, new.len()] {
            for appended in ["192.0.2.1 later\n", "\n", "# mine\n", "10.1.0.1\tx0"] {
                let file = [torn(&j, written).as_slice(), appended.as_bytes()].concat();
                let rest = match j.explain(&file) {
                    Found::Torn { appended } => appended,
                    found => panic!("after {written}: {found:?}"),
                };
                assert_eq!(String::from_utf8(rest).unwrap(), appended, "after {written}");
            }
        }
    }

    #[test]
    fn an_appended_comment_is_not_taken_for_our_block() {
        let j = journal(b"a\n", b"a\n# meshd begin a/b\n# meshd end a/b\n");
        assert_eq!(
            j.explain(b"a\n# mine\n"),
            Found::Torn {
                appended: b"# mine\n".to_vec()
            }
        );
        assert_eq!(j.explain(b"b\n"), Found::Foreign);
        assert_eq!(j.explain(b""), Found::Foreign);
    }

    #[test]
    fn zeros_of_a_power_cut_are_ours() {
        let j = journal(b"a\n", b"a\n# meshd begin a/b\n");
        assert_eq!(j.explain(b"a\n\0\0\0\0"), Found::Torn { appended: vec![] });
        assert_eq!(
            journal(b"abcd\n", b"xyzd\n").explain(b"\0\0cd\n"),
            Found::Torn { appended: vec![] }
        );
    }

    proptest! {
        #[test]
        fn a_journal_is_read_back_and_nothing_else_is(
            path in proptest::collection::vec(any::<u8>(), 0..40),
            old in proptest::collection::vec(any::<u8>(), 0..200),
            new in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
        ) {
            let j = Journal { path, old, new };
            let mut bytes = j.encode();
            prop_assert_eq!(Journal::decode(&bytes), Some(j));
            let at = at.index(bytes.len());
            prop_assert_eq!(Journal::decode(&bytes[..at]), None);
            bytes[at] ^= 1;
            prop_assert_eq!(Journal::decode(&bytes), None);
        }

        #[test]
        fn explaining_is_total(
            old in proptest::collection::vec(any::<u8>(), 0..40),
            new in proptest::collection::vec(any::<u8>(), 0..40),
            current in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = journal(&old, &new).explain(&current);
        }
    }
}
