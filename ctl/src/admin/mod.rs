//! The coordinator's admin API: over the Unix socket of a meshrelay on this machine, or over TLS to one elsewhere.
//!
//! Where the network's root key is kept here (`--admin-key-file`), every statement is signed here, whichever way it
//! travels; over TLS each request is signed with it as well.

mod key_file;
mod relay_url;
mod statements;

use hyper::Method;
use meshd_api::client::{ClientError, Connection, pinned, unix};
use meshd_api::coordinator::admin::NetworkInfo;
use meshd_core::auth::{AdminAuthorization, AdminRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use key_file::{AdminKey, Known};
pub use statements::{act, delegate, params, random_ula};

use crate::cli::Global;
use crate::failure::Failure;

/// How often a statement is signed anew because others were quicker.
const MAX_TRIES: u32 = 20;

/// A connection to the coordinator's admin API.
pub struct Admin {
    connection: Connection,
    key: Option<AdminKey>,
    /// Over the Unix socket, which needs no proof and serves everything.
    local: bool,
}

impl Admin {
    /// Connects as the options say, with the key of `--admin-key-file` if there is one.
    pub async fn connect(global: &Global) -> Result<Self, Failure> {
        let key = global.admin_key_file.as_deref().map(AdminKey::read).transpose()?;
        Self::connect_with(global, key).await
    }

    /// Connects as the options say, with this key.
    pub async fn connect_with(global: &Global, key: Option<AdminKey>) -> Result<Self, Failure> {
        let Some(url) = &global.relay else {
            let connection = unix::connect(&global.relay_socket)
                .await
                .map_err(Failure::coordinator)?;
            return Ok(Self {
                connection,
                key,
                local: true,
            });
        };
        let Some(key) = key else {
            return Err(Failure::usage(
                "--relay needs --admin-key-file: a meshrelay elsewhere answers only requests that the network's root \
                 key signed; without that key run meshctl on the relay's own machine",
            ));
        };
        let address = relay_url::parse(url).map_err(Failure::usage)?;
        let pin = match (&global.relay_pin, key.coordinator()) {
            (Some(pin), _) => pin
                .parse()
                .map_err(|e| Failure::usage(format!("--relay-pin: {e}")))?,
            (None, Some(pin)) => pin,
            (None, None) => {
                return Err(Failure::usage(
                    "the identity key of that meshrelay is not known yet: give it with --relay-pin (meshrelay says it \
                     when it starts, and `meshctl network show` on its machine as \"coordinator\")",
                ));
            }
        };
        let connection = pinned::connect(address.host(), address.port(), &[*pin.as_bytes()]).await;
        Ok(Self {
            connection: connection.map_err(Failure::coordinator)?,
            key: Some(key),
            local: false,
        })
    }

    /// The root key, where it is kept here.
    pub fn key(&self) -> Option<&AdminKey> {
        self.key.as_ref()
    }

    /// An error where this is not the relay's own machine, which `what` must be done on.
    pub fn must_be_local(&self, what: &str) -> Result<(), Failure> {
        match self.local {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "`meshctl {what}` works on the relay's own machine only"
            ))),
        }
    }

    /// `GET` under `/v1/admin`.
    pub async fn get<A: DeserializeOwned>(&mut self, path: &str) -> Result<A, Failure> {
        parse(&self.request(Method::GET, path, Vec::new()).await?)
    }

    /// `POST` under `/v1/admin`.
    pub async fn post<B: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &B,
    ) -> Result<A, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| Failure::failed(e.to_string()))?;
        parse(&self.request(Method::POST, path, body).await?)
    }

    /// `POST` of what is signed here, where the root key is kept here. `make` gives the body, and what is to be kept of
    /// making it. Where somebody else's statement came in between, it is made and signed again, over the new serial.
    pub async fn post_signed<B: Serialize, K, A: DeserializeOwned>(
        &mut self,
        network: &NetworkInfo,
        path: &str,
        make: impl Fn(Option<&AdminKey>, &NetworkInfo) -> Result<(B, K), Failure>,
    ) -> Result<(A, K), Failure> {
        let mut network = network.clone();
        let mut tries = 1;
        loop {
            let (body, kept) = make(self.key.as_ref(), &network)?;
            match self.post(path, &body).await {
                Err(failure) if failure.is_stale() && tries < MAX_TRIES => {
                    tries += 1;
                    network = self.network(Some(&network.name)).await?;
                }
                answer => return answer.map(|answer| (answer, kept)),
            }
        }
    }

    /// `DELETE` under `/v1/admin`.
    pub async fn delete<A: DeserializeOwned>(&mut self, path: &str) -> Result<A, Failure> {
        parse(&self.request(Method::DELETE, path, Vec::new()).await?)
    }

    /// Any request under `/v1/admin`; the answer's bytes.
    pub async fn request(&mut self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let path = format!("/v1/admin/{path}");
        if let (Some(key), Some(exporter)) = (&self.key, self.connection.exporter()) {
            let request = AdminRequest {
                exporter: &exporter,
                method: method.as_str(),
                path: &path,
                body: &body,
            };
            let proof = AdminAuthorization::sign(&request, key.root());
            self.connection.authorize(proof.to_string());
        }
        let reply = self.connection.request(method, &path, body.into(), &[]).await;
        Ok(reply.map_err(Failure::coordinator)?.body.to_vec())
    }

    /// The network that is meant: the one named, or the only one that there is (for a key kept here: its own).
    pub async fn network(&mut self, name: Option<&str>) -> Result<NetworkInfo, Failure> {
        let network = match name {
            Some(name) => self.get(&format!("networks/{name}")).await?,
            None => self.only_network().await?,
        };
        match &self.key {
            Some(key) => key.must_be_of(&network).map(|()| network),
            None => Ok(network),
        }
    }

    async fn only_network(&mut self) -> Result<NetworkInfo, Failure> {
        let mut networks: Vec<NetworkInfo> = self.get("networks").await?;
        if let Some(key) = &self.key {
            networks.retain(|network| network.id == key.network().to_string());
            if networks.is_empty() {
                return Err(Failure::failed(
                    "the network of --admin-key-file is not at this meshrelay: it was deleted, or this is another meshrelay",
                ));
            }
        }
        match networks.len() {
            1 => Ok(networks.remove(0)),
            0 => Err(Failure::failed(
                "there is no network yet; make one with `meshctl network create NAME --cidr PREFIX`",
            )),
            _ => {
                let names: Vec<&str> = networks.iter().map(|network| network.name.as_str()).collect();
                Err(Failure::usage(format!(
                    "there are several networks: say --network {}",
                    names.join(" or ")
                )))
            }
        }
    }
}

fn parse<A: DeserializeOwned>(body: &[u8]) -> Result<A, Failure> {
    serde_json::from_slice(body).map_err(|e| {
        let address = "the coordinator".to_owned();
        Failure::coordinator(ClientError::Malformed {
            address,
            cause: e.to_string(),
        })
    })
}
