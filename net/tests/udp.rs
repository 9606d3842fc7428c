//! UDP between two namespaces joined by a veth pair: segments, coalescing, fallbacks, addresses, errors.

mod support;

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use meshd_net::poll::{Events, Interest, Poller};
use meshd_net::udp::{
    GRO_BUFFER, MAX_SEGMENTS, PathMtuDiscovery, RecvBatch, SendError, Transmit, UdpConfig, UdpError,
    UdpSocket, route_to,
};
use support::{Namespace, receive};

const A: [&str; 2] = ["10.5.0.1", "fd05::1"];
const B: [&str; 2] = ["10.5.0.2", "fd05::2"];

struct Pair {
    a: Namespace,
    b: Namespace,
}

fn connected() -> Option<Pair> {
    let (a, b) = (Namespace::new()?, Namespace::new()?);
    let subnets = |ips: [&str; 2], other: &str| {
        [
            format!("{}/24", ips[0]),
            other.to_owned(),
            format!("{}/64", ips[1]),
        ]
    };
    let (here, there) = (subnets(A, "10.5.0.11/24"), subnets(B, "10.5.0.12/24"));
    a.connect(
        &b,
        "v0",
        &here.each_ref().map(String::as_str),
        &there.each_ref().map(String::as_str),
    );
    Some(Pair { a, b })
}

fn bind(namespace: &Namespace, config: &UdpConfig) -> UdpSocket {
    namespace.run(|| UdpSocket::bind(config).unwrap())
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// The unspecified address of the family of `ip`.
fn any(ip: &str) -> SocketAddr {
    if ip.contains(':') {
        at("::", 0)
    } else {
        at("0.0.0.0", 0)
    }
}

/// Waits until something can be received, and receives it.
fn wait(socket: &UdpSocket, batch: &mut RecvBatch) -> usize {
    let poller = Poller::new().unwrap();
    poller.add(socket, 0, Interest::READ).unwrap();
    let mut events = Events::with_capacity(1);
    poller.wait(&mut events, Some(Duration::from_secs(20))).unwrap();
    socket.recv_batch(batch).unwrap()
}

#[test]
fn a_run_of_segments_arrives_coalesced_with_all_that_is_known_about_it() {
    let Some(Pair { a, b }) = connected() else { return };
    for (from, to) in A.into_iter().zip(B) {
        let sender = bind(&a, &UdpConfig::new(any(from)));
        let receiver = bind(&b, &UdpConfig::new(any(to)));
        assert!(sender.segments() && receiver.coalesces());
        let (head, tail) = ([7u8; 1000], [9u8; 11_000]);
        let parts = [IoSlice::new(&head), IoSlice::new(&tail)];
        let destination = at(to, receiver.local_addr().port());
        let transmit = Transmit {
            segment_size: 1280,
            ecn: 2,
            ..Transmit::new(destination, &parts)
        };
        assert_eq!((transmit.len(), transmit.datagrams()), (12_000, 10));
        sender.send_segments(&transmit).unwrap();

        let mut batch = RecvBatch::new(4, GRO_BUFFER);
        assert_eq!(wait(&receiver, &mut batch), 1, "one run, one buffer");
        let received = batch.iter_mut().next().unwrap();
        assert_eq!((received.bytes.len(), received.segment_size), (12_000, 1280));
        assert!(received.bytes[..1000] == head && received.bytes[1000..] == tail);
        assert_eq!(received.source, at(from, sender.local_addr().port()));
        assert_eq!(received.local, Some(to.parse().unwrap()));
        assert_eq!(received.ecn, 2);
        let index = b.block_on(|| async {
            meshd_net::netlink::Netlink::new()
                .unwrap()
                .link("v0")
                .await
                .unwrap()
                .unwrap()
                .index
        });
        assert_eq!(received.interface, index);
        assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 0);
    }
}

