//! Mesh DNS: each node answers for the names of its networks, and for nothing else.

use meshd_tests::mesh::Node;
use meshd_tests::{Greeter, Machine, Nat, eventually};

use crate::bed::{self, NET, SOON};

/// Where the first meshd of a machine answers.
const DNS: &str = "@127.77.53.1";

/// The answers to a question, a line each; what `dig` says where there are none.
fn ask(machine: &Machine, words: &[&str]) -> Vec<String> {
    let words = words.join(" ");
    // it ends with an error where nobody listens yet
    let said = machine.sh(&format!("dig {DNS} +time=1 +tries=2 +short {words} || true"));
    said.lines().map(str::to_owned).collect()
}

/// The status of the answer: `NOERROR`, `NXDOMAIN`, `REFUSED`.
fn status(machine: &Machine, name: &str) -> String {
    let said = machine.run(&["dig", DNS, "+time=1", "+tries=2", name]);
    let (_, rest) = said.split_once("status: ").unwrap_or_else(|| panic!("{said}"));
    rest.split(',').next().expect("a word").to_owned()
}

fn addresses(node: &Node) -> [String; 2] {
    let network = node.network(NET).expect("joined");
    ["ipv4", "ipv6"].map(|kind| network[kind].as_str().expect("an address").to_owned())
}

#[test]
fn a_node_answers_names_and_addresses_of_its_network_and_refuses_others() {
    let bed = bed::together(&["db1", "web"]);
    let [db1, web] = [&bed.nodes[0], &bed.nodes[1]];
    let machine = db1.machine();
    let [v4, v6] = addresses(web);
    let name = format!("web.{NET}.mesh");
    eventually(SOON, "db1 answers for web", || {
        (ask(machine, &[&name]) == [v4.clone()]).then_some(())
    });
    assert_eq!(ask(machine, &[&name, "AAAA"]), [v6.clone()]);
    assert_eq!(ask(machine, &["+tcp", &name]), [v4.clone()], "over TCP too");
    for address in [&v4, &v6] {
        assert_eq!(ask(machine, &["-x", address]), [format!("{name}.")]);
    }
    let own = addresses(db1);
    assert_eq!(
        ask(machine, &[&format!("DB1.{NET}.mesh")]),
        [own[0].clone()],
        "its own, too"
    );
    assert_eq!(status(machine, &format!("nobody.{NET}.mesh")), "NXDOMAIN");
    for others in ["example.org", "web.other.mesh", "mesh", "db1"] {
        assert_eq!(status(machine, others), "REFUSED", "{others}");
    }
    assert_eq!(db1.status().expect("it runs")["dns"], "127.77.53.1");
    let outside = machine.run(&["ss", "-Hlnut", "sport = :53"]);
    assert!(
        outside.lines().count() == 2 && outside.lines().all(|line| line.contains("127.77.53.1:53")),
        "nobody else can ask it: {outside}"
    );
}

#[test]
fn answers_follow_the_network_at_once() {
    let bed = bed::together(&["db1", "web"]);
    let machine = bed.nodes[0].machine();
    let [v4, _] = addresses(&bed.nodes[1]);
    let [old, new, api] = ["web", "shop", "api"].map(|label| format!("{label}.{NET}.mesh"));
    eventually(SOON, "the name is there", || {
        (ask(machine, &[&old]) == [v4.clone()]).then_some(())
    });
    bed.relay.ctl(&["node", "rename", "web", "shop"]);
    eventually(SOON, "the new name is there", || {
        (ask(machine, &[&new]) == [v4.clone()]).then_some(())
    });
    assert_eq!(status(machine, &old), "NXDOMAIN");
    bed.relay.ctl(&["endpoint", "add", "api", "--to", "db1:6443"]);
    eventually(SOON, "the endpoint has a name", || {
        (ask(machine, &[&api]) == ["10.77.255.254"]).then_some(())
    });
    assert!(
        machine
            .run(&["getent", "ahostsv4", &api])
            .starts_with("10.77.255.254")
    );
}

#[test]
fn an_address_that_is_taken_is_a_warning_and_is_answered_at_when_it_is_free() {
    let mut bed = bed::empty();
    let site = bed.world.site(Nat::PortRestricted);
    let machine = site.machine("host", 2);
    let taken = "127.77.53.1:53".parse().expect("an address");
    let holder = Greeter::start(&machine, taken, "holder");
    let node = Node::start(&machine);
    node.join(&bed.relay.token(NET, &[]));
    let said = |node: &Node| node.status().expect("it runs")["warnings"].to_string();
    eventually(SOON, "it warns", || {
        said(&node).contains("127.77.53.1:53").then_some(())
    });
    assert_eq!(node.network(NET).expect("joined")["coordinator"], "connected");
    drop(holder);
    eventually(SOON, "it answers", || {
        (ask(&machine, &[&format!("host.{NET}.mesh")]).len() == 1).then_some(())
    });
    assert!(!said(&node).contains("127.77.53.1"));
    bed.nodes.push(node);
    bed.sites.push(site);
}
