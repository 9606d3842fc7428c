//! Which name a node gets.

use crate::names::{distinct, is_label, is_reserved, to_label};

/// How long the name of a removed node stays blocked, in seconds: 30 days.
pub const BLOCKED_SECONDS: u64 = 30 * 24 * 3600;

/// What is known of the names of a network.
pub trait Names {
    /// The id of the node that is in under `name`, in a form for people.
    fn holder(&self, name: &str) -> Option<String>;

    /// The host behind a gateway that an admin called `name`, in a form for people.
    fn host(&self, name: &str) -> Option<String>;

    /// Until when (unix time in s) `name` is blocked by a removal.
    fn blocked_until(&self, name: &str) -> Option<u64>;
}

/// What a joining node would be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameWish<'a> {
    /// Its own host name: as near to it as can be had.
    Machine(&'a str),
    /// The name that its token fixes: this one or none.
    Fixed(&'a str),
}

/// The name that a node gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenName {
    /// The name: a DNS label.
    pub name: String,
    /// One sentence, where it is not what was asked for.
    pub notice: Option<String>,
}

/// Why a node gets no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameRefusal {
    /// Nothing of it can stand in a DNS label.
    #[error("\"{0}\" cannot be a host name: it has no letter or digit; give one with --hostname")]
    Empty(String),
    /// Means something to every machine.
    #[error("\"{0}\" is reserved and cannot be a node's name; give another with --hostname")]
    Reserved(String),
    /// Means something to every machine, and was typed by an admin.
    #[error("\"{0}\" is reserved and cannot be a node's name; take another one")]
    NotForNodes(String),
    /// Not written as a label, where it must be.
    #[error("\"{0}\" is not a DNS label: 1 to 63 lower-case letters, digits and inner hyphens")]
    NotLabel(String),
    /// Another node's.
    #[error(
        "another node has the name \"{name}\" (its id is {holder}); take another name, or rename that node first"
    )]
    Held {
        /// The name.
        name: String,
        /// Who has it.
        holder: String,
    },
    /// That of a host behind a gateway.
    #[error(
        "\"{name}\" is the name of {host}; take another name, or take it from that host with `meshctl gateway add`"
    )]
    OfHost {
        /// The name.
        name: String,
        /// The host.
        host: String,
    },
    /// A removed node's.
    #[error(
        "the name \"{name}\" was a removed node's and is blocked for {}; an admin frees it with `meshctl name free {name}`",
        if *days == 1 { "1 more day".to_owned() } else { format!("{days} more days") }
    )]
    Blocked {
        /// The name.
        name: String,
        /// Days left, rounded up.
        days: u64,
    },
}

/// A name for a joining node at unix time `now` in s.
///
/// A machine's own name is mapped to a label (dots and capitals too) and numbered where another has it or a removal
/// blocks it: `web`, `web-2`, `web-3`.
///
/// # Errors
/// Where the name is reserved or empty, or a fixed one cannot be had.
pub fn give_name(wish: NameWish<'_>, names: &impl Names, now: u64) -> Result<GivenName, NameRefusal> {
    match wish {
        NameWish::Fixed(name) => {
            rename(name, names, now)?;
            Ok(GivenName {
                name: name.to_owned(),
                notice: None,
            })
        }
        NameWish::Machine(asked) => {
            let label = to_label(asked).ok_or_else(|| NameRefusal::Empty(crate::id::excerpt(asked)))?;
            if is_reserved(&label) {
                return Err(NameRefusal::Reserved(label));
            }
            let taken = |name: &str| free(name, names, now).is_err();
            let name = distinct(&label, taken);
            let notice = match free(&label, names, now) {
                Err(why) => Some(format!("{why}; this node is called \"{name}\"")),
                Ok(()) if name != asked => Some(format!(
                    "\"{}\" is called \"{name}\" here",
                    crate::id::excerpt(asked)
                )),
                Ok(()) => None,
            };
            Ok(GivenName { name, notice })
        }
    }
}

