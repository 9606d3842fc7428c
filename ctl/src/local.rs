//! The meshd of this machine.

use std::path::Path;

use meshd_api::client::{Connection, unix};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// A connection to meshd's Unix socket.
pub struct Local(Connection);

impl Local {
    /// Connects to the socket at `path`.
    pub async fn connect(path: &Path) -> Result<Self, Failure> {
        unix::connect(path).await.map(Self).map_err(Failure::local)
    }

    /// `GET` under `/v1`.
    pub async fn get<A: DeserializeOwned>(&mut self, path: &str) -> Result<A, Failure> {
        self.0.get(&format!("/v1/{path}")).await.map_err(Failure::local)
    }

    /// `POST` under `/v1`.
    pub async fn post<B: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &B,
    ) -> Result<A, Failure> {
        self.0
            .post(&format!("/v1/{path}"), body)
            .await
            .map_err(Failure::local)
    }
}
