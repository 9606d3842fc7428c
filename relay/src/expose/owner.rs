//! Who has a port of this machine, as far as the kernel tells meshrelay: the program where its process can be seen, else its user.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use meshd_core::statement::Protocol;

/// States in the kernel's tables: a listening socket of TCP, an unconnected one of UDP.
const LISTENS: &str = "0A";
const UNCONNECTED: &str = "07";

/// A socket of this machine.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    uid: u32,
    inode: u64,
}

/// Who has the port, for a sentence.
pub fn of(protocol: Protocol, at: SocketAddr) -> Option<String> {
    let (tables, state) = match protocol {
        Protocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], LISTENS),
        Protocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED),
    };
    let found = tables.iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| row(line, state, at))
    })?;
    let program = program_with(&format!("socket:[{}]", found.inode));
    Some(program.unwrap_or_else(|| {
        let user = user(found.uid).unwrap_or_else(|| format!("with the id {}", found.uid));
        format!("a program of the user {user} (`ss -lntup` there names it)")
    }))
}

/// A line of a table (proc(5)), where it is a socket in this state that keeps others from `at`.
fn row(line: &str, state: &str, at: SocketAddr) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let of_state = fields.nth(1)?;
    let (uid, inode) = (fields.nth(3)?, fields.nth(1)?);
    let (address, port) = local.split_once(':')?;
    let address = parse_address(address)?;
    let same = address == at.ip() || address.is_unspecified() || at.ip().is_unspecified();
    let here = u16::from_str_radix(port, 16).ok()? == at.port() && of_state == state && same;
    here.then_some(Socket {
        uid: uid.parse().ok()?,
        inode: inode.parse().ok()?,
    })
}

/// Words of 32 bits in the byte order of the machine.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes: Vec<u8> = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

/// The program that holds a socket open; none where its process is hidden from us.
fn program_with(socket: &str) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.into_iter().find_map(|process| {
        let name = process.file_name();
        let pid: u32 = name.to_str()?.parse().ok()?;
        let holds = |fd: fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|link| link == Path::new(socket));
        let mut open = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        open.any(holds).then(|| {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (process {pid})", program.trim())
        })
    })
}

fn user(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_row_is_read_as_the_kernel_writes_it() {
        let line = "  3: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100";
        let at = |text: &str| row(line, LISTENS, text.parse().unwrap());
        let found = Socket {
            uid: 1000,
            inode: 12345,
        };
        if cfg!(target_endian = "little") {
            assert_eq!(at("127.0.0.1:8080"), Some(found));
            assert!(at("0.0.0.0:8080").is_some() && at("192.0.2.1:8080").is_none());
        }
        assert!(at("127.0.0.1:8081").is_none());
        assert!(row("", LISTENS, "127.0.0.1:1".parse().unwrap()).is_none());
    }

    #[test]
    fn this_program_is_found_by_its_ports() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let pid = format!("(process {})", std::process::id());
        for (protocol, at) in [
            (Protocol::Tcp, tcp.local_addr().unwrap()),
            (Protocol::Udp, udp.local_addr().unwrap()),
        ] {
            let who = of(protocol, at).unwrap();
            assert!(who.contains(&pid), "{who}");
        }
    }
}
