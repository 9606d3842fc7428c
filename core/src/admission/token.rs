//! Whether a token admits.

use ipnet::Ipv4Net;

use super::prefix::is_for_nodes_v4;
use crate::map::Death;
use crate::names::{is_label, is_reserved};
use crate::statement::Delegation;

/// A token as the coordinator keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// What the root delegated: terms, fixed attributes, limits.
    pub delegation: Delegation,
    /// How many nodes it admitted so far.
    pub used: u32,
    /// Whether an admin revoked it.
    pub revoked: bool,
}

/// Whether who asks was here before, under the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returning {
    /// A new identity.
    New,
    /// A node that is in.
    Known {
        /// Whether it waits for approval still.
        pending: bool,
    },
    /// A node that is out, for good.
    Dead(Death),
}

/// What admission comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whether it costs one use of the token. The caller counts it in the same transaction.
    pub costs_use: bool,
    /// Whether the node waits for approval.
    pub pending: bool,
}

/// Why a token admits nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not one of this network's.
    #[error("this token is unknown here: it was made by another coordinator, or its network was deleted")]
    Unknown,
    /// Past its time.
    #[error("this token expired {ago} ago; make a new one with `meshctl token create`")]
    Expired {
        /// How long ago, for a person.
        ago: String,
    },
    /// All uses are taken.
    #[error("this token is used up: it was good for {0} node(s); make a new one with `meshctl token create`")]
    UsedUp(u32),
    /// An admin took it back.
    #[error("this token was revoked; ask an admin of the network for a new one")]
    Revoked,
    /// The identity itself is out.
    #[error("this node is out of the network: {0}; `meshctl leave` here, then join with a new token")]
    NodeDead(Death),
}

/// Whether `token` admits at unix time `now` in s.
///
/// Who returns under its identity costs no use and needs none: it is in by its chain, not by what is left of the token.
///
/// # Errors
/// A sentence each for unknown, revoked, expired and used up, in this order.
pub fn admit(token: Option<&TokenState>, who: Returning, now: u64) -> Result<Admitted, TokenRefusal> {
    match who {
        Returning::Dead(death) => return Err(TokenRefusal::NodeDead(death)),
        Returning::Known { pending } => {
            return Ok(Admitted {
                costs_use: false,
                pending,
            });
        }
        Returning::New => {}
    }
    let token = token.ok_or(TokenRefusal::Unknown)?;
    if token.revoked {
        return Err(TokenRefusal::Revoked);
    }
    let limits = token.delegation.limits;
    if let Some(end) = limits.not_after.filter(|end| *end <= now) {
        return Err(TokenRefusal::Expired {
            ago: rough(now - end),
        });
    }
    if let Some(uses) = limits.uses.filter(|uses| *uses <= token.used) {
        return Err(TokenRefusal::UsedUp(uses));
    }
    Ok(Admitted {
        costs_use: true,
        pending: token.delegation.terms.approval,
    })
}

fn rough(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Why a token cannot be made so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationRefusal {
    /// Good for nobody.
    #[error("a token needs at least one use")]
    NoUses,
    /// What it fixes can be one node's only.
    #[error("a token that fixes a host name or an address, or replaces a node, is good for one use only")]
    FixedForMany,
    /// The fixed name cannot be a node's.
    #[error(
        "\"{0}\" cannot be a node's name: 1 to 63 lower-case letters, digits and inner hyphens, not reserved"
    )]
    Name(String),
    /// The fixed address cannot be a node's.
    #[error("{address} is not an address for a node in {prefix}")]
    Address {
        /// What was asked for.
        address: std::net::Ipv4Addr,
        /// The network's prefix.
        prefix: Ipv4Net,
    },
    /// The fixed port cannot be one.
    #[error("0 is not a UDP port")]
    Port,
}

