//! The packet threads: each waits on its descriptors and handles one batch of whatever is ready, in turn, so that
//! neither direction waits for more than one batch of the other.
//!
//! The first reads the sockets, and the TUN device too until that is too much ([`super::turn`]); the second, where there is one, does nothing but that.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use meshd_net::poll::{Event, Events, Interest, Poller, Waker};
use meshd_net::tun::TunQueue;
use meshd_net::udp::UdpSocket;

use super::config::ControlEvent;
use super::rx::Rx;
use super::shared::Shared;
use super::sockets::{SocketSet, Token};
use super::turn::{CALM, Pace, Turn};
use super::tx::Tx;

const WAKER: u64 = 0;
const TUN: u64 = 1;

const NOTHING: Interest = Interest {
    readable: false,
    writable: false,
    edge: false,
};

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is nothing more to read now.
    Idle,
    /// More may wait.
    More,
    /// What was sealed cannot be sent: that socket has no room.
    Blocked {
        /// Which.
        token: Token,
    },
    /// The descriptor is of no use any more.
    Gone,
}

/// One thread: it receives and, while it is its turn, sends; or it is the second, which only sends.
pub(super) struct Worker {
    shared: Arc<Shared>,
    poller: Poller,
    waker: Waker,
    /// The sender, while it is this thread's turn.
    tx: Option<Tx>,
    rx: Option<Rx>,
    /// The other thread, where there is one, and what the two share.
    other: Option<(Waker, Arc<Turn>)>,
    pace: Pace,
    /// The sockets that are watched: those of the last wake.
    sockets: Arc<SocketSet>,
    /// The socket that the sender waits for.
    blocked: Option<Token>,
}

impl Worker {
    /// The thread that receives, and sends while it is its turn, as it is at first.
    pub(super) fn first(shared: Arc<Shared>) -> std::io::Result<Worker> {
        let (tx, rx) = (Tx::new(shared.clone()), Rx::new(shared.clone()));
        let worker = Worker::new(shared, Some(tx), Some(rx))?;
        worker.poller.add(worker.queue(), TUN, Interest::READ)?;
        worker.watch(|_, _| true)?;
        Ok(worker)
    }

    /// The thread that sends when it is its turn.
    pub(super) fn second(shared: Arc<Shared>) -> std::io::Result<Worker> {
        Worker::new(shared, None, None)
    }

    fn new(shared: Arc<Shared>, tx: Option<Tx>, rx: Option<Rx>) -> std::io::Result<Worker> {
        let poller = Poller::new()?;
        Ok(Worker {
            waker: Waker::new(&poller, WAKER)?,
            sockets: shared.sockets.load_full(),
            pace: Pace::new(Instant::now()),
            shared,
            poller,
            tx,
            rx,
            other: None,
            blocked: None,
        })
    }

    /// Takes turns with another thread.
    pub(super) fn with(mut self, other: Waker, turn: Arc<Turn>) -> Worker {
        self.other = Some((other, turn));
        self
    }

