//! One connection: to a member, and both ways until it ends.

use super::service::Shared;
use meshd_core::statement::Member;
use meshd_net::tcp::settle;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

/// How long one member may take to accept a connection. With two that are silent a third is reached within the bar of 3 s.
const DIAL: Duration = Duration::from_secs(1);
/// How long the last one may take: nobody is left to be asked, and a packet that is lost on the way is sent again after 1 s.
const LAST_DIAL: Duration = Duration::from_secs(3);
/// Members that are tried for one connection.
const MAX_DIALS: usize = 5;
/// Bytes that wait in one direction; a client that does not read is not read for.
const BUFFER: usize = 16 * 1024;

/// Counts a connection as closed, however it ends.
struct Open<'a> {
    shared: &'a Shared,
    member: Member,
    ended: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.closed(self.member, self.ended);
    }
}

/// Carries a client's connection to the first member that takes it.
pub async fn carry(mut client: TcpStream, shared: &Shared) {
    settle(&client);
    let mut places = shared.choose();
    places.truncate(MAX_DIALS);
    let count = places.len();
    for (nth, place) in (1..).zip(places) {
        let begun = Instant::now();
        let patience = if nth == count { LAST_DIAL } else { DIAL };
        let mut server = match dial(place.address, patience).await {
            Ok(server) => server,
            Err(refused) => {
                shared.failed(place.member, refused);
                continue;
            }
        };
        let end = shared.opened(place.member, begun.elapsed());
        let dead = end.notified();
        let mut open = Open {
            shared,
            member: place.member,
            ended: false,
        };
        settle(&server);
        tokio::select! {
            _ = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER) => {}
            () = dead => {
                debug!(member = %place.name, "a connection ends, for the member is dead");
                open.ended = true;
                // a reset, so that the client does not take it for the end of an answer
                let _ = client.set_zero_linger();
            }
        }
        return;
    }
    shared.unserved();
    let _ = client.set_zero_linger();
}

/// `Err(true)` where it was refused.
async fn dial(address: SocketAddr, patience: Duration) -> Result<TcpStream, bool> {
    match timeout(patience, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.kind() == ErrorKind::ConnectionRefused),
        Err(_) => Err(false),
    }
}
