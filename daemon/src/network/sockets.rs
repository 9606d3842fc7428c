//! The UDP sockets of a network: one for each family, on one port.

use meshd_net::netlink::OWN_MARK;
use meshd_net::udp::{UdpConfig, UdpError, UdpSocket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tracing::{info, warn};

/// Port that is tried first: WireGuard's customary one.
const FIRST_PORT: u16 = 51820;
/// How many ports after it are tried before any free one is taken.
const PORTS: u16 = 32;

/// The sockets of a network.
pub struct Sockets {
    /// As the data plane takes them.
    pub plane: crate::dataplane::Sockets,
    /// The port that both have.
    pub port: u16,
}

/// Opens the sockets on the `fixed` port, else on the one `used` before, else on the first that is free from 51820 on.
///
/// # Errors
/// Where no port is to be had: the sentence of the last one tried.
pub fn open(fixed: Option<u16>, used: Option<u16>) -> Result<Sockets, UdpError> {
    if let Some(port) = fixed {
        return bind(port);
    }
    let customary = FIRST_PORT..FIRST_PORT + PORTS;
    for port in used.into_iter().chain(customary) {
        match bind(port) {
            Ok(sockets) => return Ok(sockets),
            Err(error) => info!(port, %error, "the UDP port is taken, the next one is tried"),
        }
    }
    bind(0)
}

/// What these sockets send carries the tunnel, and never goes through it.
fn config(address: IpAddr, port: u16) -> UdpConfig {
    UdpConfig {
        mark: Some(OWN_MARK),
        ..UdpConfig::new(SocketAddr::new(address, port))
    }
}

/// Binds both families to one port; a machine may lack either, not both.
fn bind(port: u16) -> Result<Sockets, UdpError> {
    let v4 = UdpSocket::bind(&config(Ipv4Addr::UNSPECIFIED.into(), port));
    let port = v4.as_ref().map_or(port, |socket| socket.local_addr().port());
    let v6 = UdpSocket::bind(&config(Ipv6Addr::UNSPECIFIED.into(), port));
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok(Sockets {
            plane: plane(Some(v4), Some(v6)),
            port,
        }),
        (Ok(v4), Err(error)) if lacks_family(&error) => {
            warn!(%error, "no IPv6 underlay");
            Ok(Sockets {
                plane: plane(Some(v4), None),
                port,
            })
        }
        (Err(error), Ok(v6)) if lacks_family(&error) => {
            warn!(%error, "no IPv4 underlay");
            {
                let port = v6.local_addr().port();
                Ok(Sockets {
                    plane: plane(None, Some(v6)),
                    port,
                })
            }
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Sockets on fresh ports, fewer than asked for where the machine gives no more.
pub fn fresh(count: u16, ipv6: bool) -> Vec<UdpSocket> {
    let any = match ipv6 {
        true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let config = config(any, 0);
    let opened = (0..count).map(|_| UdpSocket::bind(&config));
    opened
        .map_while(|socket| {
            socket
                .inspect_err(|error| warn!(%error, "no fresh port for a direct path"))
                .ok()
        })
        .collect()
}

fn plane(v4: Option<UdpSocket>, v6: Option<UdpSocket>) -> crate::dataplane::Sockets {
    crate::dataplane::Sockets { v4, v6 }
}

/// Whether the machine has no such family at all (as opposed to the port being taken).
pub(super) fn lacks_family(error: &UdpError) -> bool {
    use std::error::Error;
    let cause = error.source().and_then(|e| e.downcast_ref::<std::io::Error>());
    cause.is_some_and(|e| {
        matches!(
            e.kind(),
            std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::Unsupported
        ) || e.raw_os_error() == Some(97)
    })
}
