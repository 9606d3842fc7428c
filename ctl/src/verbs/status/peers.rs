//! The table of peers.

use meshd_api::local::{PathKind, PeerStatus, Transport};

use crate::table::WIDTH;
use crate::units;

/// Widest name, and widest address, that stand in their column.
const NAME: usize = 13;
const ADDRESS: usize = 22;

/// How wide names and addresses are; the other columns need 6, 7, 9 and 13, so that all of it fits [`WIDTH`].
pub(super) struct Columns {
    name: usize,
    address: usize,
}

impl Columns {
    pub(super) fn of(peers: &[&PeerStatus]) -> Self {
        let widest = |lengths: &mut dyn Iterator<Item = usize>, least: usize, most: usize| {
            lengths.filter(|length| *length <= most).fold(least, usize::max)
        };
        let mut names = peers.iter().map(|peer| peer.name.chars().count());
        let v4 = peers.iter().map(|peer| peer.ipv4.to_string().len());
        let v6 = peers.iter().map(|peer| peer.ipv6.to_string().len());
        Self {
            name: widest(&mut names, 4, NAME),
            address: widest(&mut v4.chain(v6), 9, ADDRESS),
        }
    }

    pub(super) fn line(
        &self,
        name: &str,
        address: &str,
        [path, rtt, handshake, traffic]: [&str; 4],
    ) -> String {
        let (n, a) = (self.name, self.address);
        let line = format!("{name:n$}  {address:a$}  {path:6}  {rtt:7}  {handshake:9}  {traffic}");
        format!("{}\n", line.trim_end())
    }

    /// Name, IPv4 address and figures; below, IPv6 address and the path's endpoint. What is wider than its column
    /// has a line of its own, so that nothing is cut.
    pub(super) fn peer(&self, peer: &PeerStatus) -> String {
        let path = match peer.path.kind {
            PathKind::Direct => "direct",
            PathKind::Relay => "relay",
            // nobody has asked for a path yet, or all is quiet
            PathKind::None if peer.rx_bytes == 0 && peer.tx_bytes == 0 => "idle",
            PathKind::None => "none",
        };
        let rtt = peer.path.rtt_ms.map_or("-".to_owned(), units::milliseconds);
        let handshake = peer.last_handshake.map_or("never".to_owned(), units::seconds);
        let traffic = format!("{}/{}", units::bytes(peer.rx_bytes), units::bytes(peer.tx_bytes));
        let figures = [path, &rtt, &handshake, &traffic];
        let (mut out, mut name) = (String::new(), peer.name.as_str());
        if name.chars().count() > self.name {
            out += &format!("{name}\n");
            name = "";
        }
        out += &self.line(name, &peer.ipv4.to_string(), figures);
        let endpoint = peer.path.endpoint.as_deref().unwrap_or_default();
        let over_tls = peer.path.transport == Some(Transport::Tls);
        let endpoint = if over_tls {
            format!("tls://{endpoint}")
        } else {
            endpoint.to_owned()
        };
        let (indent, ipv6) = (" ".repeat(self.name + 2), peer.ipv6.to_string());
        let below = format!("{indent}{ipv6:width$}  {endpoint}", width = self.address);
        match below.chars().count() <= WIDTH {
            true => out + below.trim_end() + "\n",
            false => out + &format!("{indent}{ipv6}\n{indent}{endpoint}\n"),
        }
    }
}
