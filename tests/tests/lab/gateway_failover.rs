//! Several gateways for one range: another takes over when the one in use dies, or says goodbye.

use std::net::SocketAddr;
use std::time::Duration;

use meshd_tests::{FlowReport, TcpFlow, UdpFlow, eventually, figure, keeps};

use crate::bed::{NET, SOON};
use crate::gateways::{Office, gateway_of};

/// Most time without packets when a gateway dies.
const FAILOVER: Duration = Duration::from_secs(3);
/// And when the better one comes back.
const RETURN: Duration = Duration::from_secs(1);
/// And when the one in use says that it goes: a goodbye is on its way for the time of one packet.
const GOODBYE: Duration = Duration::from_millis(500);

/// An office with a better gateway and another, and a laptop; answers come back by the other: each sees half of every connection.
fn two_gateways() -> Office {
    let mut office = Office::new();
    let site = office.site.clone();
    office.bed.add(&site, "gw2", 3);
    office.bed.settle();
    let ranges = format!("--range {} --range {} --no-nat", office.v4(), office.v6());
    office.admin(&format!("gateway add gw1 {ranges} --priority 10"));
    office.admin(&format!("gateway add gw2 {ranges} --priority 20"));
    let laptop = office.node("laptop");
    office.printer.sh(&format!(
        "ip route add {} via {}; ip -6 route add {} via {}",
        laptop.ipv4(NET),
        office.site.v4(3),
        laptop.ipv6(NET),
        office.site.v6(3)
    ));
    office
}

#[track_caller]
fn gap_keeps(what: &str, report: &FlowReport, bound: Duration, bar: &str) {
    let (gap, lost) = (report.longest_silence, report.lost());
    figure(what, format!("{} ms, {lost} lost", gap.as_millis()), bar);
    assert!(keeps(gap, bound), "{what}: {report:?}");
}

#[test]
fn a_second_gateway_takes_over_within_three_seconds_and_connections_go_on() {
    let office = two_gateways();
    let (range, laptop) = (office.v4(), office.node("laptop"));
    let printer = office.site.v4(9);
    eventually(SOON, "the printer answers", || {
        laptop.pings(&printer).then_some(())
    });
    assert_eq!(gateway_of(laptop, &range).as_deref(), Some("gw1"));

    let address = |port| SocketAddr::new(printer.parse().expect("an address"), port);
    let printer6 = office.site.v6(9);
    eventually(SOON, "the printer answers by IPv6", || {
        laptop.pings6(&printer6).then_some(())
    });
    let address6 = SocketAddr::new(printer6.parse().expect("an address"), 9201);
    let numbered = UdpFlow::start(laptop, &office.printer, address(9200), 200);
    let numbered6 = UdpFlow::start(laptop, &office.printer, address6, 200);
    let stream = TcpFlow::start(laptop, &office.printer, address(9100), 100_000);
    eventually(SOON, "the stream runs", || {
        (stream.received() > 100_000).then_some(())
    });
    office.node("gw1").kill();
    eventually(SOON, "gw2 is used", || {
        (gateway_of(laptop, &range)? == "gw2" && gateway_of(laptop, &office.v6())? == "gw2").then_some(())
    });
    let so_far = stream.received();
    eventually(SOON, "the stream goes on", || {
        (stream.received() > so_far + 100_000).then_some(())
    });
    let numbered = numbered.stop();
    for (report, what) in [
        (
            numbered,
            "gateway failover: longest gap in 200 numbered packets/s",
        ),
        (
            numbered6.stop(),
            "gateway failover, IPv6: longest gap in 200 numbered packets/s",
        ),
    ] {
        gap_keeps(what, &report, FAILOVER, "3,000 ms");
    }

    // and back, without a gap
    let numbered = UdpFlow::start(laptop, &office.printer, address(9200), 200);
    office.node("gw1").start_again();
    eventually(2 * SOON, "gw1 is used again", || {
        (gateway_of(laptop, &range)? == "gw1").then_some(())
    });
    let numbered = numbered.stop();
    gap_keeps(
        "back to the better gateway: longest gap",
        &numbered,
        RETURN,
        "1,000 ms",
    );
    let report = stream.stop();
    assert!(
        report.broken.is_none(),
        "the connection lived through both: {report:?}"
    );
}

#[test]
fn a_gateway_that_goes_down_or_leaves_is_left_at_once() {
    let office = two_gateways();
    let (range, laptop) = (office.v4(), office.node("laptop"));
    let printer = office.site.v4(9);
    let to = SocketAddr::new(printer.parse().expect("an address"), 9200);
    let uses = |gateway: &str| {
        eventually(2 * SOON, &format!("{gateway} is used"), || {
            (laptop.pings(&printer) && gateway_of(laptop, &range)? == gateway).then_some(())
        });
    };
    let disturbed = |what: &str, disturb: &dyn Fn()| {
        uses("gw1");
        let numbered = UdpFlow::start(laptop, &office.printer, to, 200);
        disturb();
        uses("gw2");
        let report = numbered.stop();
        gap_keeps(
            &format!("{what}: longest gap in 200 numbered packets/s"),
            &report,
            GOODBYE,
            "500 ms",
        );
    };
    let gw1 = office.node("gw1");
    disturbed("a gateway goes down", &|| drop(gw1.ctl(&["down"])));
    gw1.ctl(&["up"]);
    // the coordinator does not answer: the others hear of it all the same
    uses("gw1");
    office.bed.relay.kill();
    disturbed("a gateway leaves while the coordinator is away", &|| {
        drop(gw1.ctl(&["leave", NET]));
    });
}
