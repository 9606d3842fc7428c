//! Whether packets are well-formed, in order within their flow, and there once.
//!
//! - Well-formed: lengths agree (RFC 791, RFC 8200, RFC 768, RFC 9293), the IPv4 header's checksum is right, and the transport's is either
//!   right or, as on a super-packet that the kernel will cut, the sum of the pseudo header.
//! - Order of TCP over IPv4: Linux numbers the packets of a connection in the identification field, also what it sends again. A super-packet
//!   has the numbers from its own on. Segments without a socket of their own (SYN, RST, the end of TIME-WAIT) have none.
//! - Order of [`crate::UdpFlow`]: each datagram begins with its number.

use std::collections::HashMap;
use std::net::IpAddr;

use super::recorder::addresses;
use crate::flow::SIZE;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes contradict themselves; where.
    Malformed(&'static str),
    /// It came behind one that was sent after it, or a second time.
    OutOfOrder,
}

/// What a capture holds.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Packets as the kernel got them.
    pub packets: usize,
    /// Of these, larger than the tunnel's MTU.
    pub super_packets: usize,
    /// Packets of TCP whose order was judged.
    pub tcp: usize,
    /// Numbered datagrams whose order was judged.
    pub udp: usize,
    /// The first faults, with the packet's number from 0.
    pub faults: Vec<(usize, Fault)>,
}

/// Faults that are told.
const MOST: usize = 16;

#[derive(Default)]
struct Flows {
    /// The last identification of each connection.
    tcp: HashMap<[u8; 4], u16>,
    /// The last number of each UDP flow.
    udp: HashMap<[u8; 4], u64>,
}

/// Judges packets in the order in which they came; `mtu` is the tunnel's, in bytes.
pub fn judge(packets: &[&[u8]], mtu: usize) -> Verdict {
    let (mut verdict, mut flows) = (Verdict::default(), Flows::default());
    let mut by_direction: HashMap<(IpAddr, IpAddr), Flows> = HashMap::new();
    for (number, packet) in packets.iter().enumerate() {
        verdict.packets += 1;
        verdict.super_packets += usize::from(packet.len() > mtu);
        let of = addresses(packet).map_or(&mut flows, |pair| by_direction.entry(pair).or_default());
        if let Err(fault) = look(packet, mtu, of, &mut verdict)
            && verdict.faults.len() < MOST
        {
            verdict.faults.push((number, fault));
        }
    }
    verdict
}

/// An IP packet, taken apart.
struct Parts<'a> {
    addresses: &'a [u8],
    id: Option<u16>,
    header: usize,
    protocol: u8,
    transport: &'a [u8],
}

fn look(packet: &[u8], mtu: usize, flows: &mut Flows, verdict: &mut Verdict) -> Result<(), Fault> {
    let parts = match packet.first().map(|first| first >> 4) {
        Some(4) => v4(packet)?,
        Some(6) => v6(packet)?,
        _ => return Err(Fault::Malformed("neither IPv4 nor IPv6")),
    };
    match parts.protocol {
        TCP => tcp(&parts, mtu, flows, verdict),
        UDP => udp(&parts, flows, verdict),
        _ => Ok(()),
    }
}

fn v4(packet: &[u8]) -> Result<Parts<'_>, Fault> {
    let header = packet.get(..20).ok_or(Fault::Malformed("a short IPv4 header"))?;
    let length = usize::from(header[0] & 15) * 4;
    let transport = packet.get(length..).filter(|_| length >= 20);
    let transport = transport.ok_or(Fault::Malformed("the IPv4 header's length"))?;
    if usize::from(u16_at(header, 2)) != packet.len() {
        return Err(Fault::Malformed("the IPv4 length"));
    }
    if sum(0, &packet[..length]) != 0xffff {
        return Err(Fault::Malformed("the IPv4 header's checksum"));
    }
    if u16_at(header, 6) & 0x3fff != 0 {
        return Err(Fault::Malformed("a fragment, where nobody fragments"));
    }
    Ok(Parts {
        addresses: &packet[12..20],
        id: Some(u16_at(header, 4)),
        header: length,
        protocol: header[9],
        transport,
    })
}

