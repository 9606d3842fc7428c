//! The question whether a gateway serves a range, and its answer (docs/wire.md section 10). Both go through the tunnel.

use std::net::IpAddr;

use ipnet::IpNet;

/// UDP port on which every node answers, on its mesh address.
pub const PORT: u16 = 7442;
/// Length of a question in bytes.
pub const QUESTION_LEN: usize = 30;
/// Length of an answer in bytes, less than a question's.
pub const ANSWER_LEN: usize = 13;
/// "msg" 1.
const QUESTION: [u8; 4] = *b"msg\x01";
/// "msg" 2.
const ANSWER: [u8; 4] = *b"msg\x02";

/// Ties an answer to its question.
pub type Nonce = [u8; 8];

/// A datagram of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether the node serves a range.
    Question(Nonce, IpNet),
    /// Whether it does.
    Answer(Nonce, bool),
}

/// The bytes of a question.
pub fn question(nonce: Nonce, prefix: IpNet) -> [u8; QUESTION_LEN] {
    let mut bytes = [0; QUESTION_LEN];
    bytes[..4].copy_from_slice(&QUESTION);
    bytes[4..12].copy_from_slice(&nonce);
    bytes[12] = if prefix.addr().is_ipv4() { 4 } else { 6 };
    bytes[13] = prefix.prefix_len();
    match prefix.addr() {
        IpAddr::V4(v4) => bytes[14..18].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes[14..30].copy_from_slice(&v6.octets()),
    }
    bytes
}

/// The bytes of an answer.
pub fn answer(nonce: Nonce, serves: bool) -> [u8; ANSWER_LEN] {
    let mut bytes = [0; ANSWER_LEN];
    bytes[..4].copy_from_slice(&ANSWER);
    bytes[4..12].copy_from_slice(&nonce);
    bytes[12] = u8::from(serves);
    bytes
}

/// Reads a datagram; `None` where it is neither.
pub fn parse(bytes: &[u8]) -> Option<Probe> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (nonce, rest) = rest.split_first_chunk::<8>()?;
    match (*magic, rest) {
        (QUESTION, [version, length, address @ ..]) => {
            let address: [u8; 16] = address.try_into().ok()?;
            let (v4, zeros) = address.split_first_chunk::<4>()?;
            let address = match version {
                4 if zeros.iter().all(|b| *b == 0) => IpAddr::from(*v4),
                6 => IpAddr::from(address),
                _ => return None,
            };
            let prefix = IpNet::new(address, *length).ok()?;
            (prefix == prefix.trunc()).then_some(Probe::Question(*nonce, prefix))
        }
        (ANSWER, [serves @ 0..=1]) => Some(Probe::Answer(*nonce, *serves == 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn questions_and_answers_are_read_as_written() {
        for prefix in ["192.168.50.0/24", "2001:db8:50::/64", "0.0.0.0/0", "::/0"] {
            let prefix: IpNet = prefix.parse().unwrap();
            let parsed = parse(&question([7; 8], prefix));
            assert_eq!(parsed, Some(Probe::Question([7; 8], prefix)));
        }
        for serves in [false, true] {
            assert_eq!(
                parse(&answer([8; 8], serves)),
                Some(Probe::Answer([8; 8], serves))
            );
        }
        const { assert!(ANSWER_LEN < QUESTION_LEN) };
    }

    proptest! {
        #[test]
        fn whatever_is_read_has_one_form(kind in 1u8..=2, rest in proptest::collection::vec(any::<u8>(), 0..40)) {
            let bytes = [b"msg", &[kind][..], &rest].concat();
            match parse(&bytes) {
                Some(Probe::Question(nonce, prefix)) => prop_assert_eq!(&question(nonce, prefix)[..], &bytes[..]),
                Some(Probe::Answer(nonce, serves)) => prop_assert_eq!(&answer(nonce, serves)[..], &bytes[..]),
                None => {}
            }
        }
    }
}