#[test]
fn the_source_address_is_the_one_asked_for() {
    let Some(Pair { a, b }) = connected() else { return };
    let sender = bind(&a, &UdpConfig::new(at("0.0.0.0", 0)));
    let receiver = bind(&b, &UdpConfig::new(at("0.0.0.0", 0)));
    let port = receiver.local_addr().port();
    for (source, destination) in [("10.5.0.11", "10.5.0.2"), ("10.5.0.1", "10.5.0.12")] {
        let parts = [IoSlice::new(b"hello")];
        let source: IpAddr = source.parse().unwrap();
        let transmit = Transmit {
            source: Some(source),
            ..Transmit::new(at(destination, port), &parts)
        };
        sender.send_segments(&transmit).unwrap();
        let mut batch = RecvBatch::new(4, GRO_BUFFER);
        wait(&receiver, &mut batch);
        let received = batch.iter_mut().next().unwrap();
        assert_eq!(
            (received.source.ip(), received.local),
            (source, Some(destination.parse().unwrap()))
        );
    }
    // An address that is not ours, as after a change of networks: said so, and not taken for a refusal to segment.
    let bytes = [0; 3000];
    let parts = [IoSlice::new(&bytes)];
    let gone = Transmit {
        source: Some("10.5.0.77".parse().unwrap()),
        segment_size: 1000,
        ..Transmit::new(at("10.5.0.2", port), &parts)
    };
    let error = sender.send_segments(&gone).unwrap_err();
    assert!(
        matches!(error, SendError::BadAddress | SendError::Unreachable),
        "{error}"
    );
    let refusals = sender.stats().segment_refusals;
    sender.send_segments(&Transmit { source: None, ..gone }).unwrap();
    assert_eq!(receive(&receiver, 3).concat(), bytes);
    assert_eq!(sender.stats().segment_refusals, refusals);
}

/// Makes the kernel refuse UDP_SEGMENT on this socket, as it does where a device cannot checksum: without checksums.
fn forbid_segments(socket: &UdpSocket) {
    const UDP_NO_CHECK6_TX: i32 = 101;
    let (level, option) = match socket.local_addr() {
        SocketAddr::V4(_) => (libc::SOL_SOCKET, libc::SO_NO_CHECK),
        SocketAddr::V6(_) => (libc::SOL_UDP, UDP_NO_CHECK6_TX),
    };
    let on: libc::c_int = 1;
    // SAFETY: pointer and length describe `on`, which lives through the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            4,
        )
    };
    assert_eq!(done, 0);
}

#[test]
fn where_the_kernel_does_not_segment_the_run_goes_singly_and_this_is_remembered() {
    let Some(Pair { a, b }) = connected() else { return };
    let sender = bind(&a, &UdpConfig::new(at("0.0.0.0", 0)));
    forbid_segments(&sender);
    let receiver = bind(&b, &UdpConfig::new(at("0.0.0.0", 0)));
    let port = receiver.local_addr().port();
    let bytes: Vec<u8> = (0..40_000u32).map(|n| (n % 239) as u8).collect();
    // Parts that do not end where datagrams end.
    let parts: Vec<_> = bytes.chunks(777).map(IoSlice::new).collect();
    let transmit = Transmit {
        segment_size: 1000,
        ..Transmit::new(at("10.5.0.2", port), &parts)
    };
    for refusals in [1, 1] {
        sender.send_segments(&transmit).unwrap();
        let received = receive(&receiver, 40);
        assert!(received.concat() == bytes && received.len() == 40);
        assert_eq!(sender.stats().segment_refusals, refusals);
    }
    // Another path is tried by itself, and after a change of links everything is.
    let other = Transmit {
        destination: at("10.5.0.12", port),
        ..transmit
    };
    sender.send_segments(&other).unwrap();
    assert_eq!(sender.stats().segment_refusals, 2);
    sender.forget_segment_refusals();
    sender.send_segments(&transmit).unwrap();
    assert_eq!(sender.stats().segment_refusals, 3);
    assert_eq!(sender.stats().lost, 0);
}

