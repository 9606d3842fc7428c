//! The nodes of a network for other tools: inventories of Ansible and of Kubespray, as YAML.
//!
//! Groups have names with an underscore, which no node's name can have, so that a group is never taken for a node. Every text is
//! in double quotes: a node called `no` stays one under YAML 1.1, which Ansible reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Map, Value, json};

/// Names that mean something else in an inventory.
const TAKEN: [&str; 3] = ["all", "ungrouped", "etcd"];

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name: a DNS label.
    pub name: String,
    /// Its mesh address.
    pub ipv4: Ipv4Addr,
    /// Its other mesh address.
    pub ipv6: Ipv6Addr,
    /// Its tags, where they are known.
    pub tags: Vec<String>,
    /// Whether API servers' connections go to it.
    pub control_plane: bool,
    /// What else is known of it, each a variable of the host without its `mesh_`.
    pub facts: Map<String, Value>,
}

/// The nodes of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// The network's name.
    pub network: String,
    /// Its nodes.
    pub hosts: Vec<Host>,
    /// Where every node reaches the API servers, where that leads anywhere.
    pub endpoint: Option<SocketAddr>,
}

/// Why there is no inventory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// A node has a name that inventories use.
    #[error(
        "a node is called \"{0}\", which means something else in an inventory: `meshctl node rename {0} NAME` gives it another name"
    )]
    Name(String),
    /// Nobody is a control plane.
    #[error(
        "nothing says which nodes are control planes: `meshctl endpoint add api --to NODE:6443` names them, or their tokens' tag \"control-plane\""
    )]
    NoControlPlane,
}

impl Inventory {
    /// For Ansible: a group of the whole network (`mesh_NETWORK`), one of control planes, one for each tag (`tag_NAME`).
    ///
    /// # Errors
    /// Where a node has a name that inventories use.
    pub fn ansible(&self) -> Result<String, InventoryError> {
        let mut children = Map::new();
        children.insert(
            format!("mesh_{}", group(&self.network)),
            json!({"hosts": self.hosts(|_| Map::new())?}),
        );
        children.insert(
            "control_plane".into(),
            members(self.hosts.iter().filter(|host| host.control_plane)),
        );
        let mut tags: Vec<&String> = self.hosts.iter().flat_map(|host| &host.tags).collect();
        tags.sort();
        tags.dedup();
        for tag in tags {
            let tagged = self.hosts.iter().filter(|host| host.tags.contains(tag));
            children.insert(format!("tag_{}", group(tag)), members(tagged));
        }
        Ok(document(&json!({"all": {"children": children}})))
    }

    /// For Kubespray: its groups, each node's mesh address as the one on which everything listens, and the endpoint as its load
    /// balancer. etcd is on the control planes, without the last where their count is even, which Kubespray refuses.
    ///
    /// # Errors
    /// Where a node has a name that inventories use, and where nobody is a control plane.
    pub fn kubespray(&self) -> Result<String, InventoryError> {
        let (planes, others): (Vec<&Host>, Vec<&Host>) =
            self.hosts.iter().partition(|host| host.control_plane);
        if planes.is_empty() {
            return Err(InventoryError::NoControlPlane);
        }
        let etcd = planes.len() - (planes.len() + 1) % 2;
        let own = |host: &Host| {
            let mut own = Map::new();
            own.insert("ip".into(), json!(host.ipv4));
            own.insert("access_ip".into(), json!(host.ipv4));
            if planes[..etcd].contains(&host) {
                own.insert("etcd_member_name".into(), json!(host.name));
            }
            own
        };
        let workers = if others.is_empty() { &planes } else { &others };
        let mut all = json!({
            "hosts": self.hosts(own)?,
            "children": {
                "kube_control_plane": members(planes.iter().copied()),
                "etcd": members(planes[..etcd].iter().copied()),
                "kube_node": members(workers.iter().copied()),
                "k8s_cluster": {"children": {"kube_control_plane": {}, "kube_node": {}}},
            },
        });
        if let Some(endpoint) = self.endpoint {
            all["vars"] = self.balancer(endpoint);
        }
        Ok(document(&json!({"all": all})))
    }

    fn balancer(&self, endpoint: SocketAddr) -> Value {
        let name = format!("api.{}.mesh", self.network);
        let address: IpAddr = endpoint.ip();
        json!({
            "loadbalancer_apiserver": {"address": address, "port": endpoint.port()},
            "apiserver_loadbalancer_domain_name": name,
            "supplementary_addresses_in_ssl_keys": [address, name],
        })
    }

