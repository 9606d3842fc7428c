//! Coalescing: packets that were opened in one batch become super-packets for one write each.
//!
//! Merged is only what the kernel's GRO would merge (`tcp_gro_receive`, `udp_gro_receive`), so that cutting the result
//! gives back the same packets:
//! 1. a packet qualifies (`candidate.rs`) if it is whole, without IP options or extension headers, with a right IPv4 header checksum, and
//!    carries payload over TCP (flags ACK, PSH, ECE only) or over UDP with a checksum;
//! 2. it joins the open group of its flow if both have the same TTL, type of service, flow label and DF; the next IPv4
//!    id (or, with DF, always the same: RFC 6864 gives it no meaning then); for TCP the same ACK number, flags and
//!    options and the next sequence number; if it is not longer than the group's first; and if its own transport
//!    checksum, and the first packet's, are right. The super-packet has the TCP window of its last packet, the newest;
//! 3. PSH or a shorter payload ends the group; so does every packet of the flow that did not join. A packet of another
//!    kind (a fragment, ICMP) ends all groups between its two addresses.
//!
//! Groups leave in the order in which they began, and each flow has at most one open: within a flow order is kept.
//! Nothing is copied but one header for each super-packet, so that the packets themselves stay as they were and can be
//! written singly where the kernel refuses the super-packet.

mod candidate;

use candidate::{Candidate, PSH, addresses, checksum_is_right, continues, same_flow};

use super::checksum::{Sum, pseudo_header};
use super::ip::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, TCP, write_u16};
use super::{GsoKind, Offload};

/// Most packets in one super-packet: the kernel's limit for UDP before 6.9, and what one batch gives for TCP.
pub const MAX_MERGED: usize = 64;
/// Largest super-packet in bytes: its length field has 16 bits.
const MAX_LEN: usize = 65_535;
/// How many groups of one batch may be open at a time; the oldest is closed for a new one.
const MAX_OPEN: usize = 16;
/// Longest IP and transport header of a super-packet, in bytes.
pub const MAX_HEADER_LEN: usize = IPV6_HEADER_LEN + 60;
const NONE: u16 = u16::MAX;

/// Room for the headers of one super-packet.
pub type HeaderBuffer = [u8; MAX_HEADER_LEN];

/// One packet: where it lies in the arena, and the next of its group.
#[derive(Clone, Copy, Debug)]
struct Item {
    offset: u32,
    length: u16,
    next: u16,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    head: Candidate,
    first: u16,
    last: u16,
    count: u16,
    /// Bytes of the super-packet.
    total: u32,
    /// The first packet's transport checksum was found right.
    verified: bool,
    /// Whether the last packet has PSH.
    push: bool,
}

/// The pieces of one super-packet, in order: its headers and the payloads, or one whole packet.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    slices: [&'a [u8]; MAX_MERGED + 1],
    count: usize,
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Parts {
            slices: [&[]; MAX_MERGED + 1],
            count: 0,
        }
    }
}

impl<'a> Parts<'a> {
    /// The pieces.
    pub fn as_slice(&self) -> &[&'a [u8]] {
        &self.slices[..self.count]
    }

    fn push(&mut self, part: &'a [u8]) {
        self.slices[self.count] = part;
        self.count += 1;
    }
}

/// Groups the packets of one batch. It is made once; [`Coalescer::clear`] readies it for the next batch.
#[derive(Debug)]
pub struct Coalescer {
    items: Vec<Item>,
    groups: Vec<Group>,
    /// Indices into `groups`, the oldest first.
    open: [u16; MAX_OPEN],
    open_count: usize,
    merge_tcp: bool,
    merge_udp: bool,
}

impl Coalescer {
    /// A coalescer for batches of at most `capacity` packets (at most 32,767); later ones are refused.
    pub fn new(capacity: usize) -> Coalescer {
        let capacity = capacity.min(usize::from(NONE / 2));
        Coalescer {
            items: Vec::with_capacity(capacity),
            groups: Vec::with_capacity(capacity),
            open: [0; MAX_OPEN],
            open_count: 0,
            merge_tcp: true,
            merge_udp: true,
        }
    }

