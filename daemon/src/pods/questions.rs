//! The plugin's questions, one function each.
//!
//! Questions that wait are taken together, so that the leases are written to disk once for all of them.

use super::keeper::Keeper;
use super::{Question, fault};
use crate::supervisor::Reply;
use meshd_api::Problem;
use meshd_api::local::{Done, PodAttachment, PodLease, PodName, PodRequest, PodsForgotten, PodsKept};
use meshd_core::ipam::{Attachment, HOST_PREFIX, Lease, LeaseError};
use meshd_core::policy::{Name, PodIdentity};
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

/// Longest name that is kept, in bytes.
const MAX_NAME: usize = 256;

/// Answers that wait for the disk.
#[derive(Default)]
struct Changes {
    added: Vec<(Lease, bool, Reply<PodLease>)>,
    deleted: Vec<(Done, Reply<Done>)>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.deleted.is_empty() && self.added.is_empty()
    }

    fn is_news(&self) -> bool {
        !self.deleted.is_empty() || self.added.iter().any(|(_, new, _)| *new)
    }
}

impl Keeper {
    /// Answers a question and those that wait behind it.
    pub(super) async fn answer_all(&mut self, first: Question, queue: &mut mpsc::Receiver<Question>) {
        let mut changes = Changes::default();
        let mut next = Some(first);
        while let Some(question) = next {
            match question {
                Question::Add(request, reply) => match self.add(&request) {
                    Ok((lease, new)) => changes.added.push((lease, new, reply)),
                    Err(problem) => drop(reply.send(Err(problem))),
                },
                Question::Del(request, reply) => match self.del(&request).await {
                    Ok(done) => changes.deleted.push((done, reply)),
                    Err(problem) => drop(reply.send(Err(problem))),
                },
                Question::Ready(request, reply) => drop(reply.send(self.ready(&request).await)),
                Question::Check(request, reply) => drop(reply.send(self.check(&request).await)),
                Question::Gc(kept, reply) => drop(reply.send(self.collect(&kept).await)),
                Question::Status(reply) => drop(reply.send(self.status())),
                Question::Installed(path, reply) => drop(reply.send(self.installed(&path).await)),
                Question::Named(reply) => drop(reply.send(Ok(self.named()))),
                Question::End(reply) => {
                    self.end().await;
                    drop(reply.send(Ok(())));
                }
            }
            next = queue.try_recv().ok();
        }
        self.finish(changes).await;
    }

    /// What changed goes to disk before anybody hears of it.
    async fn finish(&mut self, changes: Changes) {
        let saved = match changes.is_news() {
            true => self.save().await,
            false => Ok(()),
        };
        if changes.added.iter().any(|(_, new, _)| *new) {
            fault::point("leased");
        }
        if !changes.added.is_empty() {
            self.open().await;
        }
        // a pod's first packet meets its rules
        let ruled = match changes.is_empty() {
            true => Ok(()),
            false => self.policy.set_locals(self.leases.all()).await,
        };
        for (lease, new, reply) in changes.added {
            let answer = saved.clone().and(ruled.clone()).and_then(|()| self.shown(&lease));
            if answer.is_err() && new {
                self.leases.release(Instant::now(), &lease.attachment);
            }
            let _ = reply.send(answer);
        }
        // On a full disk a released lease comes back with a restart, and is taken back again because its interface is away.
        for (done, reply) in changes.deleted {
            let _ = reply.send(Ok(done));
        }
        self.count();
    }

    /// A lease, and whether it is new.
    fn add(&mut self, request: &PodRequest) -> Result<(Lease, bool), Problem> {
        let attachment = attachment(&request.cni_network, &request.attachment);
        self.setting()?;
        let names = [&attachment.network, &attachment.container, &attachment.interface];
        if names.iter().any(|name| name.len() > MAX_NAME) {
            let sentence =
                format!("a name of a pod, its network or its interface has more than {MAX_NAME} bytes");
            return Err(Problem::new("pods-name", sentence));
        }
        let new = self.leases.of(&attachment).is_none();
        let mut lease = self.leases.lease(Instant::now(), &attachment).map_err(refused)?;
        let pod = request.pod.as_ref().map(identity);
        if let Some(named) = pod.and_then(|pod| self.leases.name_pod(&attachment, pod)) {
            lease = named;
        }
        debug!(container = %attachment.container, address = %lease.ipv4, host = %lease.host, "leased");
        Ok((lease, new))
    }

