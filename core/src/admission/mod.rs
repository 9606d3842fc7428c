//! The coordinator's decisions about who comes in and as what: pure functions over plain facts.
//!
//! A join asks four things, each in a file of its own: may this token admit ([`admit`]), under which name
//! ([`give_name`]), at which address ([`allot`]), and, where the identity is known already, is it the same machine
//! ([`same_machine`])? [`check_ipv4_prefix`] and its like judge what an admin wants when a network is made.
//! Whatever is refused is refused in a sentence for the person who asked.

mod address;
mod clone;
mod name;
mod prefix;
mod token;

pub use address::{Address, AddressRefusal, Holders, allot};
pub use clone::{Facts, Older, Outcome, Which, Whose, same_machine};
pub use name::{BLOCKED_SECONDS, GivenName, NameRefusal, NameWish, Names, give_name, rename};
pub use prefix::{
    PrefixRefusal, api_server_v4, api_server_v6, check_ipv4_prefix, check_ipv6_prefix, check_mtu,
    is_for_nodes_v4, is_for_nodes_v6, ula_prefix,
};
pub use token::{Admitted, DelegationRefusal, Returning, TokenRefusal, TokenState, admit, check_delegation};
