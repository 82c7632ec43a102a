//! Questions and replies, good and hostile, over the wire and without one.

use super::*;
use crate::egress::testing::Logged;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::UdpSocket;
use std::str::FromStr as _;
use tokio::net::{TcpListener, TcpStream};

struct Bench {
    logged: Logged,
    resolver: Arc<Resolver>,
}

fn bench() -> Bench {
    let logged = Logged::new();
    let name = |text: &str| match Host::parse(text) {
        Ok(Host::Name(name)) => name,
        other => panic!("{other:?} is no name"),
    };
    let names = Names::new([name("a.test"), name("b.test")], |host| host.to_string().ends_with(".wild.test"));
    let canaries: Canaries = Arc::new(|text: &str| {
        let known = text.contains("agp1known").then(|| Some("example".to_owned()));
        known.or_else(|| text.contains("agp1").then_some(None))
    });
    let resolver = Arc::new(Resolver::new(Arc::new(names), logged.account(), canaries));
    Bench { logged, resolver }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).expect("a name"), kind));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("it can be written")
}

/// Code and addresses of the reply.
#[track_caller]
fn asked(bench: &Bench, message: &Message) -> (ResponseCode, Vec<IpAddr>) {
    let reply = bench.resolver.answer(&bytes(message)).expect("the log takes it").expect("there is a reply");
    let reply = Message::from_vec(&reply).expect("it is a message");
    assert_eq!((reply.metadata.id, reply.metadata.message_type), (message.metadata.id, MessageType::Response));
    assert_eq!(reply.queries, message.queries);
    assert!(
        reply
            .answers
            .iter()
            .all(|record| record.ttl == message::TTL_S && Some(&record.name) == reply.queries.first().map(Query::name))
    );
    assert!(reply.authorities.is_empty() && reply.additionals.is_empty() && !reply.metadata.truncation);
    assert!(reply.metadata.recursion_available);
    (reply.metadata.response_code, reply.answers.iter().filter_map(|record| record.data.ip_addr()).collect())
}

