//! A router that speaks one of the three, under a virtual clock.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use meshd_core::portmap::{Action, Method, Place, PortMapper};

#[expect(clippy::disallowed_methods, reason = "a test begins now")]
fn start() -> Instant {
    Instant::now()
}

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn place() -> Place {
    Place {
        router: ROUTER,
        own: "192.168.1.9:51820".parse().unwrap(),
    }
}

/// What a router is, and what it holds.
struct Router {
    speaks: Option<Method>,
    /// What PCP and NAT-PMP grant at most, s.
    lifetime: u32,
    mapped: Option<(u16, u32)>,
    nonce: Option<Vec<u8>>,
    asked: usize,
    permanent_only: bool,
    taken: bool,
}

impl Router {
    fn new(speaks: Option<Method>) -> Self {
        Self {
            speaks,
            lifetime: 120,
            mapped: None,
            nonce: None,
            asked: 0,
            permanent_only: false,
            taken: false,
        }
    }

    fn pcp(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let lifetime = u32::from_be_bytes(bytes[4..8].try_into().unwrap()).min(self.lifetime);
        let nonce = bytes[24..36].to_vec();
        let mut answer = bytes.to_vec();
        answer[1] |= 0x80;
        if *self.nonce.get_or_insert(nonce.clone()) != nonce {
            answer[3] = 2; // NOT_AUTHORIZED: who renews must be who made it
        }
        answer[4..8].copy_from_slice(&lifetime.to_be_bytes());
        answer[44..60].copy_from_slice(&OUTSIDE.to_ipv6_mapped().octets());
        self.mapped = (lifetime > 0).then_some((u16::from_be_bytes([bytes[42], bytes[43]]), lifetime));
        Some(answer)
    }

    fn nat_pmp(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match bytes[1] {
            _ if bytes[0] != 0 => Some(vec![0, bytes[1] | 0x80, 0, 1, 0, 0, 0, 0]),
            0 => Some([&[0, 128, 0, 0, 0, 0, 0, 1][..], &OUTSIDE.octets()].concat()),
            _ => {
                let lifetime = u32::from_be_bytes(bytes[8..12].try_into().unwrap()).min(self.lifetime);
                self.mapped = (lifetime > 0).then_some((51820, lifetime));
                let head = [0, 129, 0, 0, 0, 0, 0, 1];
                Some([&head[..], &bytes[4..6], &bytes[4..6], &lifetime.to_be_bytes()].concat())
            }
        }
    }

    fn datagram(&mut self, to: SocketAddrV4, bytes: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        self.asked += 1;
        let (port, answer) = match self.speaks? {
            Method::Pcp if to.port() == 5351 => (5351, self.pcp(bytes)?),
            Method::NatPmp if to.port() == 5351 => (5351, self.nat_pmp(bytes)?),
            Method::Upnp if to.port() == 1900 => {
                let location = "HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/d.xml\r\n\r\n";
                (1900, location.into())
            }
            _ => return None,
        };
        Some((SocketAddr::from((ROUTER, port)), answer))
    }

    fn http(&mut self, request: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(request).into_owned();
        let body = if text.starts_with("GET /d.xml ") {
            "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/c</controlURL></service>"
                .to_owned()
        } else if text.contains("#GetExternalIPAddress\"") {
            format!("<NewExternalIPAddress>{OUTSIDE}</NewExternalIPAddress>")
        } else if text.contains("#AddPortMapping\"") {
            if self.permanent_only && !text.contains("<NewLeaseDuration>0<") {
                return b"HTTP/1.1 500 X\r\n\r\n<errorCode>725</errorCode>".to_vec();
            }
            if self.taken && text.contains("<NewExternalPort>51820<") {
                return b"HTTP/1.1 500 X\r\n\r\n<errorCode>718</errorCode>".to_vec();
            }
            self.mapped = Some((51820, 3600));
            String::new()
        } else {
            self.mapped = None;
            String::new()
        };
        format!("HTTP/1.1 200 OK\r\n\r\n{body}").into_bytes()
    }
}

struct Bench {
    now: Instant,
    mapper: PortMapper,
    router: Router,
}

impl Bench {
    fn new(router: Router) -> Self {
        let now = start();
        let mut mapper = PortMapper::new([3; 32]);
        mapper.set_place(now, Some(place()));
        Self { now, mapper, router }
    }

