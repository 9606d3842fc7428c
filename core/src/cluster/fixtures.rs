//! A network, a machine of it and a cluster's secrets, for the tests of what the flavours are told.

use zeroize::Zeroizing;

use super::{BootstrapToken, CertificateKey, Ground, Machine, Secrets};

pub(super) fn ground() -> Ground {
    Ground {
        network: "prod".into(),
        api: ("10.77.255.254".parse().unwrap(), "fd77::fffe".parse().unwrap()),
        pods: vec![
            "fd00:10:244::/48".parse().unwrap(),
            "10.244.0.0/16".parse().unwrap(),
        ],
        node_prefix: 24,
        services: vec![
            "10.96.0.0/16".parse().unwrap(),
            "fd00:10:96::/112".parse().unwrap(),
        ],
        mesh_allots: true,
    }
}

pub(super) fn machine() -> Machine {
    Machine {
        name: "n1".into(),
        ipv4: "10.77.0.2".parse().unwrap(),
        ipv6: "fd77::2".parse().unwrap(),
    }
}

pub(super) fn secrets() -> Secrets {
    Secrets {
        token: BootstrapToken::from_seed(&[1; 44]),
        key: CertificateKey::new(Zeroizing::new([2; 32])),
    }
}
