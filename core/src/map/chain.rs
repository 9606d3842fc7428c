//! Chains: who signed for whom, each verified once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cause, EntryKey, NodeEntry};
use crate::id::NetworkId;
use crate::keys::StatementVerifier;
use crate::statement::Delegation;

/// What was found of an entry under a signer's key. Bad ones are kept as well, so that they cost once.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    known: BTreeMap<(EntryKey, [u8; 32]), Result<(), Cause>>,
    made: u64,
}

impl Verdicts {
    /// The verdict on an entry under `signer`; `verify` is called where there is none yet.
    pub fn on(
        &mut self,
        key: EntryKey,
        signer: &impl StatementVerifier,
        verify: impl FnOnce() -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let made = &mut self.made;
        let verdict = self.known.entry((key, *signer.key_bytes())).or_insert_with(|| {
            *made += 1;
            verify()
        });
        verdict.clone()
    }

    /// Forgets all but those on `keys`.
    pub fn keep(&mut self, keys: &BTreeSet<EntryKey>) {
        self.known.retain(|(key, _), _| keys.contains(key));
    }

    /// Takes an entry as good without verifying it: it was read from this node's own sealed file.
    pub fn trust(&mut self, key: EntryKey, signer: &impl StatementVerifier) {
        self.known.insert((key, *signer.key_bytes()), Ok(()));
    }

    /// How many entries were verified so far; a measure of work.
    pub fn made(&self) -> u64 {
        self.made
    }
}

/// The chain from a delegation, which the root signed, to the record.
pub fn verify_node(node: &NodeEntry, delegation: &Delegation, network: NetworkId) -> Result<(), Cause> {
    let (enrolment, record) = (node.enrolment.value(), node.record.value());
    if enrolment.network != network || record.network != network {
        return Err(Cause::WrongNetwork);
    }
    if record.node != enrolment.node {
        return Err(Cause::OtherRecord(record.node));
    }
    if enrolment.token != delegation.token || node.enrolment.verify(&delegation.join).is_err() {
        return Err(Cause::NotByToken(enrolment.token));
    }
    if node.record.verify(&enrolment.identity).is_err() {
        let (wireguard, identity) = (record.wireguard, enrolment.identity);
        return Err(Cause::NotByIdentity { wireguard, identity });
    }
    Ok(())
}
