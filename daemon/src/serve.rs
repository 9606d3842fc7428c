//! The Unix socket's API: HTTP/1.1 and JSON, types in [`meshd_api::local`].
//!
//! Each handler sends a [`Command`] to the supervisor and waits for its answer; it decides nothing itself. The socket
//! is 0600: whoever may open it may do everything.

use crate::kube::Question as AskedOfKube;
use crate::network::Question;
use crate::pods::Question as Asked;
use crate::supervisor::{Command, Handle};
use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use meshd_api::Problem;
use meshd_api::local::{CleanRequest, Done, JoinReply, JoinRequest, LeaveRequest, Status, TemplateRequest};
use meshd_api::local::{ExitRequest, Netcheck, NetcheckRequest, PeerRequest, PingReply, Why};
use meshd_api::local::{
    KubeCredentials, PodLease, PodNetwork, PodRequest, PodsForgotten, PodsInstalled, PodsKept,
};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

/// Listens on `path` (0600, its folder made), replacing a dead meshd's socket.
pub fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!(
            "another meshd answers on {}; stop it, or choose another --socket and --instance",
            path.display()
        );
    }
    let _ = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until the process ends.
pub async fn serve(listener: UnixListener, supervisor: Handle) -> anyhow::Result<()> {
    axum::serve(listener, router(supervisor))
        .await
        .context("the API socket failed")
}

fn router(supervisor: Handle) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/join", post(join))
        .route("/v1/leave", post(leave))
        .route("/v1/down", post(down))
        .route("/v1/up", post(up))
        .route("/v1/clean", post(clean))
        .route("/v1/template", post(template))
        .route("/v1/netcheck", post(netcheck))
        .route("/v1/ping", post(ping))
        .route("/v1/why", post(why))
        .route("/v1/exit", post(exit))
        .nest("/v1/pods", pods())
        .route("/v1/kube/credentials", post(kube_credentials))
        .route("/v1/kube/forget", post(kube_forget))
        .with_state(supervisor)
}

/// A [`Problem`] as an answer.
struct Refusal(Problem);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::UNPROCESSABLE_ENTITY, Json(self.0)).into_response()
    }
}

type Answer<T> = Result<Json<T>, Refusal>;

