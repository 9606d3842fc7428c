//! Relay frames (docs/wire.md section 6): `[u32 5][u64 session id][payload]`, total both ways.
//!
//! Messages that change something at the receiver carry a MAC under the node's bind key over all bytes before it; it is
//! checked by [`authentic`], apart from parsing, because the relay must first know whose key it is. `bind cookie` and
//! `refused` carry none: the nonce or the session id in them, which only the relay and who is on the path know, is all
//! the trust that they need.

use std::net::SocketAddr;

use subtle::ConstantTimeEq;

use crate::bytes::{Reader, Writer, address_bytes};
use crate::demux::{RELAY_CONTROL_SESSION, relay_header, split_relay};
use crate::id::{NetworkId, NodeId};
use crate::keys::{BindKey, blake2s_128_keyed};

/// The longest control message.
pub const MAX_CONTROL_LEN: usize = 85;
/// Size of a `refused`; what is shorter is not answered with one.
pub const REFUSED_LEN: usize = 22;
/// How long a binding lives without renewal, seconds.
pub const BINDING_LIFETIME_S: u16 = 60;

const MAC_LEN: usize = 16;

/// A nonce: ties an answer to its question.
pub type Nonce = [u8; 8];
/// A return-routability cookie; all zero where the node has none yet.
pub type Cookie = [u8; 16];

/// A relay frame, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One WireGuard or discovery packet.
    Data {
        /// The session; never 0.
        session: u64,
        /// The packet carried.
        payload: &'a [u8],
    },
    /// A control message.
    Control(Control),
}

/// Why the relay refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RefusalCode {
    /// The sender's address is not bound: bind again.
    NotBound = 1,
    /// The session is not known (the relay was restarted, or the session was idle for long): open again.
    UnknownSession = 2,
    /// The node is not a member of the network.
    NotAMember = 3,
    /// The peer is not bound at this relay now.
    PeerNotBound = 4,
    /// The node's quota, or the relay's room for sessions, is used up.
    OverQuota = 5,
}

impl RefusalCode {
    const ALL: [Self; 5] = [
        Self::NotBound,
        Self::UnknownSession,
        Self::NotAMember,
        Self::PeerNotBound,
        Self::OverQuota,
    ];

    fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&known| known as u8 == code)
    }
}

/// A control message, its MAC not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Node to relay: let my address be this one.
    BindRequest {
        /// The network in which the node is a member.
        network: NetworkId,
        /// The node.
        node: NodeId,
        /// Comes back in the answer.
        nonce: Nonce,
        /// From a `bind cookie`, or zero.
        cookie: Cookie,
    },
    /// Relay to node: ask again with this cookie.
    BindCookie {
        /// Of the request.
        nonce: Nonce,
        /// The cookie for the address asked from.
        cookie: Cookie,
    },
    /// Relay to node: bound.
    Bound {
        /// Of the request.
        nonce: Nonce,
        /// For how long, seconds.
        lifetime_s: u16,
        /// The source address of the request as the relay saw it.
        seen: SocketAddr,
    },
    /// Node to relay: a session to `peer`, please.
    OpenRequest {
        /// The network of both.
        network: NetworkId,
        /// The node that asks.
        node: NodeId,
        /// Comes back in the answer.
        nonce: Nonce,
        /// The other end.
        peer: NodeId,
    },
    /// Relay to node: here it is.
    Opened {
        /// Of the request.
        nonce: Nonce,
        /// The other end.
        peer: NodeId,
        /// The id with which the node reaches the peer; never 0.
        session: u64,
    },
    /// Node to relay: where do you see `peer`?
    WhereRequest {
        /// The network of both.
        network: NetworkId,
        /// The node that asks.
        node: NodeId,
        /// Comes back in the answer.
        nonce: Nonce,
        /// Of whom.
        peer: NodeId,
    },
    /// Relay to node: there.
    Where {
        /// Of the request.
        nonce: Nonce,
        /// Of whom.
        peer: NodeId,
        /// Where its last bind request came from, with a cookie that was sent there; unspecified over TLS.
        seen: SocketAddr,
    },
    /// Node to relay: see me at this address too. Answered by [`Control::Where`] about the node itself.
    Witness {
        /// The network in which the node is a member.
        network: NetworkId,
        /// The node.
        node: NodeId,
        /// Comes back in the answer.
        nonce: Nonce,
        /// From a `bind cookie`, or zero.
        cookie: Cookie,
    },
    /// Relay to node: no.
    Refused {
        /// The nonce of a request, or the session id of a data frame in little endian.
        subject: Nonce,
        /// Why.
        code: RefusalCode,
    },
}

/// A datagram as a relay frame; none where it is not exactly one.
pub fn parse(datagram: &[u8]) -> Option<Frame<'_>> {
    match split_relay(datagram).ok()? {
        (RELAY_CONTROL_SESSION, body) => parse_control(body).map(Frame::Control),
        (session, payload) => Some(Frame::Data { session, payload }),
    }
}

