//! The admin key file: a network's root key, kept off the relay.
//!
//! Lines of `word value`: `network` (its name), `root` (the key's seed, hex), and, once they are known,
//! `coordinator` (its identity key, hex) and `address` (`host:port`, any number). Mode 0600.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use meshd_api::coordinator::admin::NetworkInfo;
use meshd_core::id::NetworkId;
use meshd_core::keys::{CoordinatorPublic, RootSecret};
use meshd_core::token::CoordinatorAddress;
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

use crate::failure::Failure;

const HEADER: &str = "meshd admin key 1";
const MAX_FILE: u64 = 64 << 10;

/// A network's root key, and what is known of its coordinator.
#[derive(Debug, Clone)]
pub struct AdminKey {
    path: PathBuf,
    network: String,
    root: RootSecret,
    known: Option<Known>,
}

/// A network's coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its identity key.
    pub coordinator: CoordinatorPublic,
    /// Where it is reached.
    pub addresses: Vec<CoordinatorAddress>,
}

impl Known {
    /// What the coordinator says of itself.
    pub fn of(network: &NetworkInfo) -> Result<Self, Failure> {
        let odd = |e: &dyn std::fmt::Display| {
            Failure::failed(format!("the coordinator describes itself wrongly: {e}"))
        };
        let addresses = network
            .addresses
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>();
        Ok(Self {
            coordinator: network.coordinator.parse().map_err(|e| odd(&e))?,
            addresses: addresses.map_err(|e: meshd_core::token::TokenError| odd(&e))?,
        })
    }
}

impl AdminKey {
    /// Makes a key for a network that is about to be made, and its file, which must not exist.
    fn create(path: &Path, network: &str) -> Result<Self, Failure> {
        let mut seed = Zeroizing::new([0; 32]);
        OsRng.fill_bytes(&mut *seed);
        let key = Self {
            path: path.to_owned(),
            network: network.into(),
            root: RootSecret::from_seed(&seed),
            known: None,
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let written = file.and_then(|mut file| {
            file.write_all(key.text().as_bytes())?;
            file.sync_all()
        });
        match written {
            Ok(()) => Ok(key),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::usage(format!(
                "{} exists already: every network has a key file of its own, so name another one",
                path.display()
            ))),
            Err(e) => Err(Failure::failed(format!(
                "the admin key file {} cannot be written: {e}",
                path.display()
            ))),
        }
    }

    /// The key of a network that is about to be made: a new one, and then `true`; or the one that an earlier try left in the file.
    pub fn for_new_network(path: &Path, network: &str) -> Result<(Self, bool), Failure> {
        match path.exists().then(|| Self::read(path)) {
            Some(Ok(key)) if key.known.is_none() && key.network == network => Ok((key, false)),
            _ => Self::create(path, network).map(|key| (key, true)),
        }
    }

    /// Reads a key file. Refused where others than its owner may read it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let failed = |e| Failure::usage(format!("the admin key file {name} cannot be read: {e}"));
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode();
        if mode & 0o077 != 0 {
            return Err(Failure::usage(format!(
                "the admin key file {name} can be read by others than its owner; run `chmod 600 {name}`, and if \
                 anybody else may have read it, make a new network"
            )));
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
        file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
        Self::parse(path, &text).ok_or_else(|| {
            Failure::usage(format!(
                "{name} is not an admin key file, or is damaged; use its backup"
            ))
        })
    }

