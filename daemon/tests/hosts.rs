//! The hosts file as a machine has it: attributes, links, bind mounts, read-only files, other programs.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use meshd::hosts::{Change, HostsError, HostsFile, HostsReport, keep};
use meshd_core::names::{self, Address, Journal, NetworkNames, NodeName, Reason, Wanted};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change, mount_remount, unmount,
};
use rustix::thread::UnshareFlags;
use tokio::sync::watch;

const BEFORE: &[u8] = b"127.0.0.1 localhost\r\n\xff no text\n::1 localhost";

struct Machine {
    dir: tempfile::TempDir,
    hosts: HostsFile,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::create_dir_all(dir.path().join("state")).unwrap();
        std::fs::write(dir.path().join("etc/hosts"), BEFORE).unwrap();
        let hosts = HostsFile::open(
            &dir.path().join("etc/hosts"),
            &dir.path().join("state"),
            "default",
        )
        .unwrap();
        Self { dir, hosts }
    }

    fn path(&self) -> PathBuf {
        self.hosts.path().to_owned()
    }

    fn read(&self) -> Vec<u8> {
        std::fs::read(self.hosts.path()).unwrap()
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("state/hosts.journal")
    }

    fn left_beside(&self) -> usize {
        std::fs::read_dir(self.path().parent().unwrap()).unwrap().count() - 1
    }
}

fn wanted(label: &str, count: u32) -> Wanted {
    let node = |i: u32| NodeName {
        label: format!("{label}{i}"),
        address: Address {
            ipv4: Some(Ipv4Addr::from(0x0a4d_0000 + i)),
            ipv6: None,
        },
    };
    let network = NetworkNames {
        network: "prod".into(),
        nodes: (0..count).map(node).collect(),
        ..Default::default()
    };
    Wanted {
        own_host_name: "me".into(),
        networks: vec![network],
    }
}

/// Gives this test's thread a mount namespace of its own; false where that is not allowed.
fn own_mounts() -> bool {
    #[expect(
        deprecated,
        reason = "its unsafe successor is about descriptor tables, which are not unshared here"
    )]
    let unshared = rustix::thread::unshare(UnshareFlags::NEWNS);
    if let Err(e) = unshared {
        eprintln!("skipped: a mount namespace needs root ({e})");
        return false;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    true
}

