//! The store's file, whole and otherwise.

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
