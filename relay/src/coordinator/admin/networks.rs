//! Networks: made, listed, shown, deleted.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meshd_api::coordinator::admin::{Done, NetworkCreate, NetworkInfo};
use meshd_core::admission::{check_ipv4_prefix, check_ipv6_prefix, check_mtu, ula_prefix};
use meshd_core::id::NetworkId;
use meshd_core::keys::{LanKey, RootSecret};
use meshd_core::map::Body;
use meshd_core::names;
use meshd_core::ranges::{LocalPrefix, collisions};
use meshd_core::statement::{MTU_DEFAULT, Params, Signed};

use super::shown;
use crate::coordinator::load::random;
use crate::coordinator::network::Network;
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{State, notice};
use crate::store::{Batch, Table, rows};

impl State {
    /// Makes a network: with a root key of its own, or from parameters signed by a root that is kept elsewhere.
    pub fn create_network(&mut self, wanted: &NetworkCreate) -> Result<NetworkInfo, Refusal> {
        self.refresh()?;
        let (params, root) = match &wanted.statement {
            Some(statement) => (Signed::<Params>::decode(statement.as_ref())?, None),
            None => {
                let root = RootSecret::from_seed(&random::<32>());
                (Signed::sign(params_of(wanted, &root)?, &root)?, Some(root))
            }
        };
        params.verify_self()?;
        self.check_params(params.value())?;
        let mut network = Network::new(params.clone(), root, (0, 0));
        network.map.put(Body::Params(params).into())?;
        network
            .map
            .commit(&self.identity)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        let id = network.id;
        let mut batch = Batch::default();
        batch.put(Table::Networks, id.to_bytes(), rows::encode(&network.row()));
        self.audit
            .add(&format!("network {} ({id}) created", network.name()), &mut batch);
        self.networks.insert(id, network);
        let mut info = self.show_network(id)?;
        info.warnings = self.warnings_about(id);
        if let Err(failed) = self.commit(&info, batch) {
            self.networks.remove(&id);
            return Err(failed);
        }
        Ok(info)
    }

    /// Whether the admin elsewhere whose requests the root of `own` signs may make this network: their own, where the relay's
    /// settings name its root key. Else anybody could make networks here.
    pub fn may_make(&self, own: NetworkId, wanted: &NetworkCreate) -> bool {
        let statement = wanted.statement.as_ref();
        let params = statement.and_then(|statement| Signed::<Params>::decode(statement.as_ref()).ok());
        self.site.root_to_be(own).is_some() && params.is_some_and(|params| params.value().network() == own)
    }

    /// What whoever made a network should know: no machine can be in two networks whose ranges meet.
    fn warnings_about(&self, id: NetworkId) -> Vec<String> {
        let prefixes = |network: &Network| -> [IpNet; 2] {
            let params = network.params.value();
            [params.ipv4.into(), params.ipv6.into()]
        };
        let Some(own) = self.networks.get(&id) else {
            return Vec::new();
        };
        let others = self.networks.values().filter(|network| network.id != id);
        let others: Vec<LocalPrefix> = others
            .flat_map(|network| {
                prefixes(network).map(|prefix| LocalPrefix {
                    prefix,
                    owner: format!("network {}", network.name()),
                })
            })
            .collect();
        let met = collisions(&prefixes(own), &others).into_iter();
        let met =
            met.map(|collision| format!("{collision}: a machine can be in both only with `join --force`"));
        met.chain(self.addresses().err().map(|unknown| unknown.to_string()))
            .collect()
    }

    fn check_params(&self, params: &Params) -> Result<(), Refusal> {
        if !names::is_label(&params.name) {
            let text = "is not a network's name: 1 to 63 lower-case letters, digits and inner hyphens";
            return Err(Refusal::Invalid(format!("\"{}\" {text}", shown(&params.name))));
        }
        check_ipv4_prefix(params.ipv4)?;
        check_ipv6_prefix(params.ipv6)?;
        check_mtu(params.mtu)?;
        for other in self.networks.values() {
            if other.name() == params.name || other.id == params.network() {
                return Err(Refusal::Conflict(format!(
                    "there is a network \"{}\" already",
                    other.name()
                )));
            }
        }
        Ok(())
    }