    /// The routes to an interface that is there now.
    async fn ready(&mut self, request: &PodRequest) -> Result<PodLease, Problem> {
        let lease = self.lease_of(request)?;
        let link = self.netlink.link(&lease.host).await.map_err(kernel)?;
        let link = link.ok_or_else(|| broken(format!("the interface {} is not there", lease.host)))?;
        fault::point("ready");
        self.routes.add(&lease, link.index).await.map_err(kernel)?;
        fault::point("routed");
        self.shown(&lease)
    }

    async fn check(&mut self, request: &PodRequest) -> Result<PodLease, Problem> {
        let lease = self.lease_of(request)?;
        let link = self.netlink.link(&lease.host).await.map_err(kernel)?;
        let link = link.ok_or_else(|| broken(format!("the interface {} is gone", lease.host)))?;
        if !self.routes.has(&lease, link.index).await.map_err(kernel)? {
            return Err(broken(format!(
                "there is no route to {} over {}",
                lease.ipv4, lease.host
            )));
        }
        self.shown(&lease)
    }

    /// The interface first: a lease without one is taken back in time, an interface without a lease is nobody's.
    async fn del(&mut self, request: &PodRequest) -> Result<Done, Problem> {
        let attachment = attachment(&request.cni_network, &request.attachment);
        let done = Done {
            message: format!("{} is gone", request.attachment.container),
        };
        let Some(lease) = self.leases.of(&attachment).cloned() else {
            return Ok(done);
        };
        self.delete_interface(&lease).await?;
        fault::point("deleted");
        self.leases.release(Instant::now(), &attachment);
        Ok(done)
    }

    /// Takes back what the runtime does not name, and interfaces that nobody has a lease for.
    async fn collect(&mut self, kept: &PodsKept) -> Result<PodsForgotten, Problem> {
        let valid: Vec<Attachment> = kept
            .valid
            .iter()
            .map(|valid| attachment(&kept.cni_network, valid))
            .collect();
        let mut forgotten = PodsForgotten {
            leases: 0,
            interfaces: 0,
        };
        for lease in self.leases.keep_only(Instant::now(), &kept.cni_network, &valid) {
            info!(container = %lease.attachment.container, address = %lease.ipv4, "the runtime does not know this pod any more");
            forgotten.leases += 1;
            forgotten.interfaces += usize::from(self.delete_interface(&lease).await?);
        }
        fault::point("collected");
        if forgotten.leases > 0 {
            self.save().await?;
            self.policy.set_locals(self.leases.all()).await?;
        }
        let leased: BTreeSet<&str> = self.leases.all().map(|lease| lease.host.as_str()).collect();
        for link in self.netlink.links().await.map_err(kernel)? {
            let ours = link.kind.as_deref() == Some("veth") && link.name.starts_with(HOST_PREFIX);
            if ours && !leased.contains(link.name.as_str()) {
                warn!(interface = %link.name, "no pod has this interface; it is deleted");
                self.netlink.delete_link(link.index).await.map_err(kernel)?;
                forgotten.interfaces += 1;
            }
        }
        Ok(forgotten)
    }

    fn status(&mut self) -> Result<Done, Problem> {
        self.setting()?;
        self.leases.ready(Instant::now()).map_err(refused)?;
        let message = "pods can be added".to_owned();
        Ok(Done { message })
    }

    fn lease_of(&self, request: &PodRequest) -> Result<Lease, Problem> {
        let attachment = attachment(&request.cni_network, &request.attachment);
        let lease = self.leases.of(&attachment).cloned();
        lease.ok_or_else(|| {
            let sentence = format!(
                "{} has no address: it was released, or never added",
                attachment.container
            );
            Problem::new("pods-unknown", sentence)
        })
    }

    fn shown(&self, lease: &Lease) -> Result<PodLease, Problem> {
        Ok(PodLease {
            ipv4: lease.ipv4,
            ipv6: lease.ipv6,
            host: lease.host.clone(),
            mtu: self.setting()?.mtu,
        })
    }
}

fn attachment(network: &str, named: &PodAttachment) -> Attachment {
    Attachment {
        network: network.to_owned(),
        container: named.container.clone(),
        interface: named.interface.clone(),
    }
}

fn identity(pod: &PodName) -> PodIdentity {
    PodIdentity {
        name: Name::new(&pod.namespace, &pod.name),
        uid: pod.uid.as_str().into(),
    }
}

fn refused(error: LeaseError) -> Problem {
    let code = match error {
        LeaseError::NoPrefix => "pods-no-prefix",
        LeaseError::Exhausted { .. } => "pods-exhausted",
    };
    Problem::new(code, error.to_string())
}

fn kernel(error: meshd_net::netlink::NetlinkError) -> Problem {
    Problem::new("pods-kernel", error.to_string())
}

fn broken(sentence: String) -> Problem {
    Problem::new("pods-broken", sentence)
}
