//! The link's place in a meshd that was built without Kubernetes: it says so.
//!
//! What an earlier program learnt of a cluster stays in force, and credentials that it kept can be taken away.

use super::desk::Desk;
use super::{CREDENTIALS, Node, Own, Question};
use crate::policy::Feed;
use crate::state::NetworkFiles;
use meshd_api::Problem;
use meshd_api::local::{Done, KubeStatus};
use std::time::Instant;
use tracing::warn;

const SENTENCE: &str = "this meshd was built without Kubernetes (its cargo feature `kubernetes` is off) and watches no API server; \
                        for a node of a cluster install the package, or build meshd without `--no-default-features`, and restart it";

/// In the place of the link's address.
#[derive(Clone)]
pub struct Handle {
    files: NetworkFiles,
    feed: Feed,
    since: Instant,
    desk: Desk,
}

impl Handle {
    /// Warns where there are credentials on disk.
    pub fn start(files: NetworkFiles, _own: Own, feed: Feed) -> Self {
        let since = Instant::now();
        let desk = Desk::default();
        let handle = Self {
            files,
            feed,
            since,
            desk,
        };
        if handle.status().is_some() {
            warn!("{SENTENCE}; what was known of the cluster stays in force, and nothing new is learnt");
        }
        handle
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

    /// Where nobody takes what is left there.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Looks at no node.
    pub fn with_nodes<R>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Node>) -> R) -> R {
        look(&mut std::iter::empty())
    }

    /// Always the same.
    pub fn nodes_version(&self) -> u64 {
        0
    }

    /// Why nothing is heard, where an earlier program had credentials; none without them.
    pub fn status(&self) -> Option<KubeStatus> {
        self.files.load(CREDENTIALS).ok()??;
        Some(self.feed.with(|cluster| KubeStatus {
            server: String::new(),
            state: SENTENCE.to_owned(),
            connected: false,
            seconds: self.since.elapsed().as_secs(),
            node: None,
            namespaces: cluster.namespaces().len(),
            pods: cluster.pods().len(),
            policies: cluster.policies().len(),
            elected: false,
            warnings: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateDir;
    use meshd_api::local::KubeCredentials;
    use meshd_core::policy::Cluster;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn credentials_are_refused_and_old_ones_go_each_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let files = StateDir::open(folder.path()).unwrap().network([7; 16].into());
        files.save(CREDENTIALS, b"an earlier program's").unwrap();
        let own = Own {
            addresses: ([10, 77, 0, 1].into(), "fd01::1".parse().unwrap()),
        };
        let handle = Handle::start(files, own, Feed::new(Cluster::default()));
        let status = handle.status().unwrap();
        assert!(!status.connected && status.state.contains("install the package"));
        assert_eq!(
            (handle.nodes_version(), handle.with_nodes(|nodes| nodes.count())),
            (0, 0)
        );
        assert!(handle.desk().wanted.borrow().is_none());

        let credentials = KubeCredentials {
            network: None,
            kubeconfig: String::new(),
            folder: String::new(),
        };
        let (reply, answer) = oneshot::channel();
        handle.ask(Question::Set(credentials, reply));
        let refused = answer.await.unwrap().unwrap_err();
        assert_eq!(
            (refused.code.as_str(), refused.message.as_str()),
            ("no-kubernetes", SENTENCE)
        );

        let (reply, answer) = oneshot::channel();
        handle.ask(Question::Forget(reply));
        assert!(answer.await.unwrap().unwrap().message.contains("are gone"));
        assert_eq!(handle.status(), None);
    }
}
