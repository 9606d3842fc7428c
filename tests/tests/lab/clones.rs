//! Copies and moves of machines: who is the original, who gets an identity of its own, and when nothing changes at all.

use meshd_tests::mesh::{Node, words};
use meshd_tests::{Machine, Nat, eventually, timed};

use crate::bed::{self, Bed, NET, SOON};

/// Copies meshd's state from one machine to another, as copying a disk does; the machine-ids differ.
fn copy_state(from: &Machine, to: &Machine) {
    let (source, target) = (from.file("/var/lib/meshd"), to.file("/var/lib/meshd"));
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(source)
        .arg(target)
        .status()
        .expect("cp runs");
    assert!(copied.success(), "the state is copied");
}

fn field(bed: &Bed, node: &str, name: &str) -> String {
    bed.relay.json(&["node", "show", node, "--network", NET])[name].to_string()
}

#[test]
fn a_clone_beside_its_living_original_is_told_from_it_and_both_are_named() {
    let bed = bed::together(&["original", "b"]);
    let id = field(&bed, "original", "id");
    let clone = bed.sites[0].machine("clone", 30);
    copy_state(bed.nodes[0].machine(), &clone);
    let clone = Node::start(&clone);
    let text = eventually(SOON, "the clone says that it is one", || {
        let text = clone.status()?.to_string();
        (text.contains("clone") && text.contains("original")).then_some(text)
    });
    assert!(!text.is_empty());
    bed.nodes[1].reaches("original", SOON);
    bed.nodes[0].reaches("b", SOON);
    assert_eq!(
        field(&bed, "original", "id"),
        id,
        "the original keeps its identity"
    );
}

