//! Network namespaces for tests. Each is made on a thread of its own and is gone with its last thread, socket and
//! descriptor, so nothing is left behind however a test ends.
#![allow(dead_code)]

pub mod pump;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use meshd_net::netlink::{Address, Change, LinkChange, Monitor, Netlink};
use meshd_net::poll::{Events, Interest, Poller};
use meshd_net::udp::{GRO_BUFFER, RecvBatch, UdpSocket};

/// A network namespace, kept by a descriptor.
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// A fresh namespace with `lo` up; `None`, with a word on stderr, where we may not make one.
    pub fn new() -> Option<Self> {
        let made = thread::spawn(|| {
            // SAFETY: unshare changes the calling thread only, which ends right after.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let fd = OwnedFd::from(File::open("/proc/thread-self/ns/net")?);
            on_runtime(async {
                let netlink = Netlink::new().unwrap();
                let lo = netlink.link("lo").await.unwrap().unwrap();
                let up = LinkChange {
                    up: Some(true),
                    ..LinkChange::default()
                };
                netlink.set_link(lo.index, up).await.unwrap();
            });
            Ok(fd)
        });
        match made.join().unwrap() {
            Ok(fd) => Some(Self { fd }),
            Err(error) => {
                eprintln!("skipped: cannot make a network namespace here: {error}");
                None
            }
        }
    }

    /// Its descriptor, to enter it from elsewhere.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Runs `work` on a new thread inside the namespace; panics of it are ours.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                // SAFETY: setns changes the calling thread only.
                let done = unsafe { libc::setns(self.fd.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(done, 0, "setns: {}", std::io::Error::last_os_error());
                work()
            });
            entered
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs asynchronous `work` on a new thread and runtime inside the namespace.
    pub fn block_on<F, T>(&self, work: impl FnOnce() -> F + Send) -> T
    where
        F: Future<Output = T>,
        T: Send,
    {
        self.run(|| on_runtime(work()))
    }

    /// Connects this namespace and `other` by a veth pair, up, one end in each: `name` here and there.
    pub fn connect(&self, other: &Self, name: &str, here: &[&str], there: &[&str]) {
        self.block_on(|| async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            let pair = rtnetlink::LinkVeth::new(name, "peer").build();
            handle.link().add(pair).execute().await.unwrap();
            let peer = Netlink::new().unwrap().link("peer").await.unwrap().unwrap();
            let moved = rtnetlink::LinkUnspec::new_with_index(peer.index)
                .name(name)
                .setns_by_fd(other.fd.as_raw_fd())
                .build();
            handle.link().set(moved).execute().await.unwrap();
        });
        for (namespace, addresses) in [(self, here), (other, there)] {
            namespace.block_on(|| async { configure(name, addresses).await });
        }
    }
}

/// Switches an interface on and gives it addresses (`10.0.0.1/24`), with their subnet routes; returns its index when it
/// takes packets for them.
pub async fn configure(name: &str, addresses: &[&str]) -> u32 {
    let netlink = Netlink::new().unwrap();
    let mut monitor = Monitor::new().unwrap();
    let index = netlink.link(name).await.unwrap().unwrap().index;
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    netlink.set_link(index, up).await.unwrap();
    for address in addresses {
        let net: ipnet::IpNet = address.parse().unwrap();
        let wanted = Address {
            no_prefix_route: false,
            ..Address::new(index, net.addr(), net.prefix_len())
        };
        netlink.add_address(&wanted).await.unwrap();
        // The kernel begins to accept packets for an IPv6 address a little after it took it, and says so then.
        let is_it =
            |change: &Change| matches!(change, Change::Address { address, .. } if address.is_same(&wanted));
        while !is_it(&monitor.next().await.unwrap()) {}
    }
    index
}

/// Whether TUN devices can be had; says so where not.
pub fn has_tun() -> bool {
    let found = File::options().read(true).write(true).open("/dev/net/tun");
    if let Err(error) = &found {
        eprintln!("skipped: /dev/net/tun: {error}");
    }
    found.is_ok()
}

/// Runs a future on a runtime of this thread.
pub fn on_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Receives until `count` datagrams are there, waiting up to 20 s for each batch; cuts coalesced ones apart.
pub fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let poller = Poller::new().unwrap();
    poller.add(socket, 0, Interest::READ).unwrap();
    let mut events = Events::with_capacity(1);
    let mut batch = RecvBatch::new(8, GRO_BUFFER);
    let mut datagrams = Vec::new();
    while datagrams.len() < count {
        poller.wait(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert!(
            !events.is_empty(),
            "only {} of {count} datagrams came",
            datagrams.len()
        );
        socket.recv_batch(&mut batch).unwrap();
        for received in batch.iter_mut() {
            datagrams.extend(received.bytes.chunks(received.segment_size).map(<[u8]>::to_vec));
        }
    }
    datagrams
}
