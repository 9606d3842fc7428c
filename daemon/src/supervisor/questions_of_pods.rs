//! Questions about pods, handed to the network that has the pods: the CNI plugin's, and a person's about Kubernetes.

use super::Supervisor;
use crate::kube;
use crate::network::NetworkHandle;
use crate::pods::Question;
use meshd_api::Problem;

impl Supervisor {
    /// To the network named, else to the only one that has prefixes for pods (or pods left from when it had).
    pub(super) fn pods(&self, name: Option<&str>, question: Question) {
        let found = self.with_pods(name);
        match found.and_then(|network| network.pods().ok_or_else(|| waits(network))) {
            Ok(pods) => pods.ask(question),
            Err(problem) => question.refuse(problem),
        }
    }

    /// To the same network's link to Kubernetes; a node whose part Kubernetes has yet to give has none.
    pub(super) fn kube(&self, name: Option<&str>, question: kube::Question) {
        let mut all = self.networks.values();
        let found = match (self.with_pods(name), all.next(), all.next()) {
            (Err(_), Some(only), None) if name.is_none() => Ok(only),
            (found, ..) => found,
        };
        match found.and_then(|network| network.kube().ok_or_else(|| waits(network))) {
            Ok(kube) => kube.ask(question),
            Err(problem) => question.refuse(problem),
        }
    }

    fn with_pods(&self, name: Option<&str>) -> Result<&NetworkHandle, Problem> {
        let named = |network: &&NetworkHandle| name.is_none_or(|name| network.name() == name);
        let has_pods = |network: &&NetworkHandle| {
            let pods = network.pods();
            pods.is_some_and(|pods| name.is_some() || pods.has_part() || pods.leases() > 0)
        };
        let with_pods: Vec<_> = self.networks.values().filter(named).filter(has_pods).collect();
        match (&with_pods[..], name) {
            ([network], _) => Ok(network),
            ([], Some(name)) => Err(Problem::new(
                "not-a-member",
                format!("this machine is not in a network {name} that is up"),
            )),
            ([], None) => Err(Problem::new(
                "pods-no-prefix",
                "this machine is in no network that has prefixes for pods: `meshctl network pods NAME --pod-cidr PREFIX`, or \
                 `meshctl up`",
            )),
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|network| network.name()).collect();
                let names = names.join(", ");
                Err(Problem::new(
                    "which-network",
                    format!(
                        "this machine has pods in {names}; say which with \"network\" in the CNI configuration, or --network NAME"
                    ),
                ))
            }
        }
    }
}

fn waits(network: &NetworkHandle) -> Problem {
    let name = network.name();
    Problem::new(
        "pods-starting",
        format!("network {name} waits to be let in; try again"),
    )
}
