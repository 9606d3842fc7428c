//! A cluster's backup: what is in it, and what makes etcd's data of it again.
//!
//! A backup is a tar archive of [`ABOUT`], [`SNAPSHOT`] and the keys of the cluster's authorities ([`PKI`], below `pki/`): what every
//! control plane has in common. Everything else on one is made anew, by kubeadm and from these.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Machine;

/// Name of what the backup says of itself, JSON.
pub const ABOUT: &str = "backup.json";
/// Name of etcd's snapshot.
pub const SNAPSHOT: &str = "etcd.db";
/// Folder of kubeadm's certificates and keys.
pub const PKI_FOLDER: &str = "/etc/kubernetes/pki";
/// Folder of etcd's data, as kubeadm has it.
pub const ETCD_FOLDER: &str = "/var/lib/etcd";
/// Files below [`PKI_FOLDER`] that are the cluster's and not one machine's.
pub const PKI: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "sa.key",
    "sa.pub",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
];
/// etcd's port for its members.
const PEERS: u16 = 2380;
/// By how much revisions go on: more than a cluster writes between a backup and its end, so that nobody who watched it before takes
/// an old revision for a new one.
const BUMP: &str = "1000000000";
/// The only form so far.
const FORM: u32 = 1;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Of the archive.
    pub form: u32,
    /// kubeadm's release, where it was known.
    pub kubernetes: Option<String>,
    /// The machine on which it was made.
    pub node: String,
    /// Where every machine reached the API servers.
    pub endpoint: SocketAddr,
    /// When, in unix time.
    pub made: u64,
}

impl About {
    /// Of a backup that is made now.
    pub fn new(kubernetes: Option<String>, node: &str, endpoint: SocketAddr, made: u64) -> Self {
        Self {
            form: FORM,
            kubernetes,
            node: node.to_owned(),
            endpoint,
            made,
        }
    }

    /// A sentence against restoring it where the API servers are to be at `endpoint`.
    ///
    /// # Errors
    /// Where it is of a newer release, or of a cluster elsewhere, whose certificates and kubelets name another address.
    pub fn fits(&self, endpoint: SocketAddr) -> Result<(), String> {
        if self.form != FORM {
            return Err("the backup was made by a newer meshctl: upgrade meshd here".to_owned());
        }
        if self.endpoint != endpoint {
            return Err(format!(
                "the backup is of a cluster whose API servers are at {}, and in this network they are at {endpoint}: restore it in the network that it was made in",
                self.endpoint
            ));
        }
        Ok(())
    }
}

/// The permissions of a file below [`PKI_FOLDER`].
pub fn pki_mode(name: &str) -> u32 {
    if name.ends_with(".key") { 0o600 } else { 0o644 }
}

/// What etcdutl is told to make a first member's data of a snapshot; the others come in later, as control planes do.
pub fn restore_words(snapshot: &str, machine: &Machine) -> Vec<String> {
    let url = format!("https://{}", SocketAddr::new(IpAddr::V4(machine.ipv4), PEERS));
    let name = &machine.name;
    let words = [
        "snapshot",
        "restore",
        snapshot,
        "--data-dir",
        ETCD_FOLDER,
        "--name",
        name,
        "--initial-advertise-peer-urls",
        &url,
        "--initial-cluster",
        &format!("{name}={url}"),
        "--bump-revision",
        BUMP,
        "--mark-compacted",
    ];
    words.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_fits_the_network_that_it_was_made_in() {
        let here = "10.77.255.254:7443".parse().unwrap();
        let about = About::new(None, "n1", here, 7);
        assert_eq!(about.fits(here), Ok(()));
        let there = about.fits("10.78.255.254:7443".parse().unwrap()).unwrap_err();
        assert!(there.contains("10.77.255.254:7443"), "{there}");
        let newer = About { form: 2, ..about };
        assert!(newer.fits(here).unwrap_err().contains("newer"));
    }

    #[test]
    fn etcd_begins_anew_with_one_member() {
        let machine = Machine {
            name: "n1".into(),
            ipv4: [10, 77, 0, 1].into(),
            ipv6: "fd00::1".parse().unwrap(),
        };
        let words = restore_words("/tmp/etcd.db", &machine).join(" ");
        assert!(
            words.contains("--name n1 --initial-advertise-peer-urls https://10.77.0.1:2380 --initial-cluster n1=https://10.77.0.1:2380"),
            "{words}"
        );
        assert_eq!((pki_mode("etcd/ca.key"), pki_mode("sa.pub")), (0o600, 0o644));
    }
}
