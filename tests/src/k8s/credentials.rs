//! meshd's own credentials in a cluster: the package's ServiceAccount and roles, and a kubeconfig with its token.

use std::fs;
use std::time::Duration;

use super::{Cluster, guide};

/// The package's manifest.
const RBAC: &str = include_str!("../../../packaging/kubernetes/rbac.yaml");
/// Where the package puts it.
const INSTALLED: &str = "/usr/share/meshd/kubernetes/rbac.yaml";
/// Where it is put here.
const HERE: &str = "/etc/kubernetes/rbac.yaml";
/// Where the kubeconfig lies on each node.
pub const KUBECONFIG: &str = "/etc/kubernetes/meshd.conf";
/// Time for a controller to make a token, and for meshd to be connected, on a busy computer.
const SOON: Duration = Duration::from_secs(60);

impl Cluster {
    /// Makes the ServiceAccount, gives every node's meshd a kubeconfig for it, and waits until all are connected.
    #[track_caller]
    pub fn give_credentials(&self) {
        let first = self.nodes[0].mesh().machine();
        fs::write(first.file(HERE), RBAC).expect("the machine's own file");
        // the package is not installed here
        let account = guide::words(guide::ACCOUNT);
        let account = account
            .into_iter()
            .map(|word| if word == INSTALLED { HERE } else { word });
        self.kubectl(&account.collect::<Vec<_>>());
        self.wait(SOON, "the ServiceAccount has a token", || {
            let secret = self.get(&["secret", "meshd-token", "--namespace", "kube-system"])?;
            secret["data"]["token"].as_str().map(drop)
        });
        self.script(&guide::kubeconfig(self.nodes[0].address()));
        let kubeconfig = first.read(KUBECONFIG);
        for node in &self.nodes {
            let file = node.mesh().machine().file(KUBECONFIG);
            fs::write(file, &kubeconfig).expect("the machine's own file");
            node.mesh().ctl(&guide::words(guide::CREDENTIALS));
        }
        for node in &self.nodes {
            self.wait(
                SOON,
                &format!("meshd on {} watches the cluster", node.name()),
                || (node.mesh().network(super::NET)?["kube"]["connected"] == true).then_some(()),
            );
        }
    }

    /// Gives control planes credentials by which they may serve services, as the page says.
    #[track_caller]
    pub fn give_controllers_credentials(&self, nodes: &[&str]) {
        let first = self.nodes[0].mesh().machine();
        self.wait(SOON, "the controllers' ServiceAccount has a token", || {
            let secret = self.get(&["secret", "meshd-controller-token", "--namespace", "kube-system"])?;
            secret["data"]["token"].as_str().map(drop)
        });
        let script = guide::kubeconfig(self.nodes[0].address());
        self.script(&script.replace("meshd", "meshd-controller"));
        let file = KUBECONFIG.replace("meshd", "meshd-controller");
        let kubeconfig = first.read(&file);
        for node in nodes {
            let mesh = self.node(node).mesh();
            fs::write(mesh.machine().file(&file), &kubeconfig).expect("the machine's own file");
            mesh.ctl(&guide::words(guide::CONTROLLER));
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
