//! Tokens: their uses and their end are enforced, and each refusal has its own sentence.

use std::thread;

use meshd_tests::mesh::{Node, words};
use meshd_tests::{Nat, eventually};

use crate::bed::{self, NET, SOON};

#[test]
fn fifty_joins_racing_for_twenty_uses_give_exactly_twenty_nodes() {
    let bed = bed::empty();
    let site = bed.world.site(Nat::PortRestricted);
    let nodes: Vec<Node> = (0..50)
        .map(|n| Node::start(&site.machine(&format!("racer{n}"), 10 + n)))
        .collect();
    let token = bed.relay.token(NET, &["--uses", "20"]);
    let outputs: Vec<_> = thread::scope(|scope| {
        let joins: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| node.try_ctl(&["join", &token])))
            .collect();
        joins.into_iter().map(|join| join.join().expect("ran")).collect()
    });
    let won = outputs.iter().filter(|output| output.status.success()).count();
    assert_eq!(won, 20, "joins that succeeded");
    for output in outputs.iter().filter(|output| !output.status.success()) {
        assert!(words(output).contains("used up"), "{}", words(output));
    }
    let listed = bed.relay.json(&["node", "list", "--network", NET]);
    assert_eq!(
        listed.as_array().map(Vec::len),
        Some(20),
        "nodes that the coordinator knows"
    );
}

#[test]
fn a_token_that_is_mistyped_expired_used_up_or_revoked_is_refused_with_its_own_sentence() {
    let bed = bed::empty();
    let node = Node::start(&bed.world.site(Nat::PortRestricted).machine("db1", 2));
    let refusal = |token: &str| {
        let output = node.try_ctl(&["join", token]);
        assert!(!output.status.success(), "{token} was taken");
        words(&output)
    };
    let good = bed.relay.token(NET, &[]);
    let last = good.chars().last().expect("not empty");
    let mistyped = format!(
        "{}{}",
        &good[..good.len() - 1],
        if last == 'a' { 'b' } else { 'a' }
    );
    bed.relay.kill();
    assert!(
        refusal(&mistyped).contains("checksum"),
        "refused without asking anybody: {}",
        refusal(&mistyped)
    );
    bed.relay.start_again();

    let expired = bed.relay.token(NET, &["--expires", "1s"]);
    eventually(SOON, "the token expires", || {
        let text = words(&node.try_ctl(&["join", &expired]));
        // taken in its last moment: give the name back and use another
        text.contains("expired").then_some(()).or_else(|| {
            node.try_ctl(&["leave", NET]);
            None
        })
    });

    let once = bed.relay.token(NET, &["--uses", "1"]);
    let other = Node::start(&bed.world.site(Nat::PortRestricted).machine("web", 2));
    other.join(&once);
    let said = refusal(&once);
    assert!(said.contains("used up"), "{said}");

    let tokens = bed.relay.json(&["token", "list", "--network", NET]);
    let revoked = bed.relay.token(NET, &[]);
    let after = bed.relay.json(&["token", "list", "--network", NET]);
    let id = |token: &serde_json::Value| token["id"].as_str().map(str::to_owned);
    let before: Vec<_> = tokens.as_array().expect("a list").iter().filter_map(id).collect();
    let new = after
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(id)
        .find(|id| !before.contains(id))
        .expect("the new one");
    bed.relay.ctl(&["token", "revoke", &new]);
    let said = refusal(&revoked);
    assert!(said.contains("revoked"), "{said}");
}

#[test]
fn a_node_that_waits_for_approval_gets_no_map_until_it_is_approved() {
    let mut bed = bed::together(&["db1"]);
    let node = Node::start(&bed.sites[0].machine("guest", 9));
    let token = bed.relay.token(NET, &["--approve"]);
    let joined = node.join(&token);
    assert_eq!(joined["state"], "pending", "{joined:#}");
    assert!(
        node.network(NET)
            .is_none_or(|network| network["peers"].as_array().is_none_or(Vec::is_empty))
    );
    assert!(
        !node.pings(&bed.nodes[0].ipv4(NET).to_string()),
        "nobody talks to it"
    );
    bed.relay.ctl(&["node", "approve", "guest", "--network", NET]);
    node.reaches("db1", SOON);
    bed.nodes.push(node);
}

#[test]
fn who_was_removed_says_so_and_why_also_after_a_restart_and_comes_back_by_a_new_token() {
    let mut bed = bed::together(&["db1", "web"]);
    let site = bed.sites[0].clone();
    let guests = bed.relay.token(NET, &[]);
    let guest = Node::start(&site.machine("guest", 9));
    guest.join(&guests);
    bed.relay.ctl(&["node", "remove", "web", "--network", NET]);
    let web = bed.nodes.remove(1);
    let id = bed.relay.json(&["token", "list", "--network", NET]);
    let id = id.as_array().expect("a list").iter().find(|token| {
        let id = token["id"].as_str().expect("has an id");
        bed.relay.json(&["node", "show", "guest", "--network", NET])["token"] == id
    });
    let id = id.expect("its token")["id"].as_str().expect("text").to_owned();
    bed.relay
        .ctl(&["token", "revoke", &id, "--with-nodes", "--network", NET]);
    for (node, why) in [
        (&web, "an admin removed this node"),
        (&guest, "an admin revoked token"),
    ] {
        let says_why = || {
            let status = node.status()?;
            let out = status["out"].as_array()?.first()?.clone();
            (status["networks"].as_array()?.is_empty() && out["name"] == NET)
                .then_some(out["why"].to_string())
        };
        let said = eventually(SOON, &format!("{} knows that it is out", node.name()), says_why);
        assert!(said.contains(why) && said.contains("meshctl join"), "{said}");
        let page = node.ctl(&["status"]);
        assert!(page.contains("no longer in prod") && page.contains(why), "{page}");
        let log = node.with_process(meshd_tests::Process::log);
        assert!(log.contains("no longer in prod") && log.contains(why), "{log}");
        node.kill();
        node.start_again();
        assert_eq!(says_why().as_ref(), Some(&said), "a restart does not forget it");
    }
    web.join(&bed.relay.token(NET, &[]));
    assert_eq!(web.status().expect("answers")["out"], serde_json::json!([]));
    web.reaches("db1", SOON);
    guest.ctl(&["leave", NET]);
    assert_eq!(guest.status().expect("answers")["out"], serde_json::json!([]));
}

#[test]
fn who_waits_for_approval_and_leaves_is_gone_at_the_coordinator_too() {
    let bed = bed::together(&["db1"]);
    let guest = Node::start(&bed.sites[0].machine("guest", 9));
    let token = bed.relay.token(NET, &["--approve"]);
    let first = guest.join(&token);
    guest.ctl(&["leave", NET]);
    let again = guest.join(&token);
    for kept in ["hostname", "ipv4"] {
        assert_eq!(first[kept], again[kept], "{kept} was given back");
    }
    let nodes = bed.relay.json(&["node", "list", "--network", NET]);
    assert_eq!(nodes.as_array().map(Vec::len), Some(2), "{nodes:#}");
    bed.relay.ctl(&["node", "remove", "guest", "--network", NET]);
    eventually(SOON, "who was removed while it waited says so", || {
        (guest.status()?["out"][0]["name"] == NET).then_some(())
    });
}
