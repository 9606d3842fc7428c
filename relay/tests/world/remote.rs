//! An admin elsewhere.

use std::net::SocketAddr;

use hyper::Method;
use meshd_api::client::{ClientError, Connection, pinned};
use meshd_core::auth::{AdminAuthorization, AdminRequest};
use meshd_core::keys::RootSecret;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::World;

/// An admin elsewhere: each request signed by the root, bound to the session.
pub struct Remote {
    pub connection: Connection,
    pub root: RootSecret,
}

impl Remote {
    pub async fn connect(world: &World, at: SocketAddr, root: RootSecret) -> Self {
        let pin = world.relay.coordinator.identity().await.unwrap();
        let connection = pinned::connect(&at.ip().to_string(), at.port(), &[*pin.as_bytes()])
            .await
            .unwrap();
        Self { connection, root }
    }

    pub async fn ask<A: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<A, ClientError> {
        let bytes = serde_json::to_vec(&body).unwrap();
        let exporter = self.connection.exporter().unwrap();
        let request = AdminRequest {
            exporter: &exporter,
            method: method.as_str(),
            path,
            body: &bytes,
        };
        self.connection
            .authorize(AdminAuthorization::sign(&request, &self.root).to_string());
        self.connection.send(method, path, &body, &[]).await
    }
}
