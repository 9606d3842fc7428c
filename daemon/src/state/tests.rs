//! The state folder under damage, downgrades and second owners.

use super::{NetworkFiles, StateDir, StateError};
use meshd_core::id::NetworkId;
use std::fs;
use std::path::{Path, PathBuf};

struct Folder {
    root: tempfile::TempDir,
    state: StateDir,
}

fn folder() -> Folder {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::open(root.path()).unwrap();
    Folder { state, root }
}

impl Folder {
    fn files(&self) -> NetworkFiles {
        self.state.network([7; 16].into())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root
            .path()
            .join("networks")
            .join(NetworkId::from_bytes([7; 16]).to_string())
            .join(name)
    }
}

fn load(files: &NetworkFiles) -> Vec<u8> {
    files.load("map").unwrap().expect("there").to_vec()
}

#[test]
fn what_was_saved_last_is_loaded() {
    let folder = folder();
    let files = folder.files();
    assert!(files.load("map").unwrap().is_none());
    for text in [&b"one"[..], b"two", b"three"] {
        files.save("map", text).unwrap();
        assert_eq!(load(&files), text);
    }
}

#[test]
fn a_damaged_file_gives_way_to_its_older_generation() {
    let folder = folder();
    let files = folder.files();
    files.save("map", b"one").unwrap();
    files.save("map", b"two").unwrap();
    for damage in [&b""[..], b"garbage"] {
        fs::write(folder.path("map"), damage).unwrap();
        assert_eq!(load(&files), b"one");
    }
    fs::remove_file(folder.path("map")).unwrap();
    assert_eq!(load(&files), b"one");
}

#[test]
fn a_damaged_file_does_not_become_the_older_generation() {
    let folder = folder();
    let files = folder.files();
    files.save("map", b"one").unwrap();
    files.save("map", b"two").unwrap();
    fs::write(folder.path("map"), b"garbage").unwrap();
    files.save("map", b"three").unwrap();
    fs::write(folder.path("map"), b"garbage").unwrap();
    assert_eq!(load(&files), b"one");
}

#[test]
fn two_damaged_generations_are_an_error_that_names_the_file_and_what_to_do() {
    let folder = folder();
    let files = folder.files();
    files.save("map", b"one").unwrap();
    files.save("map", b"two").unwrap();
    fs::write(folder.path("map"), b"garbage").unwrap();
    fs::write(folder.path("map.old"), b"garbage").unwrap();
    let said = files.load("map").unwrap_err().to_string();
    assert!(said.contains(&folder.path("map").display().to_string()), "{said}");
    assert!(said.contains("backup"), "{said}");
}

#[test]
fn either_copy_of_the_machine_key_brings_the_other_back() {
    let folder = folder();
    folder.files().save("map", b"one").unwrap();
    let Folder { root, state } = folder;
    drop(state);
    for lost in ["machine.key", "machine.key.copy"] {
        fs::write(root.path().join(lost), b"short").unwrap();
        let state = StateDir::open(root.path()).unwrap();
        assert_eq!(load(&state.network([7; 16].into())), b"one", "{lost}");
    }
    let key = fs::read(root.path().join("machine.key")).unwrap();
    assert_eq!(fs::read(root.path().join("machine.key.copy")).unwrap(), key);
}

#[test]
fn two_damaged_machine_keys_are_an_error_and_never_a_new_key() {
    let Folder { root, state } = folder();
    drop(state);
    for name in ["machine.key", "machine.key.copy"] {
        fs::write(root.path().join(name), b"short").unwrap();
    }
    assert!(matches!(
        StateDir::open(root.path()),
        Err(StateError::Damaged { .. })
    ));
}

#[test]
fn a_second_meshd_is_told_of_the_first() {
    let folder = folder();
    let said = StateDir::open(folder.root.path())
        .err()
        .expect("locked")
        .to_string();
    assert!(
        said.contains("another meshd") && said.contains("--instance"),
        "{said}"
    );
}

#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    folder.files().save("map", b"one").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path("map")), 0o600);
    assert_eq!(mode(folder.path("map").parent().unwrap()), 0o700);
}

#[test]
fn a_template_is_kept_and_forgotten() {
    let folder = folder();
    folder.state.set_template(Some("mesh1abc")).unwrap();
    assert_eq!(
        folder.state.template().unwrap().as_deref().map(String::as_str),
        Some("mesh1abc")
    );
    folder.state.set_template(None).unwrap();
    assert!(folder.state.template().unwrap().is_none());
}

/// A file as a release would write it that knows a format more.
fn of_a_newer_release(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let sum = meshd_core::keys::blake2s(&[b"meshd sealed head v1", &bytes[..36]]);
    bytes[36..40].copy_from_slice(&sum[..4]);
    bytes
}

/// Every file below, with what is in it.
fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(everything(&entry.path())),
            false => all.push((entry.path(), fs::read(entry.path()).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn a_file_of_a_newer_release_is_refused_in_a_sentence_and_its_older_generation_is_not_used() {
    let folder = folder();
    let files = folder.files();
    files.save("map", b"one").unwrap();
    files.save("map", b"two").unwrap();
    let newer = of_a_newer_release(&folder.path("map"));
    fs::write(folder.path("map"), &newer).unwrap();
    let said = files.load("map").unwrap_err().to_string();
    assert!(said.contains("newer") && said.contains("format 2"), "{said}");
    assert!(files.save("map", b"three").is_err(), "and it is not written over");
    assert_eq!(fs::read(folder.path("map")).unwrap(), newer);
}

#[test]
fn an_older_meshd_does_not_start_on_the_state_of_a_newer_one_and_touches_nothing() {
    let folder = folder();
    folder.files().save("identity", b"one").unwrap();
    folder.state.set_template(Some("mesh1abc")).unwrap();
    let newer = [folder.path("identity"), folder.root.path().join("template")];
    let Folder { root, state } = folder;
    drop(state);
    fs::remove_file(root.path().join("machine.key.copy")).unwrap();
    for path in newer {
        let good = fs::read(&path).unwrap();
        fs::write(&path, of_a_newer_release(&path)).unwrap();
        let before = everything(root.path());
        let said = StateDir::open(root.path()).err().expect("refused").to_string();
        assert!(
            said.contains("newer") && said.contains(&path.display().to_string()),
            "{said}"
        );
        assert!(everything(root.path()) == before, "nothing was touched");
        fs::write(&path, good).unwrap();
    }
    assert!(StateDir::open(root.path()).is_ok());
}
