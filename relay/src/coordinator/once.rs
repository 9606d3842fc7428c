//! Writes that are done once, however often they are asked for: the same idempotency key gets the same answer.
//!
//! The answer is stored in the transaction of the change itself, so there is no moment at which the change is made and
//! its answer unknown. Answers are kept for a day, at most [`MAX_ANSWERS`] of them.

use std::collections::BTreeMap;

use meshd_api::Base64Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::refusal::Refusal;
use super::state::{State, unix_now};
use crate::store::rows::{self, AnswerRow, SecretBytes};
use crate::store::{Batch, Rows, StoreError, Table};

/// How long an answer is kept, in s.
const KEPT_SECONDS: u64 = 24 * 3600;
/// Answers kept.
const MAX_ANSWERS: usize = 1000;

/// A write that is to be done once.
#[derive(Debug, Clone)]
pub struct Once {
    /// The caller's key, with who the caller is before it.
    pub key: Vec<u8>,
    /// Hash of method, path and body, so that the key is not taken for another request.
    pub request: [u8; 32],
}

/// The answers given.
#[derive(Default)]
pub struct Answers {
    given: BTreeMap<Vec<u8>, AnswerRow>,
    /// The write that is being done.
    current: Option<Once>,
}

impl Answers {
    /// Reads them.
    pub fn load(store: &(impl Rows + ?Sized)) -> Result<Self, StoreError> {
        let mut given = BTreeMap::new();
        for (key, value) in store.scan(Table::Answers)? {
            let row = rows::decode(&value).map_err(|why| store.damaged(format!("an answer: {why}")))?;
            given.insert(key, row);
        }
        Ok(Self { given, current: None })
    }

    /// Puts the answer of the current write into its batch. To be followed by [`Self::keep`] once that is committed.
    pub fn save<T: Serialize>(&mut self, value: &T, batch: &mut Batch) -> Option<(Vec<u8>, AnswerRow)> {
        let once = self.current.take()?;
        let now = unix_now();
        let row = AnswerRow {
            at: now,
            request: Base64Bytes::from(&once.request[..]),
            status: 200,
            body: SecretBytes::new(&rows::encode(value)),
        };
        batch.put(Table::Answers, once.key.clone(), rows::encode(&row));
        let over = (self.given.len() + 1).saturating_sub(MAX_ANSWERS);
        let mut by_age: Vec<(u64, &Vec<u8>)> = self.given.iter().map(|(key, row)| (row.at, key)).collect();
        by_age.sort_unstable();
        let is_old = |at: u64| at.saturating_add(KEPT_SECONDS) < now;
        let gone: Vec<_> = by_age
            .iter()
            .enumerate()
            .filter(|(index, (at, _))| *index < over || is_old(*at))
            .map(|(_, (_, key))| (*key).clone())
            .collect();
        for key in gone {
            self.given.remove(&key);
            batch.delete(Table::Answers, key);
        }
        Some((once.key, row))
    }

    /// Remembers an answer that is on disk.
    pub fn keep(&mut self, answer: Option<(Vec<u8>, AnswerRow)>) {
        self.given.extend(answer);
    }
}

impl State {
    /// Does a write once: where this key was used for the same request before, gives the answer of that time.
    pub fn once<T: Serialize + DeserializeOwned>(
        &mut self,
        once: Option<Once>,
        work: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let Some(once) = once else { return work(self) };
        if let Some(row) = self.answers.given.get(&once.key) {
            if row.request.as_ref() != once.request {
                let text =
                    "this idempotency key was used for another request; make a new one for each request";
                return Err(Refusal::Invalid(text.into()));
            }
            return row
                .body
                .decode()
                .ok_or(Refusal::Invalid("the answer given before is not readable".into()));
        }
        self.answers.current = Some(once);
        let result = work(self);
        self.answers.current = None;
        result
    }
}
