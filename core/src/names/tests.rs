//! Whole-file behaviour: which bytes change, which names are written.

use super::*;
use proptest::prelude::*;

fn node(label: &str, last: u8) -> NodeName {
    let ipv4 = Some([10, 77, 0, last].into());
    let ipv6 = Some(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()));
    NodeName {
        label: label.into(),
        address: Address { ipv4, ipv6 },
    }
}

fn network(name: &str, nodes: &[(&str, u8)]) -> NetworkNames {
    let nodes = nodes.iter().map(|(label, last)| node(label, *last)).collect();
    NetworkNames {
        network: name.into(),
        nodes,
        ..Default::default()
    }
}

fn wanted(networks: Vec<NetworkNames>) -> Wanted {
    Wanted {
        own_host_name: "Me.example.com".into(),
        networks,
    }
}

fn updated(file: &str, wanted: &Wanted) -> String {
    String::from_utf8(update(file.as_bytes(), "default", wanted).bytes).unwrap()
}

fn reason(file: &str, wanted: &Wanted, label: &str) -> Option<Reason> {
    let update = update(file.as_bytes(), "default", wanted);
    update
        .withheld
        .iter()
        .find(|w| w.label == label)
        .map(|w| w.reason)
}

const BLOCK: &str = "# meshd begin default/prod\n\
    10.77.0.9\tdb1.prod.mesh db1\n\
    fd00::9\tdb1.prod.mesh db1\n\
    # meshd end default/prod\n";

#[test]
fn a_block_is_added_at_the_end_and_taken_away_again() {
    let wanted = wanted(vec![network("prod", &[("db1", 9)])]);
    for before in ["", "127.0.0.1 localhost\n", "127.0.0.1 localhost\r\n\r\n"] {
        assert_eq!(updated(before, &wanted), format!("{before}{BLOCK}"));
        assert_eq!(
            outside(updated(before, &wanted).as_bytes(), "default"),
            before.as_bytes()
        );
    }
}

#[test]
fn a_last_line_without_a_newline_stays_the_last_line() {
    let wanted = wanted(vec![network("prod", &[("db1", 9)])]);
    assert_eq!(
        updated("127.0.0.1 localhost\n::1 me", &wanted),
        format!("127.0.0.1 localhost\n{BLOCK}::1 me")
    );
    assert_eq!(updated("::1 me", &wanted), format!("{BLOCK}::1 me"));
}

#[test]
fn a_block_stays_where_somebody_moved_it() {
    let both = wanted(vec![network("prod", &[("db1", 9)]), network("lab", &[("x", 1)])]);
    let file = updated(&format!("# top\n{BLOCK}# bottom\n"), &both);
    assert!(
        file.starts_with(&format!("# top\n{BLOCK}# bottom\n# meshd begin default/lab\n")),
        "{file}"
    );
    assert_eq!(updated(&file, &wanted(vec![])), "# top\n# bottom\n");
}

#[test]
fn lines_are_sorted_whatever_the_order_of_the_nodes() {
    let nodes = [("b", 2), ("a", 10), ("c", 1)];
    let mut turned = nodes;
    turned.reverse();
    let file = updated("", &wanted(vec![network("prod", &nodes)]));
    assert_eq!(file, updated("", &wanted(vec![network("prod", &turned)])));
    let order: Vec<&str> = file
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(ip, _)| ip)
        .collect();
    assert_eq!(
        order,
        [
            "10.77.0.1",
            "10.77.0.2",
            "10.77.0.10",
            "fd00::1",
            "fd00::2",
            "fd00::a"
        ]
    );
}

#[test]
fn torn_doubled_and_nested_markers_heal_without_losing_a_foreign_line() {
    let wanted = wanted(vec![network("prod", &[("db1", 9)])]);
    let own = "10.77.0.9\tdb1.prod.mesh db1\n";
    let (begin, end) = ("# meshd begin default/prod\n", "# meshd end default/prod\n");
    for (torn, rest) in [
        (format!("{begin}{own}192.0.2.1 a\n"), "192.0.2.1 a\n"),
        (format!("192.0.2.1 a\n{own}{end}"), "192.0.2.1 a\n"),
        (
            format!("{begin}{begin}{own}{end}192.0.2.1 a\n{end}"),
            "192.0.2.1 a\n",
        ),
        (format!("{begin}{own}192.0.2.1 a\n{own}{end}"), "192.0.2.1 a\n"),
        (format!("{BLOCK}192.0.2.1 a\n{BLOCK}"), "192.0.2.1 a\n"),
        (
            format!("{begin}# meshd begin other/prod\n{own}{end}"),
            "# meshd begin other/prod\n",
        ),
        (format!("{begin}{own}# meshd end defau"), "# meshd end defau"),
        (BLOCK.trim_end().to_owned(), ""),
        (BLOCK.replace('\n', "\r\n"), ""),
    ] {
        assert_eq!(outside(torn.as_bytes(), "default"), rest.as_bytes(), "{torn}");
        let healed = updated(&torn, &wanted);
        assert_eq!(healed.matches(BLOCK).count(), 1, "{torn} -> {healed}");
        assert_eq!(healed.replacen(BLOCK, "", 1), rest, "{torn} -> {healed}");
    }
}

#[test]
fn a_line_that_a_person_wrote_into_our_block_is_kept() {
    let wanted = wanted(vec![network("prod", &[("db1", 9)])]);
    let file = BLOCK.replace("fd00::9", "192.0.2.7 printer # mine\nfd00::9");
    assert_eq!(
        updated(&file, &wanted),
        format!("{BLOCK}192.0.2.7 printer # mine\n")
    );
}

