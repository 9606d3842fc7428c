//! The commands of docs/kubernetes.md, as the tests run them: a cluster of the lab is brought up with the lines of the page.
//!
//! `HOST$ ` before a command says where it is typed. `TOKEN`, `WORD`, `MESH4` and `MESH6` stand for what differs from node to
//! node; three dots at its end for what has nothing to do with the mesh.

use std::net::IpAddr;

/// The page.
const PAGE: &str = include_str!("../../../docs/kubernetes.md");

/// Its sections that are run line by line.
const SECTIONS: [&str; 9] = [
    "Prefixes",
    "On each node",
    "A node goes",
    "What meshd knows of the cluster",
    "Prefixes from Kubernetes",
    "A cluster with kubeadm",
    "A cluster with k3s",
    "A cluster on it",
    "Services of type LoadBalancer",
];

/// What a cluster of the lab does with the page, by the beginnings of its lines, in their order. Each line is one of these, and
/// each of these is a line.
pub const STEPS: [&str; 32] = [
    PODS,
    INSTALL,
    DRAIN,
    LEAVE,
    DELETE,
    ACCOUNT,
    CREDENTIALS,
    CREATE_ALLOTTED,
    ALLOTTING,
    ENDPOINT,
    CLUSTER_INIT,
    CONTROL_PLANE_JOIN,
    WORKER_JOIN,
    ENDPOINT,
    K3S_INIT,
    CONTROL_PLANE_JOIN,
    K3S_AGENT_JOIN,
    CREATE,
    TOKEN,
    JOIN,
    INSTALL,
    API_SERVER,
    CONTROLLERS,
    KUBELET,
    PROXY,
    FIRST_GATEWAY,
    SECOND_GATEWAY,
    ALLOW,
    CONTROLLER,
    ALLOWED,
    FIRST_TO_POOL,
    SECOND_TO_POOL,
];
/// A network's pods get prefixes.
pub const PODS: &str = "cloud$ meshctl network pods";
/// meshd's account in the cluster.
pub const ACCOUNT: &str = "cp$ kubectl apply";
/// meshd's credentials on a node.
pub const CREDENTIALS: &str = "node$ meshctl cni credentials";
/// A node's pods go elsewhere.
pub const DRAIN: &str = "cp$ kubectl drain";
/// The node leaves.
pub const LEAVE: &str = "w2$ meshctl leave";
/// The cluster forgets it.
pub const DELETE: &str = "cp$ kubectl delete node";
/// The network where Kubernetes allots nodes' prefixes.
pub const CREATE_ALLOTTED: &str = "cloud$ meshctl network create prod --authority";
/// The controller manager's options there.
pub const ALLOTTING: &str = "cp$ kube-controller-manager --allocate-node-cidrs=true";
/// Who the control planes of a cluster by kubeadm are.
pub const ENDPOINT: &str = "cloud$ meshctl endpoint add api --to";
/// The first of them.
pub const CLUSTER_INIT: &str = "n1$ meshctl k8s init";
/// The first of them, by k3s.
pub const K3S_INIT: &str = "n1$ meshctl k8s init --flavor k3s";
/// An agent of k3s.
pub const K3S_AGENT_JOIN: &str = "w1$ meshctl k8s join WORD";
/// Another.
pub const CONTROL_PLANE_JOIN: &str = "n2$ meshctl k8s join";
/// A worker.
pub const WORKER_JOIN: &str = "w1$ meshctl k8s join";
/// The network.
pub const CREATE: &str = "cloud$ meshctl network create prod --cidr";
/// A token.
pub const TOKEN: &str = "cloud$ meshctl token create";
/// A node joins.
pub const JOIN: &str = "node$ meshctl join";
/// The plugin.
pub const INSTALL: &str = "node$ meshctl cni install";
/// The API server's options.
pub const API_SERVER: &str = "cp$ kube-apiserver";
/// The controller manager's options.
pub const CONTROLLERS: &str = "cp$ kube-controller-manager --allocate-node-cidrs=false";
/// The kubelet's options.
pub const KUBELET: &str = "node$ kubelet";
/// kube-proxy's options.
pub const PROXY: &str = "node$ kube-proxy";
/// The gateway to services that is used first.
pub const FIRST_GATEWAY: &str = "cloud$ meshctl gateway add w1";
/// The other.
pub const SECOND_GATEWAY: &str = "cloud$ meshctl gateway add cp";

