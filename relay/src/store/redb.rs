//! The store in one redb file.
//!
//! The file is made under another name and renamed once it holds its first batch, so a crash leaves either no file or a
//! whole one; a marker beside it remembers that the directory is in use, so a lost file is an error and never a fresh
//! start. After an I/O error (a full disk) redb refuses everything until the file is opened again: that happens at the
//! next use, so that a coordinator recovers when there is space again.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableError,
};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Batch, Change, Pair, Rows, Snapshot, Store, StoreError, Table};

const FILE: &str = "relay.redb";
const FRESH: &str = "relay.redb.new";
const MARKER: &str = "in-use";
/// Everything is held in memory above the store; it reads little. A process grows by this much while it is young.
const CACHE_BYTES: usize = 512 << 10;

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
        mark(&marker).map_err(unreachable)?;
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

/// Makes the mark where there is none, and keeps it private as all other files.
fn mark(path: &Path) -> std::io::Result<()> {
    if !path.try_exists()? {
        fs::write(path, "meshrelay keeps its state here, in relay.redb\n")?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o600))
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
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(StoreError::InUse {
                path: path.to_owned(),
            });
        }
        Err(errno) => return Err(unreachable(errno.into())),
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
mod tests;
