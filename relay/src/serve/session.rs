//! What a handler may know of the connection that its request came by.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meshd_core::auth::EXPORTER_LEN;
use tokio::sync::Notify;

use super::limits::{MemberKey, Permit};

/// One connection; put into each of its requests.
#[derive(Debug, Clone)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    permit: Option<Permit>,
    cut: Notify,
    /// Its owner was told to be the clone of a node that is alive elsewhere.
    of_clone: AtomicBool,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// The admin socket; the other side is root or this program's own user.
    AdminSocket {
        /// Its user id.
        uid: u32,
    },
    /// TLS.
    Tls(TlsOrigin),
}

/// Of a TLS connection.
#[derive(Debug, Clone, Copy)]
pub struct TlsOrigin {
    /// Keying material that proofs are bound to (RFC 9266).
    pub exporter: [u8; EXPORTER_LEN],
    /// The address it comes from.
    pub from: SocketAddr,
    /// The address of this host that it reached.
    pub reached: SocketAddr,
    /// Whether signed admin requests are answered here.
    pub admin: bool,
}

impl Session {
    /// A session; TLS ones have a place among the connections.
    pub fn new(origin: Origin, permit: Option<Permit>) -> Self {
        Self(Arc::new(Inner {
            origin,
            permit,
            cut: Notify::new(),
            of_clone: AtomicBool::new(false),
        }))
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// The TLS side of it, if it is TLS.
    pub fn tls(&self) -> Option<&TlsOrigin> {
        match &self.0.origin {
            Origin::Tls(tls) => Some(tls),
            Origin::AdminSocket { .. } => None,
        }
    }

    /// Nobody has shown who they are on it.
    pub fn is_guest(&self) -> bool {
        self.0.permit.as_ref().is_some_and(Permit::is_guest)
    }

    /// It is this member's from now on. False where the member has too many connections.
    pub fn promote(&self, member: MemberKey) -> bool {
        self.0.permit.as_ref().is_none_or(|permit| permit.promote(member))
    }

    /// Its owner is told to be a clone: from now on it does not speak for the node whose keys it has.
    pub fn mark_as_clones(&self) {
        self.0.of_clone.store(true, Ordering::Relaxed);
    }

    /// Whether its owner was told so.
    pub fn is_clones(&self) -> bool {
        self.0.of_clone.load(Ordering::Relaxed)
    }

    /// Ends the connection at once, whatever it is doing.
    pub fn cut(&self) {
        self.0.cut.notify_one();
    }

    /// Resolves when somebody [`cut`](Self::cut)s it.
    pub async fn until_cut(&self) {
        self.0.cut.notified().await;
    }
}
