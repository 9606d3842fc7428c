//! The addresses of one peer: proven by a pong, being tried, or only known.

use std::time::{Duration, Instant};

use crate::path::{Remote, SocketId};
use crate::statement::CandidateKind;

/// Addresses kept per peer.
const MAX_ADDRESSES: usize = 32;
/// Of these, at most so many from each source other than the record.
const MAX_PER_ORIGIN: usize = 4;
const MAX_FRESH: usize = 8;
/// Without a sign of life an address counts as proven for so long.
const PROOF_LIFE: Duration = Duration::from_secs(120);
/// The limits on addresses that have not answered do not hold for one that has in this time.
const ANSWER_LIFE: Duration = Duration::from_secs(600);
/// When an address that has not answered is tried, counted from the first try. Eight datagrams a minute are allowed to
/// it: a primer, these, and two that are left for answers to the peer's own pings. In step with the peer, which has been
/// told, they come close together; else it may yet have to open its NAT.
const STEPS_MS: [u64; 5] = [0, 100, 300, 700, 1_500];
const IN_STEP_MS: [u64; 5] = [0, 50, 100, 200, 400];
/// A proven address is pinged this often while the peer is active: NATs forget after 30 s at the earliest.
const CHECK_EVERY: Duration = Duration::from_secs(15);

/// How the address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The peer's node record.
    Record,
    /// The peer's call.
    Called,
    /// A beacon.
    Beacon,
    /// Something authentic came from it.
    Observed,
    /// Where a fresh port of the peer is, or may be by now.
    Fresh,
    /// It was proven in an earlier life of ours.
    Hint,
}

/// That the peer has answered at an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    /// When something authentic last came from it.
    pub(super) heard: Instant,
    pub(super) rtt: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    start: Instant,
    step: usize,
    next: Instant,
    steps: usize,
    in_step: bool,
}

/// One address.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    pub(super) remote: Remote,
    pub(super) kind: CandidateKind,
    pub(super) doubt: bool,
    /// The last pong came from another address.
    pub(super) crooked: bool,
    origin: Origin,
    known_since: Instant,
    proof: Option<Proof>,
    answered: Option<Instant>,
    probe: Option<Probe>,
    pinged: Option<Instant>,
    /// When our NAT was last opened towards it.
    primed: Option<Instant>,
    /// When the peer's own packets last came by it.
    carried: Option<Instant>,
    /// When anything fresh and authentic last came from it.
    came: Option<Instant>,
}

impl Direct {
    fn new(now: Instant, remote: Remote, kind: CandidateKind, origin: Origin) -> Self {
        Self {
            remote,
            kind,
            doubt: false,
            crooked: false,
            origin,
            known_since: now,
            proof: None,
            answered: None,
            probe: None,
            pinged: None,
            primed: None,
            carried: None,
            came: None,
        }
    }

    /// Whether it is known from an earlier life only.
    pub(super) fn is_hint(&self) -> bool {
        self.origin == Origin::Hint
    }

    /// Whether the peer itself has named it, for its primary socket and ours.
    pub(super) fn is_named(&self) -> bool {
        self.origin <= Origin::Called && self.remote.socket.is_primary()
    }

    /// Whether it is only a guess where the peer's fresh port may be, and nothing came from there.
    pub(super) fn is_guess(&self) -> bool {
        self.origin == Origin::Fresh && self.proof.is_none() && self.came.is_none()
    }

    /// Its proof, while it is fresh enough.
    pub(super) fn proof(&self, now: Instant) -> Option<Proof> {
        self.proof
            .filter(|proof| now.saturating_duration_since(proof.heard) < PROOF_LIFE)
    }

    /// Whether nothing authentic came by it for so long; not where it is not proven.
    pub(super) fn is_silent(&self, now: Instant, ago: Duration) -> bool {
        self.proof
            .is_some_and(|proof| now.saturating_duration_since(proof.heard) >= ago)
    }

    /// Whether it has answered lately, so that it may be sent to.
    pub(super) fn has_answered(&self, now: Instant) -> bool {
        self.answered
            .is_some_and(|at| now.saturating_duration_since(at) < ANSWER_LIFE)
    }

    /// When its proof ends unless something comes.
    pub(super) fn proof_ends(&self) -> Option<Instant> {
        self.proof.map(|proof| proof.heard + PROOF_LIFE)
    }

