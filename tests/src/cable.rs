//! Cables between machines, and the routes over them.

use crate::delay::{DelayBox, Weather};
use crate::machine::Machine;

/// One end of a cable: machine, interface name, addresses with prefix lengths.
pub(crate) type End<'a> = (&'a Machine, &'a str, &'a [&'a str]);

/// A veth pair between two machines, up, with addresses.
pub(crate) fn link(a: End<'_>, b: End<'_>) {
    let peer = b.0.pid().to_string();
    let pair = [
        "ip", "link", "add", "name", a.1, "type", "veth", "peer", "name", b.1, "netns", &peer,
    ];
    a.0.run(&pair);
    set_up(a);
    set_up(b);
}

/// The same with a delay box instead of a veth pair.
pub(crate) fn slow_link(a: End<'_>, b: End<'_>, weather: Weather) -> DelayBox {
    let delay = DelayBox::start((a.0, a.1), (b.0, b.1), weather);
    set_up(a);
    set_up(b);
    delay
}

fn set_up((machine, interface, addresses): End<'_>) {
    let mut batch = String::new();
    for address in addresses {
        let dad = if address.contains(':') { "nodad" } else { "" };
        batch += &format!("ip addr add {address} dev {interface} {dad}\n");
    }
    machine.sh(&format!("{batch}ip link set dev {interface} up"));
}

/// The default routes of a machine, one per IP version that it has.
pub(crate) fn default_routes(machine: &Machine, v4: Option<&str>, v6: Option<&str>) {
    if let Some(gateway) = v4 {
        machine.run(&["ip", "route", "replace", "default", "via", gateway]);
    }
    if let Some(gateway) = v6 {
        machine.run(&["ip", "-6", "route", "replace", "default", "via", gateway]);
    }
}
