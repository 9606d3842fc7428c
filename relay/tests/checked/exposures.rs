//! Exposures: made, listed, taken away.

use hyper::Method;
use serde_json::{Value, json};

use super::Checked;
use crate::world::{World, free_port};

impl Checked {
    /// All that is asked about what is exposed, with `node` behind it.
    pub async fn exposures(&mut self, world: &World, node: &str) {
        let path = "/v1/admin/networks/{network}/exposures";
        let targets = json!([{ "node": node, "port": 8080 }]);
        let set = json!({ "name": "web", "protocol": "tcp", "port": free_port(), "targets": targets, "sites": ["a.example.org"],
            "proxy_protocol": "v2", "max_connections": 9, "max_per_second": 9, "idle_seconds": 9, "based_on": 0 });
        self.admin(world, Method::POST, path, &["prod"], set).await;
        self.admin(world, Method::GET, path, &["prod"], Value::Null).await;
        let allowances = "/v1/admin/networks/{network}/allowances";
        let allow = json!({ "name": "cluster", "nodes": [node], "tags": ["cp"], "ports": ["80/tcp"], "sites": ["a.example.org"],
            "namespaces": ["web"], "pool": ["10.88.0.0/24"], "default_class": true, "max_ports": 9, "max_connections": 9,
            "max_per_second": 9, "idle_seconds": 9 });
        self.admin(world, Method::POST, allowances, &["prod"], allow)
            .await;
        self.admin(world, Method::GET, allowances, &["prod"], Value::Null)
            .await;
        let withdraw = format!("{allowances}/remove");
        let name = json!({ "name": "cluster" });
        self.admin(world, Method::POST, &withdraw, &["prod"], name).await;
        let remove = format!("{path}/remove");
        self.admin(world, Method::POST, &remove, &["prod"], json!({ "name": "web" }))
            .await;
    }
}
