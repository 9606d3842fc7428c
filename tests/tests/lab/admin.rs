//! Administration from the relay's own host and, with the root key kept off it, from elsewhere.

use meshd_tests::mesh::{Node, Relay, json, program, words};
use meshd_tests::{CLOUD_V4, Nat, World, eventually};
use serde_json::Value;

use crate::bed::SOON;

#[test]
fn networks_and_tokens_are_made_listed_and_taken_away_each_with_a_sentence() {
    let world = World::new();
    let relay = Relay::start(&world.cloud());
    let said = relay.ctl(&["network", "create", "prod", "--cidr", "10.77.0.0/16"]);
    assert!(said.contains("prod") && said.contains("10.77.0.0/16"), "{said}");
    let again = relay.try_ctl(&["network", "create", "prod", "--cidr", "10.78.0.0/16"]);
    assert!(
        !again.status.success() && words(&again).contains("prod"),
        "{}",
        words(&again)
    );
    relay.ctl(&[
        "network",
        "create",
        "lab",
        "--cidr",
        "10.88.0.0/16",
        "--cidr6",
        "fd12:3456:789a::/64",
        "--mtu",
        "1280",
    ]);
    let lab = relay.json(&["network", "show", "lab"]);
    assert_eq!(
        (lab["cidr"].as_str(), lab["cidr6"].as_str(), lab["mtu"].as_u64()),
        (Some("10.88.0.0/16"), Some("fd12:3456:789a::/64"), Some(1280))
    );
    let token = relay.token("prod", &["--uses", "3", "--expires", "7d", "--tags", "rack,arm"]);
    let listed = relay.json(&["token", "list", "--network", "prod"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed:#}");
    assert!(
        !listed.to_string().contains(&token),
        "a list never shows a token's secret"
    );
    relay.ctl(&["network", "delete", "lab", "--yes"]);
    assert_eq!(relay.json(&["network", "list"]).as_array().map(Vec::len), Some(1));
    relay.kill();
    relay.start_again();
    assert_eq!(
        relay.json(&["token", "list", "--network", "prod"]),
        listed,
        "all of it survives a kill"
    );
    let down = {
        relay.kill();
        relay.try_ctl(&["network", "list"])
    };
    assert_eq!(
        down.status.code(),
        Some(3),
        "meshrelay cannot be reached: {}",
        words(&down)
    );
}

#[test]
fn with_the_root_key_elsewhere_an_admin_there_does_everything_and_the_relay_alone_cannot() {
    let world = World::new();
    let cloud = world.cloud();
    let relay = Relay::start_with(&cloud, &["--public-addr", CLOUD_V4, "--admin-public"]);
    let pin = eventually(SOON, "meshrelay says its identity", || {
        let log = relay.with_process(meshd_tests::Process::log);
        log.split(|c: char| !c.is_ascii_hexdigit())
            .find(|word| word.len() == 64)
            .map(str::to_owned)
    });
    let desk = world.site(Nat::PortRestricted).machine("desk", 2);
    let (binary, url) = (program("meshctl"), format!("https://{CLOUD_V4}"));
    let remote = |arguments: &[&str]| {
        let global = [
            &binary,
            "--relay",
            &url,
            "--admin-key-file",
            "/var/lib/prod.key",
            "--relay-pin",
            &pin,
        ];
        desk.output(&[&global, arguments].concat())
    };
    let create = ["network", "create", "prod", "--cidr", "10.77.0.0/16"];
    let said = words(&remote(&create));
    let root = quoted(&said).unwrap_or_else(|| panic!("the key to be told to the relay: {said}"));
    assert!(said.contains("network-key") && said.contains("ssh -L"), "{said}");
    assert_eq!(relay.json(&["network", "list"]), serde_json::json!([]));
    relay.kill();
    drop(relay);
    let relay = Relay::start_with(
        &cloud,
        &[
            "--public-addr",
            CLOUD_V4,
            "--admin-public",
            "--network-key",
            &root,
        ],
    );
    let made = remote(&create);
    assert!(made.status.success(), "{}", words(&made));
    assert!(words(&made).contains("nowhere else"), "{}", words(&made));
    assert_eq!(relay.json(&["network", "show", "prod"])["root_on_relay"], false);
    let alone = relay.try_ctl(&["token", "create", "--network", "prod"]);
    assert!(
        !alone.status.success() && words(&alone).contains("root key"),
        "the relay cannot sign: {}",
        words(&alone)
    );
    let asked = |arguments: &[&str]| {
        let output = remote(&[arguments, &["--json"]].concat());
        json(&arguments.join(" "), &output)
    };
    every_verb_from_elsewhere(&world, &asked);
    assert_eq!(relay.json(&["network", "list"]), serde_json::json!([]));
}

/// Each verb of an admin elsewhere, in the network `prod`, which is deleted in the end.
fn every_verb_from_elsewhere(world: &World, asked: &impl Fn(&[&str]) -> Value) {
    let site = world.site(Nat::PortRestricted);
    let join = |name: &str, host: u32, flags: &[&str]| {
        let token = asked(&[&["token", "create"], flags].concat());
        let node = Node::start(&site.machine(name, host));
        node.join(token["token"].as_str().expect("a word"));
        (node, token["id"].as_str().expect("an id").to_owned())
    };
    let state = |node: &str| asked(&["node", "show", node])["state"].clone();
    let (_guest, _) = join("guest", 2, &["--approve", "--uses", "1"]);
    assert_eq!(state("guest"), "pending");
    asked(&["node", "approve", "guest"]);
    assert_eq!(state("guest"), "active");
    asked(&["node", "rename", "guest", "db1"]);
    asked(&["gateway", "add", "db1", "--range", "192.168.77.0/24"]);
    assert_eq!(asked(&["gateway", "list"])[0]["node"], "db1");
    asked(&["gateway", "remove", "db1", "--range", "192.168.77.0/24"]);
    asked(&["node", "set-relay", "db1"]);
    assert_eq!(asked(&["node", "show", "db1"])["relay"], true);
    asked(&["node", "set-relay", "db1", "--off"]);
    assert_eq!(asked(&["node", "show", "db1"])["relay"], false);
    let heir = asked(&["node", "replace", "db1"]);
    let rebuilt = Node::start(&site.machine("rebuilt", 3));
    let heir = rebuilt.join(heir["token"].as_str().expect("a word"));
    assert_eq!(heir["hostname"], "db1");
    asked(&["node", "remove", "db1"]);
    asked(&["name", "free", "db1"]);
    let (_late, id) = join("late", 4, &[]);
    asked(&["token", "revoke", &id, "--with-nodes"]);
    assert_eq!(asked(&["node", "list"]), serde_json::json!([]));
    assert_eq!(asked(&["token", "list"]).as_array().map(Vec::len), Some(3));
    assert_eq!(asked(&["network", "list"])[0]["name"], "prod");
    assert_eq!(asked(&["network", "show"])["nodes"], 0);
    asked(&["network", "delete", "prod", "--yes"]);
}

/// What stands in quotation marks.
fn quoted(text: &str) -> Option<String> {
    Some(text.split('"').nth(1)?.to_owned())
}

#[test]
fn two_admins_who_sign_at_once_do_not_get_in_each_others_way() {
    let world = World::new();
    let relay = Relay::start(&world.cloud());
    let key = ["--admin-key-file", "/var/lib/prod.key"];
    relay.ctl(&[&["network", "create", "prod", "--cidr", "10.77.0.0/16"], &key[..]].concat());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                relay.ctl(&[&["token", "create", "--network", "prod"], &key[..]].concat());
            });
        }
    });
    let tokens = relay.json(&["token", "list", "--network", "prod"]);
    assert_eq!(tokens.as_array().map(Vec::len), Some(6), "{tokens:#}");
    let fixed = [
        &["token", "create", "--network", "prod", "--hostname", "db1"],
        &key[..],
    ]
    .concat();
    relay.ctl(&fixed);
    let tokens = relay.json(&["token", "list", "--network", "prod"]);
    let fixed = tokens
        .as_array()
        .expect("a list")
        .iter()
        .find(|token| token["hostname"] == "db1");
    assert_eq!(fixed.expect("listed")["uses"], 1, "a name is one machine's");
}

