//! DNS messages: a question is read within limits, a reply is written.
//! It never knows any name.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use std::net::IpAddr;

/// Longest message, bytes.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest reply, bytes: what every client takes (RFC 1035, 4.2.1). Question, one address and EDNS are at most 310.
pub const REPLY_BYTES_MAX: usize = 512;
/// How long an answer may be kept. Addresses never change within a session.
pub const TTL_S: u32 = 60;
/// What we take in one datagram, as EDNS says it.
const PAYLOAD_BYTES: u16 = 1232;
const HEADER_BYTES: usize = 12;

/// What a message is.
#[derive(Debug)]
pub enum Asked {
    /// One question.
    Question(Question),
    /// No question that anybody could answer; this is to be said.
    Malformed(Vec<u8>),
    /// Nothing that gets a reply.
    Nothing,
}

/// One question for one name.
#[derive(Debug, Clone)]
pub struct Question {
    head: Metadata,
    query: Query,
    /// Whether the client speaks EDNS, and wants signatures.
    edns: Option<bool>,
    text: String,
    plain: Plain,
}

/// Whether a name has only the characters of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Yes,
    No,
}

/// What a question is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Something else, which no name here has.
    Other,
    /// A whole zone, or another class of names than that of the internet.
    Zone,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This address.
    Address(IpAddr),
    /// The name exists, without what was asked for.
    NoData,
    /// There is no such name.
    NoName,
    /// We do not answer that.
    Refused,
}

impl Question {
    /// The name as asked, without the dot at its end; what is no character of a host appears as `\DDD`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name, where it could be a host's.
    pub fn host_text(&self) -> Option<&str> {
        (self.plain == Plain::Yes).then_some(self.text.as_str())
    }

    /// What is asked for.
    pub fn kind(&self) -> Kind {
        if self.query.query_class() != DNSClass::IN {
            return Kind::Zone;
        }
        let asked = self.query.query_type();
        let known = [
            (RecordType::A, Kind::A),
            (RecordType::AAAA, Kind::Aaaa),
            (RecordType::AXFR, Kind::Zone),
            (RecordType::IXFR, Kind::Zone),
        ];
        known.into_iter().find(|(kind, _)| *kind == asked).map_or(Kind::Other, |(_, kind)| kind)
    }

    /// The same as the log says it: `A`, `AAAA`, `TYPE65`…
    pub fn kind_text(&self) -> String {
        let asked = self.query.query_type();
        if matches!(asked, RecordType::A | RecordType::AAAA) {
            asked.to_string()
        } else {
            format!("TYPE{}", u16::from(asked))
        }
    }
}

/// Reads a message. A reply gets none, so that two resolvers cannot keep each other busy.
pub fn read(bytes: &[u8]) -> Asked {
    let Some([id_high, id_low, flags, _, counts @ ..]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Asked::Nothing;
    };
    let id = u16::from_be_bytes([*id_high, *id_low]);
    if flags & 0x80 != 0 {
        return Asked::Nothing;
    }
    let malformed = |code| error(id, code).map_or(Asked::Nothing, Asked::Malformed);
    if flags & 0x78 != 0 {
        return malformed(ResponseCode::NotImp);
    }
    // Truncated, too long, more or less than one question, records that no question has.
    let is_question = matches!(counts, [0, 1, 0, 0, 0, 0, 0, 0 | 1]) && flags & 0x02 == 0;
    if !is_question || bytes.len() > MESSAGE_BYTES_MAX {
        return malformed(ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(bytes) else { return malformed(ResponseCode::FormErr) };
    let Some(query) = message.queries.pop() else { return malformed(ResponseCode::FormErr) };
    if !message.queries.is_empty() || !message.additionals.is_empty() || message.signature.is_some() {
        return malformed(ResponseCode::FormErr);
    }
    let edns = message.edns.as_ref().map(|edns| edns.flags().dnssec_ok);
    let (text, plain) = text(&query);
    let question = Question { head: message.metadata, query, edns, text, plain };
    if message.edns.is_some_and(|edns| edns.version() != 0) {
        return written(&question, ResponseCode::BADVERS, None).map_or(Asked::Nothing, Asked::Malformed);
    }
    Asked::Question(question)
}

/// The reply to a question; `None` only where it cannot be written, and then there is none.
pub fn reply(question: &Question, answer: Answer) -> Option<Vec<u8>> {
    match answer {
        Answer::Address(address) => written(question, ResponseCode::NoError, Some(address)),
        Answer::NoData => written(question, ResponseCode::NoError, None),
        Answer::NoName => written(question, ResponseCode::NXDomain, None),
        Answer::Refused => written(question, ResponseCode::Refused, None),
    }
}

fn error(id: u16, code: ResponseCode) -> Option<Vec<u8>> {
    Message::error_msg(id, OpCode::Query, code).to_vec().ok()
}

fn written(question: &Question, code: ResponseCode, address: Option<IpAddr>) -> Option<Vec<u8>> {
    let mut message = Message::new(question.head.id, MessageType::Response, OpCode::Query);
    message.metadata = Metadata::response_from_request(&question.head);
    // Nobody is asked, but clients take a server without this flag for one that knows nothing.
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_query(question.query.clone());
    if let Some(address) = address {
        let data = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        message.add_answer(Record::from_rdata(question.query.name().clone(), TTL_S, data));
    }
    if let Some(dnssec_ok) = question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD_BYTES).set_version(0).set_dnssec_ok(dnssec_ok);
        message.set_edns(edns);
    }
    message.to_vec().ok().filter(|bytes| bytes.len() <= REPLY_BYTES_MAX)
}

fn text(query: &Query) -> (String, Plain) {
    let mut text = String::new();
    let mut plain = Plain::Yes;
    for label in query.name().iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                text.push(char::from(byte));
            } else {
                plain = Plain::No;
                text.push_str(&format!("\\{byte:03}"));
            }
        }
    }
    if text.is_empty() {
        return (".".to_owned(), Plain::No);
    }
    (text, plain)
}
