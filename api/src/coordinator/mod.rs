//! meshrelay's HTTPS API under `/v1`: the part for nodes ([`node`], [`ingress`]), for relays on other
//! hosts ([`relay`]) and for admins ([`admin`]).

pub mod admin;
pub mod ingress;
pub mod node;
pub mod relay;

/// ALPN of the coordinator and of the TLS relay.
pub const ALPN: &[u8] = b"meshd/1";
/// What a connection becomes that is upgraded by `GET /v1/relay`: relay frames, each after its u16 length.
pub const RELAY_PROTOCOL: &str = "meshd-relay";
/// Label of the TLS exporter that binds signatures to the session (RFC 9266).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// Where meshrelay's admin socket is unless told otherwise.
pub const DEFAULT_ADMIN_SOCKET: &str = "/run/meshrelay/admin.sock";
/// Header that makes a write idempotent: the same key twice is done once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