/// Whether a token may be made so in a network of `prefix`.
///
/// # Errors
/// Where it may not.
pub fn check_delegation(delegation: &Delegation, prefix: Ipv4Net) -> Result<(), DelegationRefusal> {
    let fixed = &delegation.fixed;
    if delegation.limits.uses == Some(0) {
        return Err(DelegationRefusal::NoUses);
    }
    let for_one = fixed.host_name.is_some() || fixed.ipv4.is_some() || fixed.replaces.is_some();
    if for_one && delegation.limits.uses != Some(1) {
        return Err(DelegationRefusal::FixedForMany);
    }
    if let Some(name) = fixed
        .host_name
        .as_ref()
        .filter(|name| !is_label(name) || is_reserved(name))
    {
        return Err(DelegationRefusal::Name(crate::id::excerpt(name)));
    }
    if let Some(address) = fixed.ipv4.filter(|address| !is_for_nodes_v4(prefix, *address)) {
        return Err(DelegationRefusal::Address { address, prefix });
    }
    if fixed.listen_port == Some(0) {
        return Err(DelegationRefusal::Port);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NetworkId, NodeId, TokenId};
    use crate::keys::JoinPublic;
    use crate::statement::{Fixed, Limits, Terms};

    fn token(uses: Option<u32>, not_after: Option<u64>) -> TokenState {
        let delegation = Delegation {
            network: NetworkId::from_bytes([0; 16]),
            token: TokenId::from_bytes([0; 8]),
            join: JoinPublic::from_bytes([0; 32]),
            serial: 1,
            terms: Terms::default(),
            fixed: Fixed::default(),
            limits: Limits { not_after, uses },
        };
        TokenState {
            delegation,
            used: 0,
            revoked: false,
        }
    }

    #[test]
    fn each_refusal_has_its_own_sentence() {
        let sentence =
            |token: Option<&TokenState>| admit(token, Returning::New, 1000).unwrap_err().to_string();
        let expired = token(None, Some(1000));
        let used = TokenState {
            used: 2,
            ..token(Some(2), None)
        };
        let revoked = TokenState {
            revoked: true,
            ..token(Some(2), Some(10))
        };
        assert!(sentence(None).contains("unknown"));
        assert!(sentence(Some(&expired)).contains("expired"));
        assert!(sentence(Some(&used)).contains("used up: it was good for 2"));
        assert!(sentence(Some(&revoked)).contains("revoked"));
    }

    #[test]
    fn uses_count_down_and_returning_costs_none() {
        let mut state = token(Some(2), Some(2000));
        while let Ok(admitted) = admit(Some(&state), Returning::New, 1000) {
            assert!(admitted.costs_use && !admitted.pending);
            state.used += 1;
        }
        assert_eq!(state.used, 2);
        let back = admit(Some(&state), Returning::Known { pending: false }, 9999).unwrap();
        assert_eq!(
            back,
            Admitted {
                costs_use: false,
                pending: false
            }
        );
        let dead = Returning::Dead(Death::ReplacedBy(NodeId::from_bytes([1; 16])));
        assert!(
            admit(Some(&state), dead, 0)
                .unwrap_err()
                .to_string()
                .contains("replaced it")
        );
    }

    #[test]
    fn approval_wanted_is_pending() {
        let mut state = token(None, None);
        state.delegation.terms.approval = true;
        assert!(admit(Some(&state), Returning::New, 0).unwrap().pending);
    }

    #[test]
    fn what_is_one_nodes_is_not_for_many() {
        let prefix = "10.77.0.0/16".parse().unwrap();
        let mut delegation = token(Some(1), None).delegation;
        delegation.fixed = Fixed {
            host_name: Some("db1".into()),
            ipv4: Some("10.77.0.9".parse().unwrap()),
            listen_port: Some(51820),
            replaces: None,
        };
        assert_eq!(check_delegation(&delegation, prefix), Ok(()));
        delegation.limits.uses = Some(2);
        assert_eq!(
            check_delegation(&delegation, prefix),
            Err(DelegationRefusal::FixedForMany)
        );
        delegation.limits.uses = Some(1);
        delegation.fixed.ipv4 = Some("10.77.255.254".parse().unwrap());
        assert!(matches!(
            check_delegation(&delegation, prefix),
            Err(DelegationRefusal::Address { .. })
        ));
        delegation.fixed.ipv4 = None;
        delegation.fixed.host_name = Some("localhost".into());
        assert!(matches!(
            check_delegation(&delegation, prefix),
            Err(DelegationRefusal::Name(_))
        ));
    }
}
