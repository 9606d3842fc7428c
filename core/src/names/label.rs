//! Host name labels (RFC 1035 section 2.3.1, RFC 1123 section 2.1).

/// Longest label, in bytes.
const MAX_LABEL: usize = 63;

/// Short names that mean something on a machine or to a resolver, and that no node may take.
const RESERVED: &[&str] = &[
    // hosts files as distributions ship them
    "localhost",
    "localdomain",
    "localhost4",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "broadcasthost",
    // names that programs look up by themselves and believe (RFC 6762, RFC 7686, RFC 6761; web proxy and ISATAP discovery)
    "local",
    "mesh",
    "onion",
    "invalid",
    "arpa",
    "wpad",
    "isatap",
    "kubernetes",
];

/// Whether `name` is a DNS label as we write it: 1 to 63 lower-case letters, digits and inner hyphens.
pub fn is_label(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=MAX_LABEL).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// Whether a short name is kept for the machine: `localhost` and its kin, and what `inet_aton` reads as an address.
pub fn is_reserved(label: &str) -> bool {
    RESERVED.contains(&label) || reads_as_address(label)
}

/// `10` is 0.0.0.10 and `0x7f` is 0.0.0.127 to `inet_aton`, before any hosts file is asked.
fn reads_as_address(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Maps any host name to a label: capitals become small, dots and everything else that no label holds become single
/// hyphens. `Db1.Example.com` gives `db1-example-com`. `None` where nothing is left.
pub fn to_label(name: &str) -> Option<String> {
    let mut label = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c.to_ascii_lowercase());
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
        if label.len() == MAX_LABEL {
            break;
        }
    }
    label.truncate(label.trim_end_matches('-').len());
    is_label(&label).then_some(label)
}

/// The first of `label`, `label-2`, `label-3`, ... that is not taken, cut so that it stays a label.
pub fn distinct(label: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(label) {
        return label.to_owned();
    }
    (2u64..)
        .map(|n| {
            let suffix = format!("-{n}");
            let room = label.len().min(MAX_LABEL - suffix.len());
            let stem = label.get(..room).unwrap_or_default().trim_end_matches('-');
            format!("{stem}{suffix}")
        })
        .find(|candidate| !taken(candidate))
        .unwrap_or_else(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_names_of_any_shape_become_labels() {
        for (given, label) in [
            ("db1", "db1"),
            ("Db1.Example.COM", "db1-example-com"),
            ("web_front..2", "web-front-2"),
            ("-x-", "x"),
            ("köln", "k-ln"),
            ("10", "10"),
        ] {
            assert_eq!(to_label(given).as_deref(), Some(label), "{given}");
        }
        assert_eq!(to_label("..."), None);
        assert_eq!(to_label(""), None);
    }

    #[test]
    fn the_second_of_a_name_gets_a_number() {
        assert_eq!(distinct("web", |_| false), "web");
        assert_eq!(distinct("web", |n| n == "web"), "web-2");
        assert_eq!(distinct("web", |n| n == "web" || n == "web-2"), "web-3");
        let long = "a".repeat(63);
        let second = distinct(&long, |n| n == long);
        assert!(is_label(&second) && second.ends_with("a-2"));
    }

    #[test]
    fn names_that_resolve_by_themselves_are_reserved() {
        for name in ["localhost", "ip6-localhost", "broadcasthost", "10", "0x7f", "0"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["db1", "0xg", "a10", "1a"] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_mapped_is_a_label(name in "\\PC{0,200}") {
            if let Some(label) = to_label(&name) {
                prop_assert!(is_label(&label));
                prop_assert_eq!(to_label(&label), Some(label.clone()));
                prop_assert!(is_label(&distinct(&label, |n| n == label)));
            }
        }
    }
}
