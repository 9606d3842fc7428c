//! Administration from the relay's own host and, with the root key kept off it, from elsewhere.

use meshd_tests::mesh::{Relay, program, words};
use meshd_tests::{CLOUD_V4, Nat, World, eventually};

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
fn with_the_root_key_elsewhere_an_admin_makes_networks_and_tokens_that_the_relay_alone_cannot() {
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
    // made on the relay's host, by its socket; then the key is carried away
    relay.ctl(&[
        "network",
        "create",
        "prod",
        "--cidr",
        "10.77.0.0/16",
        "--admin-key-file",
        "/var/lib/prod.key",
    ]);
    std::fs::rename(cloud.file("/var/lib/prod.key"), desk.file("/var/lib/prod.key"))
        .expect("the key file was made");
    let token = remote(&["token", "create", "--network", "prod", "--uses", "2"]);
    assert!(
        token.status.success() && words(&token).trim().starts_with("mesh1"),
        "{}",
        words(&token)
    );
    let alone = relay.try_ctl(&["token", "create", "--network", "prod"]);
    assert!(
        !alone.status.success() && words(&alone).contains("root key"),
        "the relay cannot sign: {}",
        words(&alone)
    );
}
