//! STUN binding (RFC 8489), both ends, over stun-rs: the client learns its address as a server sees it.
//!
//! No answer is larger than its request, so the server is nobody's amplifier: our request carries a SOFTWARE attribute
//! that makes room for an IPv6 answer, and a bare request of 20 bytes gets no answer at all.

use std::net::SocketAddr;

use stun_rs::attributes::stun::{Software, XorMappedAddress};
use stun_rs::methods::BINDING;
use stun_rs::{MessageClass, MessageDecoder, MessageEncoder, StunMessage, StunMessageBuilder, TransactionId};

use crate::demux::{Class, classify};

/// Bytes of our request, and of the longest answer.
pub const MESSAGE_LEN: usize = 44;
const HEADER_LEN: usize = 20;
/// Longer than any STUN message that we answer or that answers us.
const MAX_LEN: usize = 548;
/// Twenty characters, which make the request as long as the longest answer.
const SOFTWARE: &str = "meshd stun client v1";

/// A binding request; 44 bytes.
pub fn binding_request(transaction: [u8; 12]) -> Vec<u8> {
    let request = StunMessageBuilder::new(BINDING, MessageClass::Request)
        .with_transaction_id(TransactionId::from(transaction));
    let request = match Software::new(SOFTWARE) {
        Ok(software) => request.with_attribute(software),
        Err(_) => request,
    };
    encode(&request.build()).unwrap_or_default()
}

/// From where the answer to a request is wanted (RFC 5780 section 7.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// From another IP address of the server.
    pub ip: bool,
    /// From another port.
    pub port: bool,
}

const CHANGE_REQUEST: u16 = 0x0003;
const CHANGE_IP: u32 = 4;
const CHANGE_PORT: u32 = 2;

/// A binding request whose answer is to come from elsewhere; 52 bytes.
pub fn changed_request(transaction: [u8; 12], change: Change) -> Vec<u8> {
    let mut bytes = binding_request(transaction);
    let flags = u32::from(change.ip) * CHANGE_IP + u32::from(change.port) * CHANGE_PORT;
    bytes.extend(CHANGE_REQUEST.to_be_bytes());
    bytes.extend(4_u16.to_be_bytes());
    bytes.extend(flags.to_be_bytes());
    let body = u16::try_from(bytes.len() - HEADER_LEN).unwrap_or(0);
    bytes[2..4].copy_from_slice(&body.to_be_bytes());
    bytes
}

