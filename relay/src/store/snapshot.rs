//! A backup file: every table at one moment, one JSON line each row, closed by a checksum.
//!
//! It holds the coordinator's secrets: whoever has it can be the coordinator. It is meant for another disk, mode 0600.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{Batch, Pair, Rows, StoreError, Table};
use meshd_core::keys::blake2s;

/// First line of a backup; the number is the format's version.
const HEADER: &str = "meshrelay backup 1";

/// All tables at one moment.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    tables: Vec<(Table, Vec<Pair>)>,
}

/// Why a file is no backup that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Another kind of file, or a newer format.
    #[error("this is not a backup that this meshrelay understands: its first line is not \"{HEADER}\"")]
    Header,
    /// Cut off, or changed.
    #[error("the backup is damaged: its checksum does not fit; it may have been cut off while it was copied")]
    Checksum,
    /// A line is wrong though the checksum fits.
    #[error("line {0} of the backup is not understood")]
    Line(usize),
}

impl Rows for Snapshot {
    fn scan(&self, table: Table) -> Result<Vec<Pair>, StoreError> {
        Ok(self.rows(table).to_vec())
    }

    fn damaged(&self, detail: String) -> StoreError {
        StoreError::Damaged {
            path: "(the backup)".into(),
            detail,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    table: String,
    key: String,
    value: String,
}

impl Snapshot {
    /// From tables; each at most once.
    pub fn of_tables(tables: Vec<(Table, Vec<Pair>)>) -> Self {
        Self { tables }
    }

    /// The rows of a table.
    pub fn rows(&self, table: Table) -> &[Pair] {
        self.tables
            .iter()
            .find(|(t, _)| *t == table)
            .map_or(&[], |(_, rows)| rows)
    }

    /// The rows of a table, to be changed.
    pub fn rows_mut(&mut self, table: Table) -> Option<&mut Vec<Pair>> {
        self.tables
            .iter_mut()
            .find(|(t, _)| *t == table)
            .map(|(_, rows)| rows)
    }

    /// What makes a store hold exactly this.
    pub fn into_batch(self) -> Batch {
        let mut batch = Batch::default();
        for table in Table::ALL {
            batch.clear(table);
        }
        for (table, rows) in self.tables {
            for (key, value) in rows {
                batch.put(table, key, value);
            }
        }
        batch
    }

    /// The backup file.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (table, rows) in &self.tables {
            for (key, value) in rows {
                let line = Line {
                    table: table.name().into(),
                    key: BASE64.encode(key),
                    value: BASE64.encode(value),
                };
                // three plain strings always serialise
                text.push_str(&serde_json::to_string(&line).unwrap_or_default());
                text.push('\n');
            }
        }
        let sum = data_encoding::HEXLOWER.encode(&blake2s(&[text.as_bytes()]));
        text + "checksum " + &sum + "\n"
    }

    /// Reads a backup file, wholly or not at all.
    pub fn from_text(text: &str) -> Result<Self, SnapshotError> {
        if text.lines().next() != Some(HEADER) {
            return Err(SnapshotError::Header);
        }
        let at = text.rfind("checksum ").ok_or(SnapshotError::Checksum)?;
        let (content, closing) = text.split_at(at);
        let sum = data_encoding::HEXLOWER.encode(&blake2s(&[content.as_bytes()]));
        if closing != format!("checksum {sum}\n") {
            return Err(SnapshotError::Checksum);
        }
        let mut tables: Vec<(Table, Vec<Pair>)> = Table::ALL.into_iter().map(|t| (t, Vec::new())).collect();
        for (number, line) in content.lines().enumerate().skip(1) {
            let (table, pair) = read_line(line).ok_or(SnapshotError::Line(number + 1))?;
            if let Some((_, rows)) = tables.iter_mut().find(|(t, _)| *t == table) {
                rows.push(pair);
            }
        }
        Ok(Self { tables })
    }
}

fn read_line(line: &str) -> Option<(Table, Pair)> {
    let line: Line = serde_json::from_str(line).ok()?;
    let table = Table::ALL.into_iter().find(|t| t.name() == line.table)?;
    Some((
        table,
        (
            BASE64.decode(line.key.as_bytes()).ok()?,
            BASE64.decode(line.value.as_bytes()).ok()?,
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Snapshot {
        let rows = vec![(b"k".to_vec(), b"checksum \n".to_vec()), (vec![0, 255], vec![])];
        let mut tables: Vec<_> = Table::ALL.into_iter().map(|t| (t, Vec::new())).collect();
        tables[3].1 = rows;
        Snapshot { tables }
    }

    #[test]
    fn written_and_read_back() {
        assert!(Snapshot::from_text(&sample().to_text()).unwrap() == sample());
    }

    #[test]
    fn any_cut_or_change_is_noticed() {
        let text = sample().to_text();
        for end in 0..text.len() {
            assert!(Snapshot::from_text(&text[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(
            Snapshot::from_text(&text.replace("nodes", "acts")).err(),
            Some(SnapshotError::Checksum)
        );
        assert_eq!(Snapshot::from_text("PNG").err(), Some(SnapshotError::Header));
    }
}
