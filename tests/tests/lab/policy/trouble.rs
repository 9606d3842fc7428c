//! Services, probes, pods that are new, rules that somebody flushes, a meshd that is away.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use meshd_core::policy::{Pod, Protocol};
use meshd_tests::{eventually, poll};

use super::bed::{Bed, Rules, TABLE};
use super::{DENIED, PATIENT, check, matrix, named, probes};

/// The address of a service.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 10);
/// For what takes a moment.
const SOON: Duration = Duration::from_secs(20);

fn tcp(ip: IpAddr, port: u16) -> [(Protocol, IpAddr, u16); 1] {
    [(Protocol::Tcp, ip, port)]
}

fn reaches(bed: &Bed, from: (&str, &str), to: IpAddr, port: u16) -> bool {
    probes::ask(bed.pod(from), &tcp(to, port), PATIENT)[0]
}

fn is_denied(bed: &Bed, from: (&str, &str), to: IpAddr, port: u16) -> bool {
    !probes::ask(bed.pod(from), &tcp(to, port), DENIED)[0]
}

/// What kube-proxy does to a service with this pod behind it.
fn serve(bed: &Bed, to: (&str, &str)) {
    let to = matrix::addresses(to)[0];
    bed.machine.sh(&format!(
        "nft add table ip proxy; nft flush table ip proxy
         nft add chain ip proxy pre '{{ type nat hook prerouting priority dstnat; }}'
         nft add rule ip proxy pre ip daddr {SERVICE} tcp dport 80 dnat to {to}:81
         nft add chain ip proxy post '{{ type nat hook postrouting priority srcnat; }}'
         nft add rule ip proxy post ct status dnat ip saddr {to} ip daddr {to} masquerade"
    ));
}

#[test]
fn policies_judge_the_pod_behind_a_service_and_let_a_pod_reach_itself_and_its_node() {
    let bed = Bed::new();
    bed.run(async |files| {
        let rules = Rules::start(files);
        rules.set(&named("egress to pods of a namespace").policies).await;
        let service = IpAddr::from(SERVICE);
        serve(&bed, ("y", "a"));
        assert!(
            reaches(&bed, ("x", "a"), service, 80),
            "the pod behind it is allowed"
        );
        serve(&bed, ("y", "b"));
        assert!(
            is_denied(&bed, ("x", "a"), service, 80),
            "the pod behind it is not"
        );
        serve(&bed, ("x", "a"));
        assert!(reaches(&bed, ("x", "a"), service, 80), "its own service");
        rules.set(&named("default deny all").policies).await;
        assert!(
            reaches(&bed, ("x", "a"), service, 80),
            "its own service, whatever is denied"
        );
        assert!(is_denied(&bed, ("y", "a"), service, 80));
        for ip in matrix::addresses(("x", "a")) {
            let probed = bed.machine.inside(|| probes::ask_here(&tcp(ip, 80), PATIENT));
            assert!(probed[0], "the node's probes: {ip}");
        }
        let node = Ipv4Addr::new(10, 99, 0, 1).into();
        bed.machine.sh("ip addr add 10.99.0.1/32 dev lo");
        let listener = bed
            .machine
            .inside(|| TcpListener::bind((node, 8080)).expect("the address is there"));
        assert!(reaches(&bed, ("x", "a"), node, 8080), "its own node");
        drop(listener);
        rules.handle.remove().await;
    });
}

#[test]
fn a_pod_is_denied_until_it_is_known_and_no_later() {
    let bed = Bed::new();
    bed.run(async |files| {
        let rules = Rules::start(files);
        let name = meshd_core::policy::Name::new("x", "b");
        let b = matrix::addresses(("x", "b"))[0];
        rules.feed().change(|cluster| cluster.remove_pod(&name));
        rules.set(&named("deny ingress of one pod").policies).await;
        assert!(is_denied(&bed, ("y", "a"), b, 80), "it may be the one");
        let pod = matrix::pods().find(|pod| pod.name == name).expect("it is there");
        let nameless = Pod {
            addresses: Vec::new(),
            ..pod
        };
        let taken = rules.feed().change(|cluster| cluster.upsert_pod(nameless));
        taken.expect("there is room");
        // nobody tells the keeper of leases: it hears of the cluster by itself
        let heard = async { while rules.handle.status().await.is_some_and(|s| s.isolated != 1) {} };
        tokio::time::timeout(SOON, heard).await.expect("it hears of it");
        assert!(
            reaches(&bed, ("y", "a"), b, 80),
            "its labels are known, and are others"
        );
        rules.handle.remove().await;
    });
}

#[test]
fn a_stricter_policy_ends_flows_and_flushed_rules_come_back() {
    let bed = Bed::new();
    bed.run(async |files| {
        let rules = Rules::start(files);
        rules.set(&[]).await;
        let at = SocketAddr::new(matrix::addresses(("x", "a"))[0], 9000);
        let listener = bed
            .pod(("x", "a"))
            .inside(|| TcpListener::bind(at).expect("its address"));
        let from = bed.pod(("y", "a"));
        let mut flow = from.inside(|| TcpStream::connect_timeout(&at, SOON).expect("it connects"));
        let (mut served, _) = listener.accept().expect("it came");
        for end in [&flow, &served] {
            end.set_read_timeout(Some(DENIED)).expect("a positive time");
        }
        let mut byte = [0];
        flow.write_all(b"1").expect("it is connected");
        served.read_exact(&mut byte).expect("it passes");
        rules.set(&named("default deny ingress").policies).await;
        flow.write_all(b"2").expect("it is buffered");
        assert!(served.read(&mut byte).is_err(), "the flow has ended");
        rules.set(&[]).await;
        served.set_read_timeout(Some(SOON)).expect("a positive time");
        served
            .read_exact(&mut byte)
            .expect("TCP tries again, and it passes");
        rules.set(&named("default deny ingress").policies).await;
        bed.machine.sh("nft flush ruleset");
        let back = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if bed.machine.sh("nft list tables").contains(TABLE) {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, back)
            .await
            .expect("the rules come back");
        check(&bed, "after a flush", &|f| f.from == f.to || f.to.0 != "x");
        rules.handle.remove().await;
    });
}

#[test]
fn rules_stay_while_meshd_is_away_and_are_known_when_it_comes_back_without_the_api_server() {
    let bed = Bed::new();
    let expects = |f: &matrix::Flow| f.from == f.to || f.to.0 != "x";
    bed.run(async |files| {
        let rules = Rules::start(files);
        rules.set(&named("default deny ingress").policies).await;
    });
    check(&bed, "meshd is away", &expects);
    bed.machine.sh("nft flush ruleset");
    bed.run(async |files| {
        let rules = Rules::away(files);
        rules.settle().await;
        check(&bed, "rebooted, and the API server is away", &expects);
        let status = rules.handle.status().await.expect("a cluster was watched");
        assert_eq!((status.known, status.policies, status.isolated), (true, 1, 3));
        rules.handle.remove().await;
    });
    let left = poll(Duration::ZERO, || {
        bed.machine.sh("nft list tables").contains("meshd").then_some(())
    });
    assert!(left.is_none(), "nothing is left");
    eventually(SOON, "without rules everybody reaches everybody", || {
        reaches(&bed, ("y", "a"), matrix::addresses(("x", "a"))[0], 80).then_some(())
    });
}
