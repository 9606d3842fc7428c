//! The files that kubeadm reads (kubeadm.k8s.io/v1beta4).
//!
//! What is one machine's own cannot stand in the configuration, which is the whole cluster's: addresses to listen on come as
//! patches, in a folder that kubeadm applies to the manifests that it makes (`patches.directory`).

use serde_json::{Value, json};

use super::files::list;
use super::{API_SERVER_PORT, ClusterWord, FOLDER, File, Ground, Machine, Role, Timing};
use super::{BootstrapToken, CertificateKey};

/// The version of kubeadm's own configuration.
const VERSION: &str = "kubeadm.k8s.io/v1beta4";
/// Checks of kubeadm's that ask for forwarding on all interfaces: meshd switches it on for those that need it.
const NEEDLESS: [&str; 2] = [
    "FileContent--proc-sys-net-ipv4-ip_forward",
    "FileContent--proc-sys-net-ipv6-conf-default-forwarding",
];
/// Checks of kubeadm's that a machine fails on which it was interrupted before.
pub const RESUMED: [&str; 14] = [
    "Port-6443",
    "Port-10259",
    "Port-10257",
    "Port-10250",
    "Port-2379",
    "Port-2380",
    "DirAvailable--var-lib-etcd",
    "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml",
    "FileAvailable--etc-kubernetes-manifests-kube-controller-manager.yaml",
    "FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml",
    "FileAvailable--etc-kubernetes-manifests-etcd.yaml",
    "FileAvailable--etc-kubernetes-kubelet.conf",
    "FileAvailable--etc-kubernetes-bootstrap-kubelet.conf",
    "FileAvailable--etc-kubernetes-pki-ca.crt",
];

/// What lets others in.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Any machine.
    pub token: BootstrapToken,
    /// A control plane, together with the token.
    pub key: CertificateKey,
}

/// A cluster's first control plane.
#[derive(Debug)]
pub struct Init<'a> {
    /// What the cluster stands on.
    pub ground: &'a Ground,
    /// This machine.
    pub machine: &'a Machine,
    /// The release of Kubernetes, `v1.36.3`; without it kubeadm would ask the internet.
    pub version: Option<&'a str>,
    /// etcd's timeouts.
    pub timing: Timing,
    /// For the others.
    pub secrets: &'a Secrets,
    /// Checks of kubeadm's that are left out besides.
    pub ignored: &'a [String],
    /// NodePorts on every address of the nodes, not on their mesh addresses alone.
    pub public_node_ports: bool,
}

/// A machine that comes into a cluster.
#[derive(Debug)]
pub struct Join<'a> {
    /// This machine.
    pub machine: &'a Machine,
    /// By this it is let in.
    pub word: &'a ClusterWord,
    /// Checks of kubeadm's that are left out besides.
    pub ignored: &'a [String],
}

impl Init<'_> {
    /// The files, in the order in which they are read.
    pub fn files(&self) -> Vec<File> {
        let documents = vec![self.init(), self.cluster(), kubelet(), self.proxy()];
        let mut files = vec![configuration(documents)];
        files.extend(patches(self.machine, Role::ControlPlane));
        files
    }

    fn init(&self) -> Value {
        json!({
            "apiVersion": VERSION,
            "kind": "InitConfiguration",
            "bootstrapTokens": [{
                "token": *self.secrets.token.text(),
                "description": "the join words of meshctl",
                "ttl": "24h0m0s",
                "usages": ["signing", "authentication"],
                "groups": ["system:bootstrappers:kubeadm:default-node-token"],
            }],
            "certificateKey": *self.secrets.key.text(),
            "localAPIEndpoint": local(self.machine),
            "nodeRegistration": registration(self.machine, self.ignored),
            "patches": {"directory": patches_folder()},
        })
    }

    fn cluster(&self) -> Value {
        let Ground { pods, services, .. } = self.ground;
        json!({
            "apiVersion": VERSION,
            "kind": "ClusterConfiguration",
            "kubernetesVersion": self.version,
            "controlPlaneEndpoint": self.ground.endpoint().to_string(),
            "networking": {"podSubnet": list(pods), "serviceSubnet": list(services)},
            "apiServer": {"certSANs": self.ground.names()},
            "controllerManager": {"extraArgs": self.controller_manager()},
            "etcd": {"local": {"dataDir": "/var/lib/etcd", "extraArgs": [
                argument("heartbeat-interval", self.timing.heartbeat),
                argument("election-timeout", self.timing.election),
            ]}},
        })
    }

    /// Nodes' parts of the pods' prefixes are the mesh's, or of the size that the mesh knows.
    fn controller_manager(&self) -> Vec<Value> {
        let ground = self.ground;
        if ground.mesh_allots {
            return vec![argument("allocate-node-cidrs", "false")];
        }
        let single = ground.pods.len() == 1;
        let size = |(family, length): (&str, u8)| match single {
            true => argument("node-cidr-mask-size", length),
            false => argument(&format!("node-cidr-mask-size-{family}"), length),
        };
        let all = ground.pods.iter();
        all.map(|prefix| size(ground.part(prefix))).collect()
    }

    fn proxy(&self) -> Value {
        let mut proxy = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clusterCIDR": list(&self.ground.pods),
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        });
        if !self.public_node_ports {
            // the addresses under which the cluster knows the node, which are those of the mesh
            proxy["nodePortAddresses"] = json!(["primary"]);
        }
        proxy
    }
}