    /// All networks, or the one whose admin asks.
    pub fn list_networks(&mut self, only: Option<NetworkId>) -> Result<Vec<NetworkInfo>, Refusal> {
        let ids: Vec<NetworkId> = self
            .networks
            .keys()
            .copied()
            .filter(|id| only.is_none_or(|o| o == *id))
            .collect();
        ids.into_iter().map(|id| self.show_network(id)).collect()
    }

    /// One network.
    pub fn show_network(&mut self, id: NetworkId) -> Result<NetworkInfo, Refusal> {
        let coordinator = self.identity().to_string();
        let addresses = self.addresses().unwrap_or_default();
        let network = self.network(id)?;
        let params = network.params.value();
        let (epoch, version) = network.map.at();
        Ok(NetworkInfo {
            name: params.name.clone(),
            id: id.to_string(),
            root: params.root.to_string(),
            root_on_relay: network.root.is_some(),
            cidr: params.ipv4.to_string(),
            cidr6: params.ipv6.to_string(),
            mtu: params.mtu,
            pods: network.pods_shown(),
            epoch,
            version,
            nodes: network.nodes.len() as u32,
            connected: network.hub.connected() as u32,
            coordinator,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            last_serial: network.last_serial,
            warnings: Vec::new(),
        })
    }

    /// Deletes a network here: its nodes keep the map that they have, and nobody serves them any more.
    pub fn delete_network(&mut self, id: NetworkId) -> Result<Done, Refusal> {
        self.refresh()?;
        let name = self.network(id)?.name().to_owned();
        let mut batch = Batch::default();
        batch.delete(Table::Networks, id.to_bytes());
        for table in [
            Table::Tokens,
            Table::Nodes,
            Table::Acts,
            Table::Departures,
            Table::Blocks,
        ] {
            for (key, _) in self
                .store
                .scan(table)?
                .into_iter()
                .filter(|(key, _)| key.starts_with(id.as_bytes()))
            {
                batch.delete(table, key);
            }
        }
        self.audit
            .add(&format!("network {name} ({id}) deleted"), &mut batch);
        let message =
            format!("network \"{name}\" is deleted here; its nodes keep their last map until they leave");
        let done = Done { message };
        self.commit(&done, batch)?;
        self.members.remove_network(id);
        self.others.members_changed(id, std::iter::empty());
        if let Some(mut network) = self.networks.remove(&id) {
            let nodes: Vec<_> = network.nodes.keys().copied().collect();
            let last = notice(
                "network-deleted",
                format!("network {name} was deleted at the coordinator"),
            );
            nodes.into_iter().for_each(|node| network.hub.end(node, &last));
        }
        self.tell_ingress();
        Ok(done)
    }
}

fn params_of(wanted: &NetworkCreate, root: &RootSecret) -> Result<Params, Refusal> {
    let not = |text: &str, what| Refusal::Invalid(format!("\"{}\" is not {what}", shown(text)));
    let ipv4: Ipv4Net = wanted
        .cidr
        .parse()
        .map_err(|_| not(&wanted.cidr, "an IPv4 prefix such as 10.77.0.0/16"))?;
    let ipv6: Ipv6Net = match &wanted.cidr6 {
        Some(text) => text
            .parse()
            .map_err(|_| not(text, "an IPv6 prefix such as fd00:1234:5678::/64"))?,
        None => ula_prefix(&random::<32>()),
    };
    let mtu = wanted.mtu.unwrap_or(MTU_DEFAULT);
    check_mtu(mtu)?;
    Ok(Params {
        root: root.public(),
        serial: 1,
        name: wanted.name.clone(),
        ipv4,
        ipv6,
        mtu,
        lan_key: LanKey::from_bytes(*random::<32>()),
    })
}
