//! `netlink-carrier PROGRAM [ARGUMENT]...` opens netlink route sockets and becomes the program, which finds them from
//! `NETLINK_FIRST` on, `NETLINK_COUNT` of them: for an emulated program, see `emulation/netlink.c`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// The first descriptor, above those that a program opens by itself.
const FIRST: i32 = 700;
/// How many sockets the program may ask for in its life.
const COUNT: i32 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, rest @ ..] = arguments.as_slice() else {
        eprintln!("error: netlink-carrier PROGRAM [ARGUMENT]...");
        return ExitCode::FAILURE;
    };
    // kept open until this process is the program
    let sockets: Vec<OwnedFd> = (FIRST..FIRST + COUNT).map(open_at).collect();
    let error = Command::new(program)
        .args(rest)
        .env("NETLINK_FIRST", FIRST.to_string())
        .env("NETLINK_COUNT", COUNT.to_string())
        .exec();
    drop(sockets);
    eprintln!("error: cannot run {program}: {error}");
    ExitCode::FAILURE
}

fn open_at(number: i32) -> OwnedFd {
    // protocol 0 is NETLINK_ROUTE
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    );
    let socket = socket.expect("a netlink socket");
    let socket = fcntl_dupfd_cloexec(&socket, number).expect("a free descriptor");
    assert_eq!(socket.as_raw_fd(), number, "descriptors from {FIRST} on are free");
    fcntl_setfd(&socket, FdFlags::empty()).expect("an open descriptor");
    socket
}