/// What `ping` says of 60 packets in 6 s.
fn sixty_pings(from: &Node, to: &str) -> String {
    let output = from
        .machine()
        .output(&["ping", "-n", "-q", "-c60", "-i0.1", "-W1", to]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An original and a copy of it on another machine, which was told so.
fn refused_clone(bed: &Bed) -> Node {
    let clone = bed.sites[0].machine("clone", 30);
    copy_state(bed.nodes[0].machine(), &clone);
    let clone = Node::start(&clone);
    eventually(SOON, "the clone says that it is one", || {
        clone
            .status()?
            .to_string()
            .contains("is a clone of")
            .then_some(())
    });
    clone
}

#[test]
fn a_clone_costs_its_original_not_a_packet_and_leaves_alone() {
    let bed = bed::together(&["original", "b"]);
    let original = &bed.nodes[0];
    let (clone, said) = std::thread::scope(|scope| {
        let pinging = scope.spawn(|| sixty_pings(original, "b"));
        let clone = refused_clone(&bed);
        assert!(!clone.pings(&bed.nodes[1].ipv4(NET).to_string()), "it is silent");
        (clone, pinging.join().expect("ping runs"))
    });
    assert!(said.contains(" 0% packet loss"), "{said}");
    let said = words(&clone.try_ctl(&["join", &bed.relay.token(NET, &[])]));
    assert!(said.contains("meshctl leave prod"), "{said}");
    clone.kill();
    clone.start_again();
    let said = sixty_pings(original, "b");
    assert!(said.contains(" 0% packet loss"), "after its restart, too: {said}");
    let said = clone.ctl(&["leave", NET]);
    assert!(said.contains("original stays in"), "{said}");
    clone.join(&bed.relay.token(NET, &["--hostname", "own"]));
    clone.reaches("b", SOON);
    original.reaches("own", SOON);
    assert!(original.network(NET).is_some(), "the original is in");
}

#[test]
fn a_refused_clone_whose_original_is_gone_is_let_in_and_speaks() {
    let bed = bed::together(&["original", "b"]);
    let clone = refused_clone(&bed);
    bed.nodes[0].kill();
    // it asks again every 15 s, and a silent original has 2 s to answer
    clone.reaches("b", SOON * 2);
    bed.nodes[1].reaches("original", SOON);
}

#[test]
fn a_moved_disk_speaks_also_where_no_coordinator_can_be_asked() {
    let bed = bed::together(&["pi", "b"]);
    bed.relay.kill();
    // switched off, so that what it learnt in its last moments is on the disk
    bed.nodes[0].stop();
    let other = bed.sites[0].machine("other-board", 30);
    copy_state(bed.nodes[0].machine(), &other);
    let moved = Node::start(&other);
    moved.reaches("b", SOON);
}

#[test]
fn a_disk_that_boots_in_another_machine_is_the_same_node_and_reported_as_moved() {
    let bed = bed::together(&["pi", "b"]);
    let before = bed.nodes[0].network(NET).expect("joined");
    bed.nodes[0].stop();
    bed.nodes[0].machine().kill_everything();
    let other = bed.sites[0].machine("other-board", 30);
    copy_state(bed.nodes[0].machine(), &other);
    let moved = Node::start(&other);
    moved.reaches("b", SOON);
    bed.nodes[1].reaches("pi", SOON);
    let after = moved.network(NET).expect("still in");
    for kept in ["node", "ipv4", "public_key"] {
        assert_eq!(before[kept], after[kept], "{kept}");
    }
    let listed = eventually(SOON, "it is reported as moved", || {
        let listed = bed
            .relay
            .json(&["node", "show", "pi", "--network", NET])
            .to_string();
        listed.contains("moved").then_some(listed)
    });
    assert!(!listed.is_empty());
}

#[test]
fn after_a_power_cut_with_a_half_open_connection_the_replacement_takes_over() {
    let bed = bed::together(&["pi", "b"]);
    // the cable goes first: nobody hears the machine die
    bed.sites[0].unplug(bed.nodes[0].machine());
    bed.nodes[0].machine().kill_everything();
    let other = bed.sites[0].machine("other-board", 30);
    copy_state(bed.nodes[0].machine(), &other);
    let moved = Node::start(&other);
    let (_, took) = timed(SOON, "b pings the replacement", || {
        bed.nodes[1].pings("pi").then_some(())
    });
    println!("taken over after {} ms", took.as_millis());
    eventually(SOON, "the coordinator took it", || {
        (moved.network(NET)?["coordinator"] == "connected").then_some(())
    });
}

#[test]
fn a_network_card_that_is_swapped_changes_nothing() {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    let before = a.network(NET).expect("joined");
    a.kill();
    bed.sites[0].unplug(a.machine());
    bed.sites[0].plug(a.machine(), 40);
    a.start_again();
    a.reaches("b", SOON);
    let after = a.network(NET).expect("still in");
    assert_eq!(
        (&before["node"], &before["ipv4"]),
        (&after["node"], &after["ipv4"])
    );
}

#[test]
fn machines_cloned_from_a_sealed_template_join_by_themselves_as_different_nodes() {
    let mut bed = bed::together(&["a"]);
    let template = Node::start(&bed.sites[0].machine("template", 30));
    let token = bed.relay.token(NET, &["--template", "--uses", "10"]);
    template.ctl(&["template", "seal", &token]);
    assert!(template.network(NET).is_none(), "sealing does not join");
    template.stop();
    for number in 0..3 {
        let machine = bed.sites[0].machine(&format!("vm{number}"), 31 + number);
        copy_state(template.machine(), &machine);
        bed.nodes.push(Node::start(&machine));
    }
    for node in &bed.nodes[1..] {
        eventually(SOON, "the clone joins by itself", || node.network(NET));
    }
    bed.settle();
    let mut ids: Vec<String> = bed
        .nodes
        .iter()
        .map(|node| node.network(NET).expect("joined")["node"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each has an identity of its own");
}

#[test]
fn a_rebuilt_machine_takes_over_name_and_address_and_the_old_key_is_dead_at_once() {
    let mut bed = bed::together(&["db1", "b"]);
    let address = bed.nodes[0].ipv4(NET);
    let token = bed.relay.ctl(&["node", "replace", "db1", "--network", NET]);
    let rebuilt = Node::start(&bed.world.site(Nat::FullCone).machine("rebuilt", 2));
    let joined = rebuilt.join(token.trim());
    assert_eq!(
        (joined["hostname"].as_str(), joined["ipv4"].as_str()),
        (Some("db1"), Some(address.to_string().as_str()))
    );
    bed.nodes[1].reaches("db1", SOON);
    rebuilt.reaches("b", SOON);
    let old = bed.nodes.remove(0);
    let b = bed.nodes[0].ipv4(NET).to_string();
    eventually(SOON, "the old machine is out", || (!old.pings(&b)).then_some(()));
    let said = eventually(SOON, "the old machine says why", || {
        let said = old.ctl(&["status"]);
        said.contains("no longer in prod").then_some(said)
    });
    assert!(said.contains("took this node's place"), "{said}");
    assert!(old.network(NET).is_none(), "it is not in it any more");
    bed.nodes.push(rebuilt);
}

#[test]
fn only_a_templates_token_is_sealed_and_an_unreachable_coordinator_is_said() {
    let bed = bed::empty();
    let site = bed.world.site(Nat::PortRestricted);
    let machine = Node::start(&site.machine("template", 30));
    let said = words(&machine.try_ctl(&["template", "seal", &bed.relay.token(NET, &[])]));
    assert!(
        said.contains("not one for templates") && said.contains("--template"),
        "{said}"
    );
    let token = bed.relay.token(NET, &["--template"]);
    assert!(machine.ctl(&["template", "seal", &token]).contains("joins prod"));
    let member = Node::start(&site.machine("member", 31));
    member.join(&bed.relay.token(NET, &[]));
    let said = member.ctl(&["template", "seal", &token]);
    assert!(said.contains("meshctl leave prod"), "{said}");
    bed.relay.kill();
    let said = machine.ctl(&["template", "seal", &token]);
    assert!(said.contains("could not be asked"), "{said}");
}