/// From where `request` wants its answer: from where it was sent to, unless it has a whole CHANGE-REQUEST.
pub fn wanted_change(request: &[u8]) -> Change {
    let mut rest = request.get(HEADER_LEN..).unwrap_or_default();
    while let Some((&[k0, k1, l0, l1], after)) = rest.split_first_chunk::<4>() {
        let (kind, len) = (
            u16::from_be_bytes([k0, k1]),
            usize::from(u16::from_be_bytes([l0, l1])),
        );
        if kind == CHANGE_REQUEST {
            let flags = after.first_chunk().map_or(0, |flags| u32::from_be_bytes(*flags));
            let flags = if len == 4 { flags } else { 0 };
            return Change {
                ip: flags & CHANGE_IP != 0,
                port: flags & CHANGE_PORT != 0,
            };
        }
        rest = after.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Change::default()
}

/// The answer to a binding request that came from `seen`; none for what is no such request, or is shorter than its
/// answer. Of the request's attributes only [`wanted_change`] matters, which the caller looks at.
pub fn binding_answer(request: &[u8], seen: SocketAddr) -> Option<Vec<u8>> {
    if !whole(request) {
        return None;
    }
    let mut header = *request.first_chunk::<HEADER_LEN>()?;
    header[2..4].fill(0);
    let (asked, _) = MessageDecoder::default().decode(&header).ok()?;
    if asked.method() != BINDING || asked.class() != MessageClass::Request {
        return None;
    }
    let seen = SocketAddr::new(seen.ip().to_canonical(), seen.port());
    let answer = StunMessageBuilder::new(BINDING, MessageClass::SuccessResponse)
        .with_transaction_id(*asked.transaction_id())
        .with_attribute(XorMappedAddress::from(seen));
    encode(&answer.build()).filter(|answer| answer.len() <= request.len())
}

/// The transaction and the address in a binding answer; an IPv4 address is one however it is written. Whether a node can be
/// there is for [`crate::nat::may_be_seen`] to say.
pub fn parse_answer(answer: &[u8]) -> Option<([u8; 12], SocketAddr)> {
    if !whole(answer) {
        return None;
    }
    let (message, _) = MessageDecoder::default().decode(answer).ok()?;
    if message.method() != BINDING || message.class() != MessageClass::SuccessResponse {
        return None;
    }
    let mapped = message.get::<XorMappedAddress>()?.as_xor_mapped_address().ok()?;
    let address = mapped.socket_address();
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    Some((*message.transaction_id().as_bytes(), address))
}

/// Whether it is STUN, and the length in the header is that of the datagram.
fn whole(datagram: &[u8]) -> bool {
    if datagram.len() < HEADER_LEN || classify(datagram) != Class::Stun {
        return false;
    }
    let body = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    datagram.len() <= MAX_LEN && datagram.len() == HEADER_LEN + body && body % 4 == 0
}

fn encode(message: &StunMessage) -> Option<Vec<u8>> {
    let mut bytes = vec![0; MAX_LEN];
    let len = MessageEncoder::default().encode(&mut bytes, message).ok()?;
    bytes.truncate(len);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_learns_its_address() {
        for text in ["198.51.100.7:40000", "[2001:db8::7]:40000"] {
            let seen = text.parse().unwrap();
            let request = binding_request([7; 12]);
            assert_eq!(request.len(), MESSAGE_LEN);
            let answer = binding_answer(&request, seen).unwrap();
            assert!(answer.len() <= request.len());
            assert_eq!(parse_answer(&answer), Some(([7; 12], seen)));
        }
    }

    #[test]
    fn a_mapped_address_is_told_as_ipv4() {
        let answer = binding_answer(&binding_request([7; 12]), "[::ffff:192.0.2.1]:5".parse().unwrap());
        assert_eq!(
            parse_answer(&answer.unwrap()).unwrap().1,
            "192.0.2.1:5".parse().unwrap()
        );
    }

    #[test]
    fn what_is_shorter_than_its_answer_gets_none() {
        let mut bare = binding_request([7; 12])[..HEADER_LEN].to_vec();
        bare[2..4].fill(0);
        assert!(whole(&bare));
        assert_eq!(binding_answer(&bare, "192.0.2.1:5".parse().unwrap()), None);
    }

    #[test]
    fn a_request_says_from_where_it_wants_its_answer() {
        for (ip, port) in [(false, false), (true, false), (false, true), (true, true)] {
            let request = changed_request([7; 12], Change { ip, port });
            assert_eq!(wanted_change(&request), Change { ip, port });
            let seen = "[2001:db8::7]:40000".parse().unwrap();
            let answer = binding_answer(&request, seen).unwrap();
            assert!(answer.len() <= request.len());
        }
        assert_eq!(wanted_change(&binding_request([7; 12])), Change::default());
    }

    #[test]
    fn answers_are_not_answered() {
        let seen = "192.0.2.1:5".parse().unwrap();
        let answer = binding_answer(&binding_request([7; 12]), seen).unwrap();
        assert_eq!(binding_answer(&answer, seen), None);
        assert_eq!(parse_answer(&binding_request([7; 12])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..4u8) {
            let seen = "192.0.2.1:5".parse().unwrap();
            let _ = (binding_answer(&body, seen), parse_answer(&body), wanted_change(&body));
            let mut framed = vec![kind & 1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
            framed.extend([9; 12]);
            framed.extend(&body[..body.len() & !3]);
            let len = (framed.len() - HEADER_LEN) as u16;
            framed[2..4].copy_from_slice(&len.to_be_bytes());
            let _ = parse_answer(&framed);
            if let Some(answer) = binding_answer(&framed, seen) {
                prop_assert!(answer.len() <= framed.len());
            }
        }

        #[test]
        fn a_changed_answer_is_survived(at in 0..32usize, to in any::<u8>(), extra in 0..8usize) {
            let mut answer = binding_answer(&binding_request([7; 12]), "192.0.2.1:5".parse().unwrap()).unwrap();
            answer[at] = to;
            answer.extend(std::iter::repeat_n(to, extra));
            let _ = parse_answer(&answer);
        }
    }
}
