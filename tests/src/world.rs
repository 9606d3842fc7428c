//! The topology: an internet router, a cloud host, sites behind NATs.
//!
//! | who | address |
//! |---|---|
//! | cloud host | 203.0.113.1 and .2, 2001:db8:f::1 and ::2 |
//! | site N, outside of its router | 198.51.100.(8N+2), 2001:db8:N::2 |
//! | site N, LAN | 192.168.(100+N).0/24, 2001:db8:100+N:1::/64 (router .1) |
//! | carrier NAT of site N | 100.64.N.0/24 between the carrier and the home |

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::cable::{default_routes, link, slow_link};
use crate::delay::{DelayBox, Weather};
use crate::machine::Machine;
use crate::nat::Nat;
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

/// A home, an office or a data centre: one LAN behind one router.
#[derive(Clone)]
pub struct Site {
    number: u32,
    lab: String,
    router: Machine,
    carrier: Option<Machine>,
    families: Families,
    machines: Arc<Mutex<Vec<Machine>>>,
    next_port: Arc<AtomicU32>,
    uplink: Option<Arc<DelayBox>>,
    isolated: Arc<AtomicBool>,
}

/// The IP versions that a site's uplink has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    V4,
    V6,
    Both,
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

impl Site {
    /// A machine on the site's LAN, at the host number `host` (2..=250) of each of the site's prefixes.
    pub fn machine(&self, name: &str, host: u32) -> Machine {
        let machine = Machine::start(&self.lab, name);
        self.machines.lock().expect("not poisoned").push(machine.clone());
        self.plug(&machine, host);
        machine
    }

    /// Connects a machine to the LAN as `eth0` with the host number `host`: at first, after a reboot, or after moving here.
    pub fn plug(&self, machine: &Machine, host: u32) {
        let port = format!("p{}", self.next_port.fetch_add(1, Ordering::Relaxed));
        let addresses = self.addresses(host);
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        link((&self.router, &port, &[]), (machine, "eth0", &addresses));
        self.router
            .run(&["ip", "link", "set", "dev", &port, "master", "lan"]);
        if self.isolated.load(Ordering::Relaxed) {
            self.router
                .run(&["bridge", "link", "set", "dev", &port, "isolated", "on"]);
        }
        self.set_default_routes(machine);
    }

    /// Takes a machine's cable out.
    pub fn unplug(&self, machine: &Machine) {
        machine.run(&["ip", "link", "del", "dev", "eth0"]);
    }

    /// Gives `eth0` of a machine other addresses, as a new DHCP lease does.
    pub fn readdress(&self, machine: &Machine, host: u32) {
        machine.run(&["ip", "addr", "flush", "dev", "eth0"]);
        for address in self.addresses(host) {
            machine.run(&["ip", "addr", "add", &address, "dev", "eth0", "nodad"]);
        }
        self.set_default_routes(machine);
    }

    /// The IPv4 address of the host number `host`, without the prefix length.
    pub fn v4(&self, host: u32) -> String {
        format!("192.168.{}.{host}", 100 + self.number)
    }

    /// The IPv6 address of the host number `host`, without the prefix length.
    pub fn v6(&self, host: u32) -> String {
        format!("2001:db8:{}:1::{host:x}", 100 + self.number)
    }

    /// The router's public IPv4 address.
    pub fn public_v4(&self) -> String {
        format!("198.51.100.{}", self.number * 8 + 2)
    }

    /// The router.
    pub fn router(&self) -> &Machine {
        &self.router
    }

    /// Changes what the uplink of a [`World::slow_site`] does to packets.
    ///
    /// # Panics
    /// If the site's uplink is a plain cable.
    pub fn set_weather(&self, weather: Weather) {
        self.uplink
            .as_ref()
            .expect("the site was made with a slow uplink")
            .set(weather);
    }

    /// Keeps the LAN's machines apart, so that none reaches another but by the router's public address, and has the router
    /// translate both ends of what comes to that from inside (RFC 4787, REQ-9). For a full cone, before machines are plugged in.
    pub fn isolate_and_hairpin(&self) {
        self.isolated.store(true, Ordering::Relaxed);
        let (lan, public) = (format!("192.168.{}.0/24", 100 + self.number), self.public_v4());
        self.router.sh(&format!(
            "bridged=/proc/sys/net/bridge/bridge-nf-call-iptables; if [ -e $bridged ]; then echo 0 > $bridged; fi; \
             nft add rule ip nat pre iifname lan ip daddr {public} meta l4proto udp dnat ip to udp dport map @inside; \
             nft add rule ip nat post iifname lan oifname lan ct status dnat snat ip to {public}; \
             nft insert rule inet firewall through iifname lan oifname lan ip daddr {lan} ct status dnat accept"
        ));
    }

    /// The router forgets a UDP mapping that was not used for so many seconds.
    pub fn forget_mappings_after(&self, seconds: u32) {
        let set = format!("net.netfilter.nf_conntrack_udp_timeout={seconds}");
        let stream = format!("net.netfilter.nf_conntrack_udp_timeout_stream={seconds}");
        self.router.run(&["sysctl", "-qw", &set, &stream]);
    }

    /// Makes the uplink's MTU `mtu` bytes. With `silent` the router does not say so to whoever sends larger packets.
    pub fn narrow_uplink(&self, internet: &Machine, mtu: u32, silent: bool) {
        let (mtu, port) = (mtu.to_string(), format!("site{}", self.number));
        self.router.run(&["ip", "link", "set", "dev", "wan", "mtu", &mtu]);
        internet.run(&["ip", "link", "set", "dev", &port, "mtu", &mtu]);
        if silent {
            let mute = "nft 'add table inet mute; add chain inet mute out { type filter hook output priority 0; }; \
                        add rule inet mute out icmp type destination-unreachable drop; \
                        add rule inet mute out icmpv6 type packet-too-big drop'";
            self.router.sh(mute);
            internet.sh(mute);
        }
    }

    /// Forgets every NAT mapping, as a router's reboot does; the carrier's too, where there is one.
    pub fn forget_mappings(&self) {
        for router in [Some(&self.router), self.carrier.as_ref()].into_iter().flatten() {
            router.output(&["nft", "flush", "map", "ip", "nat", "inside"]);
            router.output(&["nft", "flush", "set", "ip", "nat", "asked"]);
            router.run(&["conntrack", "--flush"]);
        }
    }

    fn addresses(&self, host: u32) -> Vec<String> {
        let v4 = (self.families != Families::V6).then(|| format!("{}/24", self.v4(host)));
        let v6 = (self.families != Families::V4).then(|| format!("{}/64", self.v6(host)));
        v4.into_iter().chain(v6).collect()
    }

    fn set_default_routes(&self, machine: &Machine) {
        let (v4, v6) = (self.v4(1), self.v6(1));
        let v4 = (self.families != Families::V6).then_some(v4.as_str());
        let v6 = (self.families != Families::V4).then_some(v6.as_str());
        default_routes(machine, v4, v6);
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
