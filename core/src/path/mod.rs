//! Paths: how packets reach each peer, decided from what is seen and nothing else.
//!
//! - [`discovery`], [`beacon`]: the wire formats.
//! - [`Endpoint`], [`Source`], [`Destination`], [`Transmit`], [`Event`], [`Path`]: the vocabulary between the agent and
//!   whoever drives it.

pub mod beacon;
pub mod discovery;

mod endpoint;
mod event;

pub use discovery::MapVersion;
pub use endpoint::{Destination, Endpoint, Source, Transmit};
pub use event::{Event, Path, PathKind};
