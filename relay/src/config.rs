//! Flags and the configuration file, parsed into one valid [`Config`] before anything opens.
//!
//! Each setting has one name, as a flag (`--public-addr`) and as a key of the TOML file (`public-addr`); a flag given
//! wins over the file, and the file over the default.

mod checks;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use meshd_api::coordinator::DEFAULT_ADMIN_SOCKET;
use meshd_core::keys::RootPublic;
use meshd_core::relay::word::{RelayWord, RelayWordError};
use serde::Deserialize;

use checks::{absolute, listeners, network_keys, public_addrs, refused};

use crate::packets::Limits;

const DEFAULT_STATE_DIR: &str = "/var/lib/meshrelay";
const HTTPS_PORT: u16 = 443;
/// Two ports, so that nodes can tell how their NAT maps (RFC 5780 section 4.3).
const UDP_PORTS: [u16; 2] = [3478, 3479];
/// Addresses of one kind that may be listened on.
const MAX_LISTENERS: usize = 8;
/// Room in a join token.
const MAX_PUBLIC_ADDRS: usize = 8;
/// What a cloud host's link has at most, so that one node cannot take all of a larger one.
const DEFAULT_RELAY_MBIT: u32 = 1000;
const DEFAULT_EPHEMERAL_AFTER: Duration = Duration::from_secs(3600);

/// The flags of `meshrelay run`; the same keys, in the same form, make the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Where keys and state are kept [default: /var/lib/meshrelay]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Public name or address of this host, written into tokens; several are allowed
    #[arg(long, value_name = "HOST")]
    #[serde(default)]
    public_addr: Vec<String>,
    /// TCP addresses of the coordinator [default: 0.0.0.0:443 and [::]:443]
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    #[serde(default)]
    listen_https: Vec<SocketAddr>,
    /// UDP addresses of relay and STUN [default: ports 3478 and 3479 of 0.0.0.0 and [::]]
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    #[serde(default)]
    listen_udp: Vec<SocketAddr>,
    /// Unix socket of the admin API [default: /run/meshrelay/admin.sock]
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// Also answer signed admin requests on the public addresses
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    admin_public: Option<bool>,
    /// Also answer signed admin requests on this TCP address (such as the host's mesh address)
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Mbit/s that one node may send through the relay; 0 is no limit [default: 1000]
    #[arg(long, value_name = "MBIT")]
    relay_limit: Option<u32>,
    /// Mbit/s that the relay has room for: where nodes send more each gets its share; 0 is what its queues take [default: 0]
    #[arg(long, value_name = "MBIT")]
    relay_capacity: Option<u32>,
    /// Only relay, for the coordinator that this word names (`meshctl relay create` there); in the file it is not seen in the
    /// list of processes
    #[arg(long, value_name = "WORD")]
    relay_for: Option<SecretWord>,
    /// Root key (64 hex digits) of a network that may be made from elsewhere, by `meshctl --relay`; several are allowed
    #[arg(long, value_name = "HEX")]
    #[serde(default)]
    network_key: Vec<String>,
    /// Seconds after which an ephemeral node that is away is removed [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    ephemeral_after: Option<u64>,
}

/// A word that is a secret, as it was given.
#[derive(Clone, Deserialize)]
pub struct SecretWord(String);

impl std::str::FromStr for SecretWord {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(Self(word.to_owned()))
    }
}

impl std::fmt::Debug for SecretWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretWord(redacted)")
    }
}

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where keys and state are kept.
    pub state_dir: PathBuf,
    /// Names and addresses by which nodes reach this host, without ports. May be empty.
    pub public_addrs: Vec<String>,
    /// TCP addresses of the coordinator.
    pub listen_https: Vec<Listen>,
    /// UDP addresses of relay and STUN; the first of each family carries frames, all answer STUN.
    pub listen_udp: Vec<Listen>,
    /// Unix socket of the admin API.
    pub admin_socket: PathBuf,
    /// Whether signed admin requests are answered on the public addresses.
    pub admin_public: bool,
    /// One more TCP address, for signed admin requests.
    pub admin_listen: Option<SocketAddr>,
    /// Bytes/s that one node may send through the relay; none is no limit.
    pub relay_limit: Option<NonZeroU64>,
    /// Bytes/s that all nodes together may send through the relay, each its share; none is no limit.
    pub relay_capacity: Option<NonZeroU64>,
    /// The coordinator for which this meshrelay only relays.
    pub relay_for: Option<RelayWord>,
    /// Root keys of networks that may be made by signed admin requests, and not over the socket only.
    pub network_keys: Vec<RootPublic>,
    /// How long an ephemeral node may be away before it is removed.
    pub ephemeral_after: Duration,
}

impl Config {
    /// What may be sent through the relay.
    pub fn limits(&self) -> Limits {
        Limits {
            node: self.relay_limit,
            all: self.relay_capacity,
        }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub addr: SocketAddr,
    /// Whether the program fails without it; false for the default IPv6 addresses, since a host may lack IPv6.
    pub required: bool,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {cause}")]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file {path} is wrong: {cause}")]
    Malformed {
        /// Its path.
        path: PathBuf,
        /// Line, column and reason.
        cause: Box<toml::de::Error>,
    },
    /// The relay word.
    #[error("relay-for: {0}")]
    RelayFor(#[from] RelayWordError),
    /// A value does not do.
    #[error("{setting} {value}: {reason}")]
    Value {
        /// Name of the setting.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What is wrong, and what to do.
        reason: &'static str,
    },
}

