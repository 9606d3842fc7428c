//! What is shipped: units that confine the services, and a sandbox in which a program really is confined.

use std::path::Path;
use std::process::Command;

use meshd_tests::mesh::sandbox::Sandbox;
use meshd_tests::{Nat, World, figure, skip};

/// The highest exposure that `systemd-analyze security` may find, of 10.
const EXPOSURE: f64 = 3.0;

#[test]
fn the_units_leave_the_services_little_to_break() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    for unit in ["meshd.service", "meshrelay.service"] {
        let Ok(output) = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager"])
            .arg(folder.join(unit))
            .output()
        else {
            return skip(
                "the_units_leave_the_services_little_to_break",
                "systemd-analyze is not installed",
            );
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.contains("Overall exposure level"));
        let exposure = line.and_then(|line| line.rsplit(": ").next()?.split(' ').next()?.parse::<f64>().ok());
        let exposure = exposure.unwrap_or_else(|| {
            panic!(
                "no exposure in: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        figure(
            &format!("systemd-analyze security, {unit}"),
            exposure,
            format!("below {EXPOSURE}"),
        );
        assert!(exposure < EXPOSURE, "{text}");
    }
}

#[test]
fn the_sandbox_of_the_unit_lets_a_program_do_what_meshd_does_and_no_more() {
    let world = World::new();
    let machine = world.site(Nat::Open).machine("confined", 2);
    let inside = |script: &str| {
        let argv = Sandbox::of_unit("meshd").wrap(&["/bin/sh", "-c", script]);
        machine.succeeds(&argv.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for allowed in [
        "echo x > /etc/hosts.new && mv /etc/hosts.new /etc/hosts",
        "echo x > /var/lib/meshd/x",
        "echo x > /run/meshd/x",
        "echo 1 > /proc/sys/net/ipv4/conf/eth0/forwarding",
        "ip link add name v type veth peer name w",
        "nft add table inet meshd-test",
        "test -c /dev/net/tun && exec 3<>/dev/net/tun",
    ] {
        assert!(inside(allowed), "must be allowed: {allowed}");
    }
    for forbidden in [
        "echo x > /usr/x",
        "echo x > /var/lib/x",
        "echo 1 > /proc/sys/kernel/panic",
        "ls /root/*",
        "mount -t tmpfs tmpfs /mnt",
        "chown 1:1 /var/lib/meshd/x",
    ] {
        assert!(!inside(forbidden), "must be forbidden: {forbidden}");
    }
}

#[test]
fn the_unit_starts_before_whoever_binds_to_mesh_addresses_and_has_three_powers() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/meshd.service");
    let unit = std::fs::read_to_string(unit).expect("the unit is there");
    let setting = |name: &str| {
        let values = unit
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let mut words: Vec<_> = values.flat_map(str::split_whitespace).collect();
        words.sort_unstable();
        words
    };
    assert_eq!(setting("Type"), ["notify"]);
    for later in [
        "kubelet.service",
        "k3s.service",
        "k3s-agent.service",
        "containerd.service",
    ] {
        assert!(setting("Before").contains(&later), "{later}");
    }
    let powers = ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"];
    assert_eq!(setting("CapabilityBoundingSet"), powers);
    assert_eq!(setting("AmbientCapabilities"), powers);
}
