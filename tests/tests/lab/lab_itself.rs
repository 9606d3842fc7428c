//! The lab measures what it claims to: NATs map and filter as named, flows see loss, nothing stays behind.

use std::net::SocketAddr;
use std::time::Duration;

use meshd_tests::nat_probe::{Filtering, Mapping, Server, measure};
use meshd_tests::{Nat, Snapshot, TcpFlow, UdpFlow, Weather, World, eventually};

/// What each type must measure as; `None`: no UDP.
fn expected(nat: Nat) -> Option<(bool, Filtering)> {
    use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    Some(match nat {
        Nat::Open | Nat::FullCone => (true, EndpointIndependent),
        Nat::AddressRestricted => (true, AddressDependent),
        Nat::Firewall
        | Nat::PortRestricted
        | Nat::PlainLinux
        | Nat::CarrierPortRestricted
        | Nat::CarrierFullCone => (true, AddressAndPortDependent),
        Nat::Symmetric | Nat::SymmetricSequential | Nat::SymmetricBlock | Nat::CarrierSymmetric => {
            (false, AddressAndPortDependent)
        }
        Nat::UdpBlocked => return None,
    })
}

#[test]
fn every_nat_maps_and_filters_as_its_name_says() {
    let world = World::new();
    let cloud = world.cloud();
    let _server = Server::start(&cloud);
    let machines = Nat::ALL.map(|nat| {
        (
            nat,
            world.site(nat).machine(&format!("{nat:?}").to_lowercase(), 2),
        )
    });
    let measured = std::thread::scope(|scope| {
        let workers = machines
            .each_ref()
            .map(|(nat, machine)| (*nat, scope.spawn(|| measure(machine))));
        workers.map(|(nat, worker)| (nat, worker.join().expect("measured")))
    });
    for (nat, measured) in measured {
        let kind = measured.map(|(mapping, filtering)| (mapping == Mapping::EndpointIndependent, filtering));
        assert_eq!(kind, expected(nat), "{nat:?} measured as {measured:?}");
        if nat == Nat::SymmetricSequential {
            let Some((Mapping::EndpointDependent { steps }, _)) = measured else {
                unreachable!("checked above")
            };
            assert!(
                steps.iter().all(|step| (1..=4).contains(step)),
                "{nat:?} counts upwards: {steps:?}"
            );
        }
    }
}

#[test]
fn a_blocked_site_still_reaches_port_443() {
    let world = World::new();
    let cloud = world.cloud();
    let machine = world.site(Nat::UdpBlocked).machine("office", 2);
    let flow = TcpFlow::start(&machine, &cloud, "203.0.113.1:443".parse().unwrap(), 0);
    assert_eq!(flow.stop().broken, None);
    assert!(
        !machine.succeeds(&["ping", "-c1", "-W1", "203.0.113.1"]),
        "nothing else leaves"
    );
}

#[test]
fn machines_of_one_lan_and_of_two_sites_reach_what_they_should() {
    let world = World::new();
    let cloud = world.cloud();
    let (home, far) = (world.site(Nat::PortRestricted), world.v6_site());
    let (a, b, six) = (home.machine("a", 2), home.machine("b", 3), far.machine("six", 2));
    assert!(a.succeeds(&["ping", "-c1", "-W2", &home.v4(3)]), "one LAN");
    assert!(
        b.succeeds(&["ping", "-c1", "-W2", "203.0.113.1"]),
        "through the NAT"
    );
    assert!(six.succeeds(&["ping", "-c1", "-W2", "2001:db8:f::1"]), "by IPv6");
    assert!(
        !six.succeeds(&["ping", "-c1", "-W1", "203.0.113.1"]),
        "an IPv6-only site has no IPv4"
    );
    assert!(
        !cloud.succeeds(&["ping", "-c1", "-W1", &home.v4(2)]),
        "nobody reaches into a NAT"
    );
}

#[test]
fn a_flow_sees_silence_loss_and_a_tcp_stream_survives_it() {
    let world = World::new();
    let site = world.site(Nat::Open);
    let (a, b) = (site.machine("a", 2), site.machine("b", 3));
    let to = |port: u16| SocketAddr::new(site.v4(3).parse().unwrap(), port);
    let flow = UdpFlow::start(&a, &b, to(9000), 1000);
    let stream = TcpFlow::start(&a, &b, to(9001), 1_000_000);
    b.run(&[
        "nft",
        "add table inet cut; add chain inet cut in { type filter hook input priority 0; policy drop; }",
    ]);
    let silence = Duration::from_millis(400);
    std::thread::sleep(silence);
    b.run(&["nft", "delete", "table", "inet", "cut"]);
    eventually(Duration::from_secs(5), "ping works again", || {
        a.succeeds(&["ping", "-c1", "-W1", &site.v4(3)]).then_some(())
    });
    let (flow, stream) = (flow.stop(), stream.stop());
    assert!(flow.longest_silence >= silence, "{flow:?}");
    assert!(
        flow.lost() >= 300 && flow.received > 0 && flow.duplicated == 0,
        "{flow:?}"
    );
    assert_eq!(stream.broken, None, "{stream:?}");
    assert!(stream.longest_stall >= silence, "{stream:?}");
}

