//! `meshd run`: opens everything in order, says READY, serves until told to end.

use crate::config::{Config, RunArgs};
use crate::descriptors::Descriptors;
use crate::firewall::Firewall;
use crate::names::Names;
use crate::network::Shared;
use crate::state::StateDir;
use crate::supervisor::{Command, Supervisor};
use crate::{dns, logging, machine, serve};
use anyhow::Context;
use meshd_net::fdstore;
use meshd_net::settle::Settle;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::info;

/// Runs the daemon until SIGTERM or SIGINT.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    meshd_net::memory::return_large_blocks();
    let config = Arc::new(Config::from(args));
    logging::start();
    machine::check_kernel()?;
    let state = StateDir::open(&config.state_dir)?;
    let listener_path = config.socket.clone();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control loop")?
        .block_on(serve_until_told(config, state, &listener_path))
}

/// Keeps descriptors for a meshd that restarts.
pub fn hold(socket: &Path) -> anyhow::Result<()> {
    meshd_net::holder::serve(socket)
        .with_context(|| format!("cannot hold descriptors at {}", socket.display()))
}

async fn serve_until_told(config: Arc<Config>, state: StateDir, socket: &Path) -> anyhow::Result<()> {
    let listener = serve::bind(socket)?;
    let (netlink, kernel) = machine::netlink()?;
    let descriptors = Arc::new(Descriptors::open(&config));
    let names = Names::start(&config)?;
    let shared_config = config.clone();
    let firewall = Firewall::new(&config);
    let keeping = tokio::spawn(firewall.clone().keep());
    let (trouble, dns) = watch::channel(None);
    let answering = tokio::spawn(dns::serve(dns::address(config.instance), names.wanted(), trouble));
    let settle = Settle::default();
    let (settling, for_networks) = (tokio::spawn(settle.clone().run()), settle.clone());
    let mut supervisor = Supervisor::new(config.clone(), state, |handle| Shared {
        firewall,
        config: shared_config,
        netlink,
        kernel,
        names,
        descriptors,
        supervisor: handle,
        settle: for_networks,
        dns,
    });
    supervisor.start_all().await;
    let handle = supervisor.handle();
    let supervising = tokio::spawn(supervisor.run());
    fdstore::notify("READY=1");
    settle.soon();
    info!(version = env!("CARGO_PKG_VERSION"), "meshd is ready");
    tokio::select! {
        served = serve::serve(listener, handle.clone()) => served?,
        () = told_to_end() => {}
    }
    fdstore::notify("STOPPING=1");
    keeping.abort();
    settling.abort();
    answering.abort();
    let (done, stopped) = oneshot::channel();
    if handle.send(Command::Stop(done)).await.is_ok() {
        let _ = stopped.await;
    }
    let _ = supervising.await;
    let _ = std::fs::remove_file(socket);
    Ok(())
}

async fn told_to_end() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => info!("told to end (SIGTERM)"),
        _ = int.recv() => info!("told to end (SIGINT)"),
    }
}