fn v6(packet: &[u8]) -> Result<Parts<'_>, Fault> {
    let header = packet.get(..40).ok_or(Fault::Malformed("a short IPv6 header"))?;
    if usize::from(u16_at(header, 4)) + 40 != packet.len() {
        return Err(Fault::Malformed("the IPv6 length"));
    }
    Ok(Parts {
        addresses: &packet[8..40],
        id: None,
        header: 40,
        protocol: header[6],
        transport: &packet[40..],
    })
}

fn tcp(parts: &Parts<'_>, mtu: usize, flows: &mut Flows, verdict: &mut Verdict) -> Result<(), Fault> {
    let header = parts
        .transport
        .get(..20)
        .ok_or(Fault::Malformed("a short TCP header"))?;
    let length = usize::from(header[12] >> 4) * 4;
    if length < 20 || parts.transport.len() < length {
        return Err(Fault::Malformed("the TCP header's length"));
    }
    check_sum(parts, 16)?;
    let payload = parts.transport.len() - length;
    let Some(id) = parts.id else { return Ok(()) };
    if header[13] & (SYN | RST) != 0 || (id == 0 && payload == 0) {
        return Ok(());
    }
    verdict.tcp += 1;
    let segments = payload
        .div_ceil(mtu.saturating_sub(parts.header + length).max(1))
        .max(1);
    let last = id.wrapping_add(segments as u16 - 1);
    match flows
        .tcp
        .insert([header[0], header[1], header[2], header[3]], last)
    {
        Some(before) if id.wrapping_sub(before).wrapping_sub(1) >= 1 << 15 => Err(Fault::OutOfOrder),
        _ => Ok(()),
    }
}

fn udp(parts: &Parts<'_>, flows: &mut Flows, verdict: &mut Verdict) -> Result<(), Fault> {
    let header = parts
        .transport
        .get(..8)
        .ok_or(Fault::Malformed("a short UDP header"))?;
    if usize::from(u16_at(header, 4)) != parts.transport.len() {
        return Err(Fault::Malformed("the UDP length"));
    }
    if u16_at(header, 6) == 0 {
        return Err(Fault::Malformed("no UDP checksum"));
    }
    check_sum(parts, 6)?;
    let ports = [header[0], header[1], header[2], header[3]];
    // the kernel will cut a super-packet into datagrams of the flow's size
    for datagram in parts.transport[8..].chunks(SIZE) {
        let number = datagram.first_chunk().filter(|_| datagram.len() == SIZE);
        let number = u64::from_be_bytes(*number.ok_or(Fault::Malformed("a datagram's size"))?);
        verdict.udp += 1;
        if flows
            .udp
            .insert(ports, number)
            .is_some_and(|before| before >= number)
        {
            return Err(Fault::OutOfOrder);
        }
    }
    Ok(())
}

/// The transport's checksum, whole or left to the kernel.
fn check_sum(parts: &Parts<'_>, field: usize) -> Result<(), Fault> {
    let length = parts.transport.len() as u32;
    let rest = [(length >> 16) as u16, length as u16, u16::from(parts.protocol)].map(u16::to_be_bytes);
    let pseudo = sum(0, &[parts.addresses, rest.as_flattened()].concat());
    let whole = sum(pseudo, parts.transport) == 0xffff;
    let partial = u16_at(parts.transport, field) == pseudo;
    if whole || partial {
        return Ok(());
    }
    Err(Fault::Malformed("the transport's checksum"))
}

/// The one's complement sum, folded (RFC 1071).
fn sum(begin: u16, bytes: &[u8]) -> u16 {
    let mut sum = u64::from(begin);
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
