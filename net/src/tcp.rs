//! TCP connections that are carried for others.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// A side that is gone without a word is noticed after two minutes of silence.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// Readies a connection for bytes of others: nothing waits for more, and a side that is gone is noticed. What the kernel refuses of
/// this costs nothing but that.
pub fn settle(stream: impl AsFd) {
    let (idle, every, times) = KEEPALIVE;
    let _ = sockopt::set_tcp_nodelay(&stream, true);
    let _ = sockopt::set_socket_keepalive(&stream, true);
    let _ = sockopt::set_tcp_keepidle(&stream, idle);
    let _ = sockopt::set_tcp_keepintvl(&stream, every);
    let _ = sockopt::set_tcp_keepcnt(&stream, times);
}