    /// What other threads wake it with, when [`Shared::stop`] or [`Shared::sockets`] changed.
    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Runs until [`Shared::stop`].
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(8);
        // a thread's first look at a table takes memory (arc-swap's list of readers): before the first packet
        drop(self.shared.table.load());
        while !self.shared.stop.load(Ordering::Acquire) {
            let helps = self.rx.is_none() && self.tx.is_some();
            let before = Instant::now();
            if self.poller.wait(&mut events, helps.then_some(CALM)).is_err() {
                break;
            }
            let after = Instant::now();
            self.pace.waited(before, after);
            for event in events.iter() {
                self.handle(event);
            }
            self.take_turns(helps, helps && events.is_empty(), after);
        }
    }

    /// Hands the sender over where this thread has too much to do, or too little to be needed.
    fn take_turns(&mut self, helps: bool, nothing_came: bool, now: Instant) {
        let over = if helps {
            nothing_came || self.pace.is_calm(now)
        } else {
            self.pace.is_busy(now)
        };
        if !over || self.blocked.is_some() || self.other.is_none() {
            return;
        }
        if let (Some(sender), Some((other, turn))) = (self.tx.take(), &self.other) {
            // an error means that the device is gone, which the next reader finds as well
            let _ = self.poller.remove(self.queue());
            turn.give(sender);
            other.wake();
        }
    }

    /// Takes the sender, if it was left for this thread.
    fn take_sender(&mut self) {
        let Some(sender) = self.other.as_ref().and_then(|(_, turn)| turn.take()) else {
            return;
        };
        self.tx = Some(sender);
        self.pace = Pace::new(Instant::now());
        if self.poller.add(self.queue(), TUN, Interest::READ).is_err() {
            self.shared
                .control
                .tell(&self.shared.drops, || ControlEvent::TunGone);
        }
    }

    fn handle(&mut self, event: Event) {
        match event.token {
            WAKER => {
                self.waker.clear();
                self.take_sender();
                self.adopt_sockets();
            }
            TUN if self.blocked.is_none() => self.send(),
            TUN => {}
            token => {
                if event.writable && self.blocked == Some(token) {
                    self.send();
                }
                if event.readable {
                    self.receive(token);
                }
            }
        }
    }

    fn send(&mut self) {
        let shared = self.shared.clone();
        let Some(queue) = shared.tun.queues().first() else {
            return;
        };
        let progress = self.tx.as_mut().map(|tx| tx.run(queue));
        let blocked = match progress {
            Some(Progress::Blocked { token }) => Some(token),
            Some(Progress::Gone) => {
                // an error means that it is not watched already
                let _ = self.poller.remove(queue);
                shared.control.tell(&shared.drops, || ControlEvent::TunGone);
                None
            }
            _ => None,
        };
        if blocked != self.blocked {
            self.blocked = blocked;
            self.watch_again();
        }
    }

    fn receive(&mut self, token: u64) {
        let (shared, sockets) = (self.shared.clone(), self.sockets.clone());
        let (Some((id, socket)), Some(queue)) = (sockets.by_token(token), shared.tun.queues().first()) else {
            return;
        };
        if self.rx.as_mut().map(|rx| rx.run(id, socket, queue)) == Some(Progress::Gone) {
            let _ = self.poller.remove(socket);
            shared.control.tell(&shared.drops, || ControlEvent::SocketGone);
        }
    }

    /// Sockets came or went: watches the new ones. The old ones leave epoll when they are closed; until then they are
    /// taken out. Hundreds may come at once, so those that stay are not touched.
    fn adopt_sockets(&mut self) {
        let sockets = self.shared.sockets.load_full();
        if Arc::ptr_eq(&sockets, &self.sockets) {
            return;
        }
        for (token, socket) in self.sockets.iter() {
            if !sockets.has(token, socket) {
                let _ = self.poller.remove(socket);
            }
        }
        let before = std::mem::replace(&mut self.sockets, sockets);
        if self.watch(|token, socket| !before.has(token, socket)).is_err() {
            self.shared
                .control
                .tell(&self.shared.drops, || ControlEvent::SocketGone);
        }
        if self.blocked.take().is_some() {
            self.send();
            self.watch_again();
        }
    }

    fn watch(&self, which: impl Fn(Token, &UdpSocket) -> bool) -> std::io::Result<()> {
        for (token, socket) in self
            .sockets
            .iter()
            .filter(|(token, socket)| which(*token, socket))
        {
            let interest = self.interest(token);
            // not even for errors: they would wake a thread that does not read them
            if interest != NOTHING {
                self.poller.add(socket, token, interest)?;
            }
        }
        Ok(())
    }

    /// Watches for what is wanted now: while the sender is blocked, for room instead of packets.
    fn watch_again(&self) {
        for (_, socket) in self.sockets.iter() {
            // an error means that it was not watched
            let _ = self.poller.remove(socket);
        }
        if self.watch(|_, _| true).is_err() {
            self.shared
                .control
                .tell(&self.shared.drops, || ControlEvent::SocketGone);
        }
        if self.tx.is_some() {
            let interest = if self.blocked.is_some() {
                NOTHING
            } else {
                Interest::READ
            };
            // an error means that the device is gone, which was told
            let _ = self.poller.modify(self.queue(), TUN, interest);
        }
    }

    fn interest(&self, token: Token) -> Interest {
        let writable = self.blocked == Some(token);
        Interest {
            readable: self.rx.is_some(),
            writable,
            edge: false,
        }
    }

    fn queue(&self) -> &TunQueue {
        &self.shared.tun.queues()[0]
    }
}
