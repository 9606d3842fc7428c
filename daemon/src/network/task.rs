//! The task of one network: owns everything of it, and is told everything by messages.
//!
//! The loop waits for the first of: a command, a word from the coordinator, an event of the data plane, beacons, a change in the
//! kernel, the path agent's timer, a map fetched from a peer, the sampling tick. Each has one handler (`from_*.rs`). After
//! each, the agent is drained ([`Task::drain_agent`]): its datagrams are sent and its events carried out.

use super::adopted::AdoptedRoutes;
use super::beacons::Beacons;
use super::candidates::Underlay;
use super::carrier::Carriers;
use super::checks::Checks;
use super::floods::Floods;
use super::from_plane::Samples;
use super::gateways::Gateways;
use super::ingress::Asking;
use super::interface::Interface;
use super::line::{Coordinator, identity, params, start_line};
use super::map::MapKeeper;
use super::parts::Told;
use super::pods::Pods;
use super::port_mapping::PortMapping;
use super::questions::Pings;
use super::record::{Progress, Recorder};
use super::relaying::NodeRelays;
use super::status::join_reply;
use super::{NetworkCommand, Shared, Stop, exchange, paths, sockets};
use crate::dataplane::{ControlEvent, DataPlane, DataPlaneConfig};
use crate::state::{Allotted, Membership, NetworkFiles};
use crate::supervisor::{Command, Ending};
use anyhow::Context;
use hyper::body::Bytes;
use meshd_api::client::ClientError;
use meshd_api::local::JoinReply;
use meshd_core::id::NodeId;
use meshd_core::path::Agent;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, info_span, warn};

/// Events of the data plane that may wait; more are dropped and counted there.
const PLANE_QUEUE: usize = 1024;
/// How often the data plane's counters are read while there is traffic: a path's silence is noticed within 300 ms.
const BUSY_TICK: Duration = Duration::from_millis(100);
/// How often they are read otherwise.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// Changes of the kernel's configuration come in bursts; they are looked at together.
const SETTLE: Duration = Duration::from_millis(100);

/// One network.
pub struct Task {
    pub(super) membership: Membership,
    pub(super) shared: Shared,
    pub(super) files: NetworkFiles,
    pub(super) interface: Interface,
    pub(super) underlay: Underlay,
    pub(super) plane: DataPlane,
    pub(super) agent: Agent,
    pub(super) map: MapKeeper,
    pub(super) recorder: Recorder,
    pub(super) coordinator: Coordinator,
    pub(super) beacons: Beacons,
    pub(super) paths: paths::Paths,
    /// Relays over TLS.
    pub(super) carriers: Carriers,
    /// Maps being fetched from peers.
    pub(super) fetches: JoinSet<(NodeId, Result<Bytes, ClientError>)>,
    /// From whom.
    pub(super) fetching: BTreeSet<NodeId>,
    pub(super) samples: Samples,
    pub(super) gateways: Gateways,
    /// Addresses that are served here, and led to members.
    pub(super) endpoints: crate::endpoint::Handle,
    /// The map changed, and endpoints were not brought in line yet.
    pub(super) endpoints_stale: bool,
    /// The router's mapping of the UDP port.
    pub(super) port_mapping: PortMapping,
    pub(super) pods: Pods,
    /// Routes of other programs.
    pub(super) routes: AdoptedRoutes,
    pub(super) pods_keeper: crate::pods::Handle,
    /// The link to Kubernetes.
    pub(super) kube: crate::kube::Handle,
    /// What of it was told to the coordinator.
    pub(super) told: Told,
    /// What a cluster exposes by itself, as the coordinator was asked for it.
    pub(super) asking: Asking,
    /// Measurements of what is between this node and the internet.
    pub(super) checks: Checks,
    /// Pings that people wait for.
    pub(super) pings: Pings,
    pub(super) floods: Floods,
    /// Nodes that relay for others, this one maybe among them.
    pub(super) node_relays: NodeRelays,
    /// LANs that keep their own routes, as sentences.
    pub(super) yielded: Vec<String>,
    /// What happened that somebody should read.
    pub(super) notes: Vec<String>,
    plane_events: mpsc::Receiver<ControlEvent>,
    commands: mpsc::Receiver<NetworkCommand>,
    pub(super) exchange: exchange::Server,
    pub(super) line: JoinSet<()>,
}

