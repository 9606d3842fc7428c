//! Routes of other programs: what a CNI plugin or a routing daemon puts on the network's interface, with a peer's mesh address as
//! the next hop, becomes that peer's allowed IPs.
//!
//! The kernel hands such a packet to the tunnel by its interface alone, and the next hop is lost on the way; so the packet path
//! finds the peer by destination, in the same table as everything else. Nobody gains addresses by this that an admin did
//! not give:
//!
//! 1. an admin grants a prefix to nodes ([`crate::statement::Grant`]); [`check`] refuses what would break something;
//! 2. this machine's kernel has a route inside that prefix whose next hop is a mesh address of such a node;
//! 3. then, and as long as both hold, packets to the route's destination go to that node, and it may send from there
//!    ([`Adopted`]). What one peer may send therefore follows from routes that this machine's own administrator, or a program
//!    that he trusts, made; a grant alone opens nothing.

mod grant;
mod routes;

pub use grant::{GrantError, check, granted_to};
pub use routes::{Adopted, Foreign, MAX_ROUTES};
