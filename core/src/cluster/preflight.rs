//! What is wrong with a machine before kubeadm is started on it: one sentence for each fault, and what to do.

use ipnet::IpNet;

use super::{API_SERVER_PORT, ENDPOINT, Flavor, Ground, Role, Timing};

/// A day, in s: how long a word lets workers in.
const TOKEN_LIFE: u64 = 24 * 3600;
/// How long a word lets control planes in, in s: kubeadm forgets the certificates' keys after that.
const KEY_LIFE: u64 = 2 * 3600;
/// How far two clocks may be apart, in s: certificates are valid from five minutes before they were made.
const SKEW: u64 = 300;
/// No clock that is right shows less: 2026-01-01 in unix time.
const LEAST_TIME: u64 = 1_767_225_600;
/// Round trip between control planes above which somebody should know, in ms.
const FAR: f64 = 50.0;
/// Above which etcd is no joy, in ms.
const TOO_FAR: f64 = 150.0;
/// Ports of a control plane: API server, etcd twice, scheduler, controller manager, kubelet.
const CONTROL_PLANE_PORTS: [u16; 6] = [API_SERVER_PORT, 2379, 2380, 10259, 10257, 10250];

/// Ports of a k3s server: the same, and the API server behind its own.
const SERVER_PORTS: [u16; 7] = [API_SERVER_PORT, 6444, 2379, 2380, 10259, 10257, 10250];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It will do.
    Warning,
    /// It is refused unless somebody insists.
    Risk,
    /// It cannot work.
    Fault,
}

/// Something that somebody should know before kubeadm is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do.
    pub sentence: String,
}

/// What is known of the machine and its mesh.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What it is to become.
    pub role: Role,
    /// The machine.
    pub system: System,
    /// Its network.
    pub mesh: Mesh,
    /// When the word was made by which it comes in, in unix time; none for the first control plane.
    pub word: Option<u64>,
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// What makes the cluster.
    pub flavor: Flavor,
    /// Whether this is done as root.
    pub root: bool,
    /// The time here, in unix time.
    pub time: u64,
    /// What the machine calls itself.
    pub hostname: String,
    /// Programs that are not there, of those that are needed.
    pub missing: Vec<String>,
    /// Where the container runtime should answer and does not.
    pub no_runtime: Option<String>,
    /// What is swapped to, where the kubelet was not told to bear it.
    pub swap: Vec<String>,
    /// Whether control groups are of version 1 alone, and the kubelet was not told to bear it.
    pub old_cgroups: bool,
    /// TCP ports on which somebody listens.
    pub listening: Vec<u16>,
    /// Files of a cluster that are not ours.
    pub foreign: Vec<String>,
    /// Whether something looks after the kubelet.
    pub service_manager: bool,
}

/// A network that this machine is on, besides the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lan {
    /// Its interface.
    pub interface: String,
    /// Its prefix.
    pub prefix: IpNet,
}

/// The mesh as this machine knows it.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// The network's name.
    pub network: String,
    /// This node's name.
    pub name: String,
    /// What a cluster would stand on; none where the network has no prefixes for one.
    pub ground: Option<Ground>,
    /// The way to the API servers; none where nothing leads there.
    pub way: Option<Way>,
    /// The machine's other networks.
    pub lans: Vec<Lan>,
}

/// The endpoint at the address that every node holds.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Whether this node is behind it.
    pub own: bool,
    /// The others behind it: the other control planes.
    pub others: Vec<Peer>,
}

/// Another control plane.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Round trip to it in ms; none where it does not answer.
    pub round_trip: Option<f64>,
}

/// What is wrong, the worst first.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.system(&facts.system, facts.role);
    findings.clock(&facts.system, facts.role, facts.word);
    findings.mesh(&facts.mesh, facts.role);
    findings
        .0
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.0
}

