//! Foreign chains, and what is needed in them.

use super::*;
use serde_json::{Value, json};

fn chain(family: &str, table: &str, name: &str, hook: &str, policy: &str) -> Value {
    json!({"chain": {"family": family, "table": table, "name": name, "handle": 1, "type": "filter", "hook": hook, "prio": 0, "policy": policy}})
}

fn ours(handle: u64, interface: &str) -> Value {
    json!({"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": handle, "comment": "meshd-0", "expr": [
        {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": interface}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}})
}

fn ruleset(objects: Vec<Value>) -> Ruleset {
    let printed = serde_json::to_vec(&json!({"nftables": objects})).unwrap();
    let mut ruleset = Ruleset::parse(&printed).unwrap();
    ruleset.read(&printed).unwrap();
    ruleset
}

fn repair(objects: Vec<Value>, hooks: &[Hook], interfaces: &[&str]) -> Vec<String> {
    let interfaces: Vec<String> = interfaces.iter().map(|i| (*i).to_owned()).collect();
    let wanted: Vec<_> = hooks.iter().map(|hook| (*hook, interfaces.clone())).collect();
    ruleset(objects).repair(&wanted, "meshd-0", "meshd-0")
}

#[test]
fn a_machine_that_accepts_is_left_alone() {
    let objects = vec![
        chain("ip", "filter", "INPUT", "input", "accept"),
        chain("inet", "meshd-0", "input", "input", "drop"),
    ];
    assert!(repair(objects, &[Hook::Input, Hook::Forward], &["meshd0"]).is_empty());
}

#[test]
fn a_dropping_input_chain_gets_one_accept_for_each_interface() {
    let objects = vec![chain("ip", "filter", "INPUT", "input", "drop")];
    let lines = repair(objects, &[Hook::Input], &["meshd0", "meshd1"]);
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[0],
        "insert rule ip filter INPUT iifname \"meshd0\" counter accept comment \"meshd-0\""
    );
}

#[test]
fn what_is_there_is_not_added_twice_and_what_is_stale_goes() {
    let base = chain("ip", "filter", "INPUT", "input", "drop");
    assert!(repair(vec![base.clone(), ours(7, "meshd0")], &[Hook::Input], &["meshd0"]).is_empty());
    let lines = repair(
        vec![base, ours(7, "meshd0"), ours(8, "meshd9")],
        &[Hook::Input],
        &["meshd0"],
    );
    assert_eq!(lines, ["delete rule ip filter INPUT handle 8"]);
}

#[test]
fn without_interfaces_everything_of_ours_goes() {
    let lines = repair(
        vec![chain("ip", "filter", "INPUT", "input", "drop"), ours(7, "meshd0")],
        &[Hook::Input],
        &[],
    );
    assert_eq!(lines, ["delete rule ip filter INPUT handle 7"]);
}

#[test]
fn a_final_reject_counts_as_a_drop() {
    let reject = json!({"rule": {"family": "inet", "table": "filter", "chain": "in", "handle": 3, "expr": [{"counter": null}, {"reject": null}]}});
    let objects = vec![chain("inet", "filter", "in", "input", "accept"), reject];
    assert_eq!(repair(objects, &[Hook::Input], &["meshd0"]).len(), 1);
}

#[test]
fn forwarding_goes_to_the_place_that_docker_documents() {
    let docker = json!({"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER", "handle": 9}});
    let objects = vec![chain("ip", "filter", "FORWARD", "forward", "drop"), docker];
    let lines = repair(objects, &[Hook::Forward], &["meshd0"]);
    assert!(
        lines[0].starts_with("insert rule ip filter DOCKER-USER iifname"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("insert rule ip filter DOCKER-USER oifname"),
        "answers come back the other way: {lines:?}"
    );
}

#[test]
fn of_many_chains_those_are_read_where_a_drop_or_an_accept_of_ours_can_be() {
    let plain = |table: &str, name: &str| json!({"chain": {"family": "inet", "table": table, "name": name, "handle": 4}});
    let mut objects = vec![
        chain("ip", "filter", "INPUT", "input", "accept"),
        chain("inet", "other", "sent", "output", "drop"),
        chain("inet", "meshd-0", "input", "input", "accept"),
        chain("inet", "of others", "input", "input", "accept"),
        plain("filter", "DOCKER-USER"),
    ];
    objects.extend((0..1000).map(|number| plain("kube-proxy", &format!("service-{number}"))));
    let unread = ruleset(objects).unread("meshd-0");
    let unread: Vec<String> = unread.iter().map(ChainName::to_string).collect();
    assert_eq!(unread, ["ip filter INPUT", "inet filter DOCKER-USER"]);
}

#[test]
fn of_a_chains_rules_ours_and_the_last_are_kept() {
    let other = |handle: u64| json!({"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": handle, "expr": [{"drop": null}]}});
    let mut objects = vec![chain("ip", "filter", "INPUT", "input", "accept"), other(3)];
    objects.extend([ours(7, "meshd0"), other(9), other(10)]);
    let ruleset = ruleset(objects);
    let kept: Vec<u64> = ruleset.rules.iter().map(|rule| rule.handle).collect();
    assert_eq!(kept, [7, 10]);
    let wanted = [(Hook::Input, vec!["meshd0".to_owned()])];
    assert!(ruleset.repair(&wanted, "meshd-0", "meshd-0").is_empty());
}

#[test]
fn other_documents_are_refused() {
    for bad in [&b""[..], b"{}", b"[]", b"{\"nftables\": 3}"] {
        assert!(Ruleset::parse(bad).is_err());
        assert!(Ruleset::default().read(bad).is_err());
    }
    assert!(
        ruleset(vec![json!(3), json!({"chain": 5}), json!({"rule": {}})])
            .chains
            .is_empty()
    );
}
