//! NATs as nftables rule sets, named by how they map and filter (RFC 4787 sections 4 and 5).
//!
//! The router's interfaces are called `wan` and `lan`. Endpoint-independent mapping comes from a plain masquerade, which
//! keeps the source port; endpoint-independent filtering needs a map from public port to inside endpoint that is learnt
//! from outgoing packets; endpoint-dependent mapping comes from random or counted ports.

use std::fmt::Write as _;

use crate::machine::Machine;

/// The kind of box between a site and the internet. The comment says mapping / filtering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Routed, no filter.
    Open,
    /// Routed behind a stateful firewall.
    Firewall,
    /// Endpoint-independent / endpoint-independent.
    FullCone,
    /// Endpoint-independent / address-dependent.
    AddressRestricted,
    /// Endpoint-independent / address- and port-dependent: masquerade, unsolicited input dropped.
    PortRestricted,
    /// Masquerade only. An unsolicited probe that arrives first takes the tuple, and the mapping becomes another one.
    PlainLinux,
    /// Address- and port-dependent with random ports / address- and port-dependent.
    Symmetric,
    /// Address- and port-dependent, ports counted upwards / address- and port-dependent.
    SymmetricSequential,
    /// Address- and port-dependent inside a block of 512 ports / address- and port-dependent.
    SymmetricBlock,
    /// Port-restricted behind a carrier's port-restricted NAT.
    CarrierPortRestricted,
    /// Port-restricted behind a carrier's full cone.
    CarrierFullCone,
    /// Port-restricted behind a carrier's symmetric NAT.
    CarrierSymmetric,
    /// Only TCP to port 443 leaves.
    UdpBlocked,
}

impl Nat {
    /// Every type, in the order of the enum.
    pub const ALL: [Self; 13] = [
        Self::Open,
        Self::Firewall,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::PlainLinux,
        Self::Symmetric,
        Self::SymmetricSequential,
        Self::SymmetricBlock,
        Self::CarrierPortRestricted,
        Self::CarrierFullCone,
        Self::CarrierSymmetric,
        Self::UdpBlocked,
    ];

    /// Its short name, as in tables; a valid host name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "none",
            Self::Firewall => "fw",
            Self::FullCone => "fullcone",
            Self::AddressRestricted => "arc",
            Self::PortRestricted => "prc",
            Self::PlainLinux => "linux",
            Self::Symmetric => "sym",
            Self::SymmetricSequential => "symseq",
            Self::SymmetricBlock => "symblock",
            Self::CarrierPortRestricted => "cgnat-prc",
            Self::CarrierFullCone => "cgnat-fc",
            Self::CarrierSymmetric => "cgnat-sym",
            Self::UdpBlocked => "udpblock",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(crate) fn place(self) -> usize {
        self as usize
    }

    /// The carrier's NAT in front of the home router, where there is one, and the home router's own.
    pub(crate) fn chain(self) -> (Option<Self>, Self) {
        match self {
            Self::CarrierPortRestricted => (Some(Self::PortRestricted), Self::PortRestricted),
            Self::CarrierFullCone => (Some(Self::FullCone), Self::PortRestricted),
            Self::CarrierSymmetric => (Some(Self::Symmetric), Self::PortRestricted),
            single => (None, single),
        }
    }

    /// Whether inside addresses are visible outside.
    pub(crate) fn routes_inside_addresses(self) -> bool {
        matches!(self, Self::Open | Self::Firewall)
    }

    /// Loads the IPv4 rules on a router whose public address is `public`, and the stateful IPv6 firewall of a home router.
    pub(crate) fn apply(self, router: &Machine, public: &str) {
        let path = router.file("/run/nat.nft");
        std::fs::write(&path, self.rules(public)).expect("the lab's folder is writable");
        router.run(&["nft", "-f", "/run/nat.nft"]);
    }

