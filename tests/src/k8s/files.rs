//! The configuration files of a cluster's programs.

use std::net::IpAddr;

use super::guide;

/// The cluster's DNS server.
pub const DNS: &str = "10.96.0.10";

/// How kube-proxy turns a service's address into a pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// Rules of nftables.
    Nftables,
    /// Rules of iptables.
    Iptables,
}

impl ProxyMode {
    /// Its name in kube-proxy's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

/// containerd's. Without `CAP_SYS_RESOURCE` no process may be made safer from the kernel's memory killer than its parent.
pub fn containerd(snapshotter: &str) -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs"]
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{snapshotter}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "registry.k8s.io/pause:3.10"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
"#
    )
}

/// That of containerd 1.
pub fn containerd_1(snapshotter: &str) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"#
    )
}

/// The kubelet's. Nothing is evicted: the disk is the whole computer's.
pub fn kubelet() -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: /etc/kubernetes/pki/ca.crt}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
volumePluginDir: /var/lib/kubelet/volumeplugins
clusterDNS: [{DNS}]
clusterDomain: cluster.local
maxPods: 250
registryPullQPS: 0
evictionHard: {{memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 5s
shutdownGracePeriod: 0s
"
    )
}

/// kube-proxy's. The limits of connection tracking belong to the first network namespace and are left alone.
pub fn kube_proxy(mode: ProxyMode) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {{kubeconfig: /etc/kubernetes/proxy.conf}}
mode: {}
clusterCIDR: \"{}\"
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
",
        mode.name(),
        guide::option(guide::PROXY, "--cluster-cidr")
    )
}

/// kubeadm's, for certificates and kubeconfig files.
pub fn kubeadm(version: &str, name: &str, address: IpAddr) -> String {
    let [services, pods] = ["--service-cidr", "--pod-cidr"].map(|name| guide::option(guide::CREATE, name));
    format!(
        "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {address}}}
nodeRegistration: {{name: {name}}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
encryptionAlgorithm: ECDSA-P256
controlPlaneEndpoint: {address}:6443
networking: {{serviceSubnet: {services}, podSubnet: {pods}}}
"
    )
}

/// Command line of the API server.
pub fn api_server(address: IpAddr) -> Vec<String> {
    let pki = "/etc/kubernetes/pki";
    let mut words = guide::words_on(guide::API_SERVER, address, None);
    words.extend([
        "--etcd-servers=http://127.0.0.1:2379".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt"),
        format!("--kubelet-client-key={pki}/apiserver-kubelet-client.key"),
        format!("--service-account-key-file={pki}/sa.pub"),
        format!("--service-account-signing-key-file={pki}/sa.key"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
    ]);
    words
}

/// Command line of the controller manager. Pods' prefixes are the mesh's business.
pub fn controller_manager() -> Vec<String> {
    let pki = "/etc/kubernetes/pki";
    let words = guide::words(guide::CONTROLLERS);
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.extend([
        "--kubeconfig=/etc/kubernetes/controller-manager.conf".into(),
        "--leader-elect=false".into(),
        "--use-service-account-credentials=true".into(),
        format!("--service-account-private-key-file={pki}/sa.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
    ]);
    words
}
