//! Points at which a test lets meshd die. A release build has none.

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
