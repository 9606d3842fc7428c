//! The task that keeps the blocks in the hosts file.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meshd_core::names::{Wanted, Withheld};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Change, HostsError, HostsFile, HostsWatch};

/// How long the blocks of the last run stand while nobody has said yet what is wanted.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// A program that rewrites the file does so in several steps; and nobody needs the block back within this time.
const SETTLE: Duration = Duration::from_millis(50);
/// Against a program that takes the block out each time: after this many rounds the wait doubles each time,
const PATIENT_ROUNDS: u32 = 20;
/// up to this.
const LONGEST_SETTLE: Duration = Duration::from_secs(5);
/// A file that was left alone for this long is not being fought over.
const PEACE: Duration = Duration::from_secs(60);
/// When to look again although nobody told of a change.
const LOOK: Duration = Duration::from_secs(30);
/// When to try again after an error that no event announces the end of: a file that may be written again tells nobody.
const RETRY: Duration = Duration::from_secs(10);
/// The same for one that passes.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// How the hosts file is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostsReport {
    /// Names that were not written, and why.
    pub withheld: Vec<Withheld>,
    /// Why the file is not as it should be; `None` where it is.
    pub problem: Option<String>,
    /// The networks whose names were tried last, with or without success.
    pub networks: Vec<String>,
    /// How often another program's rewriting made us write again.
    pub restored: u64,
}

/// Keeps the file as `wanted` says until the sender of `wanted` is gone, and gives the file back. The last block stays
/// in the file; [`HostsFile::clean`] takes it out.
///
/// While nothing is wanted yet, the blocks of the last run stay for up to 5 s: names must not go away for the moment
/// in which a restarted meshd reads its networks. An error never ends it: it is warned of once, reported, tried again.
pub async fn keep(
    file: HostsFile,
    mut wanted: watch::Receiver<Wanted>,
    report: watch::Sender<HostsReport>,
) -> HostsFile {
    let path = file.path().to_owned();
    let mut watch = HostsWatch::new(&path)
        .inspect_err(|e| tracing::warn!(path = %path.display(), "the hosts file is not watched: {e}"))
        .ok();
    let file = Arc::new(Mutex::new(file));
    start(Arc::clone(&file), &mut wanted).await;
    let mut fight = Fight::default();
    let mut by_event = false;
    loop {
        if let Some(watch) = &mut watch {
            watch.arm();
        }
        let now = wanted.borrow_and_update().clone();
        let networks = now.networks.iter().map(|n| n.network.clone()).collect();
        let result = apply(Arc::clone(&file), now).await;
        let restored = by_event && matches!(result, Ok((change, _)) if change != Change::None);
        let retry = tell(&report, result, (networks, restored));
        let settle = fight.settle(restored, Instant::now());
        by_event = false;
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { break },
            () = event(watch.as_mut()) => {
                by_event = true;
                sleep_until(Instant::now() + settle).await;
            }
            () = sleep_until(Instant::now() + retry) => {}
        }
    }
    match Arc::try_unwrap(file) {
        Ok(file) => file.into_inner().unwrap_or_else(PoisonError::into_inner),
        Err(shared) => shared.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    }
}

/// Recovers at once, and waits until the networks have said what they want: they come one after the other.
async fn start(file: Arc<Mutex<HostsFile>>, wanted: &mut watch::Receiver<Wanted>) {
    let recover = move || file.lock().unwrap_or_else(PoisonError::into_inner).recover();
    if let Ok(Err(e)) = tokio::task::spawn_blocking(recover).await {
        // every edit tries it again and reports
        tracing::debug!("recovering the hosts file: {e}");
    }
    if wanted.borrow().networks.is_empty() {
        _ = tokio::time::timeout(START_PATIENCE, wanted.changed()).await;
        tokio::time::sleep(SETTLE).await;
    }
}

type Outcome = Result<(Change, Vec<Withheld>), HostsError>;

async fn apply(file: Arc<Mutex<HostsFile>>, wanted: Wanted) -> Outcome {
    let work = move || {
        let applied = file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(&wanted)?;
        Ok((applied.change, applied.withheld))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // the runtime is going down: nothing was done, and there is no next time
        Err(_) => Ok((Change::None, Vec::new())),
    }
}

/// Waits for an event; for ever where there is no watch.
async fn event(watch: Option<&mut HostsWatch>) {
    match watch {
        Some(watch) => {
            if let Err(e) = watch.changed().await {
                tracing::warn!("watching the hosts file: {e}");
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

/// Reports the outcome, warns where it is a new problem, and says when to look again without being told.
fn tell(
    report: &watch::Sender<HostsReport>,
    outcome: Outcome,
    (networks, restored): (Vec<String>, bool),
) -> Duration {
    let (withheld, problem, retry) = match outcome {
        Ok((_, withheld)) => (Some(withheld), None, LOOK),
        Err(e) => (
            None,
            Some(e.to_string()),
            if e.is_passing() { RETRY_SOON } else { RETRY },
        ),
    };
    report.send_if_modified(|report| {
        let before = report.clone();
        match (&problem, &report.problem) {
            (Some(problem), was) if was.as_ref() != Some(problem) => tracing::warn!("{problem}"),
            (None, Some(_)) => tracing::info!("the hosts file is up to date again"),
            _ => {}
        }
        report.problem = problem;
        report.networks = networks;
        report.restored += u64::from(restored);
        if let Some(withheld) = withheld {
            report.withheld = withheld;
        }
        *report != before
    });
    retry
}

/// How long to wait after an event before putting the block back.
#[derive(Default)]
struct Fight {
    last: Option<Instant>,
    rounds: u32,
}

impl Fight {
    fn settle(&mut self, restored: bool, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now.duration_since(last) > PEACE) {
            self.rounds = 0;
        }
        if restored {
            self.last = Some(now);
            self.rounds = self.rounds.saturating_add(1);
        }
        let doublings = self.rounds.saturating_sub(PATIENT_ROUNDS).min(16);
        (SETTLE * (1 << doublings)).min(LONGEST_SETTLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_over_the_file_slows_down_and_is_forgotten() {
        let (mut fight, start) = (Fight::default(), Instant::now());
        for _ in 0..PATIENT_ROUNDS {
            assert_eq!(fight.settle(true, start), SETTLE);
        }
        for _ in 0..100 {
            fight.settle(true, start);
        }
        assert_eq!(fight.settle(false, start), LONGEST_SETTLE);
        assert_eq!(fight.settle(true, start + PEACE * 2), SETTLE);
    }
}
