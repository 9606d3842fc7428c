//! Points at which a test lets the plugin die. A release build has none.

/// Dies by SIGKILL where `MESH_CNI_FAULT` names this point.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    if std::env::var("MESH_CNI_FAULT").is_ok_and(|wanted| wanted == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::thread::park();
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}
