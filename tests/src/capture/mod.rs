//! What the inside of a tunnel looked like: a capture by AF_PACKET into a pcap file, its reading, and a judgement of what it holds.
//!
//! 1. [`Capture::start`] records every IP packet from one address to another that the kernel of a namespace takes in, whole.
//! 2. [`pcap::records`] reads the file back; any bytes are a capture or an error.
//! 3. [`judge()`] finds malformed, reordered and doubled packets in it.

mod judge;
pub mod pcap;
mod recorder;

pub use judge::{Fault, Verdict, judge};
pub use recorder::Capture;
