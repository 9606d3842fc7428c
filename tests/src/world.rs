//! The topology: an internet router, a cloud host, sites behind NATs.
//!
//! | who | address |
//! |---|---|
//! | cloud host | 203.0.113.1 and .2, 2001:db8:f::1 and ::2 |
//! | site N, outside of its router | 198.51.100.(8N+2), 2001:db8:N::2 |
//! | site N, LAN | 192.168.(100+N).0/24, 2001:db8:100+N:1::/64 (router .1) |
//! | carrier NAT of site N | 100.64.N.0/24 between the carrier and the home |

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::cable::{default_routes, link, slow_link};
use crate::delay::{DelayBox, Weather};
use crate::machine::Machine;
use crate::nat::Nat;
use crate::site::{Families, Site};
use crate::sweep;

/// The cloud host's first public address.
pub const CLOUD_V4: &str = "203.0.113.1";
/// The same, IPv6.
pub const CLOUD_V6: &str = "2001:db8:f::1";

/// One internet, made for one test; everything in it ends when it is dropped.
pub struct World {
    id: String,
    internet: Machine,
    machines: Arc<Mutex<Vec<Machine>>>,
    sites: AtomicU32,
    next_port: Arc<AtomicU32>,
}

impl World {
    /// An internet router and nothing else.
    #[expect(clippy::new_without_default, reason = "it starts processes")]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let internet = router(&id, "internet");
        let machines = Arc::new(Mutex::new(vec![internet.clone()]));
        Self {
            id,
            internet,
            machines,
            sites: AtomicU32::new(1),
            next_port: Arc::new(AtomicU32::new(0)),
        }
    }

    /// The router in the middle.
    pub fn internet(&self) -> &Machine {
        &self.internet
    }

    /// The cloud host, at [`CLOUD_V4`] and [`CLOUD_V6`] and the next address of each.
    pub fn cloud(&self) -> Machine {
        let cloud = Machine::start(&self.id, "cloud");
        self.plug_cloud(&cloud);
        self.keep(&cloud);
        cloud
    }

    /// The same behind an uplink with the delay, loss and jitter of `weather`, as long as the second value lives.
    pub fn slow_cloud(&self, weather: Weather) -> (Machine, DelayBox) {
        let cloud = Machine::start(&self.id, "cloud");
        let delay = slow_link(
            (
                &self.internet,
                "cloud",
                &["203.0.113.254/24", "2001:db8:f::fe/64"],
            ),
            (&cloud, "eth0", &["203.0.113.1/24", "2001:db8:f::1/64"]),
            weather,
        );
        default_routes(&cloud, Some("203.0.113.254"), Some("2001:db8:f::fe"));
        self.keep(&cloud);
        (cloud, delay)
    }

    /// A machine that nothing is plugged into yet.
    pub fn machine(&self, name: &str) -> Machine {
        let machine = Machine::start(&self.id, name);
        self.keep(&machine);
        machine
    }

    /// A cable between two machines: of each end the interface's name and its addresses with their lengths.
    pub fn cable(
        &self,
        (a, of_a, at_a): (&Machine, &str, &[&str]),
        (b, of_b, at_b): (&Machine, &str, &[&str]),
    ) {
        link((a, of_a, at_a), (b, of_b, at_b));
    }

    /// Drops every IPv4 packet between two sites from now on; what goes by the cloud host still passes.
    pub fn cut_between(&self, a: &Site, b: &Site) {
        let sites = format!("{{ {}, {} }}", a.public_v4(), b.public_v4());
        self.internet.sh(&format!(
            "nft 'add table ip cut; add chain ip cut through {{ type filter hook forward priority 0; }}; \
             add rule ip cut through ip saddr {sites} ip daddr {sites} drop'"
        ));
    }

    /// Drops every IPv4 packet from one site to another from now on, and none the other way.
    pub fn cut_from(&self, from: &Site, to: &Site) {
        let (from, to) = (from.public_v4(), to.public_v4());
        self.internet.sh(&format!(
            "nft 'add table ip cut; add chain ip cut through {{ type filter hook forward priority 0; }}; \
             add rule ip cut through ip saddr {from} ip daddr {to} drop'"
        ));
    }

    /// Lets packets between the sites pass again.
    pub fn mend(&self) {
        self.internet.run(&["nft", "delete", "table", "ip", "cut"]);
    }

    /// Gives the cloud host its uplink, at first and after a reboot.
    pub fn plug_cloud(&self, cloud: &Machine) {
        link(
            (
                &self.internet,
                "cloud",
                &["203.0.113.254/24", "2001:db8:f::fe/64"],
            ),
            (
                cloud,
                "eth0",
                &[
                    "203.0.113.1/24",
                    "203.0.113.2/24",
                    "2001:db8:f::1/64",
                    "2001:db8:f::2/64",
                ],
            ),
        );
        default_routes(cloud, Some("203.0.113.254"), Some("2001:db8:f::fe"));
    }

    /// A site with IPv4 through `nat`, and IPv6 behind a stateful firewall that nobody uses unless asked to: its
    /// machines get IPv4 addresses only.
    pub fn site(&self, nat: Nat) -> Site {
        self.make_site(nat, Families::V4, None)
    }

    /// A site with both IP versions.
    pub fn dual_site(&self, nat: Nat) -> Site {
        self.make_site(nat, Families::Both, None)
    }

    /// A site that has IPv6 only, behind a stateful firewall.
    pub fn v6_site(&self) -> Site {
        self.make_site(Nat::Firewall, Families::V6, None)
    }

    /// A site with both IP versions whose uplink has the delay, loss and jitter of `weather`. Not for carrier NATs.
    pub fn slow_site(&self, nat: Nat, weather: Weather) -> Site {
        self.make_site(nat, Families::Both, Some(weather))
    }

    fn make_site(&self, nat: Nat, families: Families, weather: Option<Weather>) -> Site {
        let number = self.sites.fetch_add(1, Ordering::Relaxed);
        let home = router(&self.id, &format!("router{number}"));
        self.keep(&home);
        let (nat_of_carrier, own) = nat.chain();
        let public = format!("198.51.100.{}", number * 8 + 2);
        let (mut uplink, mut carrier) = (None, None);
        match nat_of_carrier {
            Some(nat) => carrier = Some(self.carrier(number, nat, &public, &home)),
            None => uplink = self.uplink(number, &public, &home, weather).map(Arc::new),
        }
        lan(&home, number);
        let outside = if carrier.is_some() {
            format!("100.64.{number}.2")
        } else {
            public.clone()
        };
        own.apply(&home, &outside);
        if own.routes_inside_addresses() {
            self.internet.run(&[
                "ip",
                "route",
                "add",
                &format!("192.168.{}.0/24", 100 + number),
                "via",
                &public,
            ]);
        }
        let machines = Arc::clone(&self.machines);
        Site {
            number,
            lab: self.id.clone(),
            router: home,
            carrier,
            families,
            machines,
            next_port: Arc::clone(&self.next_port),
            uplink,
            isolated: Arc::default(),
        }
    }

    /// Connects a router straight to the internet, with both IP versions.
    fn uplink(
        &self,
        number: u32,
        public: &str,
        home: &Machine,
        weather: Option<Weather>,
    ) -> Option<DelayBox> {
        let gateway = format!("198.51.100.{}", number * 8 + 1);
        let (near, far) = (format!("2001:db8:{number}::1"), format!("2001:db8:{number}::2"));
        let port = format!("site{number}");
        let (inner, outer) = (
            [format!("{gateway}/30"), format!("{near}/64")],
            [format!("{public}/30"), format!("{far}/64")],
        );
        let (inner, outer) = (
            inner.each_ref().map(String::as_str),
            outer.each_ref().map(String::as_str),
        );
        let (near_end, far_end) = (
            (&self.internet, port.as_str(), &inner[..]),
            (home, "wan", &outer[..]),
        );
        let slow = match weather {
            None => {
                link(near_end, far_end);
                None
            }
            Some(weather) => Some(slow_link(near_end, far_end, weather)),
        };
        default_routes(home, Some(&gateway), Some(&near));
        let inside = format!("2001:db8:{}::/48", 100 + number);
        self.internet
            .run(&["ip", "-6", "route", "add", &inside, "via", &far]);
        slow
    }

    /// Puts a carrier's NAT between the internet and a router (IPv4 only, as carriers do it).
    fn carrier(&self, number: u32, nat: Nat, public: &str, home: &Machine) -> Machine {
        let carrier = router(&self.id, &format!("carrier{number}"));
        self.keep(&carrier);
        let gateway = format!("198.51.100.{}", number * 8 + 1);
        link(
            (
                &self.internet,
                &format!("site{number}"),
                &[&format!("{gateway}/30")],
            ),
            (&carrier, "wan", &[&format!("{public}/30")]),
        );
        default_routes(&carrier, Some(&gateway), None);
        link(
            (&carrier, "lan", &[&format!("100.64.{number}.1/24")]),
            (home, "wan", &[&format!("100.64.{number}.2/24")]),
        );
        default_routes(home, Some(&format!("100.64.{number}.1")), None);
        nat.apply(&carrier, public);
        carrier
    }

    fn keep(&self, machine: &Machine) {
        self.machines.lock().expect("not poisoned").push(machine.clone());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for machine in self.machines.lock().expect("not poisoned").iter() {
            machine.kill_everything();
        }
        sweep::lab(&self.id);
    }
}

/// A machine that forwards.
fn router(lab: &str, name: &str) -> Machine {
    let router = Machine::start(lab, name);
    router.sh(
        "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; \
               echo 0 > /proc/sys/net/ipv4/icmp_ratelimit",
    );
    router
}

/// The LAN side of a router: a bridge, so that multicast reaches every machine on it.
fn lan(home: &Machine, number: u32) {
    let v4 = format!("192.168.{}.1/24", 100 + number);
    let v6 = format!("2001:db8:{}:1::1/64", 100 + number);
    home.sh(&format!(
        "ip link add name lan type bridge mcast_snooping 0; ip addr add {v4} dev lan; \
         ip addr add {v6} dev lan nodad; ip link set dev lan up"
    ));
}
