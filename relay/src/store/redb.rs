//! The store in one redb file.
//!
//! The file is made under another name and renamed once it holds its first batch, so a crash leaves either no file or a
//! whole one; a marker beside it remembers that the directory is in use, so a lost file is an error and never a fresh
//! start. After an I/O error (a full disk) redb refuses everything until the file is opened again: that happens at the
//! next use, so that a coordinator recovers when there is space again.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableError,
};

use super::{Batch, Change, Pair, Rows, Snapshot, Store, StoreError, Table};

const FILE: &str = "relay.redb";
const FRESH: &str = "relay.redb.new";
const MARKER: &str = "in-use";
/// Everything is held in memory above the store; it reads little.
const CACHE_BYTES: usize = 4 << 20;

type Bytes = &'static [u8];

const fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

/// The embedded store.
pub struct RedbStore {
    path: PathBuf,
    /// None after an error, until the next use opens it again.
    database: Mutex<Option<Database>>,
}

impl RedbStore {
    /// Opens the store in `dir` (0700, made if absent). Where there is none, `first` gives what it starts with.
    pub fn open(dir: &Path, first: impl FnOnce() -> Batch) -> Result<Self, StoreError> {
        let unreachable = |cause| StoreError::Unreachable {
            path: dir.to_owned(),
            cause,
        };
        fs::create_dir_all(dir).map_err(unreachable)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(unreachable)?;
        let path = dir.join(FILE);
        let marker = dir.join(MARKER);
        if !path.try_exists().map_err(unreachable)? {
            if marker.try_exists().map_err(unreachable)? {
                return Err(StoreError::Missing { path });
            }
            create(dir, &path, &first())?;
        }
        if fs::metadata(&path).map_err(unreachable)?.len() == 0 {
            return Err(StoreError::Missing { path });
        }
        let database = open(&path)?;
        if !marker.try_exists().map_err(unreachable)? {
            fs::write(&marker, "meshrelay keeps its state here, in relay.redb\n").map_err(unreachable)?;
        }
        Ok(Self {
            path,
            database: Mutex::new(Some(database)),
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut slot = self
            .database
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if slot.is_none() {
            *slot = Some(open(&self.path)?);
        }
        let result = match slot.as_ref() {
            Some(database) => work(database),
            None => Err(redb::Error::DatabaseClosed),
        };
        result.map_err(|error| {
            *slot = None;
            refused(&self.path, error)
        })
    }
}

impl Rows for RedbStore {
    fn scan(&self, table: Table) -> Result<Vec<Pair>, StoreError> {
        self.with(|database| pairs(&database.begin_read()?, table))
    }

    fn damaged(&self, detail: String) -> StoreError {
        damaged(&self.path, detail)
    }
}

impl Store for RedbStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.with(|database| write(database, batch))
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let tables = Table::ALL
                .into_iter()
                .map(|table| Ok((table, pairs(&transaction, table)?)));
            tables
                .collect::<Result<_, redb::Error>>()
                .map(Snapshot::of_tables)
        })
    }
}

fn pairs(transaction: &ReadTransaction, table: Table) -> Result<Vec<Pair>, redb::Error> {
    let opened = match transaction.open_table(definition(table)) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut pairs = Vec::new();
    for pair in opened.iter()? {
        let (key, value) = pair?;
        pairs.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(pairs)
}

fn write(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for change in batch.changes() {
        match change {
            Change::Put(table, key, value) => {
                transaction
                    .open_table(definition(*table))?
                    .insert(key.as_slice(), value.as_slice())?;
            }
            Change::Delete(table, key) => {
                transaction
                    .open_table(definition(*table))?
                    .remove(key.as_slice())?;
            }
            Change::Clear(table) => {
                transaction.delete_table(definition(*table))?;
            }
        }
    }
    Ok(transaction.commit()?) // durable: redb's default is to sync before it returns
}

/// Makes the file under another name, with its first batch in it, and moves it into place.
fn create(dir: &Path, path: &Path, first: &Batch) -> Result<(), StoreError> {
    let fresh = dir.join(FRESH);
    let unreachable = |cause| StoreError::Unreachable {
        path: fresh.clone(),
        cause,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&fresh);
    let file = file.map_err(unreachable)?;
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(unreachable)?;
    let make = || -> Result<(), redb::Error> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_file(file)?;
        write(&database, first)
    };
    make().map_err(|error| refused(&fresh, error))?;
    fs::rename(&fresh, path).map_err(unreachable)?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(unreachable)
}

