//! The relay over TLS: who may have a stream, and that frames pass between streams and datagrams.

mod world;

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use meshd_api::client::ClientError;
use meshd_api::coordinator::RELAY_PROTOCOL;
use meshd_api::coordinator::admin::TokenCreate;
use meshd_api::coordinator::node::Relay;
use meshd_core::demux::relay_header;
use meshd_core::keys::BindKey;
use meshd_core::relay::frame::{Control, ControlFrame, Frame, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use world::{PATIENCE, TestNode, World};

/// A node's stream.
struct Stream {
    node: TestNode,
    key: BindKey,
    io: TokioIo<Upgraded>,
}

impl Stream {
    async fn open(world: &World, node: TestNode) -> Self {
        let relay = relay_of(world, &node).await;
        let key = BindKey::from_bytes(relay.bind_key.0.as_slice().try_into().unwrap());
        let connection = node.connect(world.https()).await;
        let io = connection.upgrade("/v1/relay", RELAY_PROTOCOL).await.unwrap();
        Self { node, key, io }
    }

    async fn send(&mut self, frame: &[u8]) {
        let len = u16::try_from(frame.len()).unwrap().to_le_bytes();
        self.io.write_all(&[&len[..], frame].concat()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// The next frame; none where the relay ended the stream.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let len = self.io.read_u16_le().await.ok()?;
            let mut frame = vec![0; len.into()];
            self.io.read_exact(&mut frame).await.ok()?;
            Some(frame)
        };
        timeout(PATIENCE, read).await.expect("the relay says something")
    }

    async fn control(&mut self) -> Control {
        let frame = self.next().await.unwrap();
        match parse(&frame) {
            Some(Frame::Control(control)) => control,
            other => panic!("{other:?}"),
        }
    }

    fn bind_request(&self, cookie: &[u8; 16]) -> ControlFrame {
        ControlFrame::bind_request(self.node.token.network(), self.node.id, [1; 8], cookie, &self.key)
    }

    /// Binds; gives the address at which it was seen.
    async fn bind(&mut self) -> std::net::SocketAddr {
        let first = self.bind_request(&[0; 16]);
        self.send(&first).await;
        let Control::BindCookie { cookie, .. } = self.control().await else {
            panic!("a cookie comes first")
        };
        let second = self.bind_request(&cookie);
        self.send(&second).await;
        match self.control().await {
            Control::Bound { seen, .. } => seen,
            other => panic!("{other:?}"),
        }
    }

    async fn session(&mut self, peer: &TestNode) -> u64 {
        let network = self.node.token.network();
        let request = ControlFrame::open_request(network, self.node.id, [2; 8], peer.id, &self.key);
        self.send(&request).await;
        match self.control().await {
            Control::Opened { session, .. } => session,
            other => panic!("{other:?}"),
        }
    }
}

async fn relay_of(world: &World, node: &TestNode) -> Relay {
    let mut stream = node.stream(world.https()).await;
    stream
        .until("the relays", |stream| !stream.relays.is_empty())
        .await;
    stream.relays[0].clone()
}

async fn two(world: &World) -> (TestNode, TestNode) {
    world.create_network("prod", "10.77.0.0/16").await;
    let token = world.token("prod", TokenCreate::default()).await;
    let a = TestNode::enter(&token, world.https(), "a").await;
    let b = TestNode::enter(&token, world.https(), "b").await;
    (a, b)
}

async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> usize {
    let received = timeout(PATIENCE, socket.recv(buffer)).await;
    received.expect("the relay sends something").unwrap()
}

fn data(session: u64, fill: u8, len: usize) -> Vec<u8> {
    let mut frame = [&relay_header(session)[..], &[4, 0, 0, 0]].concat();
    frame.resize(len, fill);
    frame
}

#[tokio::test]
async fn frames_pass_from_stream_to_stream_in_order() {
    let world = World::new().await;
    let (a, b) = two(&world).await;
    let mut a = Stream::open(&world, a).await;
    let mut b = Stream::open(&world, b).await;
    assert!(
        a.bind().await.ip().is_unspecified(),
        "no address is learnt from a stream"
    );
    b.bind().await;
    let session = a.session(&b.node).await;
    for number in 0..200 {
        a.send(&data(session, number, 1400)).await;
    }
    for number in 0..200 {
        let frame = b.next().await.unwrap();
        assert_eq!((frame.len(), frame[1399]), (1400, number));
    }
    assert_eq!(world.relay.plane.open_streams(), 2);
}

#[tokio::test]
async fn frames_pass_between_a_stream_and_a_udp_socket() {
    let world = World::new().await;
    let (a, b) = two(&world).await;
    let key = relay_of(&world, &b).await.bind_key;
    let key = BindKey::from_bytes(key.0.as_slice().try_into().unwrap());
    let mut a = Stream::open(&world, a).await;
    a.bind().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(world.relay.plane.local_addrs()[0]).await.unwrap();
    let mut buffer = [0; 2048];
    let mut cookie = [0; 16];
    loop {
        let request = ControlFrame::bind_request(b.token.network(), b.id, [3; 8], &cookie, &key);
        socket.send(&request).await.unwrap();
        let len = receive(&socket, &mut buffer).await;
        match parse(&buffer[..len]) {
            Some(Frame::Control(Control::BindCookie { cookie: fresh, .. })) => cookie = fresh,
            Some(Frame::Control(Control::Bound { .. })) => break,
            other => panic!("{other:?}"),
        }
    }
    let session = a.session(&b).await;
    // sizes as GSO knows them: equal ones and a shorter last
    for len in [1200, 1200, 1200, 300, 1200] {
        a.send(&data(session, 7, len)).await;
    }
    let mut sizes = Vec::new();
    for _ in 0..5 {
        sizes.push(receive(&socket, &mut buffer).await);
    }
    assert_eq!(sizes, [1200, 1200, 1200, 300, 1200]);
    let back = u64::from_le_bytes(buffer[4..12].try_into().unwrap());
    socket.send(&data(back, 9, 900)).await.unwrap();
    let frame = a.next().await.unwrap();
    assert_eq!(
        (frame.len(), frame[4..12].to_vec()),
        (900, session.to_le_bytes().to_vec())
    );
}

#[tokio::test]
async fn who_proves_nothing_gets_no_stream() {
    let world = World::new().await;
    let (a, _) = two(&world).await;
    let stranger = TestNode::new(&a.token);
    let connection = stranger.connect(world.https()).await;
    let refused = connection.upgrade("/v1/relay", RELAY_PROTOCOL).await;
    assert!(matches!(refused, Err(ClientError::Refused { .. })));
    let connection = a.connect(world.https()).await;
    let refused = connection.upgrade("/v1/relay", "websocket").await.err().unwrap();
    assert_eq!(refused.code(), Some("upgrade"));
    assert_eq!(world.relay.plane.open_streams(), 0);
}

#[tokio::test]
async fn a_stream_binds_the_node_that_proved_itself_and_no_other() {
    let world = World::new().await;
    let (a, b) = two(&world).await;
    let other = relay_of(&world, &b).await.bind_key;
    let other = BindKey::from_bytes(other.0.as_slice().try_into().unwrap());
    let mut a = Stream::open(&world, a).await;
    let foreign = ControlFrame::bind_request(b.token.network(), b.id, [5; 8], &[0; 16], &other);
    a.send(&foreign).await;
    a.bind().await; // whose answer is the first that comes
}

#[tokio::test]
async fn a_removed_nodes_stream_ends() {
    let world = World::new().await;
    let (a, _) = two(&world).await;
    let mut a = Stream::open(&world, a).await;
    a.bind().await;
    world.act("/networks/prod/nodes/a/remove").await;
    let request = a.bind_request(&[0; 16]);
    a.send(&request).await;
    assert_eq!(a.next().await, None);
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_up_and_loses_the_oldest() {
    let world = World::new().await;
    let (a, b) = two(&world).await;
    let mut a = Stream::open(&world, a).await;
    let mut b = Stream::open(&world, b).await;
    a.bind().await;
    b.bind().await;
    let session = a.session(&b.node).await;
    // more than TCP and TLS take on the way
    const FRAMES: u32 = 20_000;
    for number in 0..FRAMES {
        let mut frame = data(session, 0, 1400);
        frame[1396..].copy_from_slice(&number.to_le_bytes());
        a.send(&frame).await;
    }
    let sent = |world: &World| world.relay.plane.metrics().forwarded >= u64::from(FRAMES);
    let waits = async {
        while !sent(&world) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waits)
        .await
        .expect("nobody waits for the slow reader");
    let (mut got, mut last) = (0, None);
    while last != Some(FRAMES - 1) {
        let frame = b.next().await.unwrap();
        let number = u32::from_le_bytes(frame[1396..].try_into().unwrap());
        assert!(last.is_none_or(|last| last < number), "in order");
        (got, last) = (got + 1, Some(number));
    }
    let dropped = world.relay.plane.metrics().unsent;
    assert_eq!(got + dropped, u64::from(FRAMES));
    assert!(dropped > 0, "the newest came, older ones gave way");
}
