//! What is kept over a restart, in three documents: policies change seldom and are written at once, pods change all the time and
//! are written now and then, those of this node at once too. A pod that is missing from an old list is unknown, and so denied
//! where it matters.

use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::model::{Namespace, Pod, Policy};

/// The form that is written here.
const VERSION: u32 = 1;

/// Why a document was not taken up.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// No such form.
    #[error("it cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
    /// A newer release's.
    #[error("it has form {0}, and this release knows {VERSION}")]
    Newer(u32),
}

#[derive(Serialize, Deserialize)]
struct Policies {
    version: u32,
    namespaces: Vec<Namespace>,
    policies: Vec<Policy>,
}

#[derive(Serialize, Deserialize)]
struct Pods {
    version: u32,
    pods: Vec<Pod>,
}

impl Cluster {
    /// Namespaces and policies; none where they were not all seen.
    pub fn save_policies(&self) -> Option<Vec<u8>> {
        let stored = Policies {
            version: VERSION,
            namespaces: self.namespaces().map(namespace).collect(),
            policies: self.policies().cloned().collect(),
        };
        // plain structs with string keys always serialise
        self.is_ready()
            .then(|| serde_json::to_vec(&stored).unwrap_or_default())
    }

    /// Pods; none where they were not all seen.
    pub fn save_pods(&self) -> Option<Vec<u8>> {
        let stored = Pods {
            version: VERSION,
            pods: self.pods().cloned().collect(),
        };
        self.is_ready()
            .then(|| serde_json::to_vec(&stored).unwrap_or_default())
    }

    /// Pods of this node ([`super::Compiler::known`]).
    pub fn save_own<'a>(own: impl Iterator<Item = &'a Pod>) -> Vec<u8> {
        let stored = Pods {
            version: VERSION,
            pods: own.cloned().collect(),
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Takes up what [`Self::save_policies`] gave: from then on it is ready.
    ///
    /// # Errors
    /// Where it cannot be read; pods that the runtime names are isolated then, until somebody tells what holds.
    pub fn restore_policies(&mut self, bytes: &[u8]) -> Result<(), SavedError> {
        self.watch();
        let stored: Policies = serde_json::from_slice(bytes)?;
        if stored.version > VERSION {
            return Err(SavedError::Newer(stored.version));
        }
        // what does not fit now did not fit when it was saved
        let _ = self.replace_namespaces(stored.namespaces);
        let _ = self.replace_policies(stored.policies);
        let _ = self.replace_pods(Vec::new());
        Ok(())
    }

    /// Takes up what [`Self::save_pods`] gave.
    ///
    /// # Errors
    /// Where it cannot be read; no pod is known then.
    pub fn restore_pods(&mut self, bytes: &[u8]) -> Result<(), SavedError> {
        let stored: Pods = serde_json::from_slice(bytes)?;
        if stored.version > VERSION {
            return Err(SavedError::Newer(stored.version));
        }
        let _ = self.replace_pods(stored.pods);
        Ok(())
    }
}

impl Cluster {
    /// Takes up what [`Self::save_own`] gave, over what [`Self::save_pods`] said of the same pods.
    ///
    /// # Errors
    /// As [`Self::restore_pods`]; that stands.
    pub fn restore_own(&mut self, bytes: &[u8]) -> Result<(), SavedError> {
        let stored: Pods = serde_json::from_slice(bytes)?;
        if stored.version > VERSION {
            return Err(SavedError::Newer(stored.version));
        }
        for pod in stored.pods {
            let _ = self.upsert_pod(pod);
        }
        Ok(())
    }
}

fn namespace((name, labels): (&str, &super::Labels)) -> Namespace {
    Namespace {
        name: name.into(),
        labels: labels.clone(),
    }
}
