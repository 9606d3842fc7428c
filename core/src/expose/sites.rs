//! Which site a TLS client asks for: an exact name first, then one whose first label may be anything.

use std::collections::BTreeMap;

/// What is behind each site of one port.
#[derive(Clone, Debug)]
pub struct Sites<T> {
    exact: BTreeMap<String, T>,
    /// By what follows the first label.
    wild: BTreeMap<String, T>,
}

impl<T> Default for Sites<T> {
    fn default() -> Self {
        Self {
            exact: BTreeMap::new(),
            wild: BTreeMap::new(),
        }
    }
}

impl<T> Sites<T> {
    /// From now on this is behind the site; `*.` in front of it stands for any one label.
    pub fn insert(&mut self, site: &str, what: T) {
        match site.strip_prefix("*.") {
            Some(rest) => drop(self.wild.insert(rest.to_owned(), what)),
            None => drop(self.exact.insert(site.to_owned(), what)),
        }
    }

    /// What is behind the site that a client asks for; its name in lower case, as [`crate::clienthello`] gives it.
    pub fn find(&self, name: &str) -> Option<&T> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let wild = || self.wild.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wild)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty()
    }
}

/// Whether this is a host name (RFC 1123 section 2.1) in lower case, or one behind `*.`; an address is none (RFC 6066 section 3).
pub fn is_site(text: &str) -> bool {
    let (host, least) = match text.strip_prefix("*.") {
        Some(rest) => (rest, 2),
        None => (text, 1),
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && host.split('.').all(label)
        && host.split('.').count() >= least
        && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_comes_first_and_a_star_is_one_label() {
        let mut sites = Sites::default();
        sites.insert("www.example.org", 1);
        sites.insert("*.example.org", 2);
        sites.insert("localhost", 3);
        for (name, found) in [
            ("www.example.org", Some(&1)),
            ("www.example.org.", Some(&1)),
            ("shop.example.org", Some(&2)),
            ("a.shop.example.org", None),
            ("example.org", None),
            ("localhost", Some(&3)),
            ("", None),
            (".", None),
        ] {
            assert_eq!(sites.find(name), found, "{name}");
        }
    }

    #[test]
    fn addresses_and_odd_names_are_no_sites() {
        for good in [
            "a.b",
            "xn--bcher-kva.example",
            "*.example.org",
            "_x.example.org",
            "a",
        ] {
            assert!(is_site(good), "{good}");
        }
        let long = "a.".repeat(127);
        for bad in [
            "",
            "*",
            "*.org",
            "*.*.org",
            "A.b",
            "192.0.2.1",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "a.b.",
            "[::1]",
            &long,
        ] {
            assert!(!is_site(bad), "{bad}");
        }
    }
}
