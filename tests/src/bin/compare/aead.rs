//! The limit of every tunnel that seals with ChaCha20-Poly1305: ring on one core, nothing around it.

use std::time::Duration;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use rustix::time::{ClockId, clock_gettime};

use crate::beds::MTU;
use crate::results::Values;

/// What it is called in the table.
pub const RAW_AEAD: &str = "raw AEAD (ring)";
/// Of a packet of the tunnel's MTU, those that are TCP's payload: without IPv4 header, TCP header and its timestamps.
const PAYLOAD: usize = MTU as usize - 20 - 32;
/// Packets between two looks at the clock.
const BATCH: u64 = 64;

/// Seals and opens packets for so much time of a processor: seconds per GB of payload, and Gbit/s, were there nothing else to do.
///
/// # Panics
/// If ring fails.
pub fn measure(time: Duration) -> Values {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("32 bytes"));
    let nonce = |counter: u64| {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(bytes)
    };
    let mut packet = vec![0x5a; usize::from(MTU) + CHACHA20_POLY1305.tag_len()];
    let (begin, mut count) = (own_time(), 0);
    while own_time() - begin < time {
        for _ in 0..BATCH {
            count += 1;
            let (plain, tag) = packet.split_at_mut(MTU.into());
            let sealed = key.seal_in_place_separate_tag(nonce(count), Aad::empty(), plain);
            tag.copy_from_slice(sealed.expect("a packet is short enough").as_ref());
            let opened = key.open_in_place(nonce(count), Aad::empty(), &mut packet);
            opened.expect("what was sealed opens");
        }
    }
    let (seconds, gigabytes) = (
        (own_time() - begin).as_secs_f64(),
        count as f64 * PAYLOAD as f64 / 1e9,
    );
    Values::from([
        ("tcp1_gbit", gigabytes * 8.0 / seconds),
        ("tcp1_cpu", seconds / gigabytes),
    ])
}

/// What this thread has had of a processor: other programs do not count.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