    /// Something authentic came from it; does nothing where it is not proven.
    /// What the peer sends shows that it is there, not that it hears us: while a ping asks that, doubt stays.
    pub(super) fn heard(&mut self, now: Instant, asking: bool) {
        if let Some(proof) = self.proof(now) {
            self.proof = Some(Proof { heard: now, ..proof });
            self.doubt &= asking;
        }
    }

    /// Something fresh and authentic came from it.
    pub(super) fn came(&mut self, now: Instant) {
        self.came = Some(now);
    }

    pub(super) fn came_at(&self) -> Option<Instant> {
        self.came
    }

    pub(super) fn came_within(&self, now: Instant, ago: Duration) -> bool {
        self.came
            .is_some_and(|at| now.saturating_duration_since(at) < ago)
    }

    /// A packet of the peer came by it, no mere ping.
    pub(super) fn carried(&mut self, now: Instant) {
        self.carried = Some(now);
    }

    /// Whether the peer sent its packets by it until just now.
    pub(super) fn carried_within(&self, now: Instant, ago: Duration) -> bool {
        self.carried
            .is_some_and(|at| now.saturating_duration_since(at) < ago)
    }

    /// A pong came, from this address.
    pub(super) fn prove(&mut self, now: Instant, rtt: Duration, from: Remote) {
        self.crooked = from != self.remote;
        let smoothed = self.proof(now).map_or(rtt, |proof| (proof.rtt * 7 + rtt) / 8);
        self.proof = Some(Proof {
            heard: now,
            rtt: smoothed,
        });
        (self.probe, self.doubt, self.answered) = (None, false, Some(now));
    }

    pub(super) fn unprove(&mut self) {
        (self.proof, self.doubt) = (None, false);
    }

    /// Begins to try it, `steps` times; goes on where it is being tried already.
    pub(super) fn try_now(&mut self, now: Instant, steps: usize) {
        self.try_from(now, steps, false);
    }

    /// Begins to try it at `start`, in step with the peer or not; where tries are to begin later, they begin then.
    pub(super) fn try_from(&mut self, start: Instant, steps: usize, in_step: bool) {
        let waiting = |probe: &Probe| probe.step == 0 && start < probe.start;
        if self.probe.as_ref().is_none_or(waiting) {
            self.probe = Some(Probe {
                start,
                step: 0,
                next: start,
                steps,
                in_step,
            });
        }
    }

    /// Whether tries of it are to begin, but have not.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.probe
            .is_some_and(|probe| probe.step == 0 && probe.start > now)
    }

    /// Ends its tries after so many.
    pub(super) fn try_at_most(&mut self, tries: usize) {
        self.probe = self.probe.filter(|probe| probe.step < tries).map(|probe| Probe {
            steps: probe.steps.min(tries),
            ..probe
        });
    }

    pub(super) fn stop_trying(&mut self) {
        self.probe = None;
    }

    /// Whether it was pinged less than `ago` ago.
    pub(super) fn pinged_within(&self, now: Instant, ago: Duration) -> bool {
        self.pinged
            .is_some_and(|pinged| now.saturating_duration_since(pinged) < ago)
    }

    pub(super) fn primed(&mut self, now: Instant) {
        self.primed = Some(now);
    }

    /// Whether our NAT was opened towards it less than `ago` ago.
    pub(super) fn primed_within(&self, now: Instant, ago: Duration) -> bool {
        self.primed
            .is_some_and(|primed| now.saturating_duration_since(primed) < ago)
    }

    pub(super) fn pinged(&mut self, now: Instant) {
        self.pinged = Some(now);
    }

    /// Whether a try is due; it is taken.
    pub(super) fn take_try(&mut self, now: Instant) -> bool {
        let Some(probe) = self.probe.as_mut().filter(|probe| now >= probe.next) else {
            return false;
        };
        probe.step += 1;
        let steps = if probe.in_step { IN_STEP_MS } else { STEPS_MS };
        match steps.get(probe.step).filter(|_| probe.step < probe.steps) {
            Some(&at) => probe.next = (probe.start + Duration::from_millis(at)).max(now),
            None => self.probe = None,
        }
        true
    }

    /// The last try could not be made: not before `wait` is over, and not at all where that is long.
    pub(super) fn postpone(&mut self, now: Instant, wait: Duration) {
        if wait > Duration::from_secs(2) {
            self.probe = None;
        } else if let Some(probe) = &mut self.probe {
            probe.next = probe.next.max(now + wait);
        } else {
            self.probe = Some(Probe {
                start: now,
                step: STEPS_MS.len() - 1,
                next: now + wait,
                steps: 0,
                in_step: false,
            });
        }
    }

    fn next_try(&self) -> Option<Instant> {
        self.probe.map(|probe| probe.next)
    }

    /// When a proven address is to be pinged next.
    pub(super) fn next_check(&self, now: Instant) -> Option<Instant> {
        let proof = self.proof(now)?;
        Some(self.pinged.unwrap_or(proof.heard) + CHECK_EVERY)
    }
}

