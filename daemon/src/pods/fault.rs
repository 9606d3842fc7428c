//! Points at which a test lets meshd die, and a clock that it can put forward. A release build has neither.

#[cfg(debug_assertions)]
use std::time::Duration;
use std::time::Instant;

/// Dies by SIGKILL where `MESHD_FAULTS` is set and a file of this name is in `/run/meshd-faults`, which a test
/// takes away again: a meshd that was started anew lives.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    let armed = std::path::Path::new("/run/meshd-faults").join(name);
    if std::env::var_os("MESHD_FAULTS").is_some() && armed.exists() {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}

/// The time by which a pod's interface has been away: a test, which sees to it as above, puts it forward by the seconds that it
/// writes into `/run/meshd-faults/later`, each time more than before.
#[cfg(debug_assertions)]
pub fn now() -> Instant {
    let later = std::env::var_os("MESHD_FAULTS")
        .and_then(|_| std::fs::read_to_string("/run/meshd-faults/later").ok())
        .and_then(|text| text.trim().parse().ok());
    Instant::now() + Duration::from_secs(later.unwrap_or_default())
}

/// The time.
#[cfg(not(debug_assertions))]
pub fn now() -> Instant {
    Instant::now()
}
