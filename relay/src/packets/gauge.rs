//! How hard it is for this host: what left, and what found no room, since it was last asked.

use std::fs::File;
use std::os::unix::fs::FileExt;

use meshd_core::relay::Strain;
use meshd_net::udp::UdpSocket;

use super::Shared;

/// Counters of the network namespace (proc_pid_net(5)), there under `ProcSubset=pid` too; what the device's queue refused a program is told nowhere else.
const COUNTERS: &str = "/proc/self/net/snmp";
/// Longer than the file.
const LONGEST: usize = 8192;

/// What was counted when it was last asked.
#[derive(Debug)]
pub struct Gauge {
    counters: Option<File>,
    before: Strain,
}

impl Gauge {
    /// Counts from now on. Where the system hides its counters, one sign of two is missing.
    pub fn new() -> Self {
        Self {
            counters: File::open(COUNTERS).ok(),
            before: Strain::default(),
        }
    }

    /// What happened since: frames that left by any thread; datagrams that the kernel dropped because this program did not
    /// take them in time, and those that it did not take from this program.
    pub fn read(&mut self, shared: &Shared) -> Strain {
        let counted = shared.counters.read();
        let dropped = |socket: &UdpSocket| u64::from(socket.kernel_drops().unwrap_or(0));
        let now = Strain {
            sent: counted.forwarded_bytes,
            handled: counted.received,
            missed: shared.sockets.iter().map(dropped).sum(),
            refused: self.refused().unwrap_or(counted.no_room),
        };
        let before = std::mem::replace(&mut self.before, now);
        Strain {
            sent: now.sent.saturating_sub(before.sent),
            handled: now.handled.saturating_sub(before.handled),
            // a socket's count is of 32 bits
            missed: now.missed.saturating_sub(before.missed),
            refused: now.refused.saturating_sub(before.refused),
        }
    }

    /// Datagrams that a full socket or device refused.
    fn refused(&self) -> Option<u64> {
        let mut text = [0; LONGEST];
        let length = self.counters.as_ref()?.read_at(&mut text, 0).ok()?;
        send_errors(std::str::from_utf8(&text[..length]).ok()?)
    }
}

/// The column `SndbufErrors` of the two lines `Udp:`, of which the first names the columns.
fn send_errors(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let column = lines.next()?.split(' ').position(|name| name == "SndbufErrors")?;
    lines.next()?.split(' ').nth(column)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_by_its_name() {
        let text = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams RcvbufErrors SndbufErrors InCsumErrors\nUdp: 5 6 7 8\n\
                    UdpLite: SndbufErrors\nUdpLite: 9\n";
        assert_eq!(send_errors(text), Some(7));
        assert_eq!(send_errors("Udp: InDatagrams\nUdp: 5\n"), None);
        assert!(Gauge::new().refused().is_some(), "of this system");
    }
}