    /// Whether TCP is merged: not where the TUN device has no virtio-net header.
    pub fn set_merge_tcp(&mut self, merge: bool) {
        self.merge_tcp = merge;
    }

    /// Whether UDP is merged: not on kernels whose TUN takes no USO (before 6.2).
    pub fn set_merge_udp(&mut self, merge: bool) {
        self.merge_udp = merge;
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.items.clear();
        self.groups.clear();
        self.open_count = 0;
    }

    /// Packets taken since the last [`Coalescer::clear`].
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no packet was taken.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Super-packets and single packets to write.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Takes the packet at `arena[offset..offset + length]`. `arena` has to be the same at each call until
    /// [`Coalescer::clear`]. Gives false, and takes nothing, where capacity is used up or the range is outside the arena.
    #[inline]
    pub fn push(&mut self, arena: &[u8], offset: usize, length: usize) -> bool {
        let Some(packet) = offset.checked_add(length).and_then(|end| arena.get(offset..end)) else {
            return false;
        };
        if self.items.len() == self.items.capacity() || length > MAX_LEN {
            return false;
        }
        let item = self.items.len() as u16;
        self.items.push(Item {
            offset: offset as u32,
            length: length as u16,
            next: NONE,
        });
        match Candidate::of(packet) {
            Some(candidate) if !self.merges(candidate.protocol) => self.start(item, candidate, false),
            Some(candidate) => self.place(arena, packet, item, candidate),
            None => {
                self.close_between(arena, packet);
                self.start(item, Candidate::single(length), false);
            }
        }
        true
    }

