//! One question, one answer (RFC 1035; sizes by RFC 6891).

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use meshd_core::names::{Zone, ZoneFound};

/// How long an answer may be kept, in s. An address is a node's for its life; a name may be given to another one.
const TTL: u32 = 10;
/// How long it may be kept that there is no such name, in s: a node may be about to join.
const TTL_NOBODY: u32 = 2;
/// What a resolver that says nothing of sizes takes in a datagram.
const PLAIN: u16 = 512;
/// Most bytes of an answer over UDP, whatever the resolver takes.
const MOST: u16 = 1_232;

/// Answers one message; nothing where it is no question, or none that could be answered. `datagram`: the answer has to fit one, and says
/// that it does not where it does not.
pub fn answer(zone: &Zone, asked: &[u8], datagram: bool) -> Option<Vec<u8>> {
    let asked = Message::from_vec(asked).ok()?;
    if asked.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut said = Message::response(asked.metadata.id, asked.metadata.op_code);
    said.metadata = Metadata::response_from_request(&asked.metadata);
    said.queries.clone_from(&asked.queries);
    let room = asked
        .edns
        .as_ref()
        .map_or(PLAIN, |edns| edns.max_payload().clamp(PLAIN, MOST));
    if asked.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MOST);
        said.set_edns(edns);
    }
    said.metadata.response_code = judge(zone, &asked, &mut said);
    let bytes = said.to_vec().ok()?;
    if !datagram || bytes.len() <= usize::from(room) {
        return Some(bytes);
    }
    said.truncate().to_vec().ok()
}

/// Fills in what there is to say.
fn judge(zone: &Zone, asked: &Message, said: &mut Message) -> ResponseCode {
    if asked.metadata.op_code != OpCode::Query {
        return ResponseCode::NotImp;
    }
    if asked.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return ResponseCode::BADVERS;
    }
    let [query] = asked.queries.as_slice() else {
        return ResponseCode::FormErr;
    };
    if query.query_class() != DNSClass::IN {
        return ResponseCode::Refused;
    }
    let (name, kind) = (query.name(), query.query_type());
    let wants = |one| kind == one || kind == RecordType::ANY;
    let text = name.to_ascii();
    let found = zone.find(&text);
    said.metadata.authoritative = found != ZoneFound::NotOurs;
    let record = |data| Record::from_rdata(name.clone(), TTL, data);
    match found {
        ZoneFound::NotOurs => return ResponseCode::Refused,
        ZoneFound::Addresses(address) => {
            let four = address
                .ipv4
                .filter(|_| wants(RecordType::A))
                .map(|v4| RData::A(A(v4)));
            let six = address
                .ipv6
                .filter(|_| wants(RecordType::AAAA))
                .map(|v6| RData::AAAA(AAAA(v6)));
            said.add_answers(four.into_iter().chain(six).map(record));
        }
        ZoneFound::Name(full) => {
            let name = Name::from_ascii(format!("{full}."))
                .ok()
                .filter(|_| wants(RecordType::PTR));
            said.add_answers(name.map(|name| record(RData::PTR(PTR(name)))));
        }
        ZoneFound::Network if wants(RecordType::SOA) => {
            said.add_answers(authority(zone, &text));
        }
        ZoneFound::Network | ZoneFound::Nobody => {}
    }
    if said.answers.is_empty() {
        said.add_authorities(authority(zone, &text));
    }
    match found {
        ZoneFound::Nobody => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    }
}

