//! From a fresh state directory to two nodes that see each other and talk through the relay.

mod world;

use meshd_api::coordinator::admin::TokenCreate;
use meshd_core::demux::relay_header as data_header;
use meshd_core::keys::BindKey;
use meshd_core::relay::frame::{Control, ControlFrame, Frame, parse};
use tokio::net::UdpSocket;
use world::{MapStream, TestNode, World};

/// Binds a node's socket at the relay.
async fn bind(node: &TestNode, stream: &MapStream) -> (UdpSocket, BindKey) {
    let relay = &stream.relays[0];
    let key = BindKey::from_bytes(relay.bind_key.as_ref().try_into().unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(&relay.udp[0]).await.unwrap();
    let network = node.token.network();
    let mut cookie = [0; 16];
    loop {
        socket
            .send(&ControlFrame::bind_request(
                network, node.id, [1; 8], &cookie, &key,
            ))
            .await
            .unwrap();
        match receive(&socket).await {
            Control::BindCookie { cookie: fresh, .. } => cookie = fresh,
            Control::Bound { seen, .. } => {
                assert_eq!(seen, socket.local_addr().unwrap());
                return (socket, key);
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn receive_bytes(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    let len = tokio::time::timeout(world::PATIENCE, socket.recv(&mut bytes))
        .await
        .expect("no datagram")
        .unwrap();
    bytes.truncate(len);
    bytes
}

async fn receive(socket: &UdpSocket) -> Control {
    match parse(&receive_bytes(socket).await) {
        Some(Frame::Control(control)) => control,
        other => panic!("{other:?}"),
    }
}

async fn open(node: &TestNode, peer: &TestNode, socket: &UdpSocket, key: &BindKey) -> u64 {
    let request = ControlFrame::open_request(node.token.network(), node.id, [2; 8], peer.id, key);
    socket.send(&request).await.unwrap();
    match receive(socket).await {
        Control::Opened { session, .. } => session,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_nodes_join_see_each_other_and_talk_through_the_relay() {
    let wanted = TokenCreate {
        uses: Some(2),
        ..TokenCreate::default()
    };
    let (world, token) = World::with_token(wanted).await;

    let a = TestNode::enter(&token, world.https(), "web").await;
    let mut stream_a = a.stream(world.https()).await;
    stream_a.until_names(&["web"]).await;
    let b = TestNode::enter(&token, world.https(), "Web").await;
    stream_a.until_names(&["web", "web-2"]).await;
    let mut stream_b = b.stream(world.https()).await;
    stream_b.until_names(&["web", "web-2"]).await;
    assert_eq!(b.reply.as_ref().unwrap().ipv4.to_string(), "10.77.0.2");

    let (socket_a, key_a) = bind(&a, &stream_a).await;
    let (socket_b, _) = bind(&b, &stream_b).await;
    let session = open(&a, &b, &socket_a, &key_a).await;
    let payload = [&4u32.to_le_bytes()[..], b"sealed"].concat();
    socket_a
        .send(&[&data_header(session)[..], &payload].concat())
        .await
        .unwrap();
    let got = receive_bytes(&socket_b).await;
    let Some(Frame::Data {
        session: back,
        payload: received,
    }) = parse(&got)
    else {
        panic!("{got:?}")
    };
    assert_eq!(received, payload);
    socket_b
        .send(&[&data_header(back)[..], &payload].concat())
        .await
        .unwrap();
    let answered = receive_bytes(&socket_a).await;
    assert!(matches!(parse(&answered), Some(Frame::Data { session: s, .. }) if s == session));

    world.act("/networks/prod/nodes/web-2/remove").await;
    stream_a.until_names(&["web"]).await;
    stream_b.until_end().await;
    assert!(stream_b.notices.iter().any(|(code, _)| code == "removed"));
    socket_a
        .send(&[&data_header(session)[..], &payload].concat())
        .await
        .unwrap();
    assert!(matches!(receive(&socket_a).await, Control::Refused { .. }));
    world.relay.stop().await;
}
