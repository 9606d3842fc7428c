//! A bounded look at the first bytes of a TLS connection.
//!
//! Port 443 of the cloud host has one owner, which decides by the ClientHello alone what a connection is for, before any
//! TLS state exists for it. [`peek`] is a total function of the bytes seen so far: it says that more are needed, that
//! this is no ClientHello, or what it asks for. Formats: RFC 8446 section 4.1.2 (ClientHello) and 5.1 (records), RFC 6066
//! section 3 (server name), RFC 7301 section 3.1 (ALPN).

use thiserror::Error;

/// Most bytes of a connection that are looked at, record headers included.
pub const MAX_CLIENT_HELLO: usize = 16 * 1024;

/// Most ALPN names that are kept; a client that offers more is refused.
pub const MAX_ALPN: usize = 32;

const RECORD_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
/// RFC 8446 section 5.1: a plain record's fragment is at most 2^14 bytes.
const MAX_FRAGMENT: usize = 1 << 14;

/// What the bytes seen so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// A prefix of what may become a ClientHello.
    NeedMore,
    /// A whole ClientHello.
    Hello(ClientHello),
    /// Never a ClientHello that is accepted here, whatever follows.
    Refused(NotClientHello),
}

/// What a ClientHello asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The DNS name of the server that is wanted (SNI), lower case.
    pub server_name: Option<String>,
    /// The application protocols offered, in the client's order.
    pub alpn: Vec<Vec<u8>>,
}

impl ClientHello {
    /// Whether the client offers this application protocol.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.alpn.iter().any(|offered| offered == protocol)
    }
}

/// Why the bytes are no acceptable ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotClientHello {
    /// The first record is not a TLS handshake record.
    #[error("not a TLS handshake record")]
    NotTls,
    /// The handshake does not start with a ClientHello.
    #[error("the handshake does not start with a ClientHello")]
    OtherMessage,
    /// Longer than [`MAX_CLIENT_HELLO`].
    #[error("the ClientHello is longer than 16 KiB")]
    TooLong,
    /// A length inside points outside.
    #[error("the ClientHello is malformed")]
    Malformed,
}

/// Looks at all bytes that a connection sent so far.
///
/// The answer for a prefix never contradicts that for a longer one: only [`Peek::NeedMore`] changes. At most
/// [`MAX_CLIENT_HELLO`] bytes are looked at.
pub fn peek(bytes: &[u8]) -> Peek {
    let bytes = &bytes[..bytes.len().min(MAX_CLIENT_HELLO)];
    match handshake_message(bytes) {
        Ok(Some(body)) => match parse(&body) {
            Some(hello) => Peek::Hello(hello),
            None => Peek::Refused(NotClientHello::Malformed),
        },
        Ok(None) if bytes.len() == MAX_CLIENT_HELLO => Peek::Refused(NotClientHello::TooLong),
        Ok(None) => Peek::NeedMore,
        Err(refused) => Peek::Refused(refused),
    }
}

/// Joins the fragments of the first handshake message (a client may spread it over records). `None`: more is needed.
fn handshake_message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, NotClientHello> {
    let mut joined: Vec<u8> = Vec::new();
    loop {
        check_record_header(bytes)?;
        let Some((header, rest)) = bytes.split_at_checked(5) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > MAX_FRAGMENT {
            return Err(NotClientHello::Malformed);
        }
        let fragment = &rest[..rest.len().min(length)];
        joined.extend_from_slice(fragment);
        if let Some(kind) = joined.first()
            && *kind != MESSAGE_CLIENT_HELLO
        {
            return Err(NotClientHello::OtherMessage);
        }
        if let Some([_, a, b, c]) = joined.get(..4) {
            let wanted = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if wanted + 4 > MAX_CLIENT_HELLO {
                return Err(NotClientHello::TooLong);
            }
            if let Some(body) = joined.get(4..4 + wanted) {
                return Ok(Some(body.to_vec()));
            }
        }
        if fragment.len() < length {
            return Ok(None);
        }
        bytes = &rest[length..];
    }
}

/// Content type handshake, version 3.x; as many of the bytes as are there.
fn check_record_header(bytes: &[u8]) -> Result<(), NotClientHello> {
    let kind_fits = bytes.first().is_none_or(|kind| *kind == RECORD_HANDSHAKE);
    let version_fits = bytes.get(1).is_none_or(|major| *major == 3);
    if kind_fits && version_fits {
        Ok(())
    } else {
        Err(NotClientHello::NotTls)
    }
}

/// Reads off the front of a slice; `None` where the slice is too short.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<usize> {
        self.take(1).map(|b| usize::from(b[0]))
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn vec8(&mut self) -> Option<Reader<'a>> {
        let length = self.u8()?;
        self.take(length).map(Reader)
    }

    fn vec16(&mut self) -> Option<Reader<'a>> {
        let length = usize::from(self.u16()?);
        self.take(length).map(Reader)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?; // legacy_version, random
    reader.vec8()?; // legacy_session_id
    reader.vec16()?; // cipher_suites
    reader.vec8()?; // legacy_compression_methods
    let mut hello = ClientHello::default();
    if reader.is_empty() {
        return Some(hello); // before TLS 1.2 there were no extensions
    }
    let mut extensions = reader.vec16()?;
    if !reader.is_empty() {
        return None;
    }
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let value = extensions.vec16()?;
        match kind {
            EXTENSION_SERVER_NAME => hello.server_name = server_name(value)?,
            EXTENSION_ALPN => hello.alpn = alpn(value)?,
            _ => {}
        }
    }
    Some(hello)
}