    /// The packet of group `index` where it is the only one: written as it is.
    #[inline]
    pub fn alone<'a>(&self, index: usize, arena: &'a [u8]) -> Option<&'a [u8]> {
        let group = &self.groups[index];
        (group.count == 1).then(|| self.bytes(arena, group.first))
    }

    /// Describes group `index`: its offload, with its pieces put into `parts`. A merged group's headers are written to `header`.
    #[inline]
    pub fn group<'a>(
        &self,
        index: usize,
        arena: &'a [u8],
        header: &'a mut HeaderBuffer,
        parts: &mut Parts<'a>,
    ) -> Offload {
        let group = &self.groups[index];
        parts.count = 0;
        if group.count == 1 {
            parts.push(self.bytes(arena, group.first));
            return Offload::default();
        }
        let offload = self.write_header(group, arena, header);
        let header_len = usize::from(group.head.header_len);
        parts.push(&header[..header_len]);
        for item in self.chain(group) {
            parts.push(&self.bytes(arena, item)[header_len..]);
        }
        offload
    }

    /// The packets of group `index` as they were, for writing them singly.
    pub fn singles<'a>(&'a self, index: usize, arena: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.chain(&self.groups[index])
            .map(move |item| self.bytes(arena, item))
    }

    fn merges(&self, protocol: u8) -> bool {
        if protocol == TCP {
            self.merge_tcp
        } else {
            self.merge_udp
        }
    }

    fn chain(&self, group: &Group) -> impl Iterator<Item = u16> + '_ {
        let start = Some(group.first);
        std::iter::successors(start, |item| {
            Some(self.items[usize::from(*item)].next).filter(|next| *next != NONE)
        })
    }

    fn bytes<'a>(&self, arena: &'a [u8], item: u16) -> &'a [u8] {
        let item = &self.items[usize::from(item)];
        &arena[item.offset as usize..item.offset as usize + usize::from(item.length)]
    }

    /// Joins the open group of the flow, or starts one.
    #[inline]
    fn place(&mut self, arena: &[u8], packet: &[u8], item: u16, candidate: Candidate) {
        let found = (0..self.open_count).find(|place| {
            let group = &self.groups[usize::from(self.open[*place])];
            group.head.flow == candidate.flow
                && same_flow(&candidate, &group.head, packet, self.bytes(arena, group.first))
        });
        if let Some(place) = found {
            let index = usize::from(self.open[place]);
            if self.joins(arena, packet, index, &candidate) {
                self.join(index, item, &candidate, packet.len());
                let group = &self.groups[index];
                if candidate.ends_group
                    || candidate.payload_len < group.head.payload_len
                    || usize::from(group.count) == MAX_MERGED
                {
                    self.close(place);
                }
                return;
            }
            self.close(place);
        }
        self.start(item, candidate, !candidate.ends_group);
    }

    #[inline]
    fn joins(&mut self, arena: &[u8], packet: &[u8], index: usize, candidate: &Candidate) -> bool {
        let group = self.groups[index];
        let first = self.bytes(arena, group.first);
        let total = group.total as usize + usize::from(candidate.payload_len);
        if candidate.header_len != group.head.header_len
            || candidate.payload_len > group.head.payload_len
            || total > MAX_LEN
            || !continues(
                candidate,
                &group.head,
                group.count,
                packet,
                first,
                self.bytes(arena, group.last),
            )
            || !checksum_is_right(candidate, packet)
        {
            return false;
        }
        if !group.verified {
            if !checksum_is_right(&group.head, first) {
                return false;
            }
            self.groups[index].verified = true;
        }
        true
    }

    fn join(&mut self, index: usize, item: u16, candidate: &Candidate, length: usize) {
        let group = &mut self.groups[index];
        self.items[usize::from(group.last)].next = item;
        group.last = item;
        group.count += 1;
        group.total += (length - usize::from(candidate.header_len)) as u32;
        group.push |= candidate.ends_group;
    }

    fn start(&mut self, item: u16, head: Candidate, open: bool) {
        let total = u32::from(self.items[usize::from(item)].length);
        let index = self.groups.len() as u16;
        self.groups.push(Group {
            head,
            first: item,
            last: item,
            count: 1,
            total,
            verified: false,
            push: false,
        });
        if open {
            if self.open_count == MAX_OPEN {
                self.close(0);
            }
            self.open[self.open_count] = index;
            self.open_count += 1;
        }
    }

    fn close(&mut self, place: usize) {
        self.open.copy_within(place + 1..self.open_count, place);
        self.open_count -= 1;
    }

    /// Closes all groups between the two addresses of `packet`, in either role of the ports.
    fn close_between(&mut self, arena: &[u8], packet: &[u8]) {
        let mut place = 0;
        while place < self.open_count {
            let first = self.bytes(arena, self.groups[usize::from(self.open[place])].first);
            if addresses(packet) == addresses(first) {
                self.close(place);
            } else {
                place += 1;
            }
        }
    }

    #[inline]
    fn write_header(&self, group: &Group, arena: &[u8], header: &mut HeaderBuffer) -> Offload {
        let head = &group.head;
        let header_len = usize::from(head.header_len);
        let header = &mut header[..header_len];
        header.copy_from_slice(&self.bytes(arena, group.first)[..header_len]);
        let transport = head.transport();
        let length = (group.total as usize - transport) as u16;
        if head.v6 {
            write_u16(header, 4, length);
        } else {
            write_u16(header, 2, group.total as u16);
            write_u16(header, 10, 0);
            let checksum = Sum::of(&header[..IPV4_HEADER_LEN]).checksum();
            write_u16(header, 10, checksum);
        }
        let checksum_offset = if head.protocol == TCP {
            let last = self.bytes(arena, group.last);
            header[transport + 13] |= if group.push { PSH } else { 0 };
            header[transport + 14..transport + 16].copy_from_slice(&last[transport + 14..transport + 16]);
            16
        } else {
            write_u16(header, transport + 4, length);
            6
        };
        let partial = pseudo_header(addresses(header), head.protocol, length).fold();
        write_u16(header, transport + checksum_offset, partial);
        Offload {
            kind: match (head.protocol, head.v6) {
                (TCP, false) => GsoKind::Tcp4,
                (TCP, true) => GsoKind::Tcp6,
                _ => GsoKind::Udp,
            },
            needs_checksum: true,
            header_len: head.header_len,
            gso_size: head.payload_len,
            checksum_start: transport as u16,
            checksum_offset: checksum_offset as u16,
        }
    }
}

#[cfg(test)]
mod tests;