    fn drain(&mut self) {
        while let Some(action) = self.mapper.poll_action() {
            match action {
                Action::Datagram { to, bytes } => {
                    if let Some((from, answer)) = self.router.datagram(to, &bytes) {
                        self.mapper.handle_datagram(self.now, from, &answer);
                    }
                }
                Action::Http { request, .. } => {
                    let answer = self.router.http(&request);
                    self.mapper.handle_http(self.now, Some(&answer));
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.drain();
        while let Some(due) = self.mapper.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.mapper.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn external(&self) -> Option<(String, Method)> {
        let (external, method) = self.mapper.external()?;
        Some((external.to_string(), method))
    }
}

const SOON: Duration = Duration::from_secs(6);

#[test]
fn every_kind_of_router_grants_a_mapping_that_lives_as_long_as_the_node_and_no_longer() {
    for method in [Method::Pcp, Method::NatPmp, Method::Upnp] {
        let mut bench = Bench::new(Router::new(Some(method)));
        bench.run(SOON);
        let wanted = Some(("198.51.100.7:51820".to_owned(), method));
        assert_eq!(bench.external(), wanted);
        let asked = bench.router.asked;
        bench.run(Duration::from_secs(2 * 3600));
        assert_eq!(bench.external(), wanted, "{method:?} is renewed");
        assert!(bench.router.asked > asked, "{method:?}");
        bench.mapper.release();
        bench.drain();
        assert_eq!(
            (bench.router.mapped, bench.external()),
            (None, None),
            "{method:?}"
        );
        let asked = bench.router.asked;
        bench.run(Duration::from_secs(7200));
        assert_eq!(bench.router.asked, asked, "a node that went asks nobody");
    }
}

#[test]
fn a_router_that_only_makes_mappings_without_end_makes_one() {
    let mut bench = Bench::new(Router {
        permanent_only: true,
        ..Router::new(Some(Method::Upnp))
    });
    bench.run(SOON);
    assert!(bench.external().is_some());
}

#[test]
fn where_the_port_is_anothers_the_next_one_is_asked_for() {
    let mut bench = Bench::new(Router {
        taken: true,
        ..Router::new(Some(Method::Upnp))
    });
    bench.run(SOON);
    let (external, _) = bench.external().expect("a mapping");
    assert_ne!(external, "198.51.100.7:51820");
    bench.run(Duration::from_secs(7200));
    assert_eq!(
        bench.external().map(|(kept, _)| kept),
        Some(external),
        "renewed as it is"
    );
}

#[test]
fn a_router_that_speaks_none_is_asked_seldom() {
    let mut bench = Bench::new(Router::new(None));
    bench.run(Duration::from_secs(24 * 3600));
    assert_eq!(bench.external(), None);
    assert!(
        bench.router.asked <= 12 * 28,
        "{} datagrams a day",
        bench.router.asked
    );
}

#[test]
fn a_router_that_forgets_costs_the_mapping_only_when_its_time_is_over_and_is_asked_again() {
    let mut bench = Bench::new(Router::new(Some(Method::Pcp)));
    bench.run(SOON);
    bench.router.speaks = None;
    bench.run(Duration::from_secs(100));
    assert!(bench.external().is_some(), "what was granted lives out its time");
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.external(), None);
    bench.router.speaks = Some(Method::NatPmp);
    bench.run(Duration::from_secs(600));
    assert_eq!(bench.external().map(|(_, method)| method), Some(Method::NatPmp));
}

#[test]
fn a_new_life_renews_what_the_last_one_had() {
    let mut bench = Bench::new(Router::new(Some(Method::Pcp)));
    bench.run(SOON);
    bench.mapper = PortMapper::new([3; 32]);
    bench.mapper.set_place(bench.now, Some(place()));
    bench.run(Duration::from_millis(10));
    assert!(bench.external().is_some(), "the same nonce");
}

#[test]
fn who_is_not_the_router_grants_nothing() {
    let mut bench = Bench::new(Router::new(Some(Method::Pcp)));
    let Some(Action::Datagram { to, bytes }) = bench.mapper.poll_action() else {
        panic!("nothing was asked")
    };
    let (_, answer) = bench.router.datagram(to, &bytes).expect("an answer");
    let stranger = SocketAddr::from(([192, 168, 1, 66], 5351));
    bench.mapper.handle_datagram(bench.now, stranger, &answer);
    assert_eq!(bench.external(), None);
}

#[test]
fn another_router_is_asked_anew() {
    let mut bench = Bench::new(Router::new(Some(Method::Pcp)));
    bench.run(SOON);
    bench.mapper.set_place(bench.now, None);
    assert_eq!((bench.external(), bench.mapper.poll_timeout()), (None, None));
    bench.mapper.set_place(bench.now, Some(place()));
    bench.run(Duration::from_millis(10));
    assert!(bench.external().is_some());
}
