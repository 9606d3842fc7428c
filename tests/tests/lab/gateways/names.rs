//! Names of hosts behind two gateways with one range.

use meshd_tests::eventually;
use meshd_tests::mesh::Node;

use super::SOON;

/// The addresses that a name has in a node's hosts file.
fn addresses(node: &Node, name: &str) -> Vec<String> {
    let hosts = node.machine().read("/etc/hosts");
    let lines = hosts
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == name));
    lines
        .map(|line| line.split_whitespace().next().unwrap_or_default().to_owned())
        .collect()
}

/// They lead to the published addresses, and on the gateway to the host's own.
pub fn follow(laptop: &Node, gateway: &Node) {
    eventually(SOON, "the names are there", || {
        (addresses(laptop, "printer") == ["10.200.1.9", "fd51::9"]
            && addresses(laptop, "scanner.prod.mesh") == ["10.200.2.9"]
            && addresses(gateway, "printer.prod.mesh") == ["192.168.50.9", "fd50::9"])
        .then_some(())
    });
    eventually(SOON, "both hosts answer by their names", || {
        (laptop.pings("printer") && laptop.pings6("printer.prod.mesh") && laptop.pings("scanner"))
            .then_some(())
    });
}

/// What is left is the name in the range that is left.
pub fn go_with_the_range(laptop: &Node) {
    eventually(SOON, "the name goes with its range", || {
        (addresses(laptop, "printer") == ["fd51::9"] && addresses(laptop, "scanner") == ["10.200.2.9"])
            .then_some(())
    });
}
