//! What credentials may do, asked of the API server itself (SelfSubjectAccessReview, authorization.k8s.io/v1).

use kube::Client;
use serde::Deserialize;
use serde_json::json;
use std::error::Error as _;

/// What meshd reads, as group and resource.
const WANTED: [(&str, &str); 4] = [
    ("", "namespaces"),
    ("", "nodes"),
    ("", "pods"),
    ("networking.k8s.io", "networkpolicies"),
];
/// How it reads them.
const VERBS: [&str; 2] = ["list", "watch"];

/// What credentials may do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// What is needed and not allowed, such as `watch pods`.
    pub missing: Vec<String>,
    /// Whether they may do everything, as an administrator's.
    pub everything: bool,
}

#[derive(Deserialize)]
struct Review {
    status: Verdict,
}

#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    allowed: bool,
}

/// Asks what the client's credentials may do.
///
/// # Errors
/// Where the API server does not answer, or does not know them.
pub async fn rights(client: &Client) -> Result<Rights, kube::Error> {
    let mut rights = Rights::default();
    for (group, resource) in WANTED {
        for verb in VERBS {
            if !allowed(client, group, resource, verb).await? {
                rights.missing.push(format!("{verb} {resource}"));
            }
        }
    }
    rights.everything = allowed(client, "*", "*", "*").await?;
    Ok(rights)
}

async fn allowed(client: &Client, group: &str, resource: &str, verb: &str) -> Result<bool, kube::Error> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"group": group, "resource": resource, "verb": verb}},
    });
    let request = hyper::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    let review: Review = client.request(request).await?;
    Ok(review.status.allowed)
}

/// What an error means to a person.
pub fn sentence(server: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 401 => format!(
            "the API server at {server} does not know these credentials (401): they ended, or were revoked; \
             `meshctl cni credentials --kubeconfig FILE` gives new ones"
        ),
        kube::Error::Api(status) if status.code == 403 => format!(
            "the API server at {server} refuses (403): {}; the package's /usr/share/meshd/kubernetes/rbac.yaml has what is needed",
            status.message
        ),
        kube::Error::Api(status) => {
            format!(
                "the API server at {server} answers {}: {}",
                status.code, status.message
            )
        }
        other => format!("the API server at {server} does not answer: {}", cause(other)),
    }
}

/// The innermost reason: those around it only say that there is one.
fn cause(error: &kube::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if error.source().is_none() {
        return error.to_string();
    }
    inner.to_string()
}