/// Which of these ports, on which somebody listens, the role needs.
pub fn taken_ports(listening: &[u16], role: Role, flavor: Flavor) -> Vec<u16> {
    let needed: &[u16] = match (role, flavor) {
        (Role::ControlPlane, Flavor::Kubeadm) => &CONTROL_PLANE_PORTS,
        (Role::ControlPlane, Flavor::K3s) => &SERVER_PORTS,
        (Role::Worker, Flavor::Kubeadm) => &[10250],
        (Role::Worker, Flavor::K3s) => &[6444, 10250],
    };
    needed
        .iter()
        .copied()
        .filter(|port| listening.contains(port))
        .collect()
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, sentence: String) {
        self.0.push(Finding { severity, sentence });
    }

    fn fault(&mut self, sentence: impl Into<String>) {
        self.add(Severity::Fault, sentence.into());
    }

    fn system(&mut self, system: &System, role: Role) {
        if !system.root {
            self.fault("this takes root: run it with sudo");
        }
        for program in &system.missing {
            self.fault(match system.flavor {
                Flavor::Kubeadm => format!(
                    "{program} is not here: install kubeadm and kubelet of one release, as kubernetes.io says for this machine's system"
                ),
                Flavor::K3s => format!(
                    "{program} is not here: install it, and do not start it yet (`curl -sfL https://get.k3s.io | INSTALL_K3S_SKIP_START=true INSTALL_K3S_SKIP_ENABLE=true sh -`)"
                ),
            });
        }
        if let Some(socket) = &system.no_runtime {
            self.fault(format!(
                "no container runtime is at {socket}: install containerd and start it"
            ));
        }
        for swap in &system.swap {
            self.fault(format!(
                "{swap} is swapped to, and a kubelet does not start there: run `swapoff -a` and take it out of /etc/fstab, or set failSwapOn: false in a KubeletConfiguration with --patch"
            ));
        }
        if system.old_cgroups {
            self.fault(
                "this machine has control groups of version 1, with which a kubelet does not start: boot with systemd.unified_cgroup_hierarchy=1, or set failCgroupV1: false in a KubeletConfiguration with --patch",
            );
        }
        for port in taken_ports(&system.listening, role, system.flavor) {
            self.fault(format!(
                "somebody listens on TCP port {port} here: `ss -ltnp sport = :{port}` names the program; end it"
            ));
        }
        if let Some(file) = system.foreign.first() {
            self.fault(format!(
                "{file} is of a cluster that this machine is in already: run `meshctl k8s reset` first, which takes the machine out of it"
            ));
        }
        if system.hostname.contains('.') {
            let text = format!(
                "the machine calls itself {}: in the cluster it is called by its name in the mesh",
                system.hostname
            );
            self.add(Severity::Warning, text);
        }
        if !system.service_manager {
            let text = match system.flavor {
                Flavor::Kubeadm => {
                    "there is neither systemd nor OpenRC here to look after the kubelet: start it yourself when kubeadm says so, and keep it running"
                }
                Flavor::K3s => {
                    "there is no systemd here to look after k3s: start it yourself when meshctl says so, and keep it running"
                }
            };
            self.add(Severity::Warning, text.to_owned());
        }
    }

    fn clock(&mut self, system: &System, role: Role, word: Option<u64>) {
        if system.time < LEAST_TIME {
            self.fault("this machine's clock is years behind, and certificates that it makes or checks would not be valid: set it (`timedatectl set-ntp true`)");
            return;
        }
        let Some(issued) = word else { return };
        let minutes = |seconds: u64| seconds / 60;
        if issued > system.time + SKEW {
            self.fault(format!(
                "this machine's clock is {} minutes behind that of the control plane which made the word: set both (`timedatectl set-ntp true`)",
                minutes(issued - system.time)
            ));
        }
        let (life, age) = (
            match role {
                Role::ControlPlane => KEY_LIFE,
                Role::Worker => TOKEN_LIFE,
            },
            system.time.saturating_sub(issued),
        );
        // k3s' secrets have no end
        if age > life && system.flavor == Flavor::Kubeadm {
            self.fault(format!(
                "the word is {} minutes old and was good for {} hours: run `meshctl k8s init` on a control plane again, which prints new ones (or the clocks are apart: `timedatectl set-ntp true` sets them)",
                minutes(age),
                life / 3600
            ));
        }
    }

    fn mesh(&mut self, mesh: &Mesh, role: Role) {
        let Mesh { network, name, .. } = mesh;
        match &mesh.ground {
            None => self.fault(format!(
                "the network \"{network}\" has no prefixes for pods and services: on the relay's host run `meshctl network pods {network} --pod-cidr 10.244.0.0/16 --service-cidr 10.96.0.0/16`"
            )),
            Some(ground) if ground.services.is_empty() => self.fault(format!(
                "the network \"{network}\" has no prefix for services: it is given together with that of the pods, `meshctl network pods {network} --pod-cidr P --service-cidr 10.96.0.0/16` on the relay's host"
            )),
            Some(ground) => self.overlaps(ground, &mesh.lans),
        }
        let leads = |verb: &str| {
            format!(
                "{verb}: on the relay's host run `meshctl endpoint add {ENDPOINT} --to {name}:{API_SERVER_PORT}`"
            )
        };
        match (&mesh.way, role) {
            (None, Role::ControlPlane) => self.fault(leads("nothing leads to the API servers yet")),
            (None, Role::Worker) => self.fault(format!(
                "nothing leads to the API servers in the network \"{network}\": is this machine in the network of the cluster? `meshctl status` says in which it is"
            )),
            (Some(way), Role::ControlPlane) => {
                if !way.own {
                    self.fault(leads(&format!("{name} is not behind the endpoint that leads to the API servers")));
                }
                self.distances(way);
            }
            (Some(_), Role::Worker) => {}
        }
    }

    fn overlaps(&mut self, ground: &Ground, lans: &[Lan]) {
        let meet = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        // a default route is no network that the machine is on
        for Lan { interface, prefix } in lans.iter().filter(|lan| lan.prefix.prefix_len() > 0) {
            for services in ground.services.iter().filter(|services| meet(services, prefix)) {
                self.fault(format!(
                    "the services' prefix {services} overlaps {prefix}, which this machine has on {interface}: services there, or that network, could not be reached; choose another prefix when the network is made"
                ));
            }
            for pods in ground.pods.iter().filter(|pods| meet(pods, prefix)) {
                let text = format!(
                    "the pods' prefix {pods} overlaps {prefix}, which this machine has on {interface}: addresses in both are reached on {interface}"
                );
                self.add(Severity::Warning, text);
            }
        }
    }

    fn distances(&mut self, way: &Way) {
        for Peer { name, round_trip } in &way.others {
            match round_trip {
                None => {
                    let text = format!(
                        "{name} does not answer now: how far it is, and which timeouts etcd needs, is not known"
                    );
                    self.add(Severity::Warning, text);
                }
                Some(far) if *far > FAR => {
                    let timing = Timing::of([*far]);
                    let text = format!(
                        "{name} is {far:.0} ms away: each write waits for that, and when a control plane dies the API is away for up to {:.0} s",
                        timing.longest_outage().as_secs_f64()
                    );
                    match *far > TOO_FAR {
                        true => self.add(
                            Severity::Risk,
                            format!(
                                "{text}; choose control planes that are nearer to one another, or add --force"
                            ),
                        ),
                        false => self.add(Severity::Warning, text),
                    }
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
