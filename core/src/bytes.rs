//! Reading and writing of the fixed layouts of `docs/wire.md`: little endian, total, nothing left over.

use std::net::{Ipv6Addr, SocketAddr};

/// Size of an address on the wire: IPv6 (IPv4 mapped) and a port.
pub(crate) const ADDRESS_LEN: usize = 18;

/// What is left of a byte string. Every read gives none where too little is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// An address; a mapped one comes out as IPv4, so that each address has one form.
    pub(crate) fn address(&mut self) -> Option<SocketAddr> {
        let ip = Ipv6Addr::from(self.take::<16>()?);
        Some(SocketAddr::new(ip.to_canonical(), self.u16()?))
    }

    /// Some where nothing is left.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// Some where only zeros are left.
    pub(crate) fn zeros(self) -> Option<()> {
        self.0.iter().all(|&byte| byte == 0).then_some(())
    }
}

/// The 18 bytes of an address.
pub(crate) fn address_bytes(address: SocketAddr) -> [u8; ADDRESS_LEN] {
    let ip = match address {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped(),
        SocketAddr::V6(v6) => *v6.ip(),
    };
    let mut bytes = [0; ADDRESS_LEN];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_le_bytes());
    bytes
}

/// A datagram under construction, of at most `N` bytes and on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Writer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Writer<N> {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// Appends; the caller's layout is of fixed size and fits, which the tests of each layout show.
    pub(crate) fn put(mut self, part: &[u8]) -> Self {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form() {
        for text in ["192.0.2.7:51820", "[2001:db8::1]:1", "[fe80::1]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Reader::new(&address_bytes(address)).address(), Some(address));
        }
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:9".parse().unwrap();
        assert_eq!(
            Reader::new(&address_bytes(mapped)).address(),
            "192.0.2.7:9".parse().ok()
        );
    }

    #[test]
    fn a_short_read_gives_none_and_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.u16(), Some(0x0201));
        assert_eq!(reader.u8(), Some(3));
        assert!(reader.end().is_some());
    }
}