/// All addresses of one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Directs(Vec<Direct>);

impl Directs {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Direct> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Direct> {
        self.0.iter_mut()
    }

    pub(super) fn get(&self, remote: Remote) -> Option<&Direct> {
        self.0.iter().find(|direct| direct.remote == remote)
    }

    pub(super) fn get_mut(&mut self, remote: Remote) -> Option<&mut Direct> {
        self.0.iter_mut().find(|direct| direct.remote == remote)
    }

    pub(super) fn is_proven(&self, now: Instant, remote: Remote) -> bool {
        self.get(remote).is_some_and(|direct| direct.proof(now).is_some())
    }

    pub(super) fn has_answered(&self, now: Instant, remote: Remote) -> bool {
        // the limits protect the address, whatever socket of ours it is sent to from
        let same = |direct: &&Direct| direct.remote.address == remote.address;
        self.0.iter().filter(same).any(|direct| direct.has_answered(now))
    }

    /// Forgets where a fresh port might have been: it was found.
    pub(super) fn forget_guesses(&mut self) {
        self.0.retain(|direct| !direct.is_guess());
    }

    /// Forgets what belongs to a socket that is closed.
    pub(super) fn forget_sockets(&mut self, closed: impl Fn(SocketId) -> bool) {
        self.0.retain(|direct| !closed(direct.remote.socket));
    }

    /// Adds an address, in the place of the oldest unproven one of its origin where that has its share; whether it is
    /// new. What is proven is never displaced.
    pub(super) fn add(&mut self, now: Instant, remote: Remote, kind: CandidateKind, origin: Origin) -> bool {
        if let Some(known) = self.get_mut(remote) {
            // a host address that turned out to be seen from outside is told as seen later: it is worth trying then
            if origin <= known.origin {
                (known.origin, known.kind) = (origin, kind);
            }
            return false;
        }
        let share = match origin {
            Origin::Record | Origin::Called => MAX_ADDRESSES,
            Origin::Beacon | Origin::Observed | Origin::Hint => MAX_PER_ORIGIN,
            Origin::Fresh => MAX_FRESH,
        };
        let same = |direct: &Direct| direct.origin == origin;
        if self.0.iter().filter(|direct| same(direct)).count() >= share {
            self.displace(now, same);
        }
        if self.0.len() >= MAX_ADDRESSES {
            self.displace(now, |direct| direct.origin != Origin::Record);
        }
        if self.0.len() < MAX_ADDRESSES {
            self.0.push(Direct::new(now, remote, kind, origin));
            return true;
        }
        false
    }

    fn displace(&mut self, now: Instant, which: impl Fn(&Direct) -> bool) {
        let candidates = self.0.iter().enumerate();
        let candidates = candidates.filter(|(_, direct)| which(direct) && direct.proof(now).is_none());
        if let Some((at, _)) = candidates.min_by_key(|(_, direct)| direct.known_since) {
            self.0.remove(at);
        }
    }

    /// Makes these the addresses of `origin`; others of it go, unless proven.
    pub(super) fn replace(
        &mut self,
        now: Instant,
        origin: Origin,
        addresses: impl Iterator<Item = (Remote, CandidateKind)> + Clone,
    ) {
        let named = |remote| addresses.clone().any(|(named, _)| named == remote);
        self.0.retain_mut(|direct| {
            let gone = direct.origin == origin && !named(direct.remote);
            if gone && direct.proof(now).is_some() {
                direct.origin = Origin::Observed;
                return true;
            }
            !gone
        });
        for (remote, kind) in addresses.clone() {
            self.add(now, remote, kind, origin);
        }
    }

    pub(super) fn next_try(&self) -> Option<Instant> {
        self.0.iter().filter_map(Direct::next_try).min()
    }
}