thread_local! {
    /// The file that this thread is opening. redb panics on some damaged files: this tells such a panic from others.
    static OPENING: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// Where panics abort (release builds), nothing can be caught: this makes the program end with the sentence that a
/// damaged file deserves, and leaves other panics as they are. For `main`.
pub fn report_damage_where_panics_abort() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let opening = OPENING.with(|opening| opening.try_borrow().ok().and_then(|path| path.clone()));
        match opening {
            Some(path) if cfg!(panic = "abort") => {
                eprintln!("meshrelay: {}", damaged(&path, info));
                std::process::exit(1);
            }
            _ => usual(info),
        }
    }));
}

/// Opens an existing file, all of which is checked before it is touched: redb repairs as it opens, and what it made of a
/// damaged file would be no help to anybody.
fn open(path: &Path) -> Result<Database, StoreError> {
    let bytes = read_alone(path)?;
    OPENING.with(|opening| opening.replace(Some(path.to_owned())));
    let checked = catch_unwind(AssertUnwindSafe(|| check(path, &bytes)));
    OPENING.with(|opening| opening.replace(None));
    checked.unwrap_or_else(|_| Err(damaged(path, "redb cannot read its structure")))?;
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .open(path)
        .map_err(|error| refused(path, error.into()))
}

/// The file's bytes, where no other process has it open.
fn read_alone(path: &Path) -> Result<Vec<u8>, StoreError> {
    let unreachable = |cause| StoreError::Unreachable {
        path: path.to_owned(),
        cause,
    };
    let mut file = File::open(path).map_err(unreachable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::InUse {
                path: path.to_owned(),
            });
        }
        Err(TryLockError::Error(cause)) => return Err(unreachable(cause)),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreachable)?;
    Ok(bytes)
}

/// Opens and checks a copy in memory.
fn check(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let copy = InMemoryBackend::new();
    let filled = copy
        .set_len(bytes.len() as u64)
        .and_then(|()| copy.write(0, bytes));
    filled.map_err(|error| refused(path, redb::StorageError::from(error).into()))?;
    let mut database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(copy)
        .map_err(|error| refused(path, error.into()))?;
    match database.check_integrity() {
        Ok(true) => Ok(()),
        Ok(false) => Err(damaged(path, "checksums do not fit")),
        Err(error) => Err(refused(path, error.into())),
    }
}

fn damaged(path: &Path, detail: impl ToString) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        detail: detail.to_string(),
    }
}