impl Settings {
    /// The settings of a TOML file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
        toml::from_str(&text).map_err(|cause| ConfigError::Malformed {
            path: path.to_owned(),
            cause: Box::new(cause),
        })
    }

    /// These settings, and `file`'s where these say nothing.
    pub fn over(self, file: Self) -> Self {
        let list = |mine: Vec<SocketAddr>, other| if mine.is_empty() { other } else { mine };
        Self {
            state_dir: self.state_dir.or(file.state_dir),
            public_addr: if self.public_addr.is_empty() {
                file.public_addr
            } else {
                self.public_addr
            },
            listen_https: list(self.listen_https, file.listen_https),
            listen_udp: list(self.listen_udp, file.listen_udp),
            admin_socket: self.admin_socket.or(file.admin_socket),
            admin_public: self.admin_public.or(file.admin_public),
            admin_listen: self.admin_listen.or(file.admin_listen),
            relay_limit: self.relay_limit.or(file.relay_limit),
            relay_capacity: self.relay_capacity.or(file.relay_capacity),
            relay_for: self.relay_for.or(file.relay_for),
            network_key: if self.network_key.is_empty() {
                file.network_key
            } else {
                self.network_key
            },
            ephemeral_after: self.ephemeral_after.or(file.ephemeral_after),
        }
    }

    /// Checks every value and fills in the defaults. Opens nothing.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let public_addrs = public_addrs(self.public_addr)?;
        let listen_https = listeners("listen-https", self.listen_https, &[HTTPS_PORT])?;
        let listen_udp = listeners("listen-udp", self.listen_udp, &UDP_PORTS)?;
        let state_dir = self.state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into());
        let admin_socket = self.admin_socket.unwrap_or_else(|| DEFAULT_ADMIN_SOCKET.into());
        absolute("state-dir", &state_dir)?;
        absolute("admin-socket", &admin_socket)?;
        if admin_socket.as_os_str().len() > 107 {
            return Err(refused(
                "admin-socket",
                admin_socket.display(),
                "a Unix socket's path has at most 107 bytes",
            ));
        }
        Ok(Config {
            state_dir,
            public_addrs,
            listen_https,
            listen_udp,
            admin_socket,
            admin_public: self.admin_public.unwrap_or(false),
            admin_listen: self.admin_listen,
            relay_limit: NonZeroU64::new(u64::from(self.relay_limit.unwrap_or(DEFAULT_RELAY_MBIT)) * 125_000),
            relay_capacity: NonZeroU64::new(u64::from(self.relay_capacity.unwrap_or(0)) * 125_000),
            relay_for: self.relay_for.map(|word| word.0.parse()).transpose()?,
            network_keys: network_keys(self.network_key)?,
            ephemeral_after: self
                .ephemeral_after
                .map_or(DEFAULT_EPHEMERAL_AFTER, Duration::from_secs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(file: &str) -> Result<Config, String> {
        let settings: Settings = toml::from_str(file).map_err(|e| e.to_string())?;
        settings.validate().map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_cover_both_families_and_need_the_first() {
        let config = parse("").unwrap();
        let shown: Vec<String> = config
            .listen_udp
            .iter()
            .map(|l| format!("{} {}", l.addr, l.required))
            .collect();
        assert_eq!(
            shown,
            [
                "0.0.0.0:3478 true",
                "0.0.0.0:3479 true",
                "[::]:3478 false",
                "[::]:3479 false"
            ]
        );
        assert_eq!(config.listen_https.len(), 2);
        assert!(!config.admin_public);
        assert_eq!(config.relay_limit.map(NonZeroU64::get), Some(125_000_000));
        assert_eq!(parse("relay-limit = 0").unwrap().relay_limit, None);
    }

    #[test]
    fn flags_win_over_the_file() {
        let file: Settings = toml::from_str("public-addr = ['a.example']\nephemeral-after = 5").unwrap();
        let flags = Settings {
            public_addr: vec!["[2001:db8::1]".into()],
            ..Settings::default()
        };
        let config = flags.over(file).validate().unwrap();
        assert_eq!(config.public_addrs, ["2001:db8::1"]);
        assert_eq!(config.ephemeral_after, Duration::from_secs(5));
    }

    #[test]
    fn wrong_values_are_named() {
        for (file, word) in [
            ("public-addr = ['0.0.0.0']", "cannot reach"),
            ("public-addr = ['vpn.example:443']", "without a port"),
            ("public-addr = ['1.2.3']", "host name"),
            ("state-dir = 'x'", "absolute"),
            ("listen-udp = ['127.0.0.1:9', '127.0.0.1:9']", "twice"),
            ("listen-https = ['nonsense']", "socket address"),
            ("network-key = ['12']", "64 hex digits"),
            ("colour = 1", "unknown field"),
        ] {
            let message = parse(file).unwrap_err();
            assert!(message.contains(word), "{file}: {message}");
        }
    }
}
