//! Endpoints: made, listed, taken away.

use hyper::Method;
use serde_json::{Value, json};

use super::Checked;
use crate::world::World;

impl Checked {
    /// All that is asked about endpoints, with `node` behind one.
    pub async fn endpoints(&mut self, world: &World, node: &str) {
        let path = "/v1/admin/networks/{network}/endpoints";
        let members = json!([{ "node": node, "port": 6443 }]);
        let set = json!({ "name": "api", "port": 7443, "members": members, "based_on": 0 });
        self.admin(world, Method::POST, path, &["prod"], set).await;
        self.admin(world, Method::GET, path, &["prod"], Value::Null).await;
        let remove = format!("{path}/remove");
        self.admin(world, Method::POST, &remove, &["prod"], json!({ "name": "api" }))
            .await;
    }
}