fn refused(path: &Path, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path },
        redb::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => StoreError::Damaged {
            path,
            detail: cause.to_string(),
        },
        redb::Error::Io(cause) => StoreError::Io {
            path,
            detail: cause.to_string(),
        },
        redb::Error::PreviousIo => StoreError::Io {
            path,
            detail: "an earlier write failed".into(),
        },
        other => StoreError::Damaged {
            path,
            detail: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Batch {
        let mut batch = Batch::default();
        batch.put(Table::Meta, *b"schema", [1]);
        batch
    }

    fn never() -> Batch {
        panic!("a store that exists is not made anew")
    }

    /// A store with a few hundred rows, closed.
    fn filled(dir: &Path) {
        let store = RedbStore::open(dir, first).unwrap();
        for n in 0..200u32 {
            let mut batch = Batch::default();
            batch.put(Table::Nodes, n.to_be_bytes(), [n as u8; 700]);
            store.commit(&batch).unwrap();
        }
    }

    #[test]
    fn a_batch_is_whole_ordered_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path(), first).unwrap();
        let mut batch = Batch::default();
        batch.put(Table::Tokens, *b"b", *b"2");
        batch.put(Table::Tokens, *b"a", *b"1");
        batch.put(Table::Tokens, *b"c", *b"3");
        batch.delete(Table::Tokens, *b"b");
        store.commit(&batch).unwrap();
        let pair = |k: &[u8], v: &[u8]| (k.to_vec(), v.to_vec());
        assert_eq!(
            store.scan(Table::Tokens).unwrap(),
            [pair(b"a", b"1"), pair(b"c", b"3")]
        );
        let mut clear = Batch::default();
        clear.clear(Table::Tokens);
        clear.put(Table::Tokens, *b"d", *b"4");
        store.commit(&clear).unwrap();
        drop(store);
        let store = RedbStore::open(dir.path(), never).unwrap();
        assert_eq!(store.scan(Table::Tokens).unwrap(), [pair(b"d", b"4")]);
        assert_eq!(store.scan(Table::Audit).unwrap(), []);
    }

    #[test]
    fn a_second_process_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let _held = RedbStore::open(dir.path(), first).unwrap();
        assert!(matches!(
            RedbStore::open(dir.path(), never),
            Err(StoreError::InUse { .. })
        ));
    }

    #[test]
    fn a_lost_or_emptied_file_is_never_a_fresh_start() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let path = dir.path().join(FILE);
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        assert!(matches!(
            RedbStore::open(dir.path(), never),
            Err(StoreError::Missing { .. })
        ));
        File::create(&path).unwrap();
        assert!(matches!(
            RedbStore::open(dir.path(), never),
            Err(StoreError::Missing { .. })
        ));
        fs::rename(dir.path().join("elsewhere"), &path).unwrap();
        assert_eq!(
            RedbStore::open(dir.path(), never)
                .unwrap()
                .scan(Table::Nodes)
                .unwrap()
                .len(),
            200
        );
    }

    #[test]
    fn a_crash_while_the_file_is_made_leaves_a_fresh_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FRESH), b"half").unwrap();
        let store = RedbStore::open(dir.path(), first).unwrap();
        assert_eq!(store.scan(Table::Meta).unwrap().len(), 1);
    }

    #[test]
    fn truncation_is_an_error_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for part in 1..24 {
            let cut = whole.len() * part / 24 + part;
            fs::write(&path, &whole[..cut.min(whole.len() - 1)]).unwrap();
            let error = RedbStore::open(dir.path(), never).map(|_| ()).unwrap_err();
            assert!(
                matches!(error, StoreError::Damaged { .. } | StoreError::Io { .. }),
                "{error}"
            );
            assert!(
                fs::read(&path).unwrap() == whole[..cut.min(whole.len() - 1)],
                "it was touched"
            );
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(
            RedbStore::open(dir.path(), never)
                .unwrap()
                .scan(Table::Nodes)
                .unwrap()
                .len(),
            200
        );
    }

    #[test]
    fn garbled_bytes_are_an_error_or_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for step in 0..120usize {
            let mut garbled = whole.clone();
            let at = step * 7919 % whole.len();
            for byte in garbled.iter_mut().skip(at).take(64) {
                *byte ^= 0x5a;
            }
            fs::write(&path, &garbled).unwrap();
            let opened = RedbStore::open(dir.path(), never);
            assert!(
                opened.is_ok() || fs::read(&path).unwrap() == garbled,
                "it was touched"
            );
            if let Ok(store) = opened {
                assert_eq!(
                    store.scan(Table::Nodes).map(|rows| rows.len()).unwrap(),
                    200,
                    "at {at}"
                );
            }
        }
    }
}