#[test]
fn granted_names_have_addresses_and_nothing_else_has() {
    let bench = bench();
    let v4 = |text: &str| vec![text.parse::<IpAddr>().expect("an address")];
    for (name, kind, code, addresses) in [
        ("a.test.", RecordType::A, ResponseCode::NoError, v4("198.18.1.0")),
        ("A.TeSt.", RecordType::A, ResponseCode::NoError, v4("198.18.1.0")),
        ("a.test.", RecordType::AAAA, ResponseCode::NoError, v4("fd73:746f:636b::c612:100")),
        ("b.test.", RecordType::A, ResponseCode::NoError, v4("198.18.1.1")),
        ("x.wild.test.", RecordType::AAAA, ResponseCode::NoError, v4("fd73:746f:636b::c612:102")),
        ("x.wild.test.", RecordType::A, ResponseCode::NoError, v4("198.18.1.2")),
        ("proxy.stockade.internal.", RecordType::A, ResponseCode::NoError, v4("198.18.0.1")),
        ("proxy.stockade.internal.", RecordType::AAAA, ResponseCode::NoError, vec![]),
        ("localhost.", RecordType::A, ResponseCode::NoError, v4("127.0.0.1")),
        ("localhost.", RecordType::AAAA, ResponseCode::NoError, v4("::1")),
        ("a.test.", RecordType::TXT, ResponseCode::NoError, vec![]),
        ("a.test.", RecordType::HTTPS, ResponseCode::NoError, vec![]),
        ("a.test.", RecordType::SVCB, ResponseCode::NoError, vec![]),
        ("a.test.", RecordType::NULL, ResponseCode::NoError, vec![]),
        ("a.test.", RecordType::ANY, ResponseCode::NoError, vec![]),
        ("a.test.", RecordType::AXFR, ResponseCode::Refused, vec![]),
        ("a.test.", RecordType::IXFR, ResponseCode::Refused, vec![]),
        ("evil.test.", RecordType::A, ResponseCode::NXDomain, vec![]),
        ("evil.test.", RecordType::TXT, ResponseCode::NXDomain, vec![]),
        ("wild.test.", RecordType::A, ResponseCode::NXDomain, vec![]),
        ("a.test.evil.test.", RecordType::A, ResponseCode::NXDomain, vec![]),
        ("1.2.3.4.", RecordType::A, ResponseCode::NXDomain, vec![]),
        ("0.1.18.198.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain, vec![]),
        (".", RecordType::NS, ResponseCode::NXDomain, vec![]),
        ("a\\.test.", RecordType::A, ResponseCode::NXDomain, vec![]),
    ] {
        assert_eq!(asked(&bench, &question(name, kind)), (code, addresses), "{name} {kind}");
    }
    let log = bench.logged.text();
    assert!(log.contains(r#""name":"evil.test","ty":"TYPE16""#), "{log}");
    assert!(log.contains(r#""name":"a.test","ty":"A","addr":"198.18.1.0""#), "{log}");
    assert_eq!(log.matches("net.name").count(), 25, "every question is logged");
}

#[test]
fn every_question_is_logged_however_often() {
    let bench = bench();
    for _ in 0..500 {
        asked(&bench, &question("a.test.", RecordType::A));
    }
    assert_eq!(bench.logged.text().matches("net.name").count(), 500);
}

#[test]
fn a_placeholder_in_a_name_is_refused_and_reported() {
    let bench = bench();
    for name in ["agp1known.wild.test.", "xagp1.a.known.wild.test.", "a.gp1known.wild.test.", "agp1other.evil.test."] {
        assert_eq!(asked(&bench, &question(name, RecordType::A)), (ResponseCode::Refused, vec![]), "{name}");
    }
    let log = bench.logged.text();
    assert_eq!(log.matches("secret.canary").count(), 4, "{log}");
    assert_eq!(log.matches(r#""name":"example""#).count(), 2, "{log}");
    assert_eq!(asked(&bench, &question("next.wild.test.", RecordType::A)).1.len(), 1);
    assert_eq!(
        bench.resolver.names.name_of("198.18.1.2".parse().expect("an address")).map(|host| host.to_string()),
        Some("next.wild.test".to_owned())
    );
}

#[test]
fn edns_is_answered_in_kind() {
    let bench = bench();
    let mut message = question("a.test.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(65_000).set_dnssec_ok(true);
    message.set_edns(edns.clone());
    let reply = bench.resolver.answer(&bytes(&message)).expect("the log takes it").expect("there is a reply");
    let reply = Message::from_vec(&reply).expect("it is a message");
    let echoed = reply.edns.expect("it has EDNS too");
    assert_eq!((echoed.max_payload(), echoed.version(), echoed.flags().dnssec_ok), (1232, 0, true));
    edns.set_version(1);
    message.set_edns(edns);
    // 16 has two names, depending on where it stands.
    assert!(matches!(asked(&bench, &message).0, ResponseCode::BADVERS | ResponseCode::BADSIG));
}

#[track_caller]
fn check_raw(message: &[u8], want: Option<u8>) {
    let bench = bench();
    let reply = bench.resolver.answer(message).expect("the log takes it");
    assert_eq!(reply.as_ref().map(|reply| reply[3] & 0x0f), want, "{message:02x?}");
    if let Some(reply) = reply {
        assert_eq!(reply.get(..2), message.get(..2));
        assert!(reply.len() <= message::REPLY_BYTES_MAX && reply[2] & 0x80 != 0);
    }
}

#[test]
fn hostile_messages_get_an_error_or_nothing() {
    let good = bytes(&question("a.test.", RecordType::A));
    let with = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    check_raw(&good, Some(0));
    for length in 0..12 {
        check_raw(&good[..length], None);
    }
    for length in 12..good.len() {
        check_raw(&good[..length], Some(1));
    }
    check_raw(&with(2, 0x81), None);
    for opcode in [0x08, 0x10, 0x20, 0x28, 0x78] {
        check_raw(&with(2, opcode), Some(4));
    }
    check_raw(&with(2, 0x03), Some(1));
    for (at, count) in [(5, 0), (5, 2), (4, 1), (4, 255), (7, 1), (6, 255), (9, 1), (11, 1), (11, 2), (10, 255)] {
        check_raw(&with(at, count), Some(1));
    }
    // Compression that points at itself, forward, and beyond the end; labels of reserved kinds; a label too long.
    for first in [[0xc0, 12], [0xc0, 13], [0xff, 0xff], [0x40, 1], [0x80, 1], [0x3f, b'a']] {
        check_raw(&[&good[..12], &first, &good[14..]].concat(), Some(1));
    }
    let label = [&[63], [b'a'; 63].as_slice()].concat();
    check_raw(&[&good[..12], &label.repeat(4), &[0, 0, 1, 0, 1]].concat(), Some(1));
    check_raw(&[good.as_slice(), &[0; 4096]].concat(), Some(1));
    let mut chaos = question("a.test.", RecordType::A);
    chaos.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
    check_raw(&bytes(&chaos), Some(5));
    let mut opt_twice = question("a.test.", RecordType::A);
    opt_twice.set_edns(Edns::new());
    let one = bytes(&opt_twice);
    let opt = one.get(good.len()..).expect("it is longer");
    let mut two = [one.as_slice(), opt].concat();
    two[11] = 2;
    check_raw(&two, Some(1));
}

#[test]
fn the_longest_name_is_answered_within_the_smallest_reply() {
    let bench = bench();
    let label = |length: usize| "a".repeat(length);
    let longest = [label(63), label(63), label(63), label(51), "wild".to_owned(), "test".to_owned()].join(".");
    assert_eq!(longest.len(), 253);
    let mut message = question(&format!("{longest}."), RecordType::AAAA);
    message.set_edns(Edns::new());
    let (code, addresses) = asked(&bench, &message);
    assert_eq!((code, addresses.len()), (ResponseCode::NoError, 1));
}

/// Asks over UDP from `client` and returns what came back and from where.
fn over_udp(client: &UdpSocket, to: &str, message: &[u8]) -> (Vec<u8>, String) {
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("it is a socket");
    client.send_to(message, to).expect("it is sent");
    let mut buffer = [0; 2048];
    let (length, from) = client.recv_from(&mut buffer).expect("there is a reply");
    (buffer[..length].to_vec(), from.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_answered_from_the_address_that_was_asked() {
    let bench = bench();
    for (bound, client, hosts) in [
        ("[::]:0", "0.0.0.0:0", ["127.0.0.1", "127.9.8.7", "127.0.0.53"].as_slice()),
        ("[::]:0", "[::1]:0", &["[::1]"]),
        ("0.0.0.0:0", "0.0.0.0:0", &["127.0.0.1", "127.9.8.7"]),
    ] {
        let socket = UdpSocket::bind(bound).expect("it can be bound");
        let port = socket.local_addr().expect("it has an address").port();
        let serving = tokio::spawn(Arc::clone(&bench.resolver).serve_udp(OutletEnd::Socket(socket.into())));
        for host in hosts {
            let to = format!("{host}:{port}");
            let (client, hosts_question) = (client.to_owned(), bytes(&question("a.test.", RecordType::A)));
            let asked = to.clone();
            let asking = tokio::task::spawn_blocking(move || {
                let client = UdpSocket::bind(client).expect("it can be bound");
                // Noise first: it is dropped or refused, and the next is answered all the same.
                client.send_to(b"", &asked).expect("it is sent");
                client.send_to(&[0x80; 1232], &asked).expect("it is sent");
                over_udp(&client, &asked, &hosts_question)
            });
            let (reply, from) = asking.await.expect("it does not panic");
            assert_eq!(from, to);
            let reply = Message::from_vec(&reply).expect("it is a message");
            assert!(matches!(reply.answers.first().map(|record| &record.data), Some(RData::A(_))));
        }
        serving.abort();
        drop(serving.await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_carry_several_questions_and_end_at_nonsense() {
    let bench = bench();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it can be bound");
    let address = listener.local_addr().expect("it has an address");
    let serving = tokio::spawn(Arc::clone(&bench.resolver).serve_tcp(Listener::Socket(listener)));
    let good = bytes(&question("a.test.", RecordType::A));
    let framed = [&u16::try_from(good.len()).expect("it is short").to_be_bytes(), good.as_slice()].concat();
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    for _ in 0..3 {
        stream.write_all(&framed).await.expect("it is sent");
        let reply = read_message(&mut stream).await.expect("there is a reply");
        assert_eq!(Message::from_vec(&reply).expect("it is a message").answers.len(), 1);
    }
    for nonsense in [b"\xff\xffxxxx".as_slice(), b"\x00\x00", b"\x00\x05hello"] {
        let mut bad = TcpStream::connect(address).await.expect("it listens");
        bad.write_all(nonsense).await.expect("it is sent");
        let mut rest = Vec::new();
        drop(bad.read_to_end(&mut rest).await);
        assert!(rest.is_empty(), "{nonsense:?}");
    }
    stream.write_all(&framed).await.expect("the first is untouched");
    read_message(&mut stream).await.expect("there is a reply");
    serving.abort();
    drop(serving.await);
}
