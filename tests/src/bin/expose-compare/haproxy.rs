//! HAProxy as a TCP proxy: its own defaults, and what its manual says such a proxy needs.

use std::net::SocketAddr;

use meshd_tests::{Machine, Process};

use crate::{HAPROXY, HOST, SENDS, SHORT, TAKES};

pub fn start(cloud: &Machine, node: impl Fn(u16) -> SocketAddr) -> Process {
    let mut config = String::from(
        "global\n  maxconn 8192\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n",
    );
    for port in [SENDS, TAKES, SHORT] {
        let (public, target) = (port + HAPROXY, node(port));
        config.push_str(&format!(
            "listen p{port}\n  bind {HOST}:{public}\n  server node {target} check\n"
        ));
    }
    std::fs::write(cloud.file("/etc/haproxy.cfg"), config).expect("the machine's own folder");
    cloud.spawn(&["haproxy", "-db", "-f", "/etc/haproxy.cfg"], &[])
}
