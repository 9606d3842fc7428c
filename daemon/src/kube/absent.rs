//! The link's place in a meshd that was built without Kubernetes: it says so.
//!
//! What an earlier program learnt of a cluster stays in force, and credentials that it kept can be taken away.

use super::{CREDENTIALS, Node, Own, Question};
use crate::state::NetworkFiles;
use meshd_api::Problem;
use meshd_api::local::{Done, KubeStatus};
use tracing::warn;

const SENTENCE: &str = "this meshd was built without Kubernetes (its cargo feature `kubernetes` is off): it watches no API server";

/// In the place of the link's address.
#[derive(Clone)]
pub struct Handle {
    files: NetworkFiles,
}

impl Handle {
    /// Warns where there are credentials on disk.
    pub fn start(files: NetworkFiles, _own: Own, _feed: crate::policy::Feed) -> Self {
        if files.load(CREDENTIALS).is_ok_and(|held| held.is_some()) {
            warn!("{SENTENCE}; what was known of the cluster stays in force, and nothing new is learnt");
        }
        Self { files }
    }

    /// Refuses credentials; those of an earlier program are removed where asked.
    pub fn ask(&self, question: Question) {
        match question {
            Question::Forget(reply) => {
                let removed = self.files.remove(CREDENTIALS);
                let message = "this meshd was built without Kubernetes; credentials for it, if there were any, are gone".to_owned();
                let _ = reply.send(
                    removed
                        .map(|()| Done { message })
                        .map_err(|error| Problem::new("state", error.to_string())),
                );
            }
            other => other.refuse(Problem::new("no-kubernetes", SENTENCE)),
        }
    }

    /// Looks at no node.
    pub fn with_nodes<R>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Node>) -> R) -> R {
        look(&mut std::iter::empty())
    }

    /// Always the same.
    pub fn nodes_version(&self) -> u64 {
        0
    }

    /// None.
    pub fn status(&self) -> Option<KubeStatus> {
        None
    }
}