#[test]
fn messages_say_what_to_do() {
    let world = World::new();
    let cloud = world.cloud();
    let relay = Relay::start(&cloud);
    cloud.sh("ip link add name lan type bridge; ip addr add 10.20.3.1/24 dev lan; ip link set lan up");
    let said = relay.ctl(&["network", "create", "prod", "--cidr", "10.20.0.0/16"]);
    assert!(
        said.contains("10.20.3.0/24 of lan on this host") && said.contains("--force"),
        "{said}"
    );
    let twin = relay.json(&["network", "create", "twin", "--cidr", "10.20.128.0/17"]);
    assert!(twin["warnings"].to_string().contains("network prod"), "{twin:#}");
    let quiet = relay.json(&["network", "create", "quiet", "--cidr", "10.30.0.0/16"]);
    assert_eq!(quiet["warnings"], serde_json::json!([]), "{quiet:#}");

    relay.ctl(&["backup", "/var/lib/backup"]);
    let said = words(&relay.try_ctl(&["backup", "/var/lib/backup"]));
    assert!(
        said.contains("never written over") && !said.contains("os error"),
        "{said}"
    );
    let said = words(&relay.try_ctl(&["backup", "/no/where"]));
    assert!(said.contains("no such folder"), "{said}");

    let site = world.site(Nat::PortRestricted);
    let node = Node::start(&site.machine("db1", 2));
    node.join(&relay.token("quiet", &[]));
    let said = words(&relay.try_ctl(&["node", "rename", "db1", "localhost", "--network", "quiet"]));
    assert!(
        said.contains("take another") && !said.contains("--hostname"),
        "{said}"
    );
    let id = relay.json(&["node", "show", "db1", "--network", "quiet"])["id"].clone();
    let said = words(&relay.try_ctl(&[
        "node",
        "approve",
        id.as_str().expect("text"),
        "--network",
        "quiet",
    ]));
    assert!(said.contains("\"db1\" is in already"), "{said}");
}