impl Task {
    /// Makes the interface with its addresses, starts the data plane and the coordinator's line.
    pub async fn start(
        membership: Membership,
        (files, map): (NetworkFiles, MapKeeper),
        shared: Shared,
        (commands, published): (mpsc::Receiver<NetworkCommand>, watch::Sender<bool>),
        (pods_keeper, kube): (crate::pods::Handle, crate::kube::Handle),
    ) -> anyhow::Result<Self> {
        let allotted = membership
            .allotted
            .clone()
            .context("the coordinator has not answered the join yet")?;
        let params = params(&membership, &map)
            .context("an admin has not approved this node yet: `meshctl node approve`")?;
        let addresses = (allotted.ipv4, allotted.ipv6);
        let kernel = (&shared.netlink, &*shared.descriptors);
        let pods = Pods::new(map.view().as_deref(), membership.node, pods_keeper.leases());
        let wanted = (membership.interface, &params, addresses);
        let (interface, tun) = Interface::open(&shared.config, wanted, pods.prefixes(), kernel).await?;
        let sockets = sockets::open(allotted.listen_port, Progress::load(&files).port)?;
        let port = sockets.port;
        let carriers = Carriers::new(identity(&membership), port, sockets.plane.v4.is_some());
        let (plane_sender, plane_events) = mpsc::channel(PLANE_QUEUE);
        let plane = DataPlane::start(DataPlaneConfig {
            tun,
            addresses: vec![IpAddr::from(addresses.0), addresses.1.into()],
            sockets: sockets.plane,
            private_key: membership.wireguard.clone(),
            mtu: params.mtu,
            control: plane_sender,
            threads: 0,
        })?;
        let held = map.serial_of(membership.node);
        let recorder = Recorder::new(files.clone(), port, held, &allotted.hostname, addresses);
        let place = exchange::Place {
            interface: interface.name.clone(),
            addresses: [IpAddr::from(allotted.ipv4), allotted.ipv6.into()],
            prefixes: interface.prefixes,
        };
        let server = exchange::Server::start(&place, &map.watch_bytes());
        let (coordinator, line) = start_line(&membership, map.at(), published);
        let mut task = Self {
            agent: paths::agent(&membership, &params),
            paths: paths::Paths::new(port),
            carriers,
            underlay: Underlay::default(),
            beacons: Beacons::open(),
            fetches: JoinSet::new(),
            fetching: BTreeSet::new(),
            samples: Samples::default(),
            gateways: Gateways::open(addresses.0, &files).await,
            endpoints: crate::endpoint::Handle::new(Arc::new(plane.ears())),
            endpoints_stale: true,
            port_mapping: PortMapping::start(port, &membership.discovery.seed()),
            pods,
            routes: AdoptedRoutes::default(),
            pods_keeper,
            kube,
            told: Told::default(),
            asking: Asking::default(),
            checks: Checks::default(),
            pings: Pings::default(),
            floods: Floods::default(),
            node_relays: NodeRelays::default(),
            yielded: Vec::new(),
            notes: Vec::new(),
            membership,
            shared,
            files,
            interface,
            plane,
            map,
            recorder,
            coordinator,
            plane_events,
            commands,
            exchange: server,
            line,
        };
        task.judge_gateways();
        task.kernel_changed().await;
        task.fence().await;
        task.map_changed();
        task.recall_paths();
        Ok(task)
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.membership.name
    }

    /// What a join of this network answers.
    pub fn join_reply(&self) -> JoinReply {
        join_reply(&self.membership, &self.interface.name)
    }

    pub(super) fn allotted(&self) -> &Allotted {
        self.membership
            .allotted
            .as_ref()
            .expect("a task starts with what was allotted")
    }

    /// Runs until stopped, or until this node is no longer in the network.
    pub async fn run(mut self) {
        let span = info_span!("network", name = %self.membership.name);
        let supervisor = self.shared.supervisor.clone();
        let last_word = self.until_ended().instrument(span).await;
        let _ = supervisor.send(last_word).await;
    }

