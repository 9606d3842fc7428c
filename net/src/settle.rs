//! Small in memory while nothing happens: what only a start or a change needs does not stay resident, neither code nor heap.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::memory;

/// How long things have to be quiet first.
const QUIET: Duration = Duration::from_secs(1);
/// Where they never are, it is done this often.
const BUSY: Duration = Duration::from_secs(30);
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

    /// Gives back what is not used, a second after the last of such news or each half minute while it does not end, for ever.
    pub async fn run(self) {
        loop {
            tokio::select! {
                () = self.0.notified() => {
                    let until_quiet = async { while timeout(QUIET, self.0.notified()).await.is_ok() {} };
                    let _ = timeout(BUSY, until_quiet).await;
                }
                () = sleep(ANYWAY) => {}
            }
            memory::release_code();
            memory::release_heap();
        }
    }
}
