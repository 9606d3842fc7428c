//! How the rest of the program reaches the link.

use super::desk::Desk;
use super::state::State;
use super::{Node, Own, Question, link};
use crate::state::NetworkFiles;
use meshd_api::Problem;
use meshd_api::local::KubeStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// Questions that may wait.
const QUEUE: usize = 8;

/// The link's address. It ends with its last clone.
#[derive(Clone)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
    state: Arc<Mutex<State>>,
    desk: Desk,
}

impl Handle {
    /// Starts the link with the credentials on disk, if there are any.
    /// What is heard goes to `feed`.
    pub fn start(files: NetworkFiles, own: Own, feed: crate::policy::Feed) -> Self {
        let (questions, asked) = mpsc::channel(QUEUE);
        let state = Arc::new(Mutex::new(State::new(None, Instant::now())));
        let desk = Desk::default();
        let link = link::Link::new(files, own, (state.clone(), feed, desk.clone()), asked);
        tokio::spawn(link.run());
        Self {
            questions,
            state,
            desk,
        }
    }

    /// Asks; a question that finds the queue full is refused.
    pub fn ask(&self, question: Question) {
        if let Err(mpsc::error::TrySendError::Full(question) | mpsc::error::TrySendError::Closed(question)) =
            self.questions.try_send(question)
        {
            question.refuse(Problem::new(
                "kube-busy",
                "others change the credentials for Kubernetes; try again",
            ));
        }
    }

    /// Where it is left what may be exposed, and what is to be.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Looks at the cluster's nodes.
    pub fn with_nodes<R>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Node>) -> R) -> R {
        look(&mut self.lock().nodes())
    }

    /// Another number when nodes changed.
    pub fn nodes_version(&self) -> u64 {
        self.lock().nodes_version()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the link is; none without credentials.
    pub fn status(&self) -> Option<KubeStatus> {
        let mut shown = self.lock().shown()?;
        shown
            .warnings
            .extend(self.desk.sentences.borrow().iter().cloned());
        shown.elected = *self.desk.leads.borrow();
        Some(shown)
    }
}
