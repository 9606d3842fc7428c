//! Answers to packets that are too big for their peer: "fragmentation needed", "packet too big".
//!
//! They come from the node's own mesh address, as any router's do, and are sent as the machine sends its own packets: out of the
//! TUN device a kernel takes none with an address of its own. Where no raw socket can be had (CAP_NET_RAW), they come out of
//! that device in the name of the packet's destination.

use std::io::IoSlice;
use std::net::IpAddr;

use meshd_core::packet::{icmp, ip};
use meshd_net::raw::RawSender;
use meshd_net::tun::{Tun, VnetHeader};

/// What answering needs.
#[derive(Debug)]
pub(super) struct TooBig {
    raw: Option<RawSender>,
    /// The node's own addresses in the network.
    own: Vec<IpAddr>,
}

impl TooBig {
    /// From these addresses of the node's.
    pub(super) fn new(own: Vec<IpAddr>) -> TooBig {
        TooBig {
            raw: if own.is_empty() {
                None
            } else {
                RawSender::open().ok()
            },
            own,
        }
    }

    /// Tells the sender of a packet that its peer takes `max_packet` bytes; as lossy as any ICMP message.
    #[cold]
    pub(super) fn answer(&self, tun: &Tun, packet: &[u8], max_packet: u16) {
        if !self.answer_by_own(packet, max_packet) {
            let mut answer = [0; icmp::MAX_ANSWER_LEN];
            let written = icmp::too_big(packet, max_packet, None, &mut answer);
            if let (Some(queue), Some(length)) = (tun.queues().first(), written) {
                let _ = queue.send(&VnetHeader::PLAIN, &[IoSlice::new(&answer[..length])]);
            }
        }
    }

    fn answer_by_own(&self, packet: &[u8], max_packet: u16) -> bool {
        let (Some(raw), Some(sender)) = (&self.raw, ip::source(packet)) else {
            return false;
        };
        let mut own = self.own.iter().copied();
        let Some(own) = own.find(|own| own.is_ipv4() == sender.is_ipv4()) else {
            return false;
        };
        let mut answer = [0; icmp::MAX_ANSWER_LEN];
        // what must not be answered is not answered the other way either
        let length = icmp::too_big(packet, max_packet, Some(own), &mut answer);
        length.is_none_or(|length| raw.send(&answer[..length], sender).is_ok())
    }
}