/// Whether an admin may give a node this name.
///
/// # Errors
/// Where it is no label, reserved, held by a node or a host, or blocked.
pub fn rename(name: &str, names: &impl Names, now: u64) -> Result<(), NameRefusal> {
    if !is_label(name) {
        return Err(NameRefusal::NotLabel(crate::id::excerpt(name)));
    }
    if is_reserved(name) {
        return Err(NameRefusal::NotForNodes(name.to_owned()));
    }
    free(name, names, now)
}

fn free(name: &str, names: &impl Names, now: u64) -> Result<(), NameRefusal> {
    if let Some(holder) = names.holder(name) {
        return Err(NameRefusal::Held {
            name: name.to_owned(),
            holder,
        });
    }
    if let Some(host) = names.host(name) {
        return Err(NameRefusal::OfHost {
            name: name.to_owned(),
            host,
        });
    }
    match names.blocked_until(name) {
        Some(until) if until > now => {
            let days = (until - now).div_ceil(24 * 3600);
            Err(NameRefusal::Blocked {
                name: name.to_owned(),
                days,
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Taken(&'static [&'static str], &'static [(&'static str, u64)]);

    impl Names for Taken {
        fn holder(&self, name: &str) -> Option<String> {
            self.0.contains(&name).then(|| "0123".into())
        }

        fn host(&self, name: &str) -> Option<String> {
            (name == "printer").then(|| "192.168.50.9 behind gw1".into())
        }

        fn blocked_until(&self, name: &str) -> Option<u64> {
            self.1
                .iter()
                .find(|(blocked, _)| *blocked == name)
                .map(|(_, until)| *until)
        }
    }

    fn machine(asked: &str, names: &Taken) -> Result<GivenName, NameRefusal> {
        give_name(NameWish::Machine(asked), names, 1000)
    }

    #[test]
    fn names_are_mapped_and_numbered() {
        let none = Taken(&[], &[]);
        assert_eq!(
            machine("web", &none).unwrap(),
            GivenName {
                name: "web".into(),
                notice: None
            }
        );
        let mapped = machine("Web.Example.com", &none).unwrap();
        assert_eq!(mapped.name, "web-example-com");
        assert!(mapped.notice.unwrap().contains("called \"web-example-com\""));
        assert_eq!(machine("web", &Taken(&["web"], &[])).unwrap().name, "web-2");
        assert_eq!(
            machine("web", &Taken(&["web", "web-2"], &[])).unwrap().name,
            "web-3"
        );
    }

    #[test]
    fn reserved_names_are_refused() {
        for name in ["localhost", "LOCALHOST", "ip6-loopback", "127"] {
            assert!(
                matches!(machine(name, &Taken(&[], &[])), Err(NameRefusal::Reserved(_))),
                "{name}"
            );
        }
        assert!(matches!(
            machine("...", &Taken(&[], &[])),
            Err(NameRefusal::Empty(_))
        ));
    }

    #[test]
    fn a_removed_nodes_name_is_blocked_until_its_time() {
        let names = Taken(&[], &[("web", 1000 + 24 * 3600 + 1), ("old", 1000)]);
        assert_eq!(machine("web", &names).unwrap().name, "web-2");
        assert_eq!(machine("old", &names).unwrap().name, "old");
        let error = rename("web", &names, 1000).unwrap_err();
        assert_eq!(
            error,
            NameRefusal::Blocked {
                name: "web".into(),
                days: 2
            }
        );
    }

    #[test]
    fn the_name_of_a_host_behind_a_gateway_is_that_hosts() {
        let none = Taken(&[], &[]);
        let given = machine("Printer", &none).unwrap();
        assert_eq!(given.name, "printer-2");
        assert!(given.notice.unwrap().contains("192.168.50.9 behind gw1"));
        let refused = rename("printer", &none, 0).unwrap_err();
        assert!(matches!(refused, NameRefusal::OfHost { .. }), "{refused}");
    }

    #[test]
    fn a_fixed_name_is_had_or_refused() {
        let names = Taken(&["web"], &[]);
        let fixed = |name| give_name(NameWish::Fixed(name), &names, 0);
        assert_eq!(fixed("db1").unwrap().name, "db1");
        assert!(matches!(fixed("web"), Err(NameRefusal::Held { .. })));
        assert!(matches!(fixed("Web"), Err(NameRefusal::NotLabel(_))));
    }
}
