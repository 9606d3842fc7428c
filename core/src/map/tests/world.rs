//! A small network with all its secrets, and a coordinator that may sign whatever it likes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{NetworkId, NodeId, TokenId};
use crate::keys::{
    CoordinatorSecret, DiscoverySecret, IdentitySecret, JoinSecret, LanKey, RootSecret, WireGuardSecret,
};
use crate::map::network_map::Entries;
use crate::map::{Body, Changes, Entry, MapBuilder, MapError, MapHolder, NetworkMap, NodeEntry, digest};
use crate::statement::{
    Act, Candidate, CandidateKind, Deed, Delegation, Departure, Enrolment, Fixed, Limits, MTU_DEFAULT,
    MapHeader, Params, Record, Signed, Terms,
};

pub struct World {
    pub root: RootSecret,
    pub coordinator: CoordinatorSecret,
    pub serial: std::cell::Cell<u64>,
}

pub fn node_id(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

pub fn token_id(n: u8) -> TokenId {
    TokenId::from_bytes([n; 8])
}

pub fn join_key(token: u8) -> JoinSecret {
    JoinSecret::from_seed(&[token ^ 0x55; 32])
}

pub fn identity(n: u8) -> IdentitySecret {
    IdentitySecret::from_seed(&[n; 32])
}

impl World {
    pub fn new() -> Self {
        Self {
            root: RootSecret::from_seed(&[0xaa; 32]),
            coordinator: CoordinatorSecret::from_seed(&[0xcc; 32]),
            serial: std::cell::Cell::new(0),
        }
    }

    pub fn network(&self) -> NetworkId {
        NetworkId::of_root(&self.root.public())
    }

    pub fn serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    pub fn params(&self) -> Entry {
        let params = Params {
            root: self.root.public(),
            serial: self.serial(),
            name: "prod".into(),
            ipv4: "10.77.0.0/16".parse().unwrap(),
            ipv6: "fd01::/64".parse().unwrap(),
            mtu: MTU_DEFAULT,
            lan_key: LanKey::from_bytes([4; 32]),
        };
        Body::Params(Signed::sign(params, &self.root).unwrap()).into()
    }

    /// Token `n` on default terms, changed by `change`.
    pub fn delegation(&self, n: u8, change: impl FnOnce(&mut Delegation)) -> Entry {
        let mut delegation = Delegation {
            network: self.network(),
            token: token_id(n),
            join: join_key(n).public(),
            serial: self.serial(),
            terms: Terms::default(),
            fixed: Fixed::default(),
            limits: Limits::default(),
        };
        change(&mut delegation);
        Body::Delegation(Signed::sign(delegation, &self.root).unwrap()).into()
    }

    pub fn act(&self, deed: Deed) -> Entry {
        let act = Act {
            network: self.network(),
            serial: self.serial(),
            deed,
        };
        Body::Act(Signed::sign(act, &self.root).unwrap()).into()
    }

    pub fn remove(&self, n: u8) -> Entry {
        self.act(Deed::Remove {
            node: node_id(n),
            name: None,
            blocked_until: None,
        })
    }

    /// What node `n` says of itself: address .0.n, name `node-n`, changed by `change`.
    pub fn record(&self, n: u8, serial: u64, change: impl FnOnce(&mut Record)) -> Record {
        let mut record = Record {
            network: self.network(),
            node: node_id(n),
            serial,
            wireguard: WireGuardSecret::from_seed(&[n; 32]).public(),
            discovery: DiscoverySecret::from_seed(&[n; 32]).public(),
            ipv4: [10, 77, 0, n].into(),
            ipv6: format!("fd01::{n:x}").parse().unwrap(),
            host_name: format!("node-{n}"),
            candidates: vec![Candidate {
                kind: CandidateKind::Host,
                addr: "192.0.2.1:51820".parse().unwrap(),
            }],
            home_relay: None,
            system: "linux/x86_64".into(),
            version: "0.1.0".into(),
        };
        change(&mut record);
        record
    }

    pub fn enrolment(&self, n: u8, token: u8, identity: &IdentitySecret) -> Signed<Enrolment> {
        let enrolment = Enrolment {
            network: self.network(),
            token: token_id(token),
            node: node_id(n),
            identity: identity.public(),
        };
        Signed::sign(enrolment, &join_key(token)).unwrap()
    }

    pub fn node(&self, n: u8, token: u8, serial: u64) -> Entry {
        self.node_with(n, token, serial, |_| {})
    }

    pub fn node_with(&self, n: u8, token: u8, serial: u64, change: impl FnOnce(&mut Record)) -> Entry {
        let record = Signed::sign(self.record(n, serial, change), &identity(n)).unwrap();
        Body::Node(NodeEntry {
            enrolment: self.enrolment(n, token, &identity(n)),
            record,
        })
        .into()
    }

    pub fn departure(&self, n: u8, key: &IdentitySecret) -> Entry {
        let departure = Departure {
            network: self.network(),
            node: node_id(n),
            serial: 99,
        };
        Body::Departure(Signed::sign(departure, key).unwrap()).into()
    }

    /// A map of just these entries, as a coordinator that respects nothing may sign it.
    pub fn map(&self, at: (u32, u64), entries: &[&Entry]) -> NetworkMap {
        let entries: Entries = entries
            .iter()
            .map(|entry| (entry.key(), Arc::new((*entry).clone())))
            .collect();
        let digest = digest(entries.keys());
        let header = MapHeader {
            network: self.network(),
            epoch: at.0,
            version: at.1,
            digest,
        };
        NetworkMap::new(Signed::sign(header, &self.coordinator).unwrap(), entries).unwrap()
    }

    pub fn holder(&self) -> MapHolder {
        MapHolder::new(self.root.public(), vec![self.coordinator.public()])
    }

    pub fn builder(&self) -> MapBuilder {
        MapBuilder::new(self.root.public(), (1, 0))
    }
}

/// A holder that took maps of these entries, one after the other, as versions 1, 2, ...
pub struct Told<'a> {
    pub world: &'a World,
    pub holder: MapHolder,
    pub version: u64,
}

