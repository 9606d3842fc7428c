//! The descriptor holder, as a process of its own.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use meshd_net::holder::{Holder, HolderError, MAX_HELD, Start, serve};
use rustix::fs::{FlockOperation, flock};

use crate::myself;

/// The role: serves `path`.
pub fn hold(path: &str) {
    if let Err(error) = serve(Path::new(path)) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// The role: connects, and exits with 7 where the holder turns out to be somebody else's.
pub fn visit(path: &str) {
    match Holder::connect(Path::new(path)) {
        Err(HolderError::Stranger { uid: 0, .. }) => std::process::exit(7),
        other => eprintln!("{other:?}"),
    }
}

/// The holder at `path`, started if need be.
pub fn obtain(path: &Path) -> Holder {
    let program = myself();
    let arguments = ["role", "hold", path.to_str().unwrap()];
    Holder::obtain(
        path,
        &Start {
            program: &program,
            arguments: &arguments,
        },
    )
    .unwrap()
}

/// Waits until the holder's process is gone: its lock is free then, or its file is gone, where the holder ended in peace.
pub fn wait_for_end(path: &Path) {
    match File::open(format!("{}.lock", path.display())) {
        Ok(lock) => flock(&lock, FlockOperation::LockExclusive).unwrap(),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
    assert!(Holder::connect(path).unwrap().is_none());
}

fn file_with(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.into()
}

fn text_of(fd: OwnedFd) -> String {
    let mut file = File::from(fd);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

pub fn keeps_what_it_is_given_until_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("holder");
    assert!(Holder::connect(&path).unwrap().is_none());
    let holder = obtain(&path);
    let (a, b, c) = (file_with("a"), file_with("b"), file_with("c"));
    holder.put("two", &[a.as_fd(), b.as_fd()]).unwrap();
    holder.put("one", &[c.as_fd()]).unwrap();
    drop((a, b, c, holder));

    // Another connection, as of a successor.
    let holder = obtain(&path);
    assert_eq!(
        holder.list().unwrap(),
        [("one".to_owned(), 1), ("two".to_owned(), 2)]
    );
    for _ in 0..2 {
        let texts: Vec<_> = holder.get("two").unwrap().into_iter().map(text_of).collect();
        assert_eq!(texts, ["a", "b"]);
    }
    assert!(holder.get("none").unwrap().is_empty());
    let d = file_with("d");
    holder.put("two", &[d.as_fd()]).unwrap();
    assert_eq!(
        holder.list().unwrap(),
        [("one".to_owned(), 1), ("two".to_owned(), 1)]
    );
    holder.drop_name("one").unwrap();
    holder.drop_name("one").unwrap();
    assert_eq!(holder.list().unwrap(), [("two".to_owned(), 1)]);

    // It ends when it holds nothing and nobody is there, ...
    holder.drop_name("two").unwrap();
    drop(holder);
    wait_for_end(&path);
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        0,
        "its lock is gone, too"
    );
    // ... and when told to.
    let holder = obtain(&path);
    holder.put("x", &[d.as_fd()]).unwrap();
    holder.quit().unwrap();
    wait_for_end(&path);
}

pub fn refuses_what_it_cannot_keep() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("holder");
    let holder = obtain(&path);
    let file = file_with("");
    for name in ["", "two words", &"x".repeat(65)] {
        let error = holder.put(name, &[file.as_fd()]).unwrap_err().to_string();
        assert!(error.contains("64 visible"), "{error}");
    }
    assert!(holder.put("none", &[]).is_err());
    assert!(holder.put("many", &[file.as_fd(); 65]).is_err());
    for number in 0..MAX_HELD / 64 {
        holder.put(&format!("set{number}"), &[file.as_fd(); 64]).unwrap();
    }
    let error = holder.put("more", &[file.as_fd()]).unwrap_err().to_string();
    assert!(error.contains("as many descriptors as it may"), "{error}");
    // In the place of others there is room, and what is there is not harmed by all this.
    holder.put("set0", &[file.as_fd()]).unwrap();
    assert_eq!(holder.get("set1").unwrap().len(), 64);
    holder.quit().unwrap();
    wait_for_end(&path);
}

pub fn a_dead_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("holder");
    let mut child = Command::new(myself());
    let mut child = child
        .args(["role", "hold", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert!(Holder::connect(&path).unwrap().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(path.exists(), "its socket is left");
    assert!(Holder::connect(&path).unwrap().is_none());
    obtain(&path).quit().unwrap();
    wait_for_end(&path);
}

pub fn serves_a_path_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("holder");
    let holder = obtain(&path);
    let second = Command::new(myself())
        .args(["role", "hold", path.to_str().unwrap()])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success() && words.contains("serves it already"),
        "{words}"
    );
    assert!(second.stdout.is_empty());
    assert_eq!(holder.list().unwrap(), []);
    holder.quit().unwrap();
    wait_for_end(&path);
}

pub fn strangers_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can run a program as somebody else");
    }
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(directory.path(), 0o755);
    let program = directory.path().join("program");
    fs::copy(myself(), &program).unwrap();
    open(&program, 0o755);
    let path = directory.path().join("holder");
    let holder = obtain(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Even where the socket's permissions let somebody through, both sides look.
    open(&path, 0o777);
    let mut visitor = Command::new(&program);
    let status = visitor
        .args(["role", "visit", path.to_str().unwrap()])
        .uid(65_534)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(holder.list().unwrap(), []);
    holder.quit().unwrap();
    wait_for_end(&path);
}
