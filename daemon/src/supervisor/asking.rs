//! What the networks are asked: their status, and questions about paths.

use super::{Reply, Supervisor};
use crate::dns;
use crate::network::{NetworkCommand, NetworkHandle, Question};
use meshd_api::Problem;
use meshd_api::local::{NetworkStatus, Status};

impl Supervisor {
    /// Hands a question to the network that it is about.
    pub(super) fn question(&self, name: Option<&str>, question: Question) {
        let mut named = self
            .networks
            .values()
            .filter(|network| name.is_none_or(|name| network.name() == name));
        let names: Vec<&str> = self.networks.values().map(NetworkHandle::name).collect();
        let problem = match (named.next(), named.next(), name) {
            (Some(network), None, _) => return network.send(NetworkCommand::Question(question)),
            (Some(_), Some(_), _) => {
                let sentence = format!(
                    "this machine is in {}; say which with --network NAME",
                    names.join(", ")
                );
                Problem::new("which-network", sentence)
            }
            (None, _, Some(name)) if !names.is_empty() => {
                let sentence = format!(
                    "this machine is not in a network {name}; it is in {}",
                    names.join(", ")
                );
                Problem::new("not-a-member", sentence)
            }
            _ => Problem::new(
                "not-a-member",
                "this machine is in no network that is up; join one, or `meshctl up`",
            ),
        };
        question.refuse(problem);
    }

    /// What everything is like; it never waits for a network that hangs longer than for one.
    pub(super) fn status(&self, reply: Reply<Status>) {
        let ask = |network: &NetworkHandle| (network.name().to_owned(), network.ask_status());
        let asked: Vec<_> = self.networks.values().map(ask).collect();
        let (instance, down, out) = (self.config.instance, self.down_networks(), self.out());
        let trouble = self.state.trouble().into_iter().collect();
        let no_dns = self.shared.dns.borrow().clone();
        let dns = no_dns.is_none().then(|| dns::address(instance).ip());
        let mut warnings = [self.warnings.clone(), trouble, self.shared.firewall.warnings()].concat();
        warnings.extend(no_dns);
        tokio::spawn(async move {
            let mut networks: Vec<NetworkStatus> = Vec::new();
            // all were asked at once, and all have the same time to answer
            for (name, answer) in asked {
                match answer.await {
                    Some(status) => networks.push(status),
                    None => warnings.push(format!(
                        "network {name} does not answer; traffic may go on. If it stays so: restart meshd"
                    )),
                }
            }
            let version = env!("CARGO_PKG_VERSION").to_owned();
            let _ = reply.send(Ok(Status {
                version,
                instance,
                networks,
                down,
                out,
                dns,
                warnings,
            }));
        });
    }
}