#[test]
fn blocks_of_another_instance_are_not_touched() {
    let other = BLOCK.replace("default", "second");
    assert_eq!(updated(&other, &wanted(vec![])), other);
    assert_eq!(outside(other.as_bytes(), "default"), other.as_bytes());
    assert!(!has_blocks(other.as_bytes(), "default") && has_blocks(other.as_bytes(), "second"));
}

#[test]
fn of_two_instances_with_one_short_name_exactly_one_writes_it() {
    let both = wanted(vec![network("prod", &[("db1", 9)])]);
    let mut file = Vec::new();
    for _ in 0..3 {
        file = update(&file, "a", &both).bytes;
        file = update(&file, "b", &both).bytes;
        let text = String::from_utf8(file.clone()).unwrap();
        assert_eq!(text.matches(" db1\n").count(), 2, "{text}");
    }
}

#[test]
fn a_short_name_takes_nothing_from_anybody() {
    let one = |label| wanted(vec![network("prod", &[(label, 9)])]);
    let file = "127.0.1.1\tme.example.com me\n192.0.2.1 Printer nas # scanner\n";
    assert_eq!(
        reason(file, &one("localhost"), "localhost"),
        Some(Reason::Reserved)
    );
    assert_eq!(reason(file, &one("me"), "me"), Some(Reason::OwnHostName));
    assert_eq!(
        reason(file, &one("printer"), "printer"),
        Some(Reason::ElsewhereInFile)
    );
    assert_eq!(reason(file, &one("nas"), "nas"), Some(Reason::ElsewhereInFile));
    assert_eq!(
        reason(file, &one("scanner"), "scanner"),
        None,
        "a comment defines nothing"
    );
    assert_eq!(reason(file, &one("10"), "10"), Some(Reason::Reserved));
    for label in ["localhost", "me", "printer"] {
        assert!(
            updated(file, &one(label)).contains(&format!("10.77.0.9\t{label}.prod.mesh\n")),
            "{label}"
        );
    }
    let two = wanted(vec![
        network("prod", &[("web", 1)]),
        network("lab", &[("web", 2), ("db", 3)]),
    ]);
    let file = updated("", &two);
    assert!(
        file.contains("10.77.0.1\tweb.prod.mesh\n") && file.contains("10.77.0.2\tweb.lab.mesh\n"),
        "{file}"
    );
    assert!(file.contains("10.77.0.3\tdb.lab.mesh db\n"), "{file}");
}

#[test]
fn a_name_of_a_removed_node_is_not_written_until_it_is_free() {
    let mut names = wanted(vec![
        network("prod", &[("db1", 9), ("web", 1)]),
        network("lab", &[("db1", 3)]),
    ]);
    names.networks[0].blocked.insert("db1".into());
    let file = updated("", &names);
    assert!(
        !file.contains("db1.prod.mesh") && file.contains("web.prod.mesh web\n"),
        "{file}"
    );
    assert!(file.contains("10.77.0.3\tdb1.lab.mesh\n"), "{file}");
}

#[test]
fn two_nodes_with_one_label_do_not_share_it() {
    let file = updated(
        "",
        &wanted(vec![network("prod", &[("web", 1), ("web", 2), ("Bad_", 3)])]),
    );
    assert_eq!(file.matches("web.prod.mesh").count(), 2, "{file}");
    assert!(!file.contains("10.77.0.2") && !file.contains("Bad_"), "{file}");
}

/// Pieces of hosts files, ours and not, whole and torn, in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"# meshd begin default/prod\n".to_vec()),
        Just(b"# meshd end default/prod\n".to_vec()),
        Just(b"# meshd begin default/lab\r\n".to_vec()),
        Just(b"# meshd end default/lab".to_vec()),
        Just(b"# meshd begin other/prod\n".to_vec()),
        Just(b"# meshd end other/prod\n".to_vec()),
        Just(b"10.77.0.9\tdb1.prod.mesh db1\n".to_vec()),
        Just(b"fd00::1\tx.lab.mesh\n".to_vec()),
        Just(b"192.0.2.1 printer\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\xff\xfe\0".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_outside_ever_changes(file in pieces(), cut in any::<proptest::sample::Index>()) {
        let file = &file[..cut.index(file.len() + 1)];
        let wanted = wanted(vec![network("prod", &[("db1", 9)]), network("lab", &[("x", 1)])]);
        let rest = outside(file, "default");
        let once = update(file, "default", &wanted).bytes;
        prop_assert_eq!(outside(&once, "default"), rest.clone());
        prop_assert_eq!(update(&once, "default", &wanted).bytes, once);
        prop_assert_eq!(update(file, "default", &Wanted::default()).bytes, rest.clone());
        // what is lost is nothing but our markers and lines of our form
        let mut kept = rest.split_inclusive(|b| *b == b'\n').peekable();
        for line in file.split_inclusive(|b| *b == b'\n') {
            if kept.next_if_eq(&line).is_none() {
                let text = String::from_utf8_lossy(line);
                prop_assert!(text.starts_with("# meshd ") || text.contains(".mesh"), "lost {text:?}");
            }
        }
        prop_assert!(kept.next().is_none());
    }
}

#[test]
fn a_huge_line_and_a_great_many_markers_take_linear_time() {
    let mut file = vec![b'x'; 4 << 20];
    for _ in 0..50_000 {
        file.extend_from_slice(b"\n# meshd begin default/prod\n10.77.0.9\tdb1.prod.mesh\n# meshd begin a/b");
    }
    let kept = outside(&file, "default");
    assert_eq!(kept.len(), (4 << 20) + 50_000 * "\n# meshd begin a/b".len());
}
