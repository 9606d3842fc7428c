//! The join token (docs/wire.md section 4): one word that a person copies, with all that a machine needs to join.
//!
//! Reading goes from what a person can get wrong to what only a program can: white space around, the prefix, letters
//! that cannot occur, the checksum, and only then the fields. Whatever is mistyped, the sentence says so and says to
//! copy the word again; nothing is sent anywhere before the checksum is right.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use zeroize::Zeroizing;

use crate::id::{NetworkId, TokenId};
use crate::keys::{CoordinatorPublic, JoinSecret, RootPublic, blake2s};

const PREFIX: &str = "mesh1";
const VERSION: u8 = 1;
const CHECKSUM: usize = 4;
/// Most coordinator addresses in a token.
pub const MAX_ADDRESSES: usize = 8;
/// Longest token in characters; anything longer is refused unread.
pub const MAX_TOKEN: usize = 4096;

/// What a token says. Its `Debug` shows no secret; its text form is the secret word.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// The token's id.
    pub id: TokenId,
    /// The join key, which signs the enrolment and is never sent.
    pub secret: JoinSecret,
    /// The pin of the coordinator.
    pub coordinator: CoordinatorPublic,
    /// The network's root key.
    pub root: RootPublic,
    /// Where the coordinator is; 1 to [`MAX_ADDRESSES`].
    pub addresses: Vec<CoordinatorAddress>,
}

/// Where a coordinator is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoordinatorAddress {
    host: String,
    port: u16,
}

/// Why a word is not a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing but white space.
    #[error("the token is empty; copy the whole word that starts with \"mesh1\"")]
    Empty,
    /// Another word altogether, or its first letters are wrong.
    #[error("this is not a join token: it must start with \"mesh1\"; copy the whole word again")]
    Prefix,
    /// White space within.
    #[error("the token is broken by white space at character {0}; it is one word, copy it in one piece")]
    Broken(usize),
    /// A letter that no token has.
    #[error(
        "character {place} ('{letter}') cannot occur in a token, so its checksum cannot be right; copy it again"
    )]
    Letter {
        /// Counted from 1.
        place: usize,
        /// The letter.
        letter: char,
    },
    /// Mistyped, cut or doubled.
    #[error("the token's checksum is wrong: a character is mistyped, missing or too many; copy it again")]
    Checksum,
    /// Longer than any token.
    #[error("the token has more than {MAX_TOKEN} characters, more than any token; copy it again")]
    TooLong,
    /// Made by a newer release.
    #[error("the token is of version {0}, and this program reads version 1; upgrade meshd here")]
    Version(u8),
    /// The fields do not fit, though the checksum is right.
    #[error("the token was made wrongly: {0}; make a new one with `meshctl token create`")]
    Fields(&'static str),
    /// An address that no token can carry.
    #[error(
        "\"{0}\" cannot stand in a token as a coordinator address; use a DNS name, an IPv4 or an IPv6 address, and a port"
    )]
    Address(String),
    /// None, or more than [`MAX_ADDRESSES`].
    #[error("a token carries 1 to {MAX_ADDRESSES} coordinator addresses, not {0}")]
    AddressCount(usize),
}

impl JoinToken {
    /// The network that the token is for.
    pub fn network(&self) -> NetworkId {
        NetworkId::of_root(&self.root)
    }

    /// The word. It is a secret: whoever has it can join.
    ///
    /// # Errors
    /// Where the number of addresses is not 1 to [`MAX_ADDRESSES`].
    pub fn encode(&self) -> Result<Zeroizing<String>, TokenError> {
        let mut fields = Zeroizing::new(Vec::with_capacity(128));
        fields.extend_from_slice(self.id.as_bytes());
        fields.extend_from_slice(&*self.secret.seed());
        fields.extend_from_slice(self.coordinator.as_bytes());
        fields.extend_from_slice(self.root.as_bytes());
        write_word(PREFIX, &fields, &self.addresses)
    }
}

/// A word of this prefix: version, fields of fixed size, addresses, checksum.
pub(crate) fn write_word(
    prefix: &str,
    fields: &[u8],
    addresses: &[CoordinatorAddress],
) -> Result<Zeroizing<String>, TokenError> {
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        return Err(TokenError::AddressCount(addresses.len()));
    }
    let mut body = Zeroizing::new(Vec::with_capacity(1024));
    body.push(VERSION);
    body.extend_from_slice(fields);
    body.push(addresses.len() as u8);
    for address in addresses {
        body.push(address.host.len() as u8);
        body.extend_from_slice(address.host.as_bytes());
        body.extend_from_slice(&address.port.to_le_bytes());
    }
    let sum = checksum(&body);
    body.extend_from_slice(&sum);
    let mut word = Zeroizing::new(String::with_capacity(prefix.len() + body.len() * 2));
    word.push_str(prefix);
    base32().encode_append(&body, &mut word);
    Ok(word)
}