    /// The last word is for the supervisor.
    async fn until_ended(&mut self) -> Command {
        let ended = Command::Ended;
        let id = self.membership.network;
        let mut kernel = self.shared.kernel.but_pods.clone();
        let mut labels = self.pods_keeper.policy().feed().kept();
        let mut exposed = self.kube.desk().wanted.subscribe();
        let mut sample = Instant::now();
        loop {
            if self.gateways.is_stale() {
                self.serve_gateways().await;
            }
            if std::mem::take(&mut self.endpoints_stale) {
                self.serve_endpoints().await;
            }
            self.drain_agent();
            let people = [self.checks.poll_timeout(), self.pings.poll_timeout()]
                .into_iter()
                .flatten()
                .min();
            let timers = [
                self.agent.poll_timeout(),
                self.map.poll_timeout(),
                self.gateways.poll_timeout(),
                people,
                self.beacons.poll_timeout(),
                Some(sample),
            ];
            let wake = timers.into_iter().flatten().min().unwrap_or(sample);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => if let ControlFlow::Break(last_word) = self.obey(command).await {
                        return last_word;
                    },
                    None => return ended(id, Ending::Stopped),
                },
                Some(word) = self.coordinator.events.recv() => if let ControlFlow::Break(ending) = self.coordinator_said(word).await {
                    // What a clone says with its original's keys costs the original: not even a goodbye.
                    let clone = matches!(ending, Ending::Refused(_) | Ending::NewIdentity);
                    if matches!(ending, Ending::Out(_)) {
                        self.pods_keeper.end().await;
                    }
                    self.take_away(!clone).await;
                    return ended(id, ending);
                },
                Some(event) = self.plane_events.recv() => if self.plane_said(event).is_break() {
                    self.take_away(true).await;
                    return ended(id, Ending::Anew);
                },
                Some((relay, state)) = self.carriers.next() => self.carrier_changed(relay, state),
                Some((from, probe)) = self.gateways.recv() => self.gateway_said(from, probe),
                () = self.port_mapping.changed() => self.port_mapped(),
                beacons = self.beacons.recv() => self.heard_beacons(&beacons),
                Some(Ok(checked)) = self.checks.under_way.join_next() => self.checked(checked),
                Some(Ok((peer, map))) = self.fetches.join_next() => self.fetched(peer, map),
                Ok(()) = kernel.changed() => {
                    tokio::time::sleep(SETTLE).await;
                    kernel.mark_unchanged();
                    self.kernel_changed().await;
                }
                Ok(()) = exposed.changed() => {}
                Ok(()) = labels.changed(), if self.gateways.has_limits() => self.fence_pods().await,
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let now = Instant::now();
            self.agent.handle_timeout(now);
            self.check_when_due(now);
            self.give_up_pings(now);
            self.ask_gateways(now);
            self.ask_ingress(now);
            self.map.save_when_due(now);
            self.beacons.retry_when_due(now);
            if now >= sample {
                self.tell_parts(now);
                // what nft refused is tried again
                self.fence_pods().await;
                sample = now + if self.sample(now) { BUSY_TICK } else { IDLE_TICK };
            }
        }
    }

    async fn obey(&mut self, command: NetworkCommand) -> ControlFlow<Command> {
        match command {
            NetworkCommand::Status(reply) => {
                let _ = reply.send(self.status());
            }
            NetworkCommand::Question(question) => self.answer(question),
            NetworkCommand::Pods(opened) => {
                self.open_pods().await;
                let _ = opened.send(());
            }
            NetworkCommand::Leave(reply) => {
                // the others stop sending now, however long the coordinator takes to answer
                self.say_goodbye();
                let answer = self.leave().await;
                self.pods_keeper.end().await;
                self.take_away(true).await;
                return ControlFlow::Break(Command::Left(self.membership.network, answer, reply));
            }
            NetworkCommand::Stop(stop, done) => {
                self.paths.save(&self.agent, &self.carriers, &self.files);
                self.map.save();
                if stop == Stop::Down {
                    self.take_away(true).await;
                }
                let _ = done.send(());
                return ControlFlow::Break(Command::Ended(self.membership.network, Ending::Stopped));
            }
        }
        ControlFlow::Continue(())
    }

    fn say_goodbye(&mut self) {
        self.agent.goodbye();
        self.drain_agent();
    }

    /// Takes interface, routes and names away; `goodbye`: peers are told.
    async fn take_away(&mut self, goodbye: bool) {
        if goodbye {
            self.say_goodbye();
            self.port_mapping.release().await;
        }
        self.shared.names.forget(&self.membership.name);
        self.stop_forwarding();
        self.pods_keeper.policy().remove().await;
        self.interface
            .remove(&self.shared.netlink, &self.shared.descriptors)
            .await;
        if let Err(error) = self.shared.firewall.forget(&self.interface.name).await {
            warn!("{error}");
        }
    }
}
