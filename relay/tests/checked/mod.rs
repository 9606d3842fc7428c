//! Answers of a meshrelay, held against its OpenAPI document.

mod endpoints;
mod exposures;

use std::collections::BTreeSet;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;

use crate::schema::misfit;
use crate::world::{TestNode, World};

/// Answers, each held against the document.
pub struct Checked {
    pub document: Value,
    /// Operations whose answer was held against it.
    pub seen: BTreeSet<String>,
}

impl Checked {
    /// What the document says of one operation.
    pub fn operation(&self, method: &str, path: &str) -> &Value {
        let operation = &self.document["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not in the document");
        operation
    }

    /// Holds one answer, and what was asked, against the document.
    pub fn answer(&mut self, method: &str, path: &str, body: &Value, answer: &Value) {
        let operation = self.operation(method, path).clone();
        let request = &operation["requestBody"]["content"]["application/json"]["schema"];
        if !request.is_null() {
            assert_eq!(
                misfit(&self.document, request, body),
                None,
                "request of {method} {path}"
            );
        }
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{method} {path} documents no JSON answer");
        assert_eq!(
            misfit(&self.document, schema, answer),
            None,
            "answer of {method} {path}"
        );
        self.seen.insert(format!("{} {path}", method.to_lowercase()));
    }

    /// An admin asks; `values` stand for the braces in `path`.
    pub async fn admin(
        &mut self,
        world: &World,
        method: Method,
        path: &str,
        values: &[&str],
        body: Value,
    ) -> Value {
        let mut parts = values.iter();
        let filled: Vec<&str> = path
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    *parts.next().unwrap()
                } else {
                    part
                }
            })
            .collect();
        let bytes = if method == Method::GET {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let reply = world
            .admin()
            .await
            .request(method.clone(), &filled.join("/"), bytes, &[])
            .await;
        let reply = reply.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let answer = serde_json::from_slice(&reply.body).unwrap();
        self.answer(method.as_str(), path, &body, &answer);
        answer
    }

    /// A node asks.
    pub async fn node(&mut self, world: &World, node: &TestNode, method: Method, path: &str, body: Value) {
        let filled = path.replace("{id}", &node.token.network().to_string());
        let mut connection = node.connect(world.https()).await;
        let answer: Value = connection
            .send(method.clone(), &filled, &body, &[])
            .await
            .unwrap();
        self.answer(method.as_str(), path, &body, &answer);
    }
}