impl Join<'_> {
    /// The files, in the order in which they are read.
    pub fn files(&self) -> Vec<File> {
        let mut join = json!({
            "apiVersion": VERSION,
            "kind": "JoinConfiguration",
            "discovery": {"bootstrapToken": {
                "apiServerEndpoint": self.word.endpoint.to_string(),
                "token": *self.word.token.text(),
                "caCertHashes": [self.word.pin()],
            }},
            "nodeRegistration": registration(self.machine, self.ignored),
            "patches": {"directory": patches_folder()},
        });
        if let Some(key) = &self.word.key {
            join["controlPlane"] = json!({
                "localAPIEndpoint": local(self.machine),
                "certificateKey": *key.text(),
            });
        }
        let mut files = vec![configuration(vec![join])];
        files.extend(patches(self.machine, self.word.role()));
        files
    }
}

fn configuration(documents: Vec<Value>) -> File {
    File {
        path: format!("{FOLDER}/kubeadm.yaml"),
        // it holds what lets others in
        mode: 0o600,
        documents,
    }
}

fn patches_folder() -> String {
    format!("{FOLDER}/patches")
}

/// The machine's own addresses to listen on: kubelet and API server would take all.
fn patches(machine: &Machine, role: Role) -> Vec<File> {
    let file = |name: &str, document: Value| File {
        path: format!("{}/{name}", patches_folder()),
        mode: 0o600,
        documents: vec![document],
    };
    let address = machine.ipv4.to_string();
    let mut own = kubelet();
    own["address"] = json!(address);
    let mut files = vec![file("kubeletconfiguration0+merge.yaml", own)];
    if role == Role::ControlPlane {
        let bind = format!("--bind-address={address}");
        let add = json!([{"op": "add", "path": "/spec/containers/0/command/-", "value": bind}]);
        files.push(file("kube-apiserver0+json.yaml", add));
    }
    files
}

fn local(machine: &Machine) -> Value {
    json!({"advertiseAddress": machine.ipv4.to_string(), "bindPort": API_SERVER_PORT})
}

fn registration(machine: &Machine, ignored: &[String]) -> Value {
    let needless = NEEDLESS.iter().map(|name| (*name).to_owned());
    let ignored: Vec<String> = needless.chain(ignored.iter().cloned()).collect();
    json!({
        "name": machine.name,
        "kubeletExtraArgs": [argument("node-ip", machine.addresses())],
        "ignorePreflightErrors": ignored,
    })
}

/// The whole cluster's; each node's own address comes as a patch.
fn kubelet() -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "healthzBindAddress": "127.0.0.1",
    })
}

