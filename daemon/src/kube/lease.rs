//! The election of the node that serves services: a Lease (coordination.k8s.io/v1), as Kubernetes' own controllers hold one.
//!
//! No clock is compared: a holder counts as gone when its record did not change for as long as it says, measured here. Each change of
//! holder counts `leaseTransitions` up, which is the term by which the coordinator tells a former holder from the present one.

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Where the Lease is.
const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
/// Its name.
const NAME: &str = "meshd-ingress";
/// Without a word for so long the holder counts as gone.
const DURATION: Duration = Duration::from_secs(10);
/// How often it is renewed, or looked at.
pub const EVERY: Duration = Duration::from_secs(3);

/// Who was elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This node, in this term.
    Leads(u64),
    /// Another one.
    Follows,
}

#[derive(Deserialize)]
struct Held {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    resource_version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    acquire_time: Option<String>,
    renew_time: Option<String>,
    lease_transitions: Option<u64>,
}

/// This node's part in the election.
pub struct Election {
    client: Client,
    own: String,
    /// The record as it was last seen, and since when.
    seen: Option<(Spec, Instant)>,
}

impl Election {
    /// Of a node of this name.
    pub fn new(client: Client, own: String) -> Self {
        Self {
            client,
            own,
            seen: None,
        }
    }

    /// Renews the Lease, or takes it where its holder is gone.
    ///
    /// # Errors
    /// Where the API server does not answer, or refuses.
    pub async fn step(&mut self) -> Result<Standing, kube::Error> {
        let got = send(&self.client, "GET", &format!("{PATH}/{NAME}"), None).await;
        let held: Held = match got {
            Err(kube::Error::Api(status)) if status.code == 404 => return self.make().await,
            other => serde_json::from_value(other?).map_err(kube::Error::SerdeError)?,
        };
        let now = Instant::now();
        if self.seen.as_ref().is_none_or(|(spec, _)| *spec != held.spec) {
            self.seen = Some((held.spec.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        let holder = held.spec.holder_identity.as_deref().unwrap_or_default();
        let patience = held
            .spec
            .lease_duration_seconds
            .map_or(DURATION, Duration::from_secs);
        let (own, gone) = (
            holder == self.own,
            holder.is_empty() || since.elapsed() >= patience,
        );
        if !own && !gone {
            return Ok(Standing::Follows);
        }
        let before = held.spec.lease_transitions.unwrap_or(0);
        let term = if own { before } else { before.saturating_add(1) };
        let acquired = held.spec.acquire_time.filter(|_| own);
        let lease = self.lease(term, acquired, Some(&held.metadata.resource_version));
        let put = send(&self.client, "PUT", &format!("{PATH}/{NAME}"), Some(&lease)).await;
        self.after(put, term)
    }

    async fn make(&self) -> Result<Standing, kube::Error> {
        let made = send(&self.client, "POST", PATH, Some(&self.lease(0, None, None))).await;
        self.after(made, 0)
    }

    /// Somebody else was quicker where the API server says so.
    fn after(&self, outcome: Result<Value, kube::Error>, term: u64) -> Result<Standing, kube::Error> {
        match outcome {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Standing::Follows),
            other => other.map(|_| Standing::Leads(term)),
        }
    }

    fn lease(&self, term: u64, acquired: Option<String>, version: Option<&str>) -> Value {
        let now = format!("{:.6}", Timestamp::now());
        let mut metadata = json!({"name": NAME, "namespace": "kube-system"});
        if let Some(version) = version {
            metadata["resourceVersion"] = version.into();
        }
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self.own,
                "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": acquired.unwrap_or_else(|| now.clone()),
                "renewTime": now,
                "leaseTransitions": term,
            },
        })
    }
}

/// One request, and its answer.
pub async fn send(
    client: &Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, kube::Error> {
    let kind = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let text = body.map(Value::to_string).unwrap_or_default();
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(text.into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}
