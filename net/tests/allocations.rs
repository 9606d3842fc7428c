//! Nothing is allocated per packet or batch on the packet path.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::IoSlice;
use std::time::Duration;

use meshd_net::poll::{Events, Interest, Poller};
use meshd_net::tun::{Tun, VnetHeader};
use meshd_net::udp::{GRO_BUFFER, RecvBatch, Transmit, UdpConfig, UdpSocket};
use support::{Namespace, configure, has_tun};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // No thread-local any more: the thread ends.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations `work` makes on this thread.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn sending_and_receiving_batches_allocates_nothing() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let config = UdpConfig::new("127.0.0.1:0".parse().unwrap());
        let (a, b) = (
            UdpSocket::bind(&config).unwrap(),
            UdpSocket::bind(&config).unwrap(),
        );
        let poller = Poller::new().unwrap();
        poller.add(&b, 0, Interest::READ).unwrap();
        let mut events = Events::with_capacity(4);
        let mut batch = RecvBatch::new(16, GRO_BUFFER);
        let bytes = [5; 12_000];
        let parts = [IoSlice::new(&bytes[..6000]), IoSlice::new(&bytes[6000..])];
        let run = Transmit {
            segment_size: 1200,
            ecn: 1,
            ..Transmit::new(b.local_addr(), &parts)
        };
        let single = Transmit {
            segment_size: 100,
            ..run
        };
        let runs = [run; 8];
        let mut received = 0;
        let count = allocations(|| {
            for _ in 0..50 {
                assert_eq!(a.send_batch(&runs).sent, runs.len());
                a.send_segments(&single).unwrap();
                poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
                while b.recv_batch(&mut batch).unwrap() > 0 {
                    received += batch.iter_mut().map(|run| run.bytes.len()).sum::<usize>();
                }
            }
        });
        assert_eq!((count, received), (0, 50 * 9 * 12_000));
    });
}

#[test]
fn reading_and_writing_a_tun_queue_allocates_nothing() {
    let Some(namespace) = Namespace::new().filter(|_| has_tun()) else {
        return;
    };
    namespace.run(|| {
        let tun = Tun::open("t0", 1).unwrap();
        support::on_runtime(configure("t0", &["10.9.0.1/24"]));
        let queue = &tun.queues()[0];
        let socket = std::net::UdpSocket::bind("10.9.0.1:0").unwrap();
        let mut buffer = vec![0; 65_536];
        let nobody: std::net::SocketAddr = "10.9.0.2:9".parse().unwrap();
        let mut packets = 0;
        let count = allocations(|| {
            for _ in 0..50 {
                socket.send_to(b"a packet", nobody).unwrap();
                while let Some((header, len)) = queue.recv(&mut buffer).unwrap() {
                    assert_eq!(header.gso_type, VnetHeader::GSO_NONE);
                    let (head, tail) = buffer[..len].split_at(20);
                    queue
                        .send(&header, &[IoSlice::new(head), IoSlice::new(tail)])
                        .unwrap();
                    packets += 1;
                }
            }
        });
        assert!(packets >= 50);
        assert_eq!(count, 0);
    });
}