    fn rules(self, public: &str) -> String {
        match self {
            Self::Open => String::new(),
            Self::Firewall => forward("", false),
            Self::PlainLinux => format!("{}{}", masquerade(""), V6_FIREWALL),
            Self::FullCone => learnt(""),
            Self::AddressRestricted => learnt("udp dport . ip saddr @asked "),
            Self::UdpBlocked => format!("{}{}", masquerade(""), forward("tcp dport 443 ", true)),
            Self::Symmetric => format!("{}{}", masquerade("fully-random"), forward("", true)),
            Self::SymmetricBlock => {
                let block = "meta l4proto udp masquerade to :20480-20991 fully-random\n";
                format!(
                    "{}{}",
                    source_nat(&format!("oifname \"wan\" {block}oifname \"wan\" masquerade")),
                    forward("", true)
                )
            }
            Self::SymmetricSequential => format!("{}{}", source_nat(&sequential(public)), forward("", true)),
            Self::PortRestricted
            | Self::CarrierPortRestricted
            | Self::CarrierFullCone
            | Self::CarrierSymmetric => format!("{}{}", masquerade(""), forward("", true)),
        }
    }
}

/// IPv6 behind a masquerading router: stateful, as home routers do it.
const V6_FIREWALL: &str = r#"
table ip6 firewall {
  chain through {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan" accept
    meta l4proto ipv6-icmp accept
  }
}
"#;

fn source_nat(rules: &str) -> String {
    format!(
        "table ip nat {{\n chain post {{\n type nat hook postrouting priority srcnat;\n {rules}\n }}\n}}\n"
    )
}

fn masquerade(flags: &str) -> String {
    source_nat(&format!("oifname \"wan\" masquerade {flags}"))
}

/// A stateful firewall: only what `from_inside` matches may begin, from the LAN. With `guard_input` the router's own
/// address takes nothing unsolicited, so that no probe makes a conntrack entry there.
fn forward(from_inside: &str, guard_input: bool) -> String {
    let input = if guard_input {
        "chain in {\n type filter hook input priority 0;\n iifname \"wan\" ct state new drop\n }\n"
    } else {
        ""
    };
    format!(
        "table inet firewall {{\n {input}chain through {{\n type filter hook forward priority 0; policy drop;\n \
         ct state established,related accept\n iifname \"lan\" {from_inside}accept\n ct status dnat accept\n \
         meta l4proto ipv6-icmp accept\n }}\n}}\n"
    )
}

/// A cone: public port -> inside endpoint, learnt from what goes out; `allowed` filters what may come in by it.
fn learnt(allowed: &str) -> String {
    format!(
        r#"table ip nat {{
  map inside {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 120s; size 65535; }}
  set asked {{ type inet_service . ipv4_addr; flags dynamic,timeout; timeout 120s; size 65535; }}
  chain pre {{
    type nat hook prerouting priority dstnat;
    iifname "wan" meta l4proto udp {allowed}dnat ip to udp dport map @inside
  }}
  chain post {{
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
  }}
  chain learn {{
    type filter hook postrouting priority 300;
    oifname "wan" meta l4proto udp update @inside {{ udp sport : ct original ip saddr . ct original proto-src }}
    oifname "wan" meta l4proto udp update @asked {{ udp sport . ip daddr }}
  }}
}}
{}"#,
        forward("", true)
    )
}

/// One port further for each new flow, through a map: a bare `numgen` offset counts in the host's byte order.
fn sequential(public: &str) -> String {
    const FIRST: u32 = 30_000;
    const PORTS: u32 = 4_096;
    let mut map = String::new();
    for step in 0..PORTS {
        let comma = if step == 0 { "" } else { ", " };
        let _ = write!(map, "{comma}{step} : {}", FIRST + step);
    }
    format!(
        "oifname \"wan\" meta l4proto udp snat ip to {public} : numgen inc mod {PORTS} map {{ {map} }}\n\
         oifname \"wan\" masquerade"
    )
}