/// Sends the command that `make` builds around a reply channel and waits for the answer.
async fn ask<T>(
    supervisor: &Handle,
    make: impl FnOnce(oneshot::Sender<Result<T, Problem>>) -> Command,
) -> Answer<T> {
    let (reply, answer) = oneshot::channel();
    let gone = || Refusal(Problem::new("stopping", "meshd is stopping"));
    supervisor.send(make(reply)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?.map(Json).map_err(Refusal)
}

async fn status(State(supervisor): State<Handle>) -> Answer<Status> {
    ask(&supervisor, Command::Status).await
}

async fn join(State(supervisor): State<Handle>, Json(request): Json<JoinRequest>) -> Answer<JoinReply> {
    ask(&supervisor, |reply| Command::Join(request, reply)).await
}

async fn leave(State(supervisor): State<Handle>, Json(request): Json<LeaveRequest>) -> Answer<Done> {
    ask(&supervisor, |reply| Command::Leave(request, reply)).await
}

async fn down(State(supervisor): State<Handle>) -> Answer<Done> {
    ask(&supervisor, Command::Down).await
}

async fn up(State(supervisor): State<Handle>) -> Answer<Done> {
    ask(&supervisor, Command::Up).await
}

async fn clean(State(supervisor): State<Handle>, Json(request): Json<CleanRequest>) -> Answer<Done> {
    ask(&supervisor, |reply| Command::Clean(request, reply)).await
}

async fn template(State(supervisor): State<Handle>, Json(request): Json<TemplateRequest>) -> Answer<Done> {
    ask(&supervisor, |reply| Command::Template(request, reply)).await
}

async fn netcheck(
    State(supervisor): State<Handle>,
    Json(request): Json<NetcheckRequest>,
) -> Answer<Netcheck> {
    let question = Question::Netcheck;
    ask(&supervisor, |reply| {
        Command::Question(request.network, question(reply))
    })
    .await
}

async fn ping(State(supervisor): State<Handle>, Json(request): Json<PeerRequest>) -> Answer<PingReply> {
    let question = |reply| Question::Ping(request.peer, reply);
    ask(&supervisor, |reply| {
        Command::Question(request.network, question(reply))
    })
    .await
}

async fn exit(State(supervisor): State<Handle>, Json(request): Json<ExitRequest>) -> Answer<Done> {
    let question = |reply| Question::Exit(request.nodes, reply);
    ask(&supervisor, |reply| {
        Command::Question(request.network, question(reply))
    })
    .await
}

/// What the CNI plugin asks.
fn pods() -> Router<Handle> {
    Router::new()
        .route("/add", post(pods_add))
        .route("/ready", post(pods_ready))
        .route("/check", post(pods_check))
        .route("/del", post(pods_del))
        .route("/gc", post(pods_gc))
        .route("/status", post(pods_status))
        .route("/installed", post(pods_installed))
}

async fn pods_add(State(supervisor): State<Handle>, Json(request): Json<PodRequest>) -> Answer<PodLease> {
    let network = request.network.clone();
    ask(&supervisor, |reply| {
        Command::Pods(network, Asked::Add(request, reply))
    })
    .await
}

async fn pods_ready(State(supervisor): State<Handle>, Json(request): Json<PodRequest>) -> Answer<PodLease> {
    let network = request.network.clone();
    ask(&supervisor, |reply| {
        Command::Pods(network, Asked::Ready(request, reply))
    })
    .await
}

async fn pods_check(State(supervisor): State<Handle>, Json(request): Json<PodRequest>) -> Answer<PodLease> {
    let network = request.network.clone();
    ask(&supervisor, |reply| {
        Command::Pods(network, Asked::Check(request, reply))
    })
    .await
}

async fn pods_del(State(supervisor): State<Handle>, Json(request): Json<PodRequest>) -> Answer<Done> {
    let network = request.network.clone();
    ask(&supervisor, |reply| {
        Command::Pods(network, Asked::Del(request, reply))
    })
    .await
}

async fn pods_gc(State(supervisor): State<Handle>, Json(kept): Json<PodsKept>) -> Answer<PodsForgotten> {
    let network = kept.network.clone();
    ask(&supervisor, |reply| {
        Command::Pods(network, Asked::Gc(kept, reply))
    })
    .await
}

async fn pods_status(State(supervisor): State<Handle>, Json(named): Json<PodNetwork>) -> Answer<Done> {
    ask(&supervisor, |reply| {
        Command::Pods(named.network, Asked::Status(reply))
    })
    .await
}

async fn pods_installed(
    State(supervisor): State<Handle>,
    Json(installed): Json<PodsInstalled>,
) -> Answer<Done> {
    ask(&supervisor, |reply| {
        Command::Pods(installed.network, Asked::Installed(installed.path, reply))
    })
    .await
}

async fn kube_credentials(
    State(supervisor): State<Handle>,
    Json(request): Json<KubeCredentials>,
) -> Answer<Done> {
    let network = request.network.clone();
    ask(&supervisor, |reply| {
        Command::Kube(network, AskedOfKube::Set(request, reply))
    })
    .await
}

async fn kube_forget(State(supervisor): State<Handle>, Json(named): Json<PodNetwork>) -> Answer<Done> {
    ask(&supervisor, |reply| {
        Command::Kube(named.network, AskedOfKube::Forget(reply))
    })
    .await
}

async fn why(State(supervisor): State<Handle>, Json(request): Json<PeerRequest>) -> Answer<Why> {
    let question = |reply| Question::Why(request.peer, reply);
    ask(&supervisor, |reply| {
        Command::Question(request.network, question(reply))
    })
    .await
}
