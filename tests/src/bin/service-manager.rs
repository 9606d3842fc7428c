//! A service manager as small as can be, for the lab: `service-manager SOCKET PROGRAM [ARGUMENT]...`
//!
//! It does for one service what systemd does (sd_notify(3), sd_listen_fds(3)): it starts PROGRAM with `NOTIFY_SOCKET`
//! set, prints what the service notifies, keeps the descriptors that come with `FDSTORE=1` under their `FDNAME`, and
//! starts the service again whenever it ends, with these descriptors from number 3 on. It ends on SIGTERM of itself by
//! way of the parent-death signal of its child. Each line on stdout is an event: `started PID`, `ready`, `stored NAME`,
//! `removed NAME`, `ended CODE`.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Descriptors that one message may carry.
const DESCRIPTORS: usize = 64;
/// Where the kept descriptors wait, above those that the service gets.
const PARKED: i32 = 500;
/// Pause between two looks at the service.
const PAUSE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, program @ ..] = arguments.as_slice() else {
        eprintln!("error: service-manager SOCKET PROGRAM [ARGUMENT]...");
        return ExitCode::FAILURE;
    };
    let _ = std::fs::remove_file(socket);
    let Ok(listener) = UnixDatagram::bind(socket) else {
        eprintln!("error: cannot listen on {socket}");
        return ExitCode::FAILURE;
    };
    listener.set_read_timeout(Some(PAUSE)).expect("a positive time");
    let mut store: Vec<(String, OwnedFd)> = Vec::new();
    loop {
        let mut child = start(program, socket, &store);
        println!("started {}", child.id());
        loop {
            while take_message(&listener, &mut store) {}
            if let Ok(Some(status)) = child.try_wait() {
                while take_message(&listener, &mut store) {}
                println!("ended {status}");
                break;
            }
        }
    }
}

/// Starts the service. A shell puts the kept descriptors at 3 and up and says its own pid, which the service keeps.
fn start(program: &[String], socket: &str, store: &[(String, OwnedFd)]) -> Child {
    let mut script = String::new();
    let parked: Vec<OwnedFd> = store
        .iter()
        .map(|(_, fd)| fcntl_dupfd_cloexec(fd, PARKED).expect("a descriptor"))
        .collect();
    for (number, fd) in parked.iter().enumerate() {
        fcntl_setfd(fd, FdFlags::empty()).expect("an open descriptor");
        script += &format!("exec {}<&{raw} {raw}<&-; ", number + 3, raw = fd.as_raw_fd());
    }
    if !store.is_empty() {
        let names: Vec<&str> = store.iter().map(|(name, _)| name.as_str()).collect();
        script += &format!(
            "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}; ",
            store.len(),
            names.join(":")
        );
    }
    script += "exec \"$@\"";
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "bash", "-c", &script, "service"])
        .args(program);
    command
        .env("NOTIFY_SOCKET", socket)
        .spawn()
        .expect("setpriv and bash are there")
}

/// Takes one notification; false where there is none now.
fn take_message(listener: &UnixDatagram, store: &mut Vec<(String, OwnedFd)>) -> bool {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut text)];
    let Ok(message) = recvmsg(listener, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) else {
        return false;
    };
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let text = String::from_utf8_lossy(&text[..message.bytes]).into_owned();
    handle(&text, descriptors, store);
    true
}

fn handle(text: &str, descriptors: Vec<OwnedFd>, store: &mut Vec<(String, OwnedFd)>) {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };
    let name = value("FDNAME").unwrap_or("stored").to_owned();
    if value("READY") == Some("1") {
        println!("ready");
    }
    if value("FDSTORE") == Some("1") {
        for descriptor in descriptors {
            println!("stored {name}");
            store.push((name.clone(), descriptor));
        }
    }
    if value("FDSTOREREMOVE") == Some("1") {
        store.retain(|(kept, _)| *kept != name);
        println!("removed {name}");
    }
}
