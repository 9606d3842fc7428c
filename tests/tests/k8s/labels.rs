//! A range behind a gateway that is for pods with a label: who gets there, from when, until when, and who never does.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use meshd_tests::k8s::{Pod, ProxyMode};
use meshd_tests::{Machine, TcpFlow, figure, keeps, poll};

use crate::bed::{self, Bed, LONG};

/// The printer's port.
const PORT: u16 = 9100;
/// One try to connect.
const TRY: Duration = Duration::from_secs(2);
/// From the end of `kubectl` until nothing passes any more.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Bytes/s of a connection that should stop.
const RATE: u32 = 200_000;
/// Nothing arrived in this time: it has stopped.
const SILENCE: Duration = Duration::from_millis(1500);

/// A printer in the LAN behind w1.
struct Printer {
    at: SocketAddr,
    listener: TcpListener,
    /// On while this is.
    _machine: Machine,
}

impl Printer {
    fn new(bed: &Bed) -> Self {
        let site = &bed.cluster.sites[1];
        let machine = site.machine("printer", 9);
        let at = SocketAddr::new(site.v4(9).parse().expect("an address"), PORT);
        let listener = machine.inside(|| TcpListener::bind(at).expect("its own address"));
        Self {
            at,
            listener,
            _machine: machine,
        }
    }

    /// Whether a pod reaches it.
    fn hears(&self, bed: &Bed, pod: &Pod) -> bool {
        let node = bed.cluster.node(&pod.node).mesh().machine();
        self.answers(&pod.namespace(node))
    }

    fn answers(&self, namespace: &meshd_tests::pods::Pod) -> bool {
        namespace
            .inside(|| TcpStream::connect_timeout(&self.at, TRY))
            .is_ok()
    }

    #[track_caller]
    fn comes_to_hear(&self, bed: &Bed, pod: &Pod) {
        let what = format!("{} on {} reaches the printer", pod.name, pod.node);
        bed.cluster
            .wait(LONG, &what, || self.hears(bed, pod).then_some(()));
    }

    /// Bytes from the pod, without end.
    fn stream(&self, bed: &Bed, pod: &Pod) -> TcpFlow {
        let node = bed.cluster.node(&pod.node).mesh().machine();
        // what was tried before waits in the same queue
        self.listener.set_nonblocking(true).expect("a socket");
        while self.listener.accept().is_ok() {}
        self.listener.set_nonblocking(false).expect("a socket");
        let outgoing = pod
            .namespace(node)
            .inside(|| TcpStream::connect_timeout(&self.at, LONG).expect("it may connect"));
        let (incoming, _) = self.listener.accept().expect("it is connected");
        TcpFlow::over(outgoing, incoming, RATE)
    }
}

#[test]
fn a_range_for_pods_with_a_label_is_for_them_alone_and_stays_so_without_the_api_server() {
    let Some(parts) = bed::parts("gateways for pods with labels") else {
        return;
    };
    let mut bed = bed::start(&parts, ProxyMode::Nftables);
    let printer = Printer::new(&bed);
    let range = bed.cluster.sites[1].v4(0) + "/24";
    let add = [
        "gateway",
        "add",
        "w1",
        "--range",
        &range,
        "--pods",
        "tier in (web,api)",
    ];
    bed.cluster.relay.ctl(&add);
    let pods = bed.pods.clone();
    let [_, beside, labelled] = &pods[..] else {
        panic!("a pod on each node: {pods:?}")
    };
    without_credentials_nobody(&bed, &printer, labelled);
    bed.cluster.give_credentials();
    label(&bed, labelled, "tier=web");
    printer.comes_to_hear(&bed, labelled);
    only(&bed, &printer, labelled);
    taken_away(&bed, &printer, labelled);
    label(&bed, labelled, "tier=api");
    printer.comes_to_hear(&bed, labelled);
    without_the_api_server(&mut bed, &printer, (labelled, beside));
    // what changed while nobody heard counts when somebody does
    label(&bed, beside, "tier=web");
    printer.comes_to_hear(&bed, beside);
}

fn label(bed: &Bed, pod: &Pod, label: &str) {
    bed.cluster
        .kubectl(&["label", "--overwrite", "pod", &pod.name, label]);
}

/// A node that may not ask the API server lets none of its pods pass, and says so.
fn without_credentials_nobody(bed: &Bed, printer: &Printer, pod: &Pod) {
    let node = bed.cluster.node(&pod.node).mesh();
    let said = bed.cluster.wait(LONG, "the node says what it does not know", || {
        let status = node.ctl(&["status"]);
        status
            .contains("ranges behind gateways are for pods")
            .then_some(status)
    });
    assert!(said.contains("meshctl cni credentials"), "{said}");
    assert!(!printer.hears(bed, pod), "nothing is known of its labels");
}

/// Neither another pod nor a node's own program reaches it, the gateway's own pods neither.
fn only(bed: &Bed, printer: &Printer, labelled: &Pod) {
    for pod in bed.pods.iter().filter(|pod| pod.name != labelled.name) {
        assert!(!printer.hears(bed, pod), "{} on {}", pod.name, pod.node);
    }
    let node = bed.cluster.node(&labelled.node).mesh().machine();
    let own = node.inside(|| TcpStream::connect_timeout(&printer.at, TRY));
    assert!(own.is_err(), "the node itself is no pod");
}

/// A connection that is under way ends with the label.
fn taken_away(bed: &Bed, printer: &Printer, pod: &Pod) {
    let flow = printer.stream(bed, pod);
    let begun = poll(LONG, || (flow.received() > u64::from(RATE)).then_some(()));
    assert!(begun.is_some(), "bytes arrive");
    label(bed, pod, "tier-");
    let begin = Instant::now();
    let (mut last, mut bytes) = (begin, flow.received());
    let stopped = poll(LONG, || {
        if flow.received() > bytes {
            (last, bytes) = (Instant::now(), flow.received());
        }
        (last.elapsed() > SILENCE).then_some(())
    });
    assert!(stopped.is_some(), "the connection goes on without the label");
    let took = last - begin;
    figure(
        "a pod's label is taken away: the last byte into the range, from kubectl's end",
        format!("{} ms", took.as_millis()),
        "1,000 ms",
    );
    assert!(keeps(took, AT_ONCE), "{took:?}");
    assert!(!printer.hears(bed, pod), "nor does a new one begin");
}

/// What was known last holds over a kill and start of meshd while no API server answers: who might may, who might not may not.
fn without_the_api_server(bed: &mut Bed, printer: &Printer, (may, may_not): (&Pod, &Pod)) {
    bed.cluster.without_api_server(|cluster| {
        for pod in [may, may_not] {
            let node = cluster.node(&pod.node).mesh();
            node.kill();
            node.start_again();
        }
        let hears = |pod: &Pod| printer.answers(&pod.namespace(cluster.node(&pod.node).mesh().machine()));
        cluster.wait(LONG, "the pod with the label gets through again", || {
            hears(may).then_some(())
        });
        assert!(!hears(may_not), "{} has no label", may_not.name);
    });
}
