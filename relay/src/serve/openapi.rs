//! The OpenAPI document (version 3.1), made from the table of routes and the API's own types.

use std::collections::BTreeMap;

use meshd_api::Problem;
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// What the document says of one method of one path.
#[derive(Clone)]
pub struct Doc {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    body: Option<Value>,
    answer: Value,
    schemas: Vec<(String, RefOr<Schema>)>,
    query: &'static [(&'static str, &'static str)],
}

impl Doc {
    /// A method in lower case, a path, and what it does.
    pub fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        let answer = json!({ "application/octet-stream": {} });
        Self {
            method,
            path,
            summary,
            body: None,
            answer,
            schemas: Vec::new(),
            query: &[],
        }
    }

    /// The body is JSON of this type.
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(json!({ "application/json": { "schema": self.refer::<T>() } }));
        self
    }

    /// The body is a file.
    pub fn takes_file(mut self) -> Self {
        self.body = Some(json!({ "application/octet-stream": {} }));
        self
    }

    /// It takes these in the query: name and JSON type.
    pub fn query(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.query = names;
        self
    }

    /// The answer is JSON of this type.
    pub fn gives<T: ToSchema>(mut self) -> Self {
        self.answer = json!({ "application/json": { "schema": self.refer::<T>() } });
        self
    }

    /// The answer is a JSON array of this type.
    pub fn gives_list<T: ToSchema>(mut self) -> Self {
        let schema = json!({ "type": "array", "items": self.refer::<T>() });
        self.answer = json!({ "application/json": { "schema": schema } });
        self
    }

    /// The answer is lines without end, each JSON of this type.
    pub fn gives_lines<T: ToSchema>(mut self) -> Self {
        self.answer = json!({ "application/x-ndjson": { "itemSchema": self.refer::<T>() } });
        self
    }

    /// The path, as the router takes it.
    pub fn path(&self) -> &'static str {
        self.path
    }

    fn refer<T: ToSchema>(&mut self) -> Value {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        reference(&T::name())
    }

    fn operation(&self) -> Value {
        let in_path = self
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameter = |name: &str, place: &str, kind: &str| json!({ "name": name, "in": place, "required": place == "path", "schema": { "type": kind } });
        let in_path = in_path.map(|name| parameter(name, "path", "string"));
        let in_query = self
            .query
            .iter()
            .map(|(name, kind)| parameter(name, "query", kind));
        let problem = json!({ "application/json": { "schema": reference(&Problem::name()) } });
        let mut operation = json!({
            "summary": self.summary,
            "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
            "responses": {
                "200": { "description": "done", "content": self.answer },
                "default": { "description": "why not", "content": problem },
            },
        });
        if let Some(body) = &self.body {
            operation["requestBody"] = json!({ "required": true, "content": body });
        }
        operation
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The document over all routes.
pub fn document(docs: &[Doc]) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas: BTreeMap<String, RefOr<Schema>> = BTreeMap::new();
    schemas.insert(Problem::name().into_owned(), Problem::schema());
    for doc in docs {
        paths
            .entry(doc.path)
            .or_default()
            .insert(doc.method.into(), doc.operation());
        schemas.extend(doc.schemas.iter().cloned());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "meshrelay",
            "version": "1",
            "description": "The coordinator's API. Nodes prove their identity, and admins elsewhere sign each request; \
                            both are bound to the TLS session (docs/api.md).",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}
