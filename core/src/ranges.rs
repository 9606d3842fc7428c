//! Ranges that meet: a network's prefixes against those that the machine has.
//!
//! At a join a collision is a refusal with both names. Later the machine's own LAN wins for its own prefix: a
//! laptop in a café must reach the café's router even where the network uses the same range.

use ipnet::IpNet;
use std::fmt;

/// A prefix that the machine has, and what has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalPrefix {
    /// The prefix, host bits cleared.
    pub prefix: IpNet,
    /// What has it, as a person knows it: an interface, or another meshd network.
    pub owner: String,
}

/// Two prefixes that overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collision {
    /// The network's prefix.
    pub ours: IpNet,
    /// The machine's prefix.
    pub theirs: LocalPrefix,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} overlaps {} of {}",
            self.ours, self.theirs.prefix, self.theirs.owner
        )
    }
}

/// The collisions of a network's `prefixes` with what the machine has. Default routes collide with nothing.
pub fn collisions(prefixes: &[IpNet], local: &[LocalPrefix]) -> Vec<Collision> {
    let mut found = Vec::new();
    for ours in prefixes {
        for theirs in local
            .iter()
            .filter(|l| l.prefix.prefix_len() > 0 && overlap(ours, &l.prefix))
        {
            found.push(Collision {
                ours: *ours,
                theirs: theirs.clone(),
            });
        }
    }
    found
}

/// What of the machine's prefixes must keep its own route although it lies inside (or equals) a prefix of ours.
///
/// A machine's prefix that is wider than ours needs nothing: ours is the more specific one.
pub fn lan_wins(prefixes: &[IpNet], local: &[LocalPrefix]) -> Vec<LocalPrefix> {
    let inside = |l: &&LocalPrefix| {
        prefixes
            .iter()
            .any(|ours| l.prefix.prefix_len() > 0 && ours.contains(&l.prefix))
    };
    let mut winners: Vec<_> = local.iter().filter(inside).cloned().collect();
    winners.sort();
    winners.dedup_by_key(|l| l.prefix);
    winners
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|n| n.parse().unwrap()).collect()
    }

    fn local(prefix: &str, owner: &str) -> LocalPrefix {
        LocalPrefix {
            prefix: prefix.parse().unwrap(),
            owner: owner.into(),
        }
    }

    #[test]
    fn a_collision_names_both() {
        let found = collisions(
            &nets(&["10.77.0.0/16"]),
            &[local("10.77.5.0/24", "docker0"), local("0.0.0.0/0", "eth0")],
        );
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "10.77.0.0/16 overlaps 10.77.5.0/24 of docker0"
        );
    }

    #[test]
    fn a_wider_lan_collides_but_does_not_win() {
        let (ours, lan) = (nets(&["10.77.0.0/16"]), [local("10.0.0.0/8", "eth0")]);
        assert_eq!(collisions(&ours, &lan).len(), 1);
        assert!(lan_wins(&ours, &lan).is_empty());
    }

    #[test]
    fn an_equal_or_narrower_lan_wins_once() {
        let ours = nets(&["10.77.0.0/16", "fd00::/64"]);
        let lan = [
            local("10.77.0.0/16", "wlan0"),
            local("10.77.0.0/16", "eth1"),
            local("10.77.9.0/24", "eth0"),
        ];
        assert_eq!(lan_wins(&ours, &lan).len(), 2);
    }

    #[test]
    fn families_never_meet() {
        assert!(collisions(&nets(&["fd00::/64"]), &[local("10.0.0.0/8", "eth0")]).is_empty());
    }
}
