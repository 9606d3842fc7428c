//! Backup and restore of everything.
//!
//! A restored state may be older than what nodes hold. So each network opens a new epoch, above every one that its nodes
//! can have seen: nodes take its map for newer, see what it lacks, and hand in what they can prove: later joiners come
//! back by their records, later removals by the acts.

use std::collections::BTreeMap;

use meshd_api::coordinator::admin::Done;
use meshd_core::id::NetworkId;

use crate::coordinator::load::{Keys, read_networks};
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{State, unix_now};
use crate::store::rows::{self, NetworkRow};
use crate::store::{Snapshot, Table};

impl State {
    /// The backup file: everything but answers and audit lines. It holds secrets.
    pub fn backup(&mut self) -> Result<String, Refusal> {
        let mut snapshot = self.store.snapshot()?;
        for table in [Table::Answers, Table::Audit] {
            if let Some(rows) = snapshot.rows_mut(table) {
                rows.clear();
            }
        }
        Ok(snapshot.to_text())
    }

    /// Puts the state of a backup in place of this one. All of it is checked first; after it this state is retired, and
    /// the caller starts a new life on the store.
    pub fn restore(&mut self, text: &str) -> Result<Done, Refusal> {
        let mut snapshot = Snapshot::from_text(text).map_err(|error| Refusal::Invalid(error.to_string()))?;
        Keys::load(&snapshot)?;
        let networks = read_networks(&snapshot)?;
        let seen: BTreeMap<NetworkId, u32> = self
            .networks
            .iter()
            .map(|(id, held)| (*id, held.map.at().0))
            .collect();
        for (key, value) in snapshot.rows_mut(Table::Networks).into_iter().flatten() {
            let mut row: NetworkRow = rows::decode(value)
                .map_err(|why| Refusal::Invalid(format!("a network of the backup: {why}")))?;
            let held = rows::split_key(key)
                .and_then(|(id, _)| seen.get(&id))
                .copied()
                .unwrap_or(0);
            row.epoch = next_epoch(row.epoch, held, unix_now());
            *value = rows::encode(&row);
        }
        let nodes: usize = networks.values().map(|network| network.nodes.len()).sum();
        let message = format!(
            "restored {} network(s) with {nodes} node(s); nodes that joined later come back by themselves",
            networks.len()
        );
        let mut batch = snapshot.into_batch();
        self.audit.add(&message, &mut batch);
        self.store.commit(&batch)?;
        self.retire();
        Ok(Done { message })
    }
}

/// Above the backup's epoch and the one held, and above that of any other restore of the same backup: an epoch is the
/// time of its restore, where the clock is right.
fn next_epoch(backup: u32, held: u32, now: u64) -> u32 {
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    now.max(backup.saturating_add(1)).max(held.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::next_epoch;

    #[test]
    fn an_epoch_is_above_all_that_were_seen_with_a_clock_and_without() {
        assert_eq!(next_epoch(0, 0, 1_700_000_000), 1_700_000_000);
        assert_eq!(next_epoch(1_700_000_000, 0, 1_700_000_000), 1_700_000_001);
        assert_eq!(next_epoch(3, 9, 0), 10);
        assert_eq!(next_epoch(1_700_000_000, 5, 100), 1_700_000_001);
    }
}
