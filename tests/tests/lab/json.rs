//! `--json`: every verb answers in it, with the fields that docs/meshctl.md names and no others.

use std::collections::BTreeSet;

use meshd_tests::mesh::{Node, words};
use serde_json::Value;

use crate::bed::{self, Bed, NET};

/// The words in backticks of the page's part on JSON.
fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/meshctl.md"));
    let page = page.expect("the page is there");
    let (_, json) = page.split_once("## JSON").expect("it has a part on JSON");
    let quoted = json.split('`').skip(1).step_by(2);
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    quoted
        .flat_map(|text| text.split(word).map(str::to_owned))
        .collect()
}

/// The names of all fields, at any depth. What is in `drops` and `discovery` is named by what is counted.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, inner)| {
            found.insert(name.clone());
            if !["drops", "discovery"].contains(&name.as_str()) {
                fields(inner, found);
            }
        }),
        Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        _ => {}
    }
}

/// An answer has these fields at its top (or each item of it, where it is a list), and none that is not documented.
#[track_caller]
fn is_as_documented(verb: &str, answer: &Value, wanted: &str) {
    let known = documented();
    let mut found = BTreeSet::new();
    fields(answer, &mut found);
    let unknown: Vec<&String> = found.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "{verb}: {unknown:?} is not in docs/meshctl.md"
    );
    let items = match answer {
        Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    };
    assert!(!items.is_empty(), "{verb}: an empty list shows nothing");
    for field in wanted.split_whitespace() {
        assert!(known.contains(field), "{verb}: {field} is not in docs/meshctl.md");
        for item in &items {
            assert!(item.get(field).is_some(), "{verb}: {field} is gone: {item:#}");
        }
    }
}

const NETWORK: &str = "name id root root_on_relay cidr cidr6 mtu epoch version nodes connected coordinator addresses last_serial warnings";
const NODE: &str =
    "name id state ipv4 ipv6 public_key tags token connected last_seen candidates system version moved relay";
const TOKEN: &str =
    "id state used uses expires tags ephemeral approval hostname ip listen_port template replaces";

fn on_the_coordinator(bed: &Bed) {
    let check = |verb: &[&str], wanted: &str| {
        let answer = bed.relay.json(verb);
        is_as_documented(&verb.join(" "), &answer, wanted);
        answer
    };
    check(&["network", "create", "lab", "--cidr", "10.88.0.0/16"], NETWORK);
    check(&["network", "show", NET], NETWORK);
    check(&["network", "list"], NETWORK);
    check(&["network", "delete", "lab", "--yes"], "message");
    let token = check(&["token", "create"], "id token");
    check(&["token", "list"], TOKEN);
    let id = token["id"].as_str().expect("text").to_owned();
    check(&["token", "revoke", &id], "message");
    check(&["endpoint", "add", "api", "--no-ca"], "message");
    check(
        &["endpoint", "list"],
        "name at address port members check authorities serial",
    );
    check(&["endpoint", "remove", "api"], "message");
    check(&["node", "list"], NODE);
    check(&["node", "show", "b"], NODE);
    check(&["node", "replace", "b"], "id token");
    check(&["node", "set-relay", "b"], "message");
    check(&["node", "set-relay", "b", "--off"], "message");
    check(&["node", "rename", "b", "c"], "message");
    let guest = Node::start(&bed.sites[0].machine("guest", 9));
    guest.join(&bed.relay.token(NET, &["--approve"]));
    check(&["node", "approve", "guest"], "message");
    check(&["node", "remove", "guest"], "message");
    check(&["name", "free", "guest"], "message");
    check(&["gateway", "add", "c", "--range", "192.168.77.0/24"], "message");
    let gateway = "node id range published nat priority to_nodes to_tags connected";
    check(&["gateway", "list"], gateway);
    check(
        &["gateway", "remove", "c", "--range", "192.168.77.0/24"],
        "message",
    );
    check(&["relay", "create", "far"], "id word");
    check(&["relay", "list"], "id name connected udp tls");
    check(&["relay", "remove", "far"], "message");
    check(&["backup", "/var/lib/saved"], "file bytes");
    check(&["restore", "/var/lib/saved"], "message");
}

fn on_a_node(bed: &Bed) {
    let a = &bed.nodes[0];
    let check = |verb: &[&str], wanted: &str| {
        let answer = a.json(verb);
        is_as_documented(&verb.join(" "), &answer, wanted);
        answer
    };
    let status = check(&["status"], "version instance networks down out warnings");
    let network = "name id node hostname interface ipv4 ipv6 public_key listen_port mtu coordinator epoch map_version peers warnings drops discovery";
    is_as_documented("status: networks", &status["networks"], network);
    let peers = &status["networks"][0]["peers"];
    let peer = "name node ipv4 ipv6 public_key path last_handshake rx_bytes tx_bytes";
    is_as_documented("status: peers", peers, peer);
    is_as_documented("status: path", &peers[0]["path"], "kind endpoint rtt_ms");
    check(&["version"], "meshctl meshd");
    check(
        &["netcheck"],
        "network udp mapping filtering relays meaning warnings",
    );
    check(&["ping", "b"], "peer direct pings");
    check(&["why", "b"], "peer path because ours theirs attempts help");
    check(&["down"], "message");
    check(&["up"], "message");
    check(&["leave", NET], "message");
    let token = bed.relay.token(NET, &["--template"]);
    check(&["template", "seal", &token], "message");
    check(&["join", &token], "network hostname ipv4 ipv6 interface state");
    check(&["clean", "--forget"], "message");
}

#[test]
fn every_verb_answers_in_json_with_the_fields_that_are_documented_and_no_others() {
    let bed = bed::together(&["a", "b"]);
    on_a_node(&bed);
    on_the_coordinator(&bed);
}

#[test]
fn every_error_is_json_with_a_code_and_a_sentence() {
    let bed = bed::together(&["a"]);
    let a = &bed.nodes[0];
    let lines: [(&[&str], i32, &str); 4] = [
        (&["join", "mesh1nonsense"], 2, "usage"),
        (&["leave", "nowhere"], 1, "not-a-member"),
        (&["status", "--nonsense"], 2, "usage"),
        (&["status", "--socket", "/nonexistent.sock"], 3, "unreachable"),
    ];
    for (line, exit, code) in lines {
        let output = a.try_ctl(&[line, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(exit), "{line:?}: {}", words(&output));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON on stderr");
        assert_eq!(error["code"], code, "{line:?}: {error}");
        assert!(
            error["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{error}"
        );
        assert!(output.stdout.is_empty(), "{line:?}: {}", words(&output));
    }
}
