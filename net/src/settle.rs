//! Small in memory while nothing happens: what only a start or a change needs does not stay resident, neither code nor heap.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::memory;

/// How long things have to be quiet first.
const QUIET: Duration = Duration::from_secs(1);
/// After so long it is done anyway: somebody asked for the status, a peer came by another path.
const ANYWAY: Duration = Duration::from_secs(600);

/// Says that something rare was done. Clones speak to the same listener.
#[derive(Clone, Debug, Default)]
pub struct Settle(Arc<Notify>);

impl Settle {
    /// Something rare was done; more of it may follow.
    pub fn soon(&self) {
        self.0.notify_one();
    }

    /// Gives back what is not used, a second after the last of such news, for ever.
    pub async fn run(self) {
        loop {
            tokio::select! {
                () = self.0.notified() => {
                    while tokio::time::timeout(QUIET, self.0.notified()).await.is_ok() {}
                }
                () = sleep(ANYWAY) => {}
            }
            memory::release_code();
            memory::release_heap();
        }
    }
}
