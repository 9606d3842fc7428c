//! What admins do: networks, tokens, nodes, names. Each verb in two modes: the relay holds the root key and signs, or the
//! request carries the statement that meshctl signed with a key kept elsewhere, which is verified like any other.

mod allowances;
mod backup;
mod endpoints;
mod exposures;
mod gateways;
mod grants;
mod networks;
mod nodes;
mod parts;
mod pods;
mod tokens;

use meshd_api::Base64Bytes;
use meshd_core::id::NetworkId;
use meshd_core::map::Body;
use meshd_core::statement::{Act, Deed, Signed, Statement};

use super::network::Network;
use super::refusal::Refusal;
use super::state::State;
use crate::store::Batch;

impl State {
    /// A network by name or id.
    pub fn network_named(&mut self, name: &str) -> Result<&mut Network, Refusal> {
        let id: Option<NetworkId> = name.parse().ok();
        let found = self
            .networks
            .values_mut()
            .find(|network| network.name() == name || Some(network.id) == id);
        found.ok_or_else(|| Refusal::Unknown {
            what: "network",
            name: shown(name),
            hint: "`meshctl network list` shows those that are",
        })
    }

    /// The id of a network by name or id.
    pub fn network_id(&mut self, name: &str) -> Result<NetworkId, Refusal> {
        self.network_named(name).map(|network| network.id)
    }
}

/// What a person typed, cut so that an error stays one line.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

impl Network {
    /// The act for `deed`: signed here, or the one that came, where it says just that.
    fn act(&self, deed: Deed, statement: Option<&Base64Bytes>) -> Result<Signed<Act>, Refusal> {
        let Some(statement) = statement else {
            let (root, serial) = self.root_and_serial()?;
            return Ok(Signed::sign(
                Act {
                    network: self.id,
                    serial,
                    deed,
                },
                root,
            )?);
        };
        let act = self.by_root::<Act>(statement)?;
        if act.value().network != self.id || !same_deed(&act.value().deed, &deed) {
            return Err(Refusal::Invalid(
                "the signed statement says something else than the request".into(),
            ));
        }
        self.check_serial(act.value().serial)?;
        Ok(act)
    }

    /// A statement that came, where the root signed it.
    fn by_root<T: Statement<Public = meshd_core::keys::RootPublic>>(
        &self,
        statement: &Base64Bytes,
    ) -> Result<Signed<T>, Refusal> {
        let signed = Signed::<T>::decode(statement.as_ref())?;
        signed.verify(&self.params.value().root)?;
        Ok(signed)
    }

    fn check_serial(&self, serial: u64) -> Result<(), Refusal> {
        match serial > self.last_serial {
            true => Ok(()),
            false => Err(Refusal::StaleSerial {
                got: serial,
                held: self.last_serial,
            }),
        }
    }

    /// Takes an act into map, effects and batch.
    fn take_act(
        &mut self,
        act: &Signed<Act>,
        batch: &mut Batch,
    ) -> Result<Vec<meshd_core::id::NodeId>, Refusal> {
        let put = self.map.put(Body::Act(act.clone()).into())?;
        self.last_serial = self.last_serial.max(act.value().serial);
        self.effects.add(act.value());
        self.save_act(act, batch);
        Ok(put.removed)
    }
}

/// Whether a signed deed is the one asked for; who signed chooses until when a name is blocked.
fn same_deed(signed: &Deed, asked: &Deed) -> bool {
    match (signed, asked) {
        (Deed::Remove { node: a, .. }, Deed::Remove { node: b, .. }) => a == b,
        _ => signed == asked,
    }
}
