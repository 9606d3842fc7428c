//! The cluster's join words (docs/wire.md section 4): one word that makes a machine of the mesh a node of the cluster.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::token::{CoordinatorAddress, TokenError, read_word, write_word};

/// Of a word for a control plane.
const CONTROL_PLANE: &str = "meshkc1";
/// Of a word for a worker.
const WORKER: &str = "meshkw1";
/// A flavor's byte.
const KUBEADM: u8 = 1;
/// Another's.
const K3S: u8 = 2;
/// Characters of a bootstrap token, without its dot.
const TOKEN: usize = 22;
/// Flavor, token, hash of the authority's key, time.
const FIXED: usize = 1 + TOKEN + 32 + 8;

/// What makes a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavor {
    /// kubeadm.
    #[default]
    Kubeadm,
    /// k3s.
    K3s,
}

/// What a machine becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It runs an API server and a member of etcd.
    ControlPlane,
    /// It runs pods.
    Worker,
}

/// A bootstrap token of Kubernetes: `abcdef.0123456789abcdef`.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken(Zeroizing<[u8; TOKEN]>);

/// The key under which certificates' keys pass from one control plane to another.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateKey(Zeroizing<[u8; 32]>);

/// What a machine needs to come into a cluster. Its `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterWord {
    /// What makes the cluster.
    pub flavor: Flavor,
    /// By this it is let in. Of k3s: the agents' secret.
    pub token: BootstrapToken,
    /// SHA-256 of the public key of the cluster's certificate authority. Of k3s: the hash in its tokens.
    pub authority: [u8; 32],
    /// When the word was made, in unix time.
    pub issued: u64,
    /// Where the API servers are.
    pub endpoint: CoordinatorAddress,
    /// In a word for a control plane. Of k3s: the servers' secret.
    pub key: Option<CertificateKey>,
}

/// Why a word is none of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterWordError {
    /// It is for another purpose.
    #[error(
        "this word joins a machine to a mesh network, not to a cluster: use it with `meshctl join`; the cluster's words begin with \"meshk\", and `meshctl k8s init` prints them"
    )]
    OfNetwork,
    /// It begins otherwise.
    #[error(
        "this is no word of a cluster: it must start with \"meshkc1\" or \"meshkw1\"; copy the whole word that `meshctl k8s init` printed"
    )]
    Prefix,
    /// Mistyped or cut.
    #[error("the cluster's word cannot be read: a character is mistyped, missing or too many; copy it again")]
    Mistyped,
    /// Of a newer release.
    #[error("the cluster's word is of a kind that this meshctl does not know; upgrade meshd here")]
    Newer,
}

impl BootstrapToken {
    /// From randomness.
    pub fn from_seed(seed: &[u8; 2 * TOKEN]) -> Self {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut text = Zeroizing::new([0; TOKEN]);
        for (letter, pair) in text.iter_mut().zip(seed.chunks_exact(2)) {
            // 65,536 is no multiple of 36: sixteen of the letters come 1821 times and the others 1820
            let drawn = u16::from_le_bytes([pair[0], pair[1]]) % 36;
            *letter = LETTERS[usize::from(drawn)];
        }
        Self(text)
    }

    /// What [`Self::text`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let good = |letter: &u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let letters = Zeroizing::new([id.as_bytes(), secret.as_bytes()].concat());
        let whole = id.len() == 6 && letters.iter().all(good);
        let letters: [u8; TOKEN] = letters.as_slice().try_into().ok()?;
        whole.then(|| Self(Zeroizing::new(letters)))
    }

    /// As Kubernetes writes it. A secret.
    pub fn text(&self) -> Zeroizing<String> {
        let (id, secret) = self.0.split_at(6);
        let mut text = Zeroizing::new(String::with_capacity(TOKEN + 1));
        text.extend(id.iter().map(|&byte| char::from(byte)));
        text.push('.');
        text.extend(secret.iter().map(|&byte| char::from(byte)));
        text
    }
}

impl CertificateKey {
    /// From randomness.
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// What [`Self::text`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(HEXLOWER.decode(text.as_bytes()).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// As kubeadm writes it. A secret.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&self.0[..]))
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootstrapToken(redacted)")
    }
}

impl fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateKey(redacted)")
    }
}

impl ClusterWord {
    /// What a machine becomes by it.
    pub fn role(&self) -> Role {
        match self.key {
            Some(_) => Role::ControlPlane,
            None => Role::Worker,
        }
    }

    /// The authority's pin as kubeadm writes it.
    pub fn pin(&self) -> String {
        format!("sha256:{}", HEXLOWER.encode(&self.authority))
    }

    /// The same word for a worker.
    pub fn for_worker(&self) -> Self {
        Self {
            key: None,
            ..self.clone()
        }
    }

    /// The word. A secret: whoever has it, and is in the mesh, becomes a node of the cluster.
    pub fn encode(&self) -> Zeroizing<String> {
        let mut fields = Zeroizing::new(Vec::with_capacity(FIXED + 32));
        fields.push(match self.flavor {
            Flavor::Kubeadm => KUBEADM,
            Flavor::K3s => K3S,
        });
        fields.extend_from_slice(&self.token.0[..]);
        fields.extend_from_slice(&self.authority);
        fields.extend_from_slice(&self.issued.to_le_bytes());
        let prefix = match &self.key {
            Some(key) => {
                fields.extend_from_slice(&key.0[..]);
                CONTROL_PLANE
            }
            None => WORKER,
        };
        let one = std::slice::from_ref(&self.endpoint);
        write_word(prefix, &fields, one).expect("one address is neither none nor too many")
    }

