//! The bytes of one connection, both ways, until it ends.
//!
//! Nothing is allocated for a connection while its two sides keep up: bytes are read into a buffer that the thread has for all its
//! connections, and written at once. What the other side does not take waits, and until it is taken nothing more is read.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Bytes that are read at once, and most that wait in one direction.
const BUFFER: usize = 64 * 1024;
/// Reads after which others have their turn.
const TURN: u32 = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides said so.
    Closed,
    /// One of them broke it off.
    Broken,
    /// Nothing came or went for too long.
    Idle,
}

/// Bytes moved by all connections of one exposure.
#[derive(Debug, Default)]
pub struct Moved {
    /// From clients to targets.
    pub inward: AtomicU64,
    /// From targets to clients.
    pub outward: AtomicU64,
}

/// When a connection last moved a byte, in ms after its begin.
struct Pulse {
    begin: Instant,
    last: AtomicU64,
}

impl Pulse {
    fn beat(&self) {
        self.last.store(self.begin.elapsed().as_millis() as u64, Relaxed);
    }

    /// Resolves when nothing was moved for so long.
    async fn stops(&self, idle: Duration) {
        loop {
            let until = self.begin + Duration::from_millis(self.last.load(Relaxed)) + idle;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

/// Moves bytes between client and target until both have ended, one breaks it off, or nothing moves for `idle`.
pub async fn pump(client: &mut TcpStream, target: &mut TcpStream, moved: &Moved, idle: Duration) -> End {
    let pulse = Pulse {
        begin: Instant::now(),
        last: AtomicU64::new(0),
    };
    let (from_client, to_client) = client.split();
    let (from_target, to_target) = target.split();
    let both = async {
        tokio::try_join!(
            one_way(&from_client, to_target, &moved.inward, &pulse),
            one_way(&from_target, to_client, &moved.outward, &pulse),
        )
    };
    tokio::select! {
        ended = both => match ended {
            Ok(_) => End::Closed,
            Err(_) => End::Broken,
        },
        () = pulse.stops(idle) => End::Idle,
    }
}

/// What one step came to.
enum Step {
    Moved(usize),
    /// So many bytes were read, and these of them wait.
    Waits(usize, Vec<u8>),
    Nothing,
    End,
}

async fn one_way(
    from: &ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    moved: &AtomicU64,
    pulse: &Pulse,
) -> io::Result<()> {
    let mut turn = 0;
    loop {
        from.readable().await?;
        match SCRATCH.with_borrow_mut(|scratch| step(from, &to, scratch))? {
            Step::Nothing => continue,
            Step::End => break,
            Step::Moved(count) => {
                moved.fetch_add(count as u64, Relaxed);
                pulse.beat();
            }
            Step::Waits(count, rest) => {
                moved.fetch_add(count as u64, Relaxed);
                write(&to, &rest, pulse).await?;
            }
        }
        turn += 1;
        if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    tokio::io::AsyncWriteExt::shutdown(&mut to).await
}

fn step(from: &ReadHalf<'_>, to: &WriteHalf<'_>, scratch: &mut [u8]) -> io::Result<Step> {
    let read = match from.try_read(scratch) {
        Ok(0) => return Ok(Step::End),
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Nothing),
        Err(error) => return Err(error),
    };
    let written = match to.try_write(&scratch[..read]) {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    Ok(match written == read {
        true => Step::Moved(read),
        false => Step::Waits(read, scratch[written..read].to_vec()),
    })
}

async fn write(to: &WriteHalf<'_>, mut rest: &[u8], pulse: &Pulse) -> io::Result<()> {
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(count) => {
                rest = &rest[count..];
                pulse.beat();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
