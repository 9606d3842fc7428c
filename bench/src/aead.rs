//! The limit: ring's ChaCha20-Poly1305 in place, and nothing around it.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// One key, and the counter of its nonces.
pub struct Bare {
    key: LessSafeKey,
    counter: u64,
}

impl Bare {
    /// A key that is no secret.
    ///
    /// # Panics
    /// If ring refuses 32 bytes.
    #[expect(clippy::new_without_default, reason = "a key is nobody's default")]
    pub fn new() -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("32 bytes");
        Self {
            key: LessSafeKey::new(key),
            counter: 0,
        }
    }

    /// Seals the packet before the last [`TAG_LEN`] bytes of `datagram`, which become its tag; gives the counter of its nonce.
    ///
    /// # Panics
    /// If it is shorter than a tag.
    #[inline]
    pub fn seal(&mut self, datagram: &mut [u8]) -> u64 {
        self.counter += 1;
        let (packet, tag) = datagram.split_at_mut(datagram.len() - TAG_LEN);
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce(self.counter), Aad::empty(), packet);
        tag.copy_from_slice(sealed.expect("a packet is short enough").as_ref());
        self.counter
    }

    /// Opens what was sealed with that counter; gives the packet's length.
    ///
    /// # Panics
    /// If it is not authentic.
    #[inline]
    pub fn open(&self, counter: u64, datagram: &mut [u8]) -> usize {
        let opened = self.key.open_in_place(nonce(counter), Aad::empty(), datagram);
        opened.expect("what was sealed opens").len()
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