/// The domain's record of authority, which says how long resolvers may keep that there is nothing (RFC 2308).
fn authority(zone: &Zone, name: &str) -> Option<Record> {
    let domain = Name::from_ascii(format!("{}.", zone.domain_of(name)?)).ok()?;
    let keeper = Name::from_ascii("meshd.").ok()?;
    let [refresh, retry, expire] = [60, 10, 600];
    let soa = SOA::new(domain.clone(), keeper, 1, refresh, retry, expire, TTL_NOBODY);
    Some(Record::from_rdata(domain, TTL_NOBODY, RData::SOA(soa)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use meshd_core::names::{Address, NetworkNames, NodeName};
    use std::net::Ipv4Addr;

    fn zone() -> Zone {
        let node = |label: &str, last| NodeName {
            label: label.into(),
            address: Address {
                ipv4: Some(Ipv4Addr::new(10, 77, 0, last)),
                ipv6: None,
            },
        };
        Zone::of(&[NetworkNames {
            network: "prod".into(),
            nodes: vec![node("db1", 9)],
            blocked: Default::default(),
        }])
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn ask(message: &Message) -> Message {
        let said = answer(&zone(), &message.to_vec().unwrap(), true).expect("an answer");
        Message::from_vec(&said).expect("a message")
    }

    #[test]
    fn a_name_has_its_address_and_its_spelling_comes_back() {
        let said = ask(&question("Db1.prod.Mesh.", RecordType::A));
        assert_eq!(
            (said.metadata.id, said.metadata.response_code),
            (7, ResponseCode::NoError)
        );
        assert!(said.metadata.authoritative && !said.metadata.recursion_available);
        let [record] = said.answers.as_slice() else {
            panic!("{said}")
        };
        assert_eq!(record.name.to_ascii(), "Db1.prod.Mesh.");
        assert_eq!(record.data, RData::A(A(Ipv4Addr::new(10, 77, 0, 9))));
    }

    #[test]
    fn what_there_is_not_is_said_with_how_long_that_holds() {
        for (name, kind, code) in [
            ("db1.prod.mesh.", RecordType::AAAA, ResponseCode::NoError),
            ("db1.prod.mesh.", RecordType::TXT, ResponseCode::NoError),
            ("prod.mesh.", RecordType::A, ResponseCode::NoError),
            ("db2.prod.mesh.", RecordType::A, ResponseCode::NXDomain),
        ] {
            let said = ask(&question(name, kind));
            assert_eq!(said.metadata.response_code, code, "{name} {kind}");
            assert!(said.answers.is_empty(), "{name} {kind}");
            assert!(matches!(said.authorities[0].data, RData::SOA(_)), "{name} {kind}");
        }
    }

    #[test]
    fn others_names_are_refused_and_so_is_what_is_no_question_for_us() {
        let refused = |message: &Message| ask(message).metadata.response_code;
        assert_eq!(
            refused(&question("example.org.", RecordType::A)),
            ResponseCode::Refused
        );
        let mut chaos = question("version.bind.", RecordType::TXT);
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(refused(&chaos), ResponseCode::Refused);
        let mut update = question("db1.prod.mesh.", RecordType::A);
        update.metadata.op_code = OpCode::Update;
        assert_eq!(refused(&update), ResponseCode::NotImp);
        let mut two = question("db1.prod.mesh.", RecordType::A);
        two.add_query(Query::query(Name::root(), RecordType::NS));
        assert_eq!(refused(&two), ResponseCode::FormErr);
        let mut none = question("db1.prod.mesh.", RecordType::A);
        none.queries.clear();
        assert_eq!(refused(&none), ResponseCode::FormErr);
        let mut answered = question("db1.prod.mesh.", RecordType::A);
        answered.metadata.message_type = MessageType::Response;
        assert_eq!(
            answer(&zone(), &answered.to_vec().unwrap(), true),
            None,
            "or two would talk for ever"
        );
        assert_eq!(answer(&zone(), b"no message", true), None);
    }

    #[test]
    fn an_address_has_its_name_and_sizes_are_told() {
        let mut asked = question("9.0.77.10.in-addr.arpa.", RecordType::PTR);
        let mut edns = Edns::new();
        edns.set_max_payload(4_096);
        asked.set_edns(edns);
        let said = ask(&asked);
        assert_eq!(
            said.answers[0].data,
            RData::PTR(PTR(Name::from_ascii("db1.prod.mesh.").unwrap()))
        );
        assert_eq!(said.edns.expect("asked with it").max_payload(), MOST);
    }
}