#[test]
fn a_run_that_is_too_long_for_one_send_goes_singly() {
    let Some(Pair { a, b }) = connected() else { return };
    let sender = bind(&a, &UdpConfig::new(at("::", 0)));
    let receiver = bind(&b, &UdpConfig::new(at("::", 0)));
    let count = MAX_SEGMENTS + 36;
    let bytes: Vec<u8> = (0..count * 100).map(|n| (n % 233) as u8).collect();
    let parts = [IoSlice::new(&bytes)];
    let destination = at(B[1], receiver.local_addr().port());
    sender
        .send_segments(&Transmit {
            segment_size: 100,
            ..Transmit::new(destination, &parts)
        })
        .unwrap();
    assert_eq!(receive(&receiver, count).concat(), bytes);
    assert_eq!(sender.stats().segment_refusals, 0);
}

#[test]
fn a_batch_goes_to_many_and_stops_at_the_one_that_fails() {
    let Some(Pair { a, b }) = connected() else { return };
    let sender = bind(&a, &UdpConfig::new(at("0.0.0.0", 0)));
    let receivers = [(); 3].map(|()| bind(&b, &UdpConfig::new(at("0.0.0.0", 0))));
    let message: Vec<u8> = (0..200u8).collect();
    let parts = [IoSlice::new(&message)];
    let to = |ip, receiver: &UdpSocket| Transmit {
        segment_size: 50,
        ..Transmit::new(at(ip, receiver.local_addr().port()), &parts)
    };
    let mut batch: Vec<_> = (0..40).map(|n| to("10.5.0.2", &receivers[n % 3])).collect();
    batch[33] = to("192.0.2.1", &receivers[0]);
    let outcome = sender.send_batch(&batch);
    assert_eq!((outcome.sent, outcome.error), (33, Some(SendError::Unreachable)));
    let outcome = sender.send_batch(&batch[34..]);
    assert_eq!((outcome.sent, outcome.error), (6, None));
    for (number, receiver) in receivers.iter().enumerate() {
        let runs = (0..40).filter(|n| n % 3 == number && *n != 33).count();
        assert_eq!(receive(receiver, runs * 4).concat(), message.repeat(runs));
    }
}

#[test]
fn datagrams_above_the_mtu_are_refused_probed_or_fragmented_as_set() {
    let Some(Pair { a, b }) = connected() else { return };
    for (from, to) in A.into_iter().zip(B) {
        let sender = bind(&a, &UdpConfig::new(any(from)));
        let receiver = bind(&b, &UdpConfig::new(any(to)));
        let destination = at(to, receiver.local_addr().port());
        let bytes = [1; 2000];
        let parts = [IoSlice::new(&bytes)];
        for mode in [PathMtuDiscovery::Probe, PathMtuDiscovery::Kernel] {
            sender.set_path_mtu_discovery(mode).unwrap();
            assert_eq!(
                sender.send_segments(&Transmit::new(destination, &parts)),
                Err(SendError::TooBig),
                "{mode:?}"
            );
        }
        sender.set_path_mtu_discovery(PathMtuDiscovery::Off).unwrap();
        sender.send_segments(&Transmit::new(destination, &parts)).unwrap();
        assert_eq!(receive(&receiver, 1), [bytes]);
        let route = a.run(|| route_to(destination, None).unwrap());
        assert_eq!((route.source, route.mtu), (from.parse().unwrap(), 1500));
    }
    assert!(a.run(|| route_to(at("192.0.2.1", 9), None)).is_err());
}

#[test]
fn errors_of_others_are_no_errors_of_ours() {
    let Some(Pair { a, b }) = connected() else { return };
    for (from, to) in A.into_iter().zip(B) {
        let socket = bind(&a, &UdpConfig::new(any(from)));
        let closed = bind(&b, &UdpConfig::new(any(to))).local_addr().port();
        let parts = [IoSlice::new(b"anybody there?")];
        let mut batch = RecvBatch::new(4, GRO_BUFFER);
        for _ in 0..3 {
            socket
                .send_segments(&Transmit::new(at(to, closed), &parts))
                .unwrap();
            assert_eq!(socket.recv_batch(&mut batch).unwrap(), 0);
        }
    }
}