/// Outer `None`: malformed; inner: no name of the one kind that is known (a DNS name).
fn server_name(mut value: Reader<'_>) -> Option<Option<String>> {
    let mut list = value.vec16()?;
    while !list.is_empty() {
        let kind = list.u8()?;
        let name = list.vec16()?;
        if kind == 0 {
            let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            let fits = (1..=253).contains(&name.0.len()) && name.0.iter().all(plain);
            return fits.then(|| Some(String::from_utf8_lossy(name.0).to_ascii_lowercase()));
        }
    }
    Some(None)
}

fn alpn(mut value: Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = value.vec16()?;
    let mut names = Vec::new();
    while !list.is_empty() {
        let name = list.vec8()?;
        if name.is_empty() || names.len() == MAX_ALPN {
            return None;
        }
        names.push(name.0.to_vec());
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
        [
            &kind.to_be_bytes()[..],
            &(value.len() as u16).to_be_bytes(),
            value,
        ]
        .concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        let entry = [&[0][..], &(name.len() as u16).to_be_bytes(), name].concat();
        extension(0, &[&(entry.len() as u16).to_be_bytes()[..], &entry].concat())
    }

    fn alpn_of(names: &[&[u8]]) -> Vec<u8> {
        let list: Vec<u8> = names
            .iter()
            .flat_map(|n| [&[n.len() as u8][..], n].concat())
            .collect();
        extension(16, &[&(list.len() as u16).to_be_bytes()[..], &list].concat())
    }

    fn message(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let length = (body.len() as u32).to_be_bytes();
        [&[1][..], &length[1..], &body].concat()
    }

    fn records(message: &[u8], fragment: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat();
        message.chunks(fragment).flat_map(record).collect()
    }

    fn sample() -> Vec<u8> {
        message(
            &[
                sni(b"VPN.example.net"),
                alpn_of(&[b"h2", b"meshd/1"]),
                extension(99, b"?"),
            ]
            .concat(),
        )
    }

    #[test]
    fn reads_names_and_protocols() {
        let Peek::Hello(hello) = peek(&records(&sample(), 16_000)) else {
            panic!("not read")
        };
        assert_eq!(hello.server_name.as_deref(), Some("vpn.example.net"));
        assert!(hello.offers(b"meshd/1") && hello.offers(b"h2") && !hello.offers(b"http/1.1"));
    }

    #[test]
    fn fragments_over_many_records_are_joined() {
        assert_eq!(peek(&records(&sample(), 3)), peek(&records(&sample(), 16_000)));
    }

    #[test]
    fn every_prefix_wants_more() {
        for whole in [records(&sample(), 16_000), records(&sample(), 5)] {
            for end in 0..whole.len() {
                assert_eq!(peek(&whole[..end]), Peek::NeedMore, "at {end}");
            }
        }
    }

    #[test]
    fn other_protocols_are_refused_at_the_first_byte_that_tells() {
        assert_eq!(peek(b"G"), Peek::Refused(NotClientHello::NotTls));
        assert_eq!(peek(&[22, 2]), Peek::Refused(NotClientHello::NotTls));
        assert_eq!(
            peek(&[22, 3, 1, 0, 9, 2]),
            Peek::Refused(NotClientHello::OtherMessage)
        );
        assert_eq!(peek(&[22, 3, 1, 0, 0]), Peek::Refused(NotClientHello::Malformed));
    }

    #[test]
    fn a_hello_that_is_too_long_is_refused() {
        assert_eq!(
            peek(&[22, 3, 1, 64, 0, 1, 0, 64, 0]),
            Peek::Refused(NotClientHello::TooLong)
        );
        let slow = records(&[&[1, 0, 0x3f, 0xf0][..], &[0; 16_000]].concat(), 1);
        assert_eq!(peek(&slow), Peek::Refused(NotClientHello::TooLong));
    }

    #[test]
    fn bad_names_and_lists_are_refused() {
        for bad in [
            sni(b""),
            sni(b"a b"),
            sni(&[b'a'; 254]),
            alpn_of(&[b""]),
            alpn_of(&[&b"x"[..]; MAX_ALPN + 1]),
        ] {
            assert_eq!(
                peek(&records(&message(&bad), 900)),
                Peek::Refused(NotClientHello::Malformed)
            );
        }
    }

    #[test]
    fn a_hello_without_extensions_asks_for_nothing() {
        let mut plain = message(&[]);
        plain.truncate(plain.len() - 2);
        plain[3] -= 2;
        assert_eq!(peek(&records(&plain, 900)), Peek::Hello(ClientHello::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_damage_are_taken(noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200, to: u8) {
            peek(&noise);
            let mut damaged = records(&sample(), 16_000);
            let at = at % damaged.len();
            damaged[at] = to;
            peek(&damaged);
        }

        #[test]
        fn an_answer_stays_when_more_bytes_come(cut in 0usize..400, at in 0usize..200, to: u8) {
            let mut bytes = records(&sample(), 40);
            let at = at % bytes.len();
            bytes[at] = to;
            let early = peek(&bytes[..cut.min(bytes.len())]);
            if early != Peek::NeedMore {
                prop_assert_eq!(early, peek(&bytes));
            }
        }
    }
}
