//! Waiting for several descriptors in a packet thread: epoll, and a waker for other threads.
//!
//! Descriptors are named by a `u64` token that the caller chooses; the poller does not own them. A closed descriptor
//! leaves epoll by itself unless a duplicate of it is open elsewhere, so [`Poller::remove`] it before closing.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

/// What a descriptor is watched for. Level-triggered unless `edge` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Wake when there is something to read.
    pub readable: bool,
    /// Wake when there is room to write.
    pub writable: bool,
    /// Wake only on changes (EPOLLET); the caller must then read until it would block.
    pub edge: bool,
}

impl Interest {
    /// Readable, level-triggered.
    pub const READ: Self = Self {
        readable: true,
        writable: false,
        edge: false,
    };
    /// Readable and writable, level-triggered.
    pub const READ_WRITE: Self = Self {
        readable: true,
        writable: true,
        edge: false,
    };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.readable);
        flags.set(EventFlags::OUT, self.writable);
        flags.set(EventFlags::ET, self.edge);
        flags
    }
}

/// One thing that happened to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token given to [`Poller::add`].
    pub token: u64,
    /// There is something to read (or an error to collect by reading).
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The descriptor is in error or hung up; a TUN queue whose interface was deleted shows this.
    pub failed: bool,
}

/// A buffer for events, allocated once.
pub struct Events {
    raw: Vec<epoll::Event>,
}

impl Events {
    /// Room for `capacity` (at least 1) events in one [`Poller::wait`].
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            raw: Vec::with_capacity(capacity.max(1)),
        }
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.raw.iter().map(|event| {
            let flags = event.flags;
            Event {
                token: event.data.u64(),
                readable: flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP),
                writable: flags.contains(EventFlags::OUT),
                failed: flags.intersects(EventFlags::ERR | EventFlags::HUP),
            }
        })
    }

    /// Whether the last wait ended by its timeout.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    // A wake must be seen even where its waker is dropped right after, and closing an eventfd would take it back.
    wakers: Mutex<Vec<Arc<OwnedFd>>>,
}

impl Poller {
    /// A new, empty one. Fails only where the machine is out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            wakers: Mutex::new(Vec::new()),
        })
    }

    /// Watches `fd` and names it `token`. EEXIST if it is watched already.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Changes what a watched `fd` is watched for.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Watches `fd` no longer.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits until something happens or `timeout` (`None`: for ever) is over: at most a day, in whole milliseconds, rounded up. A
    /// signal ends the wait early, with no events.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.raw.clear();
        let timeout = timeout.map(|timeout| {
            let millis = timeout.as_nanos().div_ceil(1_000_000).min(86_400_000) as i64;
            Timespec {
                tv_sec: millis / 1000,
                tv_nsec: (millis % 1000) * 1_000_000,
            }
        });
        match epoll::wait(&self.epoll, spare_capacity(&mut events.raw), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Wakes a [`Poller`] from another thread (an eventfd, which lives as long as the poller). Clones wake the same poller.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// A waker that `poller` reports under `token`.
    pub fn new(poller: &Poller, token: u64) -> io::Result<Self> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        poller.add(&*event, token, Interest::READ)?;
        poller
            .wakers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&event));
        Ok(Self { event })
    }

    /// Wakes the poller. Any number of wakes before it looks are one event.
    pub fn wake(&self) {
        // The only error is EAGAIN, of a counter at its end: then the poller is awake already.
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
    }

    /// To be called by the poller's thread when it sees the token: makes ready for the next wake.
    pub fn clear(&self) {
        let _ = rustix::io::read(&*self.event, &mut [0u8; 8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_wakes_once_per_clear() {
        let poller = Poller::new().unwrap();
        let waker = Waker::new(&poller, 7).unwrap();
        let mut events = Events::with_capacity(4);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());

        let other = waker.clone();
        let thread = std::thread::spawn(move || {
            other.wake();
            other.wake();
        });
        thread.join().unwrap();
        poller.wait(&mut events, None).unwrap();
        let seen: Vec<_> = events.iter().collect();
        assert_eq!(
            seen,
            [Event {
                token: 7,
                readable: true,
                writable: false,
                failed: false
            }]
        );
        waker.clear();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn a_wake_outlives_its_waker() {
        let poller = Poller::new().unwrap();
        Waker::new(&poller, 7).unwrap().wake();
        let mut events = Events::with_capacity(4);
        poller.wait(&mut events, None).unwrap();
        assert!(events.iter().map(|event| event.token).eq([7]));
    }

    #[test]
    fn interest_can_be_changed_and_taken_back() {
        let poller = Poller::new().unwrap();
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut events = Events::with_capacity(4);
        poller.add(&far, 1, Interest::READ).unwrap();
        std::io::Write::write_all(&mut near, b"x").unwrap();
        poller.wait(&mut events, None).unwrap();
        assert!(
            events
                .iter()
                .all(|event| event.token == 1 && event.readable && !event.writable)
        );
        poller.modify(&far, 2, Interest::READ_WRITE).unwrap();
        poller.wait(&mut events, None).unwrap();
        assert!(
            events
                .iter()
                .all(|event| event.token == 2 && event.readable && event.writable)
        );
        poller.remove(&far).unwrap();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }
}