#[test]
fn a_machine_has_its_own_files_and_keeps_them_over_a_reboot() {
    let world = World::new();
    let site = world.site(Nat::Open);
    let (a, b) = (site.machine("a", 2), site.machine("b", 3));
    assert_eq!(a.run(&["hostname"]).trim(), "a");
    a.sh("echo 192.0.2.1 other >> /etc/hosts; echo x > /var/lib/kept; echo x > /run/gone");
    a.sh("mv /etc/hosts /etc/hosts.new; mv /etc/hosts.new /etc/hosts");
    assert!(a.read("/etc/hosts").contains("192.0.2.1 other"));
    assert!(
        !b.read("/etc/hosts").contains("192.0.2.1"),
        "each machine has its own"
    );
    let sleeper = a.spawn(&["sh", "-c", "echo there; exec sleep 1000"], &[]);
    eventually(Duration::from_secs(20), "it runs on the machine", || {
        sleeper.log().contains("there").then_some(())
    });
    a.reboot();
    assert!(!sleeper.is_running(), "a reboot ends every process");
    assert_eq!(
        a.sh("cat /var/lib/kept; ls /sys/class/net; test ! -e /run/gone"),
        "x\nlo\n"
    );
    site.plug(&a, 7);
    assert!(
        b.succeeds(&["ping", "-c1", "-W2", &site.v4(7)]),
        "back with another address"
    );
}

#[test]
fn a_snapshot_shows_what_was_changed_and_only_that() {
    let world = World::new();
    let machine = world.site(Nat::Open).machine("a", 2);
    let before = Snapshot::take(&machine);
    assert_eq!(before.difference(&Snapshot::take(&machine)), "");
    machine.sh(
        "nft add table inet foreign; ip route add 192.0.2.0/24 dev lo; ip rule add from 192.0.2.1 lookup 7",
    );
    machine.sh("echo 1 > /proc/sys/net/ipv4/conf/eth0/forwarding; iptables -A FORWARD -s 192.0.2.9 -j DROP");
    let difference = before.difference(&Snapshot::take(&machine));
    for change in [
        "table inet foreign",
        "192.0.2.0/24 dev lo",
        "lookup 7",
        "conf.eth0.forwarding = 1",
        "192.0.2.9",
    ] {
        assert!(difference.contains(change), "{change} is not in:\n{difference}");
    }
}

#[test]
fn a_slow_uplink_delays_loses_and_reorders() {
    let world = World::new();
    let cloud = world.cloud();
    let delay = Duration::from_millis(40);
    let site = world.slow_site(
        Nat::PortRestricted,
        Weather {
            delay,
            ..Weather::default()
        },
    );
    let machine = site.machine("far", 2);
    let rtt = ping_ms(&machine.run(&["ping", "-c3", "-i0.2", "-W2", "203.0.113.1"]));
    assert!(
        (80.0..200.0).contains(&rtt),
        "a round trip takes two delays: {rtt} ms"
    );
    let stream = TcpFlow::start(&machine, &cloud, "203.0.113.1:5001".parse().unwrap(), 1_000_000);
    let flow = UdpFlow::start(&machine, &cloud, "203.0.113.1:5000".parse().unwrap(), 1000);
    site.set_weather(Weather {
        delay,
        jitter: Duration::from_millis(10),
        loss_per_mille: 100,
    });
    std::thread::sleep(Duration::from_secs(2));
    let (flow, stream) = (flow.stop(), stream.stop());
    assert!(
        flow.reordered > 0 && (flow.sent / 20..flow.sent / 5).contains(&flow.lost()),
        "{flow:?}"
    );
    assert!(stream.broken.is_none() && stream.bytes > 10_000, "{stream:?}");
}

/// The smallest round trip of a `ping` run.
fn ping_ms(output: &str) -> f64 {
    let line = output
        .lines()
        .find(|line| line.starts_with("rtt"))
        .expect("ping prints its times");
    line.split(['=', '/'])
        .nth(4)
        .and_then(|text| text.trim().parse().ok())
        .expect("the smallest time")
}