fn parse_control(body: &[u8]) -> Option<Control> {
    let mut body = Reader::new(body);
    let r = &mut body;
    let control = match r.u8()? {
        kind @ (1 | 9) => {
            let (network, node) = (r.take()?.into(), r.take()?.into());
            let (nonce, cookie) = (r.take()?, r.take()?);
            r.take::<MAC_LEN>()?;
            if kind == 1 {
                Control::BindRequest {
                    network,
                    node,
                    nonce,
                    cookie,
                }
            } else {
                Control::Witness {
                    network,
                    node,
                    nonce,
                    cookie,
                }
            }
        }
        2 => Control::BindCookie {
            nonce: r.take()?,
            cookie: r.take()?,
        },
        3 => {
            let (nonce, lifetime_s, seen) = (r.take()?, r.u16()?, r.address()?);
            r.take::<MAC_LEN>()?;
            Control::Bound {
                nonce,
                lifetime_s,
                seen,
            }
        }
        kind @ (4 | 7) => {
            let (network, node) = (r.take()?.into(), r.take()?.into());
            let (nonce, peer) = (r.take()?, r.take()?.into());
            r.take::<MAC_LEN>()?;
            if kind == 4 {
                Control::OpenRequest {
                    network,
                    node,
                    nonce,
                    peer,
                }
            } else {
                Control::WhereRequest {
                    network,
                    node,
                    nonce,
                    peer,
                }
            }
        }
        5 => {
            let (nonce, peer, session) = (r.take()?, r.take()?.into(), r.u64()?);
            r.take::<MAC_LEN>()?;
            (session != 0).then_some(())?;
            Control::Opened { nonce, peer, session }
        }
        6 => Control::Refused {
            subject: r.take()?,
            code: RefusalCode::from_u8(r.u8()?)?,
        },
        8 => {
            let (nonce, peer, seen) = (r.take()?, r.take()?.into(), r.address()?);
            r.take::<MAC_LEN>()?;
            Control::Where { nonce, peer, seen }
        }
        _ => return None,
    };
    body.end().map(|()| control)
}

/// Whether the last 16 bytes are the MAC of all before them under `key`.
pub fn authentic(datagram: &[u8], key: &BindKey) -> bool {
    datagram
        .split_last_chunk::<MAC_LEN>()
        .is_some_and(|(message, mac)| {
            let expected = blake2s_128_keyed(key.as_bytes(), &[message]);
            bool::from(expected.ct_eq(mac))
        })
}

/// A control message on the stack, ready to be sent.
#[derive(Clone, Copy)]
pub struct ControlFrame(Writer<MAX_CONTROL_LEN>);

impl ControlFrame {
    fn start(kind: u8) -> Writer<MAX_CONTROL_LEN> {
        Writer::new()
            .put(&relay_header(RELAY_CONTROL_SESSION))
            .put(&[kind])
    }

    fn sealed(message: Writer<MAX_CONTROL_LEN>, key: &BindKey) -> Self {
        let mac = blake2s_128_keyed(key.as_bytes(), &[message.as_slice()]);
        Self(message.put(&mac))
    }

    /// Type 1.
    pub fn bind_request(
        network: NetworkId,
        node: NodeId,
        nonce: Nonce,
        cookie: &Cookie,
        key: &BindKey,
    ) -> Self {
        Self::with_cookie(1, (network, node), nonce, cookie, key)
    }

    /// Type 9.
    pub fn witness(network: NetworkId, node: NodeId, nonce: Nonce, cookie: &Cookie, key: &BindKey) -> Self {
        Self::with_cookie(9, (network, node), nonce, cookie, key)
    }

    fn with_cookie(kind: u8, who: (NetworkId, NodeId), nonce: Nonce, cookie: &Cookie, key: &BindKey) -> Self {
        let message = Self::start(kind)
            .put(who.0.as_bytes())
            .put(who.1.as_bytes())
            .put(&nonce)
            .put(cookie);
        Self::sealed(message, key)
    }

    /// Type 2.
    pub fn bind_cookie(nonce: Nonce, cookie: &Cookie) -> Self {
        Self(Self::start(2).put(&nonce).put(cookie))
    }

    /// Type 3.
    pub fn bound(nonce: Nonce, lifetime_s: u16, seen: SocketAddr, key: &BindKey) -> Self {
        let message = Self::start(3)
            .put(&nonce)
            .put(&lifetime_s.to_le_bytes())
            .put(&address_bytes(seen));
        Self::sealed(message, key)
    }

    /// Type 4.
    pub fn open_request(network: NetworkId, node: NodeId, nonce: Nonce, peer: NodeId, key: &BindKey) -> Self {
        Self::about(4, (network, node), nonce, peer, key)
    }

    /// Type 7.
    pub fn where_request(
        network: NetworkId,
        node: NodeId,
        nonce: Nonce,
        peer: NodeId,
        key: &BindKey,
    ) -> Self {
        Self::about(7, (network, node), nonce, peer, key)
    }

    /// A question of `who` about `peer`.
    fn about(kind: u8, who: (NetworkId, NodeId), nonce: Nonce, peer: NodeId, key: &BindKey) -> Self {
        let message = Self::start(kind)
            .put(who.0.as_bytes())
            .put(who.1.as_bytes())
            .put(&nonce);
        Self::sealed(message.put(peer.as_bytes()), key)
    }

    /// Type 8.
    pub fn whereabouts(nonce: Nonce, peer: NodeId, seen: SocketAddr, key: &BindKey) -> Self {
        let message = Self::start(8)
            .put(&nonce)
            .put(peer.as_bytes())
            .put(&address_bytes(seen));
        Self::sealed(message, key)
    }

    /// Type 5.
    pub fn opened(nonce: Nonce, peer: NodeId, session: u64, key: &BindKey) -> Self {
        let message = Self::start(5)
            .put(&nonce)
            .put(peer.as_bytes())
            .put(&session.to_le_bytes());
        Self::sealed(message, key)
    }

    /// Type 6.
    pub fn refused(subject: Nonce, code: RefusalCode) -> Self {
        Self(Self::start(6).put(&subject).put(&[code as u8]))
    }
}

impl std::ops::Deref for ControlFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl std::fmt::Debug for ControlFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ControlFrame({} bytes, type {})",
            self.len(),
            self[crate::demux::RELAY_HEADER_LEN]
        )
    }
}

#[cfg(test)]
mod tests;