#[test]
fn what_does_not_fit_the_buffer_is_dropped_and_counted() {
    let Some(Pair { a, b }) = connected() else { return };
    let sender = bind(&a, &UdpConfig::new(at("0.0.0.0", 0)));
    let receiver = bind(
        &b,
        &UdpConfig {
            coalesce: false,
            ..UdpConfig::new(at("0.0.0.0", 0))
        },
    );
    assert!(!receiver.coalesces());
    let destination = at("10.5.0.2", receiver.local_addr().port());
    for len in [100, 101, 0, 99] {
        let bytes = vec![3; len];
        sender
            .send_segments(&Transmit::new(destination, &[IoSlice::new(&bytes)]))
            .unwrap();
    }
    let mut batch = RecvBatch::new(8, 100);
    let mut lens = Vec::new();
    while lens.len() < 3 {
        wait(&receiver, &mut batch);
        lens.extend(batch.iter_mut().map(|received| received.bytes.len()));
    }
    assert_eq!(lens, [100, 0, 99]);
    assert_eq!(receiver.stats().truncated, 1);
}

#[test]
fn sockets_say_what_they_got_and_why_they_could_not_be_had() {
    let Some(Pair { a, b }) = connected() else { return };
    let small = UdpConfig {
        recv_buffer: 4096,
        ..UdpConfig::new(at("0.0.0.0", 0))
    };
    let receiver = bind(&b, &small);
    assert_eq!(receiver.buffer_sizes().unwrap().0, 4096);
    assert_eq!(receiver.kernel_drops().unwrap(), 0);
    let port = receiver.local_addr().port();
    let sender = bind(&a, &UdpConfig::new(at("0.0.0.0", 0)));
    let bytes = [0; 1000];
    let parts = [IoSlice::new(&bytes)];
    // Delivery may lag behind sending, so what matters is that the drops show in the end.
    let transmit = Transmit::new(at("10.5.0.2", port), &parts);
    let sent = (0..1_000_000).take_while(|_| receiver.kernel_drops().unwrap() < 20);
    sent.for_each(|_| sender.send_segments(&transmit).unwrap());
    assert!(receiver.kernel_drops().unwrap() >= 20);

    let taken = b
        .run(|| UdpSocket::bind(&UdpConfig::new(at("0.0.0.0", port))))
        .unwrap_err();
    assert!(
        matches!(taken, UdpError::Bind { .. }) && taken.to_string().contains("another program"),
        "{taken}"
    );
    let foreign = b
        .run(|| UdpSocket::bind(&UdpConfig::new(at("192.0.2.9", 0))))
        .unwrap_err()
        .to_string();
    assert!(
        foreign.contains("192.0.2.9") && foreign.contains("no interface has this address"),
        "{foreign}"
    );
    // An IPv6 socket leaves IPv4 alone, and several sockets may share a port where asked to.
    bind(&b, &UdpConfig::new(at("::", port)));
    let shared = UdpConfig {
        reuse_port: true,
        ..UdpConfig::new(at("0.0.0.0", 0))
    };
    let first = bind(&b, &shared);
    bind(
        &b,
        &UdpConfig {
            local: first.local_addr(),
            ..shared.clone()
        },
    );

    let kept = receiver.as_fd().try_clone_to_owned().unwrap();
    drop(receiver);
    let adopted = UdpSocket::adopt(kept, &small).unwrap();
    assert_eq!(adopted.local_addr().port(), port);
    let file = std::fs::File::open("/dev/null").unwrap().into();
    assert!(matches!(UdpSocket::adopt(file, &small), Err(UdpError::NotUdp)));
}
