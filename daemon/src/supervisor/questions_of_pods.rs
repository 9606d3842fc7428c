//! The CNI plugin's questions, handed to the network that has the pods.

use super::Supervisor;
use crate::network::NetworkHandle;
use crate::pods::Question;
use meshd_api::Problem;

impl Supervisor {
    /// To the network named, else to the only one that has prefixes for pods (or pods left from when it had).
    pub(super) fn pods(&self, name: Option<&str>, question: Question) {
        let named = |network: &&NetworkHandle| name.is_none_or(|name| network.name() == name);
        let with_pods = self.networks.values().filter(named).filter_map(|network| {
            let pods = network.pods()?;
            (name.is_some() || pods.has_part() || pods.leases() > 0).then_some((network.name(), pods))
        });
        let with_pods: Vec<_> = with_pods.collect();
        let problem = match (&with_pods[..], name) {
            ([(_, pods)], _) => return pods.ask(question),
            ([], Some(name)) => Problem::new(
                "not-a-member",
                format!("this machine is not in a network {name} that is up"),
            ),
            ([], None) => Problem::new(
                "pods-no-prefix",
                "this machine is in no network that has prefixes for pods: `meshctl network pods NAME --pod-cidr PREFIX`, or \
                 `meshctl up`",
            ),
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                Problem::new(
                    "which-network",
                    format!(
                        "this machine has pods in {names}; say which with \"network\" in the CNI configuration"
                    ),
                )
            }
        };
        question.refuse(problem);
    }
}