/// The fields and the addresses of a word that [`write_word`] made.
pub(crate) fn read_word<const N: usize>(
    prefix: &str,
    word: &str,
) -> Result<(Zeroizing<[u8; N]>, Vec<CoordinatorAddress>), TokenError> {
    let body = checked_body(prefix, word.trim())?;
    let mut fields = Fields(&body);
    match fields.byte()? {
        VERSION => {}
        newer => return Err(TokenError::Version(newer)),
    }
    let fixed = Zeroizing::new(fields.array()?);
    let count = usize::from(fields.byte()?);
    if !(1..=MAX_ADDRESSES).contains(&count) {
        return Err(TokenError::AddressCount(count));
    }
    let addresses = (0..count).map(|_| fields.address()).collect::<Result<_, _>>()?;
    if !fields.0.is_empty() {
        return Err(TokenError::Fields("bytes follow the last address"));
    }
    Ok((fixed, addresses))
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(word: &str) -> Result<Self, TokenError> {
        let (fixed, addresses) = read_word::<104>(PREFIX, word)?;
        let mut fields = Fields(&fixed[..]);
        let id = TokenId::from_bytes(fields.array()?);
        let secret = JoinSecret::from_seed(&Zeroizing::new(fields.array()?));
        let coordinator = CoordinatorPublic::from_bytes(fields.array()?);
        let root = RootPublic::from_bytes(fields.array()?);
        Ok(Self {
            id,
            secret,
            coordinator,
            root,
            addresses,
        })
    }
}

impl CoordinatorAddress {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets, and a TCP port.
    ///
    /// # Errors
    /// Where `host` is none of these or `port` is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, TokenError> {
        if port == 0 || !(host.parse::<IpAddr>().is_ok() || is_dns_name(host)) {
            return Err(TokenError::Address(format!(
                "{}:{port}",
                crate::id::excerpt(host)
            )));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// The host, as TCP and DNS take it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for CoordinatorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<Ipv6Addr>() {
            Ok(v6) => write!(f, "[{v6}]:{}", self.port),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for CoordinatorAddress {
    type Err = TokenError;

    /// `host:port` or `[v6]:port`.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let refused = || TokenError::Address(crate::id::excerpt(text));
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let port = port.parse().map_err(|_| refused())?;
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6
                .parse::<Ipv6Addr>()
                .map_err(|_| refused())
                .and_then(|_| Self::new(v6, port)),
            None if host.contains(':') => Err(refused()),
            None => Self::new(host, port),
        }
    }
}

/// RFC 1123 section 2.1: letters, digits and inner hyphens, in labels of at most 63. A name of digits and dots alone is
/// a mistyped address.
fn is_dns_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = |host: &str| {
        let last = host.rsplit('.').next().unwrap_or(host);
        last.bytes().all(|b| b.is_ascii_digit()) || host.parse::<Ipv4Addr>().is_ok()
    };
    host.len() <= 253 && host.split('.').all(label) && !numeric(host)
}

/// The bytes before the checksum, which is right.
fn checked_body(prefix: &str, word: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    if word.is_empty() {
        return Err(TokenError::Empty);
    }
    if word.len() > MAX_TOKEN {
        return Err(TokenError::TooLong);
    }
    let start = word.get(..prefix.len()).ok_or(TokenError::Prefix)?;
    if !start.eq_ignore_ascii_case(prefix) {
        return Err(TokenError::Prefix);
    }
    for (index, letter) in word.chars().enumerate().skip(prefix.len()) {
        let place = index + 1;
        if letter.is_whitespace() {
            return Err(TokenError::Broken(place));
        }
        if !matches!(letter, 'a'..='z' | 'A'..='Z' | '2'..='7') {
            let letter = if letter.is_control() { '\u{fffd}' } else { letter };
            return Err(TokenError::Letter { place, letter });
        }
    }
    let text = Zeroizing::new(word[prefix.len()..].to_ascii_lowercase());
    let body = base32()
        .decode(text.as_bytes())
        .map_err(|_| TokenError::Checksum)?;
    let mut body = Zeroizing::new(body);
    let end = body.len().checked_sub(CHECKSUM).ok_or(TokenError::Checksum)?;
    if checksum(&body[..end]) != body[end..] {
        return Err(TokenError::Checksum);
    }
    body.truncate(end);
    Ok(body)
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let [a, b, c, d, ..] = blake2s(&[b"meshd token v1", body]);
    [a, b, c, d]
}

/// RFC 4648 section 6 in lower case, without padding; bits that fill the last letter are zero.
fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification
        .encoding()
        .expect("32 distinct letters are an encoding")
}

/// The bytes not read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(&mut self) -> Result<u8, TokenError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or(TokenError::Fields("it ends too early"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn address(&mut self) -> Result<CoordinatorAddress, TokenError> {
        let length = usize::from(self.byte()?);
        let (host, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(TokenError::Fields("an address ends too early"))?;
        self.0 = rest;
        let port = u16::from_le_bytes(self.array()?);
        let host = std::str::from_utf8(host).map_err(|_| TokenError::Fields("an address is not ASCII"))?;
        let address = CoordinatorAddress::new(host, port)?;
        if address.host == host {
            Ok(address)
        } else {
            Err(TokenError::Fields("an address has capitals"))
        }
    }
}

#[cfg(test)]
mod tests;
