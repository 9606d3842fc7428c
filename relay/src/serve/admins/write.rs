//! A change that an admin asks for, with who asks and the key by which it happens once.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use meshd_api::coordinator::IDEMPOTENCY_KEY;
use meshd_core::id::NetworkId;
use meshd_core::keys::blake2s;
use serde::de::DeserializeOwned;

use crate::coordinator::Once;
use crate::serve::answer::{Failure, parse};
use crate::serve::proof::Admin;

/// Longest idempotency key.
const MAX_KEY: usize = 128;

/// A change that an admin asks for.
pub struct Write<T> {
    /// Who asks.
    pub admin: Admin,
    /// By which a repeated request changes nothing; none where no key came.
    pub once: Option<Once>,
    /// The request's body.
    pub wanted: T,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Write<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let admin = request.extensions().get::<Admin>().copied();
        let admin = admin.ok_or_else(|| Failure::unproven("not an admin's request"))?;
        let about = format!("{} {} ", request.method(), request.uri());
        let key = request
            .headers()
            .get(IDEMPOTENCY_KEY)
            .map(|key| key.as_bytes().to_vec());
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|_| Failure::bad_request("the request's body is cut off, or too long"))?;
        let once = match key {
            Some(key) if key.is_empty() || key.len() > MAX_KEY => {
                return Err(Failure::bad_request("an idempotency key has 1 to 128 bytes"));
            }
            Some(key) => {
                let who = admin.only.map_or(*b"the admin socket", NetworkId::to_bytes);
                Some(Once {
                    key: [&who[..], &key].concat(),
                    request: blake2s(&[about.as_bytes(), &body]),
                })
            }
            None => None,
        };
        Ok(Self {
            admin,
            once,
            wanted: parse(&body)?,
        })
    }
}
