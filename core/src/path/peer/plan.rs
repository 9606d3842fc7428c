//! What two NATs leave to be tried.

use crate::nat::{Filtering, NatBehaviour};
use crate::path::Method;

/// What the two NATs leave to be tried, and where their next ports are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    methods: [bool; 3],
    steps: [Option<i8>; 2],
}

impl Plan {
    pub(super) fn of(ours: NatBehaviour, theirs: NatBehaviour) -> Self {
        let methods = [Method::Punch, Method::FreshPort, Method::Birthday];
        Self {
            methods: methods.map(|method| may_work(method, ours, theirs)),
            steps: [ours.step(), theirs.step()],
        }
    }
}

/// Whether a method may work between two such NATs; what is unknown may be anything.
pub(super) fn may_work(method: Method, ours: NatBehaviour, theirs: NatBehaviour) -> bool {
    if ours.udp_blocked || theirs.udp_blocked {
        return false;
    }
    // the one's packets come from a port that nobody can know, and the other lets in only whom it has sent to
    let closed = |one: NatBehaviour, other: NatBehaviour| {
        one.is_dependent() && (other.filtering == Filtering::AddressAndPortDependent || other.is_dependent())
    };
    let hopeless = closed(ours, theirs) || closed(theirs, ours);
    let guessed = |nat: NatBehaviour| !nat.is_dependent() || nat.step().is_some();
    match method {
        Method::Punch => !hopeless,
        Method::FreshPort => guessed(ours) && guessed(theirs),
        // only where both are measured: hundreds of datagrams go to what may be an address that a lying observer named
        Method::Birthday => hopeless && (ours.is_dependent() != theirs.is_dependent()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::{Allocation, Mapping};

    fn nat(mapping: Mapping, filtering: Filtering, allocation: Allocation) -> NatBehaviour {
        NatBehaviour {
            mapping,
            filtering,
            allocation,
            udp_blocked: false,
        }
    }

    #[test]
    fn what_two_nats_make_hopeless_is_not_tried() {
        use Filtering::{AddressAndPortDependent as Port, EndpointIndependent as All};
        use Method::{Birthday, FreshPort, Punch};
        let home = nat(Mapping::EndpointIndependent, Port, Allocation::Preserving);
        let cone = nat(Mapping::EndpointIndependent, All, Allocation::Preserving);
        let random = nat(Mapping::AddressAndPortDependent, Port, Allocation::Random);
        let counted = nat(
            Mapping::AddressAndPortDependent,
            Port,
            Allocation::Sequential { step: 1 },
        );
        let unknown = NatBehaviour::default();
        let blocked = NatBehaviour {
            udp_blocked: true,
            ..home
        };
        for (ours, theirs, expected) in [
            (home, home, &[Punch, FreshPort][..]),
            (home, random, &[Birthday]),
            (random, cone, &[Punch]),
            (random, random, &[]),
            (counted, home, &[FreshPort, Birthday]),
            (counted, counted, &[FreshPort]),
            (counted, random, &[]),
            (unknown, unknown, &[Punch, FreshPort]),
            (unknown, random, &[Punch]),
            (home, blocked, &[]),
        ] {
            for (ours, theirs) in [(ours, theirs), (theirs, ours)] {
                let methods = [Punch, FreshPort, Birthday];
                let found: Vec<_> = methods
                    .into_iter()
                    .filter(|&method| may_work(method, ours, theirs))
                    .collect();
                assert_eq!(found, expected, "{ours:?} and {theirs:?}");
            }
        }
    }
}