impl<'a> Told<'a> {
    pub fn new(world: &'a World, entries: &[&Entry]) -> Self {
        let mut told = Self {
            world,
            holder: world.holder(),
            version: 0,
        };
        told.tell(entries).unwrap();
        told
    }

    pub fn tell(&mut self, entries: &[&Entry]) -> Result<Changes, MapError> {
        self.version += 1;
        self.holder.apply_full(self.world.map((1, self.version), entries))
    }

    /// Saved, and read back as after a restart.
    pub fn restart(&mut self) {
        let coordinators = vec![self.world.coordinator.public()];
        let saved = self.holder.save();
        self.holder = MapHolder::restore(self.world.root.public(), coordinators, &saved).unwrap();
    }

    /// Who is in, by number, and what each is called.
    pub fn names(&self) -> BTreeMap<u8, String> {
        let nodes = &self.holder.view().unwrap().nodes;
        nodes
            .iter()
            .map(|(id, node)| (id.as_bytes()[0], node.name.clone()))
            .collect()
    }

    pub fn is_in(&self, n: u8) -> bool {
        self.holder.view().unwrap().nodes.contains_key(&node_id(n))
    }

    pub fn serial_of(&self, n: u8) -> u64 {
        self.holder.view().unwrap().nodes[&node_id(n)].serial
    }

    /// The sentences of all refusals.
    pub fn sentences(&self) -> Vec<String> {
        self.holder
            .view()
            .unwrap()
            .refusals
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Asserts that some refusal has all of `parts`.
    pub fn says(&self, parts: &[&str]) {
        let sentences = self.sentences();
        let found = sentences
            .iter()
            .any(|sentence| parts.iter().all(|part| sentence.contains(part)));
        assert!(found, "{parts:?} not in {sentences:#?}");
    }

    pub fn is_content(&self) {
        assert_eq!(self.sentences(), Vec::<String>::new());
    }
}

/// A network of two nodes, 1 and 2, before the coordinator was broken into.
pub struct Before {
    pub world: World,
    pub params: Entry,
    pub delegation: Entry,
    pub a: Entry,
    pub b: Entry,
}

pub fn before() -> Before {
    let world = World::new();
    let (params, delegation) = (world.params(), world.delegation(1, |_| {}));
    let (a, b) = (world.node(1, 1, 5), world.node(2, 1, 5));
    Before {
        world,
        params,
        delegation,
        a,
        b,
    }
}

impl Before {
    pub fn told(&self) -> Told<'_> {
        Told::new(&self.world, &[&self.params, &self.delegation, &self.a, &self.b])
    }
}