/// What the cluster may expose by itself.
pub const ALLOW: &str = "cloud$ meshctl expose allow cluster";
/// A control plane's credentials.
pub const CONTROLLER: &str = "cp$ meshctl cni credentials";
/// What it may, and does.
pub const ALLOWED: &str = "cloud$ meshctl expose allowed";
/// The gateway to private addresses of services that is used first.
pub const FIRST_TO_POOL: &str = "cloud$ meshctl gateway add w1 --range 10.88";
/// The other.
pub const SECOND_TO_POOL: &str = "cloud$ meshctl gateway add cp --range 10.88";

/// The words of the page's line that begins so, without host and program.
///
/// # Panics
/// If the page has no such line.
pub fn words(step: &str) -> Vec<&'static str> {
    let line = lines().find(|line| line.starts_with(step));
    let line = line.unwrap_or_else(|| panic!("docs/kubernetes.md has no line that begins with {step:?}"));
    let words = line.split_whitespace().filter(|word| *word != "...");
    words.skip(2).collect()
}

/// The same with what stands for a node's addresses filled in.
pub fn words_on(step: &str, ipv4: IpAddr, ipv6: Option<IpAddr>) -> Vec<String> {
    let ipv6 = ipv6.map(|ip| ip.to_string()).unwrap_or_default();
    let fill = |word: &str| word.replace("MESH4", &ipv4.to_string()).replace("MESH6", &ipv6);
    words(step).into_iter().map(fill).collect()
}

/// The value of an option in the page's line.
///
/// # Panics
/// If it has no such option.
pub fn option(step: &str, name: &str) -> &'static str {
    let words = words(step);
    let long = words
        .iter()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let next = || Some(*words.get(words.iter().position(|word| *word == name)? + 1)?);
    long.or_else(next)
        .unwrap_or_else(|| panic!("{step:?} has no {name} in docs/kubernetes.md"))
}

/// The script of the page that makes meshd's kubeconfig.
///
/// # Panics
/// If the page has none.
pub fn kubeconfig(server: IpAddr) -> String {
    let mut blocks = PAGE.split("```\n");
    let block = blocks.find(|block| block.starts_with("S=\"kubectl"));
    let block = block.expect("docs/kubernetes.md has a script that makes a kubeconfig");
    block.replace("MESH4", &server.to_string())
}

/// The commands of the page's sections about a cluster.
pub fn lines() -> impl Iterator<Item = &'static str> {
    let (mut about, mut inside) = (false, false);
    PAGE.lines().filter(move |line| {
        if let Some(title) = line.strip_prefix("## ") {
            about = SECTIONS.contains(&title);
        }
        let fence = line.starts_with("```");
        inside ^= fence;
        about
            && inside
            && !fence
            && line
                .split(' ')
                .next()
                .is_some_and(|host| host.ends_with('$') && host.len() > 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_page_is_run_and_in_its_order() {
        let found: Vec<&str> = lines().collect();
        assert_eq!(found.len(), STEPS.len(), "{found:#?}");
        for (line, step) in found.iter().zip(STEPS) {
            assert!(line.starts_with(step), "{line:?} is not {step:?}");
        }
        let script = kubeconfig([10, 77, 0, 9].into());
        assert!(
            script.contains("https://10.77.0.9:6443") && script.ends_with("use-context mesh\n"),
            "{script}"
        );
        assert_eq!(option(KUBELET, "--node-ip"), "MESH4,MESH6");
    }
}
