//! meshd's own credentials in a cluster: the package's ServiceAccount and roles, and a kubeconfig with its token.

use std::fs;
use std::time::Duration;

use super::Cluster;

/// The package's manifest.
const RBAC: &str = include_str!("../../../packaging/kubernetes/rbac.yaml");
/// Where the kubeconfig lies on each node.
pub const KUBECONFIG: &str = "/etc/kubernetes/meshd.conf";
/// Time for a controller to make a token, and for meshd to be connected, on a busy computer.
const SOON: Duration = Duration::from_secs(60);

impl Cluster {
    /// Makes the ServiceAccount, gives every node's meshd a kubeconfig for it, and waits until all are connected.
    #[track_caller]
    pub fn give_credentials(&self) {
        self.apply(RBAC);
        let token = self.wait(SOON, "the ServiceAccount has a token", || {
            let secret = self.get(&["secret", "meshd-token", "--namespace", "kube-system"])?;
            let token = data_encoding::BASE64.decode(secret["data"]["token"].as_str()?.as_bytes());
            String::from_utf8(token.ok()?).ok()
        });
        let kubeconfig = self.kubeconfig(&format!("token: {token}"));
        for node in &self.nodes {
            let file = node.mesh().machine().file(KUBECONFIG);
            fs::write(file, &kubeconfig).expect("the machine's own file");
            node.mesh()
                .ctl(&["cni", "credentials", "--kubeconfig", KUBECONFIG]);
        }
        for node in &self.nodes {
            self.wait(
                SOON,
                &format!("meshd on {} watches the cluster", node.name()),
                || (node.mesh().network(super::NET)?["kube"]["connected"] == true).then_some(()),
            );
        }
    }

    /// A kubeconfig for this cluster, with a user of these properties.
    pub fn kubeconfig(&self, user: &str) -> String {
        let address = self.nodes[0].address();
        format!(
            "apiVersion: v1
kind: Config
current-context: mesh
contexts: [{{name: mesh, context: {{cluster: mesh, user: meshd}}}}]
clusters: [{{name: mesh, cluster: {{server: \"https://{address}:6443\", certificate-authority: pki/ca.crt}}}}]
users:
- name: meshd
  user: {{{user}}}
"
        )
    }
}
