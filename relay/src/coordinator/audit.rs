//! The audit lines: what was changed and when, in the log and, the last of them, in the store.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::info;

use crate::store::{Batch, Rows, StoreError, Table};

/// Lines kept in the store.
const MAX_LINES: usize = 10_000;

/// The keys of the lines kept, oldest first.
#[derive(Default)]
pub struct Audit(VecDeque<Vec<u8>>);

impl Audit {
    /// Reads which there are.
    pub fn load(store: &(impl Rows + ?Sized)) -> Result<Self, StoreError> {
        Ok(Self(
            store
                .scan(Table::Audit)?
                .into_iter()
                .map(|(key, _)| key)
                .collect(),
        ))
    }

    /// Logs a line, and puts it into `batch` in place of the oldest where there are many.
    pub fn add(&mut self, line: &str, batch: &mut Batch) {
        info!(target: "audit", "{line}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // lines of one nanosecond, or of a clock that went back, keep their order
        let after_last = self
            .0
            .back()
            .and_then(|key| Some(u128::from_be_bytes(key.as_slice().try_into().ok()?) + 1));
        let key = now.as_nanos().max(after_last.unwrap_or(0)).to_be_bytes().to_vec();
        batch.put(Table::Audit, key.clone(), format!("{} {line}", now.as_secs()));
        self.0.push_back(key);
        while self.0.len() > MAX_LINES {
            if let Some(oldest) = self.0.pop_front() {
                batch.delete(Table::Audit, oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Change;

    #[test]
    fn lines_keep_their_order_and_the_oldest_go() {
        let mut audit = Audit::default();
        let mut last = Vec::new();
        for n in 0..MAX_LINES + 5 {
            let mut batch = Batch::default();
            audit.add("line", &mut batch);
            let Some(Change::Put(Table::Audit, key, _)) = batch.changes().first() else {
                panic!()
            };
            assert!(*key > last);
            last = key.clone();
            assert_eq!(batch.changes().len(), if n < MAX_LINES { 1 } else { 2 });
        }
        assert_eq!(audit.0.len(), MAX_LINES);
    }
}