#[test]
fn a_replaced_file_keeps_its_mode_and_attributes() {
    let mut machine = Machine::new();
    let path = machine.path();
    std::fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let has_xattr = rustix::fs::setxattr(&path, "user.meshd.test", b"kept", flags).is_ok();
    let inode = std::fs::metadata(&path).unwrap().ino();

    assert_eq!(
        machine.hosts.apply(&wanted("db", 2)).unwrap().change,
        Change::Replaced
    );
    assert_eq!(
        machine.hosts.apply(&wanted("db", 2)).unwrap().change,
        Change::None
    );

    let meta = std::fs::metadata(&path).unwrap();
    assert_ne!(meta.ino(), inode);
    assert_eq!(meta.mode() & 0o7777, 0o664);
    if has_xattr {
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(&path, "user.meshd.test", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
    assert_eq!(machine.left_beside(), 0);
    machine.hosts.clean().unwrap();
    assert_eq!(machine.read(), BEFORE);
}

#[test]
fn a_symbolic_link_stays_one_and_a_hard_link_keeps_its_file() {
    let mut machine = Machine::new();
    let (path, real) = (machine.path(), machine.dir.path().join("real"));
    std::fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    assert_eq!(
        machine.hosts.apply(&wanted("db", 1)).unwrap().change,
        Change::Replaced
    );
    assert!(path.is_symlink());
    assert!(names::has_blocks(&std::fs::read(&real).unwrap(), "default"));

    let other = machine.dir.path().join("other");
    std::fs::hard_link(&real, &other).unwrap();
    assert_eq!(
        machine.hosts.apply(&wanted("db", 2)).unwrap().change,
        Change::InPlace
    );
    assert_eq!(std::fs::read(&other).unwrap(), machine.read());
    assert!(!machine.journal().exists());
}

#[test]
fn a_file_that_did_not_exist_is_made_and_goes_again() {
    let mut machine = Machine::new();
    std::fs::remove_file(machine.path()).unwrap();
    assert_eq!(
        machine.hosts.apply(&wanted("db", 0)).unwrap().change,
        Change::None
    );
    assert!(!machine.path().exists());
    assert_eq!(
        machine.hosts.apply(&wanted("db", 1)).unwrap().change,
        Change::Replaced
    );
    assert_eq!(std::fs::metadata(machine.path()).unwrap().mode() & 0o777, 0o644);
    machine.hosts.clean().unwrap();
    assert!(!machine.path().exists());
}

#[test]
fn a_bind_mount_is_written_in_place() {
    let mut machine = Machine::new();
    if !own_mounts() {
        return;
    }
    let source = machine.dir.path().join("source");
    std::fs::write(&source, BEFORE).unwrap();
    mount_bind(&source, machine.path()).unwrap();
    assert_eq!(
        machine.hosts.apply(&wanted("db", 3)).unwrap().change,
        Change::InPlace
    );
    assert_eq!(machine.read(), std::fs::read(&source).unwrap());
    assert_eq!(names::outside(&machine.read(), "default"), BEFORE);
    machine.hosts.clean().unwrap();
    assert_eq!(machine.read(), BEFORE);
    assert!(!machine.journal().exists() && machine.left_beside() == 0);

    mount_remount(machine.path(), MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    let before = machine.hosts.apply(&wanted("db", 3));
    assert!(matches!(before, Err(HostsError::ReadOnly { .. })), "{before:?}");
    assert_eq!(machine.read(), BEFORE);
    assert!(!machine.journal().exists());
    unmount(machine.path(), UnmountFlags::DETACH).unwrap();
}

#[test]
fn every_page_boundary_of_a_torn_write_is_recovered() {
    let blocks = |label, count| names::update(BEFORE, "default", &wanted(label, count)).bytes;
    for (old, new) in [
        (blocks("a", 0), blocks("b", 900)),
        (blocks("a", 900), blocks("longer-name", 700)),
    ] {
        let page = 4096;
        for written in (0..=new.len() / page).map(|n| n * page).chain([new.len()]) {
            for tail in [&b""[..], b"203.0.113.9 appended\n"] {
                let mut machine = Machine::new();
                let mut torn = old.clone();
                torn.resize(old.len().max(written), 0);
                torn[..written].copy_from_slice(&new[..written]);
                torn.extend_from_slice(tail);
                std::fs::write(machine.path(), &torn).unwrap();
                let target = machine.path().canonicalize().unwrap();
                let journal = Journal {
                    path: target.into_os_string().into_encoded_bytes(),
                    old: old.clone(),
                    new: new.clone(),
                };
                std::fs::write(machine.journal(), journal.encode()).unwrap();
                machine.hosts.recover().unwrap();
                let outside = names::outside(&machine.read(), "default");
                assert_eq!(outside, [BEFORE, tail].concat(), "{written} of {}", new.len());
                machine.hosts.apply(&wanted("c", 1)).unwrap();
                assert_eq!(
                    names::outside(&machine.read(), "default"),
                    [BEFORE, tail].concat()
                );
                assert!(!machine.journal().exists());
            }
        }
    }
}

#[test]
fn a_garbled_journal_is_reported_and_stops_nothing() {
    let mut machine = Machine::new();
    std::fs::write(machine.journal(), b"meshd hosts journal 1\ngarbage").unwrap();
    assert!(machine.hosts.recover().unwrap().journal_unreadable);
    assert_eq!(
        machine.hosts.apply(&wanted("db", 1)).unwrap().change,
        Change::Replaced
    );
}

#[test]
fn a_file_that_somebody_is_writing_is_left_alone_until_it_is_closed() {
    let mut machine = Machine::new();
    let mut writer = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(machine.path())
        .unwrap();
    writer.write_all(b"127.0.0.1 loc").unwrap();
    assert!(matches!(
        machine.hosts.apply(&wanted("db", 1)),
        Err(HostsError::Busy { .. })
    ));
    writer.write_all(b"alhost\n").unwrap();
    drop(writer);
    machine.hosts.apply(&wanted("db", 1)).unwrap();
    assert_eq!(
        names::outside(&machine.read(), "default"),
        b"127.0.0.1 localhost\n"
    );
}

#[test]
fn a_folder_or_a_device_is_refused_with_a_sentence() {
    let state = tempfile::tempdir().unwrap();
    for path in [state.path(), "/dev/null".as_ref()] {
        let mut hosts = HostsFile::open(path, state.path(), "default").unwrap();
        let error = hosts.apply(&wanted("db", 1)).unwrap_err().to_string();
        assert!(
            error.contains("is not a regular file") && error.contains("--hosts-file"),
            "{error}"
        );
    }
    assert!(HostsFile::open(state.path(), state.path(), "a/b").is_err());
}

#[tokio::test]
async fn the_block_comes_back_when_somebody_rewrites_the_file() {
    let machine = Machine::new();
    let path = machine.path();
    let (want, wants) = watch::channel(wanted("db", 2));
    let (report, mut reports) = watch::channel(HostsReport::default());
    let keeper = tokio::spawn(keep(machine.hosts.clone(), wants, report));
    let has_block = |path: &PathBuf, label: &str| {
        let bytes = std::fs::read(path).unwrap_or_default();
        names::has_blocks(&bytes, "default") && String::from_utf8_lossy(&bytes).contains(label)
    };
    wait_for(|| has_block(&path, "db1.prod.mesh")).await;

    std::fs::write(&path, b"127.0.0.1 localhost\n").unwrap();
    wait_for(|| has_block(&path, "db1.prod.mesh")).await;
    let part = path.with_extension("new");
    File::create(&part)
        .unwrap()
        .write_all(b"192.0.2.1 db0\n")
        .unwrap();
    std::fs::rename(&part, &path).unwrap();
    wait_for(|| has_block(&path, "db1.prod.mesh")).await;
    reports.wait_for(|report| report.restored >= 2).await.unwrap();
    let report = reports
        .wait_for(|report| !report.withheld.is_empty())
        .await
        .unwrap()
        .clone();
    assert_eq!(
        (report.withheld[0].label.as_str(), report.withheld[0].reason),
        ("db0", Reason::ElsewhereInFile)
    );

    want.send(wanted("web", 2)).unwrap();
    wait_for(|| has_block(&path, "web1.prod.mesh")).await;
    drop(want);
    let mut hosts = keeper.await.unwrap();
    hosts.clean().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"192.0.2.1 db0\n");
}

/// Takes 10 s: nothing tells that a file may be written again, so it is tried.
#[tokio::test]
async fn what_could_not_be_written_is_tried_again_and_the_problem_ends() {
    let machine = Machine::new();
    let (path, state) = (machine.path(), machine.dir.path().join("state"));
    // a file with a second name is written in place, by way of a journal, for which there is no folder
    std::fs::hard_link(&path, machine.dir.path().join("elsewhere")).unwrap();
    std::fs::remove_dir(&state).unwrap();
    let (_want, wants) = watch::channel(wanted("db", 2));
    let (report, mut reports) = watch::channel(HostsReport::default());
    let keeper = tokio::spawn(keep(machine.hosts.clone(), wants, report));
    reports.wait_for(|report| report.problem.is_some()).await.unwrap();
    std::fs::create_dir(&state).unwrap();
    let ends = reports.wait_for(|report| report.problem.is_none());
    let within = tokio::time::timeout(Duration::from_secs(20), ends).await;
    within.expect("it is tried again").unwrap();
    assert!(names::has_blocks(&std::fs::read(&path).unwrap(), "default"));
    keeper.abort();
}

#[tokio::test]
async fn a_restart_does_not_take_the_names_away_for_a_moment() {
    let mut machine = Machine::new();
    machine.hosts.apply(&wanted("db", 2)).unwrap();
    let before = std::fs::metadata(machine.path()).unwrap().ino();
    let (want, wants) = watch::channel(Wanted::default());
    let (report, _reports) = watch::channel(HostsReport::default());
    let keeper = tokio::spawn(keep(machine.hosts.clone(), wants, report));
    tokio::task::yield_now().await;
    want.send(wanted("db", 2)).unwrap();
    drop(want);
    keeper.await.unwrap();
    assert_eq!(
        std::fs::metadata(machine.path()).unwrap().ino(),
        before,
        "the file was not written at all"
    );
}

#[test]
fn clones_and_other_processes_take_turns() {
    let machine = Machine::new();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let mut hosts = machine.hosts.clone();
            scope.spawn(move || {
                for round in 0..25 {
                    hosts.apply(&wanted(&format!("t{n}-{round}-"), 50)).unwrap();
                }
            });
        }
    });
    assert_eq!(names::outside(&machine.read(), "default"), BEFORE);
    assert_eq!(machine.left_beside(), 0);
}

/// Looks again and again; a test that never comes true fails by its time limit of 20 s.
async fn wait_for(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("it came true");
}
