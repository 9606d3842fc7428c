//! The sockets of a data plane: the primary ones, and those that paths opened on ports of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use meshd_core::path::SocketId;
use meshd_net::udp::UdpSocket;

use super::config::Sockets;

/// What tells one socket from another within a set, also to the poller.
pub(super) type Token = u64;

/// Tokens below are for other descriptors.
const V4: Token = 2;
const V6: Token = 3;
/// The others' tokens: this and the id.
const OTHERS: Token = 1 << 16;

#[derive(Clone, Debug)]
struct Other {
    id: SocketId,
    socket: Arc<UdpSocket>,
}

/// All sockets there are at a time. A change makes a new set.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketSet {
    primary: Arc<Sockets>,
    /// In the order of their ids.
    others: Vec<Other>,
}

impl From<Sockets> for SocketSet {
    fn from(primary: Sockets) -> Self {
        Self {
            primary: Arc::new(primary),
            others: Vec::new(),
        }
    }
}

impl SocketSet {
    /// With other primary sockets.
    pub(super) fn with_primary(&self, primary: Sockets) -> Self {
        Self {
            primary: Arc::new(primary),
            others: self.others.clone(),
        }
    }

    /// With these sockets more, known by the ids from `first` on.
    pub(super) fn with(&self, first: SocketId, sockets: Vec<UdpSocket>) -> Self {
        let mut set = self.clone();
        let ids = (first.0..).map(SocketId);
        set.others.extend(ids.zip(sockets).map(|(id, socket)| Other {
            id,
            socket: Arc::new(socket),
        }));
        set.others.sort_by_key(|other| other.id);
        set
    }

    /// Without the `count` sockets from `first` on.
    pub(super) fn without(&self, first: SocketId, count: u16) -> Self {
        let mut set = self.clone();
        set.others
            .retain(|other| other.id < first || other.id.0 - first.0 >= count);
        set
    }

    /// The socket of this id that reaches `address`.
    #[inline]
    pub(super) fn towards(&self, id: SocketId, address: SocketAddr) -> Option<&UdpSocket> {
        if id.is_primary() {
            return self.primary.towards(address);
        }
        self.other(id)
            .filter(|socket| socket.local_addr().is_ipv4() == address.is_ipv4())
    }

    /// The token of the socket that [`SocketSet::towards`] gives.
    pub(super) fn token(id: SocketId, address: SocketAddr) -> Token {
        match (id.is_primary(), address.is_ipv4()) {
            (true, true) => V4,
            (true, false) => V6,
            (false, _) => OTHERS + Token::from(id.0),
        }
    }

    /// The socket behind a token, with its id.
    pub(super) fn by_token(&self, token: Token) -> Option<(SocketId, &UdpSocket)> {
        match token {
            V4 => Some((SocketId::PRIMARY, self.primary.v4.as_ref()?)),
            V6 => Some((SocketId::PRIMARY, self.primary.v6.as_ref()?)),
            _ => {
                let id = SocketId(u16::try_from(token.checked_sub(OTHERS)?).ok()?);
                Some((id, self.other(id)?))
            }
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, &UdpSocket)> {
        let v4 = self.primary.v4.iter().map(|socket| (V4, socket));
        let v6 = self.primary.v6.iter().map(|socket| (V6, socket));
        let others = self
            .others
            .iter()
            .map(|other| (OTHERS + Token::from(other.id.0), &*other.socket));
        v4.chain(v6).chain(others)
    }

    /// Whether `socket` is the one behind `token` here too.
    pub(super) fn has(&self, token: Token, socket: &UdpSocket) -> bool {
        self.by_token(token)
            .is_some_and(|(_, own)| std::ptr::eq(own, socket))
    }

    fn other(&self, id: SocketId) -> Option<&UdpSocket> {
        let place = self.others.binary_search_by_key(&id, |other| other.id).ok()?;
        Some(&*self.others[place].socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_net::udp::UdpConfig;

    fn socket() -> UdpSocket {
        UdpSocket::bind(&UdpConfig::new("127.0.0.1:0".parse().unwrap())).unwrap()
    }

    #[test]
    fn sockets_come_and_go_and_the_others_stay_what_they_are() {
        let primary = Sockets {
            v4: Some(socket()),
            v6: None,
        };
        let (to, ports) = ("127.0.0.1:9".parse().unwrap(), [socket(), socket(), socket()]);
        let wanted = ports[2].local_addr();
        let first = SocketSet::from(primary).with(SocketId(7), ports.into());
        assert_eq!(first.iter().count(), 4);
        let second = first.without(SocketId(7), 2);
        assert_eq!(second.iter().count(), 2);
        assert!(second.towards(SocketId(8), to).is_none());
        let kept = second.towards(SocketId(9), to).unwrap();
        assert_eq!(kept.local_addr(), wanted);
        let token = SocketSet::token(SocketId(9), to);
        assert!(
            first.has(token, kept),
            "the very same, so that nobody watches it twice"
        );
        assert_eq!(second.by_token(token).map(|(id, _)| id), Some(SocketId(9)));
        assert!(second.towards(SocketId(9), "[::1]:9".parse().unwrap()).is_none());
    }
}
