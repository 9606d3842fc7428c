//! What could not be written, for `status`: a full or read-only disk stops nothing, but somebody should know before the next
//! restart.

use super::StateError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files that could not be written, with the reason. Cheap to clone: all see the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles(Arc<Mutex<BTreeMap<PathBuf, String>>>);

impl Troubles {
    /// Notes how a write ended, and passes it on. One that succeeds ends what was noted of its folder and of the folder above:
    /// there is room and right to write again.
    pub fn noted(&self, path: &Path, written: Result<(), StateError>) -> Result<(), StateError> {
        match &written {
            Ok(()) => self.ended(path.parent().unwrap_or(path)),
            Err(error) => self.note(path, error.to_string()),
        }
        written
    }

    /// Something cannot be written.
    pub fn note(&self, path: &Path, sentence: String) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.insert(path.to_owned(), sentence);
    }

    /// Forgets what was noted of files in this folder, and of folders above it.
    pub fn ended(&self, folder: &Path) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.retain(|path, _| !path.starts_with(folder) && !folder.starts_with(path));
    }

    /// One sentence for all of it.
    pub fn sentence(&self) -> Option<String> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = troubles.values().next()?;
        let more = match troubles.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!(
            "nothing new is kept for the next start, what is kept now stays: {first}{more}"
        ))
    }
}