    fn read(fixed: &[u8], endpoint: Vec<CoordinatorAddress>) -> Option<Self> {
        let (flavor, rest) = fixed.split_first()?;
        let (token, rest) = rest.split_first_chunk::<TOKEN>()?;
        let (authority, rest) = rest.split_first_chunk::<32>()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let good = |letter: &u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let flavor = match *flavor {
            KUBEADM => Flavor::Kubeadm,
            K3S => Flavor::K3s,
            _ => return None,
        };
        if !token.iter().all(good) {
            return None;
        }
        let key = match rest {
            [] => None,
            key => Some(CertificateKey(Zeroizing::new(key.try_into().ok()?))),
        };
        let [endpoint] = <[CoordinatorAddress; 1]>::try_from(endpoint).ok()?;
        Some(Self {
            flavor,
            token: BootstrapToken(Zeroizing::new(*token)),
            authority: *authority,
            issued: u64::from_le_bytes(*issued),
            endpoint,
            key,
        })
    }
}

impl FromStr for ClusterWord {
    type Err = ClusterWordError;

    fn from_str(word: &str) -> Result<Self, ClusterWordError> {
        let word = word.trim();
        let starts = |prefix: &str| {
            let start = word.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let read = match () {
            () if starts(CONTROL_PLANE) => read_word::<{ FIXED + 32 }>(CONTROL_PLANE, word)
                .map(|(fixed, endpoint)| Self::read(&fixed[..], endpoint)),
            () if starts(WORKER) => {
                read_word::<FIXED>(WORKER, word).map(|(fixed, endpoint)| Self::read(&fixed[..], endpoint))
            }
            () if starts("mesh1") => return Err(ClusterWordError::OfNetwork),
            () => return Err(ClusterWordError::Prefix),
        };
        match read {
            Ok(word) => word.ok_or(ClusterWordError::Newer),
            Err(TokenError::Version(_) | TokenError::Fields(_)) => Err(ClusterWordError::Newer),
            Err(_) => Err(ClusterWordError::Mistyped),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word() -> ClusterWord {
        ClusterWord {
            flavor: Flavor::Kubeadm,
            token: BootstrapToken::from_seed(&[7; 44]),
            authority: [9; 32],
            issued: 1_800_000_000,
            endpoint: CoordinatorAddress::new("10.77.255.254", 7443).unwrap(),
            key: Some(CertificateKey::new(Zeroizing::new([3; 32]))),
        }
    }

    #[test]
    fn a_word_says_what_was_put_into_it() {
        let k3s = ClusterWord {
            flavor: Flavor::K3s,
            ..word()
        };
        for (word, role) in [
            (word(), Role::ControlPlane),
            (word().for_worker(), Role::Worker),
            (k3s.for_worker(), Role::Worker),
            (k3s, Role::ControlPlane),
        ] {
            let text = word.encode();
            let read: ClusterWord = format!(" {}\n", text.to_uppercase()).parse().unwrap();
            assert_eq!((&read, read.role()), (&word, role));
        }
        assert_eq!(word().pin(), format!("sha256:{}", "09".repeat(32)));
        let shown = format!("{:?}", word());
        assert!(
            !shown.contains("3, 3") && !shown.contains(&*word().token.text()),
            "{shown}"
        );
    }

    #[test]
    fn a_token_is_one_of_kubernetes() {
        let text = word().token.text();
        let (id, secret) = text.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        assert!(id.chars().chain(secret.chars()).all(good), "{}", *text);
        assert_eq!(BootstrapToken::parse(&text), Some(word().token));
        for wrong in [
            "",
            ".",
            "abcdef0123456789abcdef",
            "abcde.f0123456789abcdef",
            "Abcdef.0123456789abcdef",
        ] {
            assert_eq!(BootstrapToken::parse(wrong), None, "{wrong}");
        }
        let key = word().key.unwrap();
        assert_eq!(CertificateKey::parse(&key.text()), Some(key));
        assert_eq!(CertificateKey::parse("0303"), None);
    }

    #[test]
    fn a_mistyped_word_is_refused_in_a_sentence() {
        let text = word().for_worker().encode().to_string();
        for place in 0..text.len() {
            let mut wrong = text.clone();
            wrong.remove(place);
            assert!(wrong.parse::<ClusterWord>().is_err(), "{place}");
        }
        let another = "mesh1ae4tq".parse::<ClusterWord>().unwrap_err();
        assert_eq!(another, ClusterWordError::OfNetwork);
        assert_eq!(
            "abc".parse::<ClusterWord>().unwrap_err(),
            ClusterWordError::Prefix
        );
        let short = write_word(WORKER, &[1; 5], &[word().endpoint]).unwrap();
        assert_eq!(short.parse::<ClusterWord>().unwrap_err(), ClusterWordError::Newer);
        let other = write_word(WORKER, &[3; FIXED], &[word().endpoint]).unwrap();
        assert_eq!(other.parse::<ClusterWord>().unwrap_err(), ClusterWordError::Newer);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,300}") {
            let _ = text.parse::<ClusterWord>();
            let _ = format!("{WORKER}{text}").parse::<ClusterWord>();
        }

        #[test]
        fn any_fields_are_read_or_refused(fixed in prop::collection::vec(any::<u8>(), 0..120)) {
            for prefix in [WORKER, CONTROL_PLANE] {
                let text = write_word(prefix, &fixed, &[word().endpoint]).unwrap();
                let _ = text.parse::<ClusterWord>();
            }
        }
    }
}