fn argument(name: &str, value: impl ToString) -> Value {
    json!({"name": name, "value": value.to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Flavor;
    use crate::cluster::fixtures::{ground, machine, secrets};
    use crate::token::CoordinatorAddress;

    fn init(ground: &Ground) -> Vec<File> {
        let init = Init {
            ground,
            machine: &machine(),
            version: Some("v1.36.3"),
            timing: Timing::of([80.0]),
            secrets: &secrets(),
            ignored: &["Swap".to_owned()],
            public_node_ports: false,
        };
        init.files()
    }

    #[test]
    fn the_cluster_is_reached_at_the_address_that_every_node_holds() {
        let files = init(&ground());
        let [init, cluster, _, proxy] = &files[0].documents[..] else {
            panic!("{files:?}")
        };
        assert_eq!(cluster["controlPlaneEndpoint"], "10.77.255.254:7443");
        let names = json!(["10.77.255.254", "fd77::fffe", "api.prod.mesh", "127.0.0.1"]);
        assert_eq!(cluster["apiServer"]["certSANs"], names);
        assert_eq!(
            cluster["networking"]["podSubnet"],
            "10.244.0.0/16,fd00:10:244::/48"
        );
        assert_eq!(
            cluster["networking"]["serviceSubnet"],
            "10.96.0.0/16,fd00:10:96::/112"
        );
        assert_eq!(proxy["clusterCIDR"], "10.244.0.0/16,fd00:10:244::/48");
        assert_eq!(proxy["nodePortAddresses"], json!(["primary"]));
        assert_eq!(init["localAPIEndpoint"]["advertiseAddress"], "10.77.0.2");
        let node_ip = json!([{"name": "node-ip", "value": "10.77.0.2,fd77::2"}]);
        assert_eq!(init["nodeRegistration"]["kubeletExtraArgs"], node_ip);
        let etcd = &cluster["etcd"]["local"]["extraArgs"];
        assert_eq!(
            (&etcd[0]["value"], &etcd[1]["value"]),
            (&json!("150"), &json!("1500"))
        );
        assert_eq!(files[0].mode, 0o600);
    }

    #[test]
    fn nothing_listens_on_every_address() {
        let files = init(&ground());
        let text = format!("{:?}", files);
        assert!(!text.contains("0.0.0.0") && !text.contains("\"::\""), "{text}");
        let named = |name: &str| files.iter().find(|file| file.path.ends_with(name)).unwrap();
        let kubelet = &named("/patches/kubeletconfiguration0+merge.yaml").documents[0];
        assert_eq!(kubelet["address"], "10.77.0.2");
        let server = &named("/patches/kube-apiserver0+json.yaml").documents[0];
        assert_eq!(server[0]["value"], "--bind-address=10.77.0.2");
    }

    #[test]
    fn who_allots_parts_is_said() {
        let manager =
            |ground: &Ground| init(ground)[0].documents[1]["controllerManager"]["extraArgs"].clone();
        let off = json!([{"name": "allocate-node-cidrs", "value": "false"}]);
        assert_eq!(manager(&ground()), off);
        let mut theirs = Ground {
            mesh_allots: false,
            ..ground()
        };
        let both = json!([
            {"name": "node-cidr-mask-size-ipv6", "value": "56"},
            {"name": "node-cidr-mask-size-ipv4", "value": "24"},
        ]);
        assert_eq!(manager(&theirs), both);
        theirs.pods.remove(0);
        let one = json!([{"name": "node-cidr-mask-size", "value": "24"}]);
        assert_eq!(manager(&theirs), one);
    }

    #[test]
    fn a_word_is_all_that_joining_needs() {
        let word = ClusterWord {
            flavor: Flavor::Kubeadm,
            token: secrets().token,
            authority: [9; 32],
            issued: 0,
            endpoint: CoordinatorAddress::new("10.77.255.254", 7443).unwrap(),
            key: Some(secrets().key),
        };
        let join = |word: &ClusterWord| {
            let join = Join {
                machine: &machine(),
                word,
                ignored: &[],
            };
            join.files()
        };
        let files = join(&word);
        let document = &files[0].documents[0];
        let discovery = &document["discovery"]["bootstrapToken"];
        assert_eq!(discovery["apiServerEndpoint"], "10.77.255.254:7443");
        assert_eq!(discovery["token"], *secrets().token.text());
        assert_eq!(discovery["caCertHashes"][0], word.pin());
        assert_eq!(document["controlPlane"]["certificateKey"], "02".repeat(32));
        assert_eq!(files.len(), 3);
        let worker = join(&word.for_worker());
        assert_eq!(
            (worker.len(), worker[0].documents[0].get("controlPlane")),
            (2, None)
        );
    }
}
