//! From answers to what they mean.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::nat::{Allocation, Filtering, Mapping, NatBehaviour};

use super::SocketNumber;
use super::hairpin::Hairpin;
use super::question::{Answer, Question};
use super::report::{Observer, RelaySeen, Report};

/// A NAT that counts passes over a few ports that others took; more than this is no counting.
const LARGEST_STEP: i32 = 8;

/// The mapping answers of one family, with who was asked, in the order of asking.
fn mapped(questions: &[Question], socket: SocketNumber) -> Vec<(SocketAddr, Answer)> {
    let of = questions.iter().filter(|question| question.socket == socket);
    of.filter_map(|question| Some((question.to, question.answer()?)))
        .collect()
}

pub(super) fn report(
    observers: &[Observer],
    own: &[IpAddr],
    questions: &[Question],
    hairpin: &Hairpin,
) -> Report {
    let v4 = mapped(questions, SocketNumber::MAPPING);
    let v6 = mapped(questions, SocketNumber::MAPPING_V6);
    let refused = |address: SocketAddr| {
        let asked = questions.iter().filter(move |question| question.to == address);
        asked.filter_map(Question::refused).next()
    };
    let relays: Vec<RelaySeen> = observers
        .iter()
        .map(|observer| RelaySeen {
            refused: refused(observer.address),
            ..relay_seen(*observer, &v4, &v6)
        })
        .collect();
    let ips: BTreeSet<IpAddr> = v4.iter().map(|(_, answer)| answer.seen.ip()).collect();
    let mapping = mapping(&v4, own);
    let preserving = v4
        .iter()
        .map(|(_, answer)| answer.seen.port() == answer.local_port);
    Report {
        udp: !(v4.is_empty() && v6.is_empty()) || relays.iter().any(|relay| relay.refused.is_some()),
        ipv6: !v6.is_empty(),
        nat: NatBehaviour {
            mapping,
            filtering: filtering(questions),
            allocation: allocation(mapping, &v4, questions),
            udp_blocked: false,
        },
        port_preserving: (!v4.is_empty()).then(|| preserving.clone().all(|same| same)),
        hairpin: hairpin.result(),
        contradiction: ips.len() > 1,
        relays,
    }
}

fn relay_seen(observer: Observer, v4: &[(SocketAddr, Answer)], v6: &[(SocketAddr, Answer)]) -> RelaySeen {
    let answer = v4.iter().chain(v6).find(|(to, _)| *to == observer.address);
    RelaySeen {
        observer,
        rtt: answer.map(|(_, answer)| answer.rtt),
        seen: answer.map(|(_, answer)| answer.seen),
        refused: None,
    }
}

/// RFC 5780 section 4.3. A dependence is certain as soon as it shows; independence needs two addresses.
fn mapping(answers: &[(SocketAddr, Answer)], own: &[IpAddr]) -> Mapping {
    let Some((first_asked, first)) = answers.first() else {
        return Mapping::Unknown;
    };
    if answers
        .iter()
        .all(|(_, answer)| own.contains(&answer.seen.ip()) && answer.seen.port() == answer.local_port)
    {
        return Mapping::NoNat;
    }
    let port_dependent = answers.iter().enumerate().any(|(at, (asked, answer))| {
        let same_address = |(other, _): &&(SocketAddr, Answer)| other.ip() == asked.ip();
        answers[at + 1..]
            .iter()
            .filter(same_address)
            .any(|(_, other)| other.seen != answer.seen)
    });
    if port_dependent {
        return Mapping::AddressAndPortDependent;
    }
    if answers.iter().any(|(_, answer)| answer.seen != first.seen) {
        // another port for another address; towards the ports of one address it was not seen to differ
        let asked_twice = answers.iter().any(|(asked, _)| {
            answers
                .iter()
                .any(|(other, _)| other.ip() == asked.ip() && other.port() != asked.port())
        });
        return match asked_twice {
            true => Mapping::AddressDependent,
            false => Mapping::AddressAndPortDependent,
        };
    }
    match answers.iter().any(|(asked, _)| asked.ip() != first_asked.ip()) {
        true => Mapping::EndpointIndependent,
        false => Mapping::Unknown,
    }
}

/// RFC 5780 section 4.4. A relay that cannot answer from elsewhere answers from where it was asked, which tells nothing; so
/// silence means that an answer from elsewhere was not let in.
fn filtering(questions: &[Question]) -> Filtering {
    let find = |socket: SocketNumber| questions.iter().find(|question| question.socket == socket);
    let came = |question: &Question| question.answer().map(|answer| answer.from != question.to);
    match (
        find(SocketNumber::OTHER_ADDRESS).map(came),
        find(SocketNumber::OTHER_PORT).map(came),
    ) {
        // from another address and port
        (Some(Some(true)), _) => Filtering::EndpointIndependent,
        // not from another port of the same address: not from anywhere
        (_, Some(None)) => Filtering::AddressAndPortDependent,
        // from another port; and not from another address, or that could not be asked
        (Some(None), Some(Some(true))) => Filtering::AddressDependent,
        _ => Filtering::Unknown,
    }
}

fn allocation(mapping: Mapping, answers: &[(SocketAddr, Answer)], questions: &[Question]) -> Allocation {
    if answers.is_empty() {
        return Allocation::Unknown;
    }
    if answers
        .iter()
        .all(|(_, answer)| answer.seen.port() == answer.local_port)
    {
        return Allocation::Preserving;
    }
    if !matches!(
        mapping,
        Mapping::AddressDependent | Mapping::AddressAndPortDependent
    ) {
        return Allocation::Unknown;
    }
    let ports = |answers: &[(SocketAddr, Answer)]| -> Vec<i32> {
        answers
            .iter()
            .map(|(_, answer)| i32::from(answer.seen.port()))
            .collect()
    };
    let fresh: Vec<(SocketAddr, Answer)> = [SocketNumber::HAIRPIN_FROM, SocketNumber::HAIRPIN_TO]
        .iter()
        .flat_map(|socket| mapped(questions, *socket))
        .collect();
    let steps: Vec<i32> = [ports(answers), ports(&fresh)]
        .iter()
        .flat_map(|ports| ports.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>())
        .filter(|step| *step != 0)
        .collect();
    let small = steps.iter().all(|step| step.abs() <= LARGEST_STEP);
    let one_way = steps.iter().all(|step| *step > 0) || steps.iter().all(|step| *step < 0);
    let smallest = steps.iter().copied().min_by_key(|step| step.abs());
    match smallest.and_then(|step| i8::try_from(step).ok()) {
        Some(step) if small && one_way => Allocation::Sequential { step },
        Some(_) => Allocation::Random,
        None if steps.is_empty() => Allocation::Unknown,
        None => Allocation::Random,
    }
}