    fn parse(path: &Path, text: &str) -> Option<Self> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        if lines.next()? != HEADER {
            return None;
        }
        let (mut network, mut root, mut coordinator, mut addresses) = (None, None, None, Vec::new());
        for line in lines {
            match line.split_once(' ')? {
                ("network", name) => network = Some(name.to_owned()),
                ("root", hex) => {
                    let bytes = Zeroizing::new(HEXLOWER.decode(hex.as_bytes()).ok()?);
                    root = Some(RootSecret::from_seed(bytes.as_slice().try_into().ok()?));
                }
                ("coordinator", hex) => coordinator = Some(hex.parse().ok()?),
                ("address", text) => addresses.push(text.parse().ok()?),
                _ => {}
            }
        }
        let known = coordinator.map(|coordinator| Known {
            coordinator,
            addresses,
        });
        Some(Self {
            path: path.to_owned(),
            network: network?,
            root: root?,
            known,
        })
    }

    fn text(&self) -> Zeroizing<String> {
        let seed = Zeroizing::new(HEXLOWER.encode(&*self.root.seed()));
        let mut text = Zeroizing::new(String::with_capacity(4096));
        *text +=
            &format!("{HEADER}\n# Whoever has this file owns the network. Keep a copy somewhere safe.\n");
        *text += &format!("network {}\nroot ", self.network);
        *text += &seed;
        text.push('\n');
        if let Some(known) = &self.known {
            *text += &format!("coordinator {}\n", known.coordinator);
            known
                .addresses
                .iter()
                .for_each(|address| *text += &format!("address {address}\n"));
        }
        text
    }

    /// Remembers the coordinator, for `--relay` and for tokens.
    pub fn remember(&mut self, known: Known) -> Result<(), Failure> {
        self.known = Some(known);
        let part = self.path.with_extension("part");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part);
        let written = file.and_then(|mut file| {
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, &self.path)
        });
        written.map_err(|e| Failure::failed(format!("{}: {e}", self.path.display())))
    }

    /// Removes the file of a network that did not come to be.
    pub fn discard(self) {
        // the failure that led here is what the person must read
        _ = std::fs::remove_file(&self.path);
    }

    /// The key.
    pub fn root(&self) -> &RootSecret {
        &self.root
    }

    /// The network that it is the root of.
    pub fn network(&self) -> NetworkId {
        NetworkId::of_root(&self.root.public())
    }

    /// The pin of the coordinator, if it is known.
    pub fn coordinator(&self) -> Option<CoordinatorPublic> {
        self.known.as_ref().map(|known| known.coordinator)
    }

    /// The coordinator for a token: its key as the file has it, so that a relay broken into cannot name another; its
    /// addresses as it says now, because it may have moved.
    pub fn known(&self, network: &NetworkInfo) -> Result<Known, Failure> {
        let now = Known::of(network)?;
        Ok(match &self.known {
            Some(known) if now.addresses.is_empty() => known.clone(),
            Some(known) => Known {
                coordinator: known.coordinator,
                ..now
            },
            None => now,
        })
    }

    /// An error where this key is another network's.
    pub fn must_be_of(&self, network: &NetworkInfo) -> Result<(), Failure> {
        match network.id == self.network().to_string() {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "{} is the key of network {}, not of {}; name the right file with --admin-key-file",
                self.path.display(),
                self.network,
                network.name
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_made_once_kept_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prod.key");
        let mut key = AdminKey::create(&path, "prod").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(AdminKey::create(&path, "prod").is_err());
        let (again, new) = AdminKey::for_new_network(&path, "prod").unwrap();
        assert_eq!(
            (again.network(), new),
            (key.network(), false),
            "an earlier try left it"
        );
        assert!(AdminKey::for_new_network(&path, "other").is_err());
        let known = Known {
            coordinator: CoordinatorPublic::from_bytes([7; 32]),
            addresses: vec![
                "vpn.example.net:443".parse().unwrap(),
                "[2001:db8::1]:443".parse().unwrap(),
            ],
        };
        key.remember(known.clone()).unwrap();
        assert!(
            AdminKey::for_new_network(&path, "prod").is_err(),
            "that network exists"
        );
        let read = AdminKey::read(&path).unwrap();
        assert_eq!((read.network(), read.known), (key.network(), Some(known)));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!format!("{key:?}").contains(&HEXLOWER.encode(&*key.root.seed())));
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prod.key");
        AdminKey::create(&path, "prod").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(format!("{:?}", AdminKey::read(&path).unwrap_err()).contains("chmod 600"));
    }

    #[test]
    fn anything_else_is_no_key_file() {
        for text in [
            "",
            "meshd admin key 2\n",
            "meshd admin key 1\nnetwork prod\n",
            "meshd admin key 1\nroot 00\n",
        ] {
            assert!(AdminKey::parse(Path::new("k"), text).is_none(), "{text}");
        }
    }
}
