//! The service manager's protocol, against a socket that stands where systemd's would.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use meshd_net::fdstore::{self, ServiceManager};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::myself;

/// One message of a service: its lines and its descriptors.
fn receive(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 1024];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(manager, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    (String::from_utf8(bytes[..received.bytes].to_vec()).unwrap(), fds)
}

fn is_same_file(a: &OwnedFd, path: &Path) -> bool {
    let (a, b) = (rustix::fs::fstat(a).unwrap(), rustix::fs::stat(path).unwrap());
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

pub fn descriptors_and_words_reach_the_manager() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let listening = UnixDatagram::bind(&path).unwrap();
    listening.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let manager = ServiceManager::at(path.as_os_str()).unwrap();
    manager.ready().unwrap();
    manager.status("two networks\nfine").unwrap();
    manager.watchdog().unwrap();
    manager.stopping().unwrap();
    for wanted in ["READY=1", "STATUS=two networks fine", "WATCHDOG=1", "STOPPING=1"] {
        assert_eq!(receive(&listening).0, wanted);
    }

    let files = ["a", "b"].map(|name| directory.path().join(name));
    let opened = files.each_ref().map(|path| File::create(path).unwrap());
    manager
        .store("tun-prod", &opened.each_ref().map(File::as_fd))
        .unwrap();
    let (lines, fds) = receive(&listening);
    assert_eq!(lines, "FDSTORE=1\nFDNAME=tun-prod\nFDPOLL=0");
    assert!(fds.len() == 2 && fds.iter().zip(&files).all(|(fd, path)| is_same_file(fd, path)));
    manager.forget("tun-prod").unwrap();
    assert_eq!(receive(&listening).0, "FDSTOREREMOVE=1\nFDNAME=tun-prod");
    // More than one message holds.
    manager.store("many", &vec![opened[0].as_fd(); 70]).unwrap();
    assert_eq!(
        (receive(&listening).1.len(), receive(&listening).1.len()),
        (64, 6)
    );
    for name in ["", "a:b", "line\n", &"x".repeat(256)] {
        assert!(
            manager.store(name, &[opened[0].as_fd()]).is_err() && manager.forget(name).is_err(),
            "{name:?}"
        );
    }
    assert!(
        ServiceManager::at(directory.path().join("nobody").as_os_str())
            .unwrap()
            .ready()
            .is_err()
    );
}

/// The role of a service: takes what it was passed, and says what it finds.
pub fn report() {
    let told = fdstore::notify("READY=1");
    for (name, fd) in fdstore::take_passed() {
        let closes = rustix::io::fcntl_getfd(&fd)
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC);
        let mut file = File::from(fd);
        writeln!(file, "written by {name}").unwrap();
        println!("{name} {closes}");
    }
    assert!(fdstore::take_passed().is_empty(), "they can be taken once");
    println!(
        "{told} {:?} {:?}",
        fdstore::store_size(),
        fdstore::watchdog_interval()
    );
}

/// Runs the role with files `a` and `b` as descriptors 3 and 4, as a service manager would.
fn run(directory: &Path, variables: &str) -> String {
    let script = format!("{variables} exec \"$0\" role service 3>>a 4>>b");
    let mut service = Command::new("/bin/sh");
    let output = service
        .args(["-c", &script])
        .arg(myself())
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub fn passed_descriptors_are_taken_once_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let listening = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    let variables = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=tun: NOTIFY_SOCKET=$PWD/notify FDSTORE=128 \
                     WATCHDOG_PID=$$ WATCHDOG_USEC=30000000";
    let said = run(directory.path(), variables);
    assert_eq!(said, "tun true\nunknown true\ntrue Some(128) Some(30s)\n");
    assert_eq!(receive(&listening).0, "READY=1");
    let text = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(
        (text("a").as_str(), text("b").as_str()),
        ("written by tun\n", "written by unknown\n")
    );
}

pub fn without_a_manager_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let clean = "unset NOTIFY_SOCKET WATCHDOG_USEC FDSTORE LISTEN_PID LISTEN_FDS;";
    assert_eq!(run(directory.path(), clean), "false None None\n");
    // What was meant for another process is left alone, and garbage is nothing.
    let foreign = format!("{clean} LISTEN_PID=1 LISTEN_FDS=2 WATCHDOG_PID=1 WATCHDOG_USEC=5 FDSTORE=x");
    assert_eq!(run(directory.path(), &foreign), "false None None\n");
    let garbage = format!("{clean} LISTEN_PID=$$ LISTEN_FDS=many WATCHDOG_USEC=0");
    assert_eq!(run(directory.path(), &garbage), "false None None\n");
}
