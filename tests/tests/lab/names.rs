//! Names: by the hosts file, never breaking it, never taking what is somebody else's.

use meshd_tests::mesh::Node;
use meshd_tests::{Nat, eventually};

use crate::bed::{self, NET, SOON};

#[test]
fn two_nodes_of_one_name_get_one_each_and_odd_names_become_labels() {
    let mut bed = bed::together(&["db1"]);
    let join = |machine: &str, hostname: &str, host: u32| {
        let node = Node::start(&bed.sites[0].machine(machine, host));
        let joined = node.json(&["join", &bed.relay.token(NET, &[]), "--hostname", hostname]);
        (node, joined["hostname"].as_str().expect("a name").to_owned())
    };
    let (first, name) = join("first", "web", 10);
    assert_eq!(name, "web");
    let (second, name) = join("second", "web", 11);
    assert_eq!(name, "web-2");
    let (third, name) = join("third", "Build.Server", 12);
    assert!(
        name.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
        "a DNS label: {name}"
    );
    for known in ["web", "web-2", &name] {
        bed.nodes[0].reaches(known, SOON);
    }
    bed.nodes.extend([first, second, third]);
}

#[test]
fn a_joiner_cannot_take_localhost_the_hosts_own_name_or_one_that_is_in_the_file() {
    let mut bed = bed::together(&["db1"]);
    let db1 = bed.nodes[0].machine().clone();
    db1.sh("echo '192.0.2.7 printer' >> /etc/hosts");
    for (host, claim) in [(10, "localhost"), (11, "db1"), (12, "printer")] {
        let node = Node::start(&bed.sites[0].machine(&format!("claims-{claim}"), host));
        node.try_ctl(&["join", &bed.relay.token(NET, &[]), "--hostname", claim]);
        bed.nodes.push(node);
    }
    eventually(SOON, "db1 knows them", || {
        let network = bed.nodes[0].network(NET)?;
        (network["peers"].as_array()?.len() >= 2).then_some(())
    });
    let resolved = |name: &str| db1.run(&["getent", "ahostsv4", name]);
    assert!(resolved("localhost").starts_with("127.0.0.1"));
    assert!(resolved("db1").starts_with("127.0.1.1"), "{}", resolved("db1"));
    assert!(resolved("printer").starts_with("192.0.2.7"));
    eventually(SOON, "the full name is always written", || {
        db1.read("/etc/hosts")
            .contains(&format!("printer.{NET}.mesh"))
            .then_some(())
    });
}

#[test]
fn what_others_write_into_the_hosts_file_stays_and_a_lost_block_comes_back() {
    let bed = bed::together(&["db1", "web"]);
    let db1 = bed.nodes[0].machine();
    db1.sh("printf '# by hand\\n192.0.2.8 nas\\n' >> /etc/hosts");
    // cloud-init writes the whole file anew
    db1.sh("printf '127.0.0.1 localhost\\n192.0.2.8 nas' > /etc/hosts.new; mv /etc/hosts.new /etc/hosts");
    eventually(SOON, "the block comes back", || {
        db1.read("/etc/hosts")
            .contains(&format!("web.{NET}.mesh"))
            .then_some(())
    });
    // the block goes before a last line that has no newline, so that taking it out again gives the same bytes
    let file = db1.read("/etc/hosts");
    assert!(
        file.starts_with("127.0.0.1 localhost\n") && file.ends_with("\n192.0.2.8 nas"),
        "{file}"
    );
}

#[test]
fn a_hosts_file_that_cannot_be_written_is_a_warning_and_no_more() {
    let bed = bed::empty();
    let machine = bed.world.site(Nat::PortRestricted).machine("host", 2);
    machine.sh("mount --bind /etc/hosts /etc/hosts; mount -o remount,bind,ro /etc/hosts");
    let node = Node::start(&machine);
    node.join(&bed.relay.token(NET, &[]));
    eventually(SOON, "it warns", || {
        node.status()?.to_string().contains("/etc/hosts").then_some(())
    });
    assert_eq!(node.network(NET).expect("joined")["coordinator"], "connected");
}

#[test]
fn a_hosts_file_that_is_a_bind_mount_is_written_in_place() {
    let bed = bed::together(&["db1"]);
    let machine = bed.sites[0].machine("container", 9);
    machine.sh("cp /etc/hosts /run/hosts; mount --bind /run/hosts /etc/hosts");
    let before = machine.run(&["cat", "/etc/hosts"]);
    let node = Node::start(&machine);
    node.join(&bed.relay.token(NET, &[]));
    node.reaches("db1", SOON);
    assert!(
        machine.run(&["cat", "/etc/hosts"]).contains(&before),
        "what was there is still there"
    );
    node.ctl(&["leave", NET]);
    assert_eq!(
        machine.run(&["cat", "/etc/hosts"]),
        before,
        "and byte for byte as it was after leaving"
    );
}
