//! A process with a TUN interface is killed, and its successor goes on with the same interface.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use meshd_net::netlink::{Change, LinkChange, Monitor, Netlink};
use meshd_net::tun::Tun;

use super::holder::{obtain, wait_for_end};
use crate::myself;
use crate::support::{Namespace, configure, has_tun, on_runtime};

const PACKETS: u32 = 800;

/// The role: makes an interface in a namespace, gives its queues to the holder (which it starts), and waits to be killed.
pub fn meshd(path: &str, namespace: &str) {
    let namespace = File::open(namespace).unwrap();
    // SAFETY: setns changes the calling thread only, and there is no other yet.
    assert_eq!(
        unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) },
        0
    );
    let tun = Tun::open("t0", 2).unwrap();
    on_runtime(async {
        let index = configure("t0", &["10.9.0.1/24"]).await;
        let change = LinkChange {
            queue_len: Some(2 * PACKETS),
            ..LinkChange::default()
        };
        Netlink::new().unwrap().set_link(index, change).await.unwrap();
    });
    let fds: Vec<_> = tun.fds().collect();
    obtain(Path::new(path)).put("t0", &fds).unwrap();
    println!("ready {}", tun.ifindex().unwrap());
    loop {
        std::thread::park();
    }
}

pub fn a_killed_process_leaves_its_interface_up() {
    let Some(namespace) = Namespace::new().filter(|_| has_tun()) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("holder");
    let entrance = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        namespace.as_fd().as_raw_fd()
    );
    let mut first = Command::new(myself());
    first
        .args(["role", "meshd", path.to_str().unwrap(), &entrance])
        .stdout(Stdio::piped());
    let mut first = first.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(first.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let index: u32 = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();

    namespace.block_on(|| async {
        let mut monitor = Monitor::new().unwrap();
        first.kill().unwrap();
        first.wait().unwrap();
        // Nobody reads now; what is sent waits.
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        for number in 0..PACKETS {
            socket.send_to(&number.to_be_bytes(), "10.9.0.2:9").unwrap();
        }
        let netlink = Netlink::new().unwrap();
        let link = netlink.link("t0").await.unwrap().unwrap();
        assert_eq!((link.index, link.up, link.carrier), (index, true, true));

        let holder = obtain(&path);
        let tun = Tun::from_fds(holder.get("t0").unwrap()).unwrap();
        assert_eq!(
            (tun.name(), tun.ifindex().unwrap(), tun.queues().len()),
            ("t0", index, 2)
        );
        assert_eq!(numbers(&tun), (0..PACKETS).collect::<Vec<_>>());

        // The interface never lost its carrier. A change of our own marks the end of what is looked at.
        netlink
            .set_link(
                index,
                LinkChange {
                    mtu: Some(1300),
                    ..LinkChange::default()
                },
            )
            .await
            .unwrap();
        loop {
            let change = tokio::time::timeout(Duration::from_secs(20), monitor.next())
                .await
                .unwrap()
                .unwrap();
            if let Change::Link { link, gone } = change
                && link.index == index
            {
                assert!(link.up && link.carrier && !gone, "{link:?}");
                if link.mtu == 1300 {
                    break;
                }
            }
        }
        holder.drop_name("t0").unwrap();
        drop((holder, tun));
        wait_for_end(&path);
        assert_eq!(
            netlink.link("t0").await.unwrap(),
            None,
            "with its last descriptor the interface goes"
        );
    });
}

/// The numbers in the UDP packets that wait in the queues, in ascending order.
fn numbers(tun: &Tun) -> Vec<u32> {
    let mut buffer = vec![0; 65_536];
    let mut numbers = Vec::new();
    for queue in tun.queues() {
        while let Some((_, len)) = queue.recv(&mut buffer).unwrap() {
            // IPv4 without options, then UDP, then the number.
            if let Ok(payload) = <[u8; 4]>::try_from(&buffer[28.min(len)..len]) {
                numbers.push(u32::from_be_bytes(payload));
            }
        }
    }
    numbers.sort_unstable();
    numbers
}