    fn hosts(&self, own: impl Fn(&Host) -> Map<String, Value>) -> Result<Map<String, Value>, InventoryError> {
        let mut hosts = Map::new();
        for host in &self.hosts {
            if TAKEN.contains(&host.name.as_str()) {
                return Err(InventoryError::Name(host.name.clone()));
            }
            let mut vars = Map::new();
            vars.insert("ansible_host".into(), json!(host.ipv4));
            vars.extend(own(host));
            vars.insert("mesh_ipv4".into(), json!(host.ipv4));
            vars.insert("mesh_ipv6".into(), json!(host.ipv6));
            vars.insert(
                "mesh_name".into(),
                json!(format!("{}.{}.mesh", host.name, self.network)),
            );
            vars.insert("mesh_control_plane".into(), json!(host.control_plane));
            vars.insert("mesh_tags".into(), json!(host.tags));
            for (name, value) in &host.facts {
                vars.insert(format!("mesh_{name}"), value.clone());
            }
            hosts.insert(host.name.clone(), vars.into());
        }
        Ok(hosts)
    }
}

fn members<'a>(hosts: impl Iterator<Item = &'a Host>) -> Value {
    let hosts: Map<String, Value> = hosts.map(|host| (host.name.clone(), json!({}))).collect();
    json!({"hosts": hosts})
}

/// A label as part of a group's name, which has letters, digits and underscores.
fn group(label: &str) -> String {
    label.replace('-', "_")
}

fn document(value: &Value) -> String {
    let mut text = "---\n".to_owned();
    write(&mut text, value, 0);
    text
}

/// YAML 1.2, which holds JSON's texts, numbers, empty maps and lists as they are (section 1.3).
fn write(text: &mut String, value: &Value, indent: usize) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                *text += &format!("{pad}{}:", json!(key));
                below(text, value, indent);
            }
        }
        Value::Array(list) => {
            for value in list {
                *text += &format!("{pad}- {value}\n");
            }
        }
        plain => *text += &format!("{pad}{plain}\n"),
    }
}

fn below(text: &mut String, value: &Value, indent: usize) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if nested {
        text.push('\n');
        write(text, value, indent + 1);
    } else {
        *text += &format!(" {value}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, last: u8, control_plane: bool, tags: &[&str]) -> Host {
        let mut facts = Map::new();
        facts.insert("candidates".into(), json!(["host 192.0.2.1:51820"]));
        Host {
            name: name.into(),
            ipv4: [10, 77, 0, last].into(),
            ipv6: format!("fd00::{last}").parse().unwrap(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            control_plane,
            facts,
        }
    }

    fn inventory(planes: u8) -> Inventory {
        let planes = (1..=planes).map(|n| host(&format!("n{n}"), n, true, &[]));
        let others = [host("no", 9, false, &["edge-box"]), host("w2", 10, false, &[])];
        Inventory {
            network: "prod-1".into(),
            hosts: planes.chain(others).collect(),
            endpoint: Some("10.77.255.254:7443".parse().unwrap()),
        }
    }

    #[test]
    fn ansible_has_the_network_its_control_planes_and_tags() {
        let text = inventory(1).ansible().unwrap();
        let start =
            "---\n\"all\":\n  \"children\":\n    \"control_plane\":\n      \"hosts\":\n        \"n1\": {}\n";
        assert!(text.starts_with(start), "{text}");
        for part in [
            "\n    \"mesh_prod_1\":\n      \"hosts\":\n",
            "\n        \"no\":\n          \"ansible_host\": \"10.77.0.9\"\n",
            "\n    \"tag_edge_box\":\n      \"hosts\":\n        \"no\": {}\n",
            "\n          \"mesh_candidates\":\n            - \"host 192.0.2.1:51820\"\n",
            "\n          \"mesh_tags\": []\n",
            "\n          \"mesh_name\": \"w2.prod-1.mesh\"\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn kubespray_has_an_odd_etcd_and_the_endpoint() {
        for (planes, etcd) in [(1, 1), (2, 1), (3, 3), (4, 3)] {
            let text = inventory(planes).kubespray().unwrap();
            assert_eq!(text.matches("etcd_member_name").count(), etcd, "{text}");
            for part in [
                "\"loadbalancer_apiserver\":\n      \"address\": \"10.77.255.254\"\n      \"port\": 7443\n",
                "\"access_ip\": \"10.77.0.9\"",
                "\"kube_node\":\n      \"hosts\":\n        \"no\": {}\n",
            ] {
                assert!(text.contains(part), "{part:?} is not in\n{text}");
            }
        }
        let mut alone = inventory(1);
        alone.hosts.truncate(1);
        let text = alone.kubespray().unwrap();
        assert!(
            text.contains("\"kube_node\":\n      \"hosts\":\n        \"n1\": {}\n"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_an_inventory_is_said() {
        assert_eq!(inventory(0).kubespray(), Err(InventoryError::NoControlPlane));
        let mut odd = inventory(1);
        odd.hosts[1].name = "all".into();
        assert_eq!(odd.ansible(), Err(InventoryError::Name("all".into())));
        assert_eq!(odd.kubespray(), Err(InventoryError::Name("all".into())));
    }
}
