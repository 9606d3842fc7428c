//! The recording: an AF_PACKET socket of a namespace, and a thread that writes what comes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

use super::pcap;

/// ETH_P_ALL, big endian as the kernel wants it.
const ALL: u32 = 0x0300;
/// What may wait while this computer does other things.
const RECEIVE_BUFFER: usize = 64 << 20;

/// A capture that runs until [`Capture::stop`].
pub struct Capture {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<std::io::Result<()>>,
    path: PathBuf,
}

impl Capture {
    /// Records packets from `source` to `destination` in the namespace into which `inside` brings its work. On a tunnel's
    /// interface these are what the tunnel's program wrote, super-packets as such.
    ///
    /// # Panics
    /// Without root.
    pub fn start(
        inside: impl FnOnce(fn() -> OwnedFd) -> OwnedFd,
        source: IpAddr,
        destination: IpAddr,
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("meshd-capture-{}-{number}.pcap", std::process::id()));
        let (socket, stop) = (inside(open), Arc::new(AtomicBool::new(false)));
        let (until, file) = (Arc::clone(&stop), File::create(&path).expect("a temporary file"));
        let writer = std::thread::spawn(move || record(&socket, file, (source, destination), &until));
        Self { stop, writer, path }
    }

    /// Ends the capture and gives its file's bytes; the file is gone.
    ///
    /// # Panics
    /// Where it could not be written.
    pub fn stop(self) -> Vec<u8> {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.writer.join().expect("the recorder did not panic");
        written.expect("the capture is written");
        let bytes = std::fs::read(&self.path).expect("the capture is there");
        let _ = std::fs::remove_file(&self.path);
        bytes
    }
}

/// The socket sees all interfaces of the namespace: by addresses the inside is told from the outside.
fn open() -> OwnedFd {
    let all = NonZeroU32::new(ALL).map(Protocol::from_raw);
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        all,
    )
    .expect("needs root");
    set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).expect("needs root");
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(100))).expect("a positive time");
    socket
}

fn record(
    socket: &OwnedFd,
    file: File,
    (source, destination): (IpAddr, IpAddr),
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut buffer = vec![0_u8; pcap::SNAP as usize];
    file.write_all(&pcap::file_header())?;
    loop {
        // what waits when the time is over was captured, too
        let over = stop.load(Ordering::Relaxed);
        let Ok((_, length)) = recv(socket, &mut buffer[..], RecvFlags::empty()) else {
            if over {
                return file.flush();
            }
            continue;
        };
        let packet = &buffer[..length.min(buffer.len())];
        if addresses(packet) == Some((source, destination)) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            file.write_all(&pcap::record_header(now.as_micros() as u64, packet.len()))?;
            file.write_all(packet)?;
        }
    }
}

/// Source and destination of an IP packet.
pub(super) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
    let v6 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
    match packet.first()? >> 4 {
        4 => Some((v4(12)?, v4(16)?)),
        6 => Some((v6(8)?, v6(24)?)),
        _ => None,
    }
}
