//! Real TUN devices: super-packets, several queues, adoption.

mod support;

use std::io::{IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;

use meshd_net::netlink::Netlink;
use meshd_net::tun::{Offloads, Tun, TunError, TunSendError, VnetHeader};
use meshd_net::udp;
use support::pump::{Passed, pumped};
use support::{Namespace, configure, has_tun};

const MTU: usize = 1500;
const A4: &str = "10.9.0.1";
const B4: &str = "10.9.0.2";
const A6: &str = "fd09::1";
const B6: &str = "fd09::2";

/// Two namespaces, each with the TUN `t0`, up, with an address of each IP version.
fn two_sides() -> Option<[(Namespace, Tun); 2]> {
    if !has_tun() {
        return None;
    }
    let side = |v4: &str, v6: &str| {
        let namespace = Namespace::new()?;
        let tun = namespace.run(|| Tun::open("t0", 2).unwrap());
        let addresses = [format!("{v4}/24"), format!("{v6}/64")];
        namespace.block_on(|| async { configure("t0", &addresses.each_ref().map(String::as_str)).await });
        Some((namespace, tun))
    };
    Some([side(A4, A6)?, side(B4, B6)?])
}

#[test]
fn a_tcp_super_packet_passes_whole() {
    let Some([(a, tun_a), (b, tun_b)]) = two_sides() else {
        return;
    };
    let offloads = tun_a.offloads();
    assert!(
        offloads.vnet && offloads.checksum && offloads.tso4 && offloads.tso6,
        "{offloads:?}"
    );
    for (from, to) in [(A4, B4), (A6, B6)] {
        let listener = b.run(|| TcpListener::bind((to, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let sent: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
        let work = || {
            thread::scope(|scope| {
                let received = scope.spawn(|| {
                    let mut bytes = Vec::new();
                    listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
                    bytes
                });
                let mut stream = a.run(|| TcpStream::connect((to, port)).unwrap());
                assert_eq!(stream.local_addr().unwrap().ip(), from.parse::<IpAddr>().unwrap());
                stream.write_all(&sent).unwrap();
                drop(stream);
                received.join().unwrap()
            })
        };
        let (received, [there, back]) = pumped(&tun_a, &tun_b, work);
        assert!(
            received == sent,
            "{to}: {} of {} bytes",
            received.len(),
            sent.len()
        );
        let longest = Passed::get(&there.longest);
        assert!(longest > 4 * MTU, "{to}: the longest packet has {longest} bytes");
        assert!(Passed::get(&there.tcp_super) > 0, "{to}");
        assert_eq!(
            Passed::get(&there.refused) + Passed::get(&back.refused),
            0,
            "{to}"
        );
    }
}

#[test]
fn a_run_of_udp_datagrams_passes_as_one_packet() {
    let Some([(a, tun_a), (b, tun_b)]) = two_sides() else {
        return;
    };
    if !tun_a.offloads().uso {
        return eprintln!("skipped: this kernel has no UDP segmentation offload for TUN (Linux 6.2)");
    }
    for (from, to) in [(A4, B4), (A6, B6)] {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        let receiver = b.run(|| udp::UdpSocket::bind(&udp::UdpConfig::new(at(to))).unwrap());
        let sender = a.run(|| udp::UdpSocket::bind(&udp::UdpConfig::new(at(from))).unwrap());
        let work = || {
            let bytes: Vec<u8> = (0..12_500u32).map(|n| (n % 241) as u8).collect();
            let parts = [IoSlice::new(&bytes)];
            let transmit = udp::Transmit {
                segment_size: 1250,
                ..udp::Transmit::new(receiver.local_addr(), &parts)
            };
            sender.send_segments(&transmit).unwrap();
            let received = support::receive(&receiver, 10);
            assert_eq!(received.concat(), bytes);
        };
        let ((), [there, _]) = pumped(&tun_a, &tun_b, work);
        assert_eq!(Passed::get(&there.udp_super), 1, "{to}");
        assert_eq!(Passed::get(&there.refused), 0, "{to}");
        assert_eq!(sender.stats().segment_refusals, 0);
    }
}

#[test]
fn what_the_kernel_does_not_take_is_told_apart() {
    let Some([(a, tun), _]) = two_sides() else { return };
    let queue = &tun.queues()[0];
    let packet = [0x45; 40];
    let header = VnetHeader {
        gso_type: 0x33,
        gso_size: 100,
        ..VnetHeader::PLAIN
    };
    assert_eq!(
        queue.send(&header, &[IoSlice::new(&packet)]),
        Err(TunSendError::Refused)
    );
    assert_eq!(
        queue.send(&VnetHeader::PLAIN, &[IoSlice::new(&[])]),
        Err(TunSendError::Refused)
    );
    let parts = [IoSlice::new(&packet[..1]); 129];
    assert_eq!(
        queue.send(&VnetHeader::PLAIN, &parts),
        Err(TunSendError::TooManyParts)
    );
    a.block_on(|| async {
        let netlink = Netlink::new().unwrap();
        let index = tun.ifindex().unwrap();
        assert_eq!(netlink.link("t0").await.unwrap().unwrap().index, index);
        let down = meshd_net::netlink::LinkChange {
            up: Some(false),
            ..Default::default()
        };
        netlink.set_link(index, down).await.unwrap();
        assert_eq!(
            queue.send(&VnetHeader::PLAIN, &[IoSlice::new(&packet)]),
            Err(TunSendError::Down)
        );
        netlink.delete_link(index).await.unwrap();
        assert_eq!(
            queue.send(&VnetHeader::PLAIN, &[IoSlice::new(&packet)]),
            Err(TunSendError::Gone)
        );
        assert!(queue.recv(&mut [0; 100]).is_err());
    });
}

#[test]
fn duplicates_keep_the_interface_its_carrier_and_its_packets() {
    let Some([(a, tun), _]) = two_sides() else { return };
    let index = a.run(|| tun.ifindex().unwrap());
    let kept: Vec<OwnedFd> = tun.fds().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
    let offloads = tun.offloads();
    drop(tun);

    let carrier = || async {
        let link = Netlink::new().unwrap().link("t0").await.unwrap().unwrap();
        (link.index, link.up, link.carrier)
    };
    assert_eq!(a.block_on(carrier), (index, true, true));
    let message = b"sent while nobody was there";
    a.run(|| {
        let socket = UdpSocket::bind((A4, 0)).unwrap();
        socket.send_to(message, (B4, 9)).unwrap();
    });

    let tun = a.run(|| Tun::from_fds(kept).unwrap());
    assert_eq!(
        (tun.name(), tun.offloads(), tun.queues().len()),
        ("t0", offloads, 2)
    );
    assert_eq!(a.run(|| tun.ifindex().unwrap()), index);
    let mut buffer = vec![0; 65_536];
    let mut found = false;
    for queue in tun.queues() {
        while let Some((_, len)) = queue.recv(&mut buffer).unwrap() {
            found |= buffer[..len].ends_with(message);
        }
    }
    assert!(found, "the packet waited in its queue");
    drop(tun);
    assert!(a.block_on(|| async { Netlink::new().unwrap().link("t0").await.unwrap().is_none() }));
}

#[test]
fn wrong_names_and_wrong_descriptors_are_refused_with_a_sentence() {
    let Some([(a, tun), (b, other)]) = two_sides() else {
        return;
    };
    assert!(matches!(Tun::open("", 1), Err(TunError::Name(_))));
    let error = Tun::open("a/name", 1).unwrap_err().to_string();
    assert!(
        error.contains("a/name") && error.contains("15 characters"),
        "{error}"
    );
    assert!(matches!(Tun::from_fds(Vec::new()), Err(TunError::NoQueue)));
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    assert!(matches!(Tun::from_fds(vec![file]), Err(TunError::Adopt { .. })));

    // A second interface of the same namespace, and one that a veth has.
    let second = a.run(|| Tun::open("t%d", 1).unwrap());
    assert_eq!(second.name(), "t1");
    let clone = |fd: &Tun| fd.queues()[0].as_fd().try_clone_to_owned().unwrap();
    let error = Tun::from_fds(vec![clone(&tun), clone(&second)])
        .unwrap_err()
        .to_string();
    assert!(error.contains("t1") && error.contains("t0"), "{error}");
    a.connect(&b, "v0", &[], &[]);
    let error = a.run(|| Tun::open("v0", 1)).unwrap_err().to_string();
    assert!(error.contains("v0") && error.contains("another kind"), "{error}");
    drop(other);
}

#[test]
fn a_queue_without_the_header_carries_plain_packets_only() {
    if !has_tun() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let tun = Tun::from_fds(vec![plain_queue()]).unwrap();
        assert_eq!(tun.offloads(), Offloads::default());
        support::on_runtime(configure("t0", &["10.9.0.1/24"]));
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        socket.send_to(b"out", "10.9.0.2:9").unwrap();
        let queue = &tun.queues()[0];
        let mut buffer = [0; 2000];
        let packet = loop {
            match queue.recv(&mut buffer).unwrap() {
                Some((header, 31)) => break (header, &buffer[..31]),
                other => assert!(other.is_some(), "the packet is there"),
            }
        };
        assert_eq!((packet.0, &packet.1[28..]), (VnetHeader::PLAIN, &b"out"[..]));
        let parts = [IoSlice::new(packet.1)];
        queue.send(&VnetHeader::PLAIN, &parts).unwrap();
        let gso = VnetHeader {
            gso_type: VnetHeader::GSO_TCPV4,
            gso_size: 100,
            ..VnetHeader::PLAIN
        };
        assert_eq!(queue.send(&gso, &parts), Err(TunSendError::Refused));
    });
}

/// A queue of `t0` as a kernel without IFF_VNET_HDR would give it.
fn plain_queue() -> OwnedFd {
    const TUNSETIFF: u32 = 0x4004_54ca;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    // SAFETY: ifreq is a plain C struct; zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b't' as libc::c_char;
    request.ifr_name[1] = b'0' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives through the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    file.into()
}
