//! A site as a test uses it: machines on its LAN, its router, its uplink's troubles.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::cable::{default_routes, link};
use crate::delay::{DelayBox, Weather};
use crate::machine::Machine;

/// A home, an office or a data centre: one LAN behind one router.
#[derive(Clone)]
pub struct Site {
    pub(crate) number: u32,
    pub(crate) lab: String,
    pub(crate) router: Machine,
    pub(crate) carrier: Option<Machine>,
    pub(crate) families: Families,
    pub(crate) machines: Arc<Mutex<Vec<Machine>>>,
    pub(crate) next_port: Arc<AtomicU32>,
    pub(crate) uplink: Option<Arc<DelayBox>>,
    pub(crate) isolated: Arc<AtomicBool>,
}

/// The IP versions that a site's uplink has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    V4,
    V6,
    Both,
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

    /// Changes what the uplink of a [`crate::World::slow_site`] does to packets.
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

    /// Has the router put its own address into IPv6 packets as well (NAT66), by a plain masquerade without an input rule: what comes to
    /// that address unasked makes a flow there, as with [`crate::Nat::PlainLinux`].
    pub fn translate_ipv6(&self) {
        self.router.sh("nft 'flush chain inet firewall in; \
             add rule inet firewall in meta nfproto ipv4 iifname \"wan\" ct state new drop; \
             add table ip6 nat; add chain ip6 nat post { type nat hook postrouting priority srcnat; }; \
             add rule ip6 nat post oifname \"wan\" masquerade'");
    }

    /// Has the router's IPv6 firewall remember the flows that it denied, both ways, as long as packets of them come: who sends from
    /// inside by such a flow is not let out either. What comes from `but` is only dropped.
    pub fn remember_denied_ipv6(&self, but: &str) {
        let flow = "ip6 saddr . udp sport . ip6 daddr . udp dport";
        let back = "ip6 daddr . udp dport . ip6 saddr . udp sport";
        self.router.sh(&format!(
            "nft 'table ip6 denied {{
               set flows {{ type ipv6_addr . inet_service . ipv6_addr . inet_service; flags dynamic,timeout; timeout 60s; }}
               chain through {{
                 type filter hook forward priority -5;
                 iifname wan meta l4proto udp ip6 saddr != {but} ct state new update @flows {{ {flow} }} drop
                 iifname wan meta l4proto udp {flow} @flows drop
                 iifname lan meta l4proto udp {back} @flows drop
               }}
             }}'"
        ));
    }

    /// The router's public IPv6 address.
    pub fn public_v6(&self) -> String {
        format!("2001:db8:{}::2", self.number)
    }

    /// Forgets every NAT mapping, as a router's reboot does; the carrier's too, where there is one.
    pub fn forget_mappings(&self) {
        for router in [Some(&self.router), self.carrier.as_ref()].into_iter().flatten() {
            router.output(&["nft", "flush", "map", "ip", "nat", "inside"]);
            router.output(&["nft", "flush", "set", "ip", "nat", "asked"]);
            router.run(&["conntrack", "--flush"]);
            router.run(&["conntrack", "--flush", "--family", "ipv6"]);
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
