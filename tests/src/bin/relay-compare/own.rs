//! meshrelay with its coordinator, and pairs of ends that have joined its network.

use std::net::SocketAddr;

use anyhow::Context;
use meshd_core::demux::relay_header;
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::BindKey;
use meshd_core::relay::frame::{Control, ControlFrame, Frame, parse};
use meshd_net::udp::UdpSocket;
use meshd_tests::member::Member;
use meshd_tests::mesh::Relay;
use meshd_tests::{Machine, Process};

use crate::pairs::{PAYLOAD, Pair, ask, socket, unique};
use crate::{HOST, PAIRS};

const NETWORK: &str = "bench";

/// One end of a pair: a member of the network and its key at the relay.
pub struct End {
    network: NetworkId,
    node: NodeId,
    key: BindKey,
}

/// meshrelay with its coordinator, and the ends, which have joined.
pub fn start(cloud: &Machine, outside: &Machine) -> (Relay, Vec<End>) {
    let relay = Relay::start_with(cloud, &["--public-addr", HOST]);
    let pid = relay.with_process(Process::pid).to_string();
    cloud.run(&["taskset", "-a", "-c", "-p", "0", &pid]);
    cloud.run(&["prlimit", "--pid", &pid, "--as=1073741824"]);
    relay.create_network(NETWORK, "10.77.0.0/16");
    let token = relay.token(NETWORK, &["--uses", "1000"]);
    let coordinator = SocketAddr::new(HOST.parse().expect("a constant address"), 443);
    let ends = outside.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let numbers = 1..=2 * PAIRS as u32;
        numbers
            .map(|number| {
                runtime
                    .block_on(end(&token, coordinator, number))
                    .expect("it joins")
            })
            .collect()
    });
    (relay, ends)
}

async fn end(token: &str, coordinator: SocketAddr, number: u32) -> anyhow::Result<End> {
    let mut member = Member::join(token, coordinator, &format!("end-{number}"), number).await?;
    member.publish(Vec::new(), None).await?;
    let told = member.look().await?.relays;
    let relay = told.into_iter().next().context("no relay")?;
    Ok(End {
        network: member.network(),
        node: member.end().node,
        key: relay.key,
    })
}

/// Bound, and a session opened.
pub fn pair(a: &End, b: &End) -> Pair {
    let (sender, receiver) = (socket(), socket());
    bind(&receiver, b);
    bind(&sender, a);
    let open = ControlFrame::open_request(a.network, a.node, [2; 8], b.node, &a.key);
    let opened = ask(&sender, &open, |bytes| control(bytes).is_some());
    let Some(Control::Opened { session, .. }) = control(&opened) else {
        panic!("no session: {opened:?}");
    };
    let mut datagram = [&relay_header(session)[..], &[4, 0, 0, 0]].concat();
    datagram.resize(PAYLOAD + 12, 0);
    Pair::new(sender, receiver, datagram)
}

fn control(bytes: &[u8]) -> Option<Control> {
    match parse(bytes) {
        Some(Frame::Control(control)) => Some(control),
        _ => None,
    }
}

fn bind(socket: &UdpSocket, end: &End) {
    let mut cookie = [0; 16];
    loop {
        let request = ControlFrame::bind_request(end.network, end.node, unique(), &cookie, &end.key);
        match control(&ask(socket, &request, |bytes| control(bytes).is_some())) {
            Some(Control::BindCookie { cookie: fresh, .. }) => cookie = fresh,
            Some(Control::Bound { .. }) => return,
            other => panic!("not bound: {other:?}"),
        }
    }
}
