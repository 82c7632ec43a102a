//! Connections against servers of ours on the loopback: a resolver that changes its mind, proxies good and bad.

use super::*;
use crate::egress::testing::profile;
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use std::sync::Mutex;
use stockade_policy::ExpandedProfile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// A resolver that answers each question for IPv4 with the next of its lists and keeps the last; IPv6 with `v6`.
async fn upstream(lists: &[&[&str]], v6: &[&str]) -> SocketAddr {
    let parse = |list: &[&str]| list.iter().map(|text| text.parse::<IpAddr>().expect("an address")).collect::<Vec<_>>();
    let mut lists: Vec<Vec<IpAddr>> = lists.iter().map(|list| parse(list)).collect();
    let v6 = parse(v6);
    lists.reverse();
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("it can be bound");
    let address = socket.local_addr().expect("it has an address");
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut message = Message::from_vec(&buffer[..length]).expect("our own question");
            let query = message.queries.first().expect("there is one").clone();
            let addresses = if query.query_type() != RecordType::A {
                v6.clone()
            } else if lists.len() > 1 {
                lists.pop().expect("there are two")
            } else {
                lists.first().cloned().unwrap_or_default()
            };
            message.metadata.message_type = MessageType::Response;
            for address in addresses {
                let data = match address {
                    IpAddr::V4(address) => RData::A(A(address)),
                    IpAddr::V6(address) => RData::AAAA(AAAA(address)),
                };
                message.add_answer(Record::from_rdata(query.name().clone(), 0, data));
            }
            drop(socket.send_to(&message.to_vec().expect("it can be written"), from).await);
        }
    });
    address
}

fn tls() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let roots = rustls::RootCertStore::empty();
    Arc::new(builder.expect("it has versions").with_root_certificates(roots).with_no_client_auth())
}

fn dialer(server: SocketAddr, proxies: Proxies) -> Dialer {
    let connect_timeout = Duration::from_secs(5);
    Dialer::new(Settings { servers: Servers::These(vec![server]), proxies, tls: tls(), connect_timeout })
}

fn granting(line: &str) -> ExpandedProfile {
    profile(&format!("[[grant.net]]\nhost = \"a.test\"\n{line}\nreason = \"a test\"\n"))
}

fn grant(profile: &ExpandedProfile) -> &NetGrant {
    profile.net_grants().next().expect("it has one").0
}

fn host(text: &str) -> Host {
    Host::parse(text).expect("a host")
}

async fn refused(lists: &[&[&str]], v6: &[&str]) -> DialError {
    let dialer = dialer(upstream(lists, v6).await, Proxies::default());
    dialer.dial(&host("a.test"), 443, grant(&granting("")), Load::Bytes).await.expect_err("it must not be reached")
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_reached() {
    for (address, class) in [
        ("127.0.0.1", Class::Loopback),
        ("10.0.0.1", Class::Private),
        ("169.254.169.254", Class::Metadata),
        ("0.0.0.0", Class::Unspecified),
        ("198.18.1.0", Class::Benchmark),
    ] {
        let want = DialError::NotPublic { host: host("a.test"), address: address.parse().expect("an address"), class };
        assert_eq!(refused(&[&[address]], &[]).await, want);
        assert_eq!(want.fault(), Fault::Guest);
    }
    for address in ["::1", "fd00:ec2::254", "::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "fe80::1"] {
        let error = refused(&[&[]], &[address]).await;
        assert!(matches!(error, DialError::NotPublic { .. }), "{address}: {error}");
    }
}

#[tokio::test]
async fn one_private_address_among_public_ones_refuses_all() {
    for list in [["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"]] {
        assert!(matches!(refused(&[&list], &[]).await, DialError::NotPublic { .. }));
    }
    assert!(matches!(refused(&[&["93.184.216.34"]], &["fd00::1"]).await, DialError::NotPublic { .. }));
}

#[tokio::test]
async fn a_name_that_moves_inside_after_the_first_answer_is_not_reached() {
    let dialer = dialer(upstream(&[&["93.184.216.34"], &["127.0.0.1"]], &[]).await, Proxies::default());
    let first = dialer.addresses(&host("a.test")).await.and_then(|found| public(&host("a.test"), found));
    assert_eq!(first, Ok(vec!["93.184.216.34".parse().expect("an address")]));
    let second = dialer.dial(&host("a.test"), 443, grant(&granting("")), Load::Bytes).await;
    assert!(matches!(second, Err(DialError::NotPublic { .. })), "{second:?}");
}

#[tokio::test]
async fn a_name_without_addresses_is_said_to_have_none() {
    let error = refused(&[&[]], &[]).await;
    assert!(matches!(error, DialError::NoAddress { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Host);
}

#[tokio::test]
async fn pinned_and_granted_addresses_are_reached_without_a_resolver() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it can be bound");
    let address = listener.local_addr().expect("it has an address");
    let dialer = dialer("127.0.0.1:9".parse().expect("an address"), Proxies::default());
    let pinned = granting(&format!("resolve = [\"{address}\"]"));
    let dialed = dialer.dial(&host("a.test"), 443, grant(&pinned), Load::Bytes).await.expect("it is pinned");
    assert!(dialed.address == address && matches!(dialed.route, Route::Direct));
    assert_eq!(dialed.stream.socket().peer_addr().expect("it is connected"), address);
    let dialed = dialer
        .dial(&host("127.0.0.1"), address.port(), grant(&granting("")), Load::Bytes)
        .await
        .expect("it is an address");
    assert_eq!(dialed.address, address);
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it can be bound");
    let open = listener.local_addr().expect("it has an address");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("it can be bound").local_addr().expect("an address");
    let (_, reached) = race(&[closed, open]).await.expect("one answers");
    assert_eq!(reached, open);
    let error = race(&[closed]).await.expect_err("nobody answers");
    assert!(error.reason.contains("refused") && error.kind == std::io::ErrorKind::ConnectionRefused, "{error:?}");
    let none = race(&[]).await.map(drop).expect_err("nowhere to go");
    assert_eq!(none.reason, "there is no address");
}

#[test]
fn families_take_turns() {
    let parse =
        |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<SocketAddr>>();
    let mixed = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
    assert_eq!(in_turn(&mixed), parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
    let one_first = parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
    assert_eq!(in_turn(&one_first), parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]));
}

/// A proxy that gives this answer; what it was asked ends up in the list.
async fn company(answer: &'static [u8]) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it can be bound");
    let address = listener.local_addr().expect("it has an address");
    let asked = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.unwrap_or_default();
            heard.lock().expect("it is ours").push_str(&String::from_utf8_lossy(&buffer[..length]));
            drop(stream.write_all(answer).await);
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_companys_proxy_is_asked_and_what_follows_its_answer_is_kept() {
    let (address, asked) = company(b"HTTP/1.1 200 ok\r\nx: y\r\n\r\nSSH-2.0-first").await;
    let url = format!("http://user:p%40ss@{address}/");
    let proxies = Proxies::parse(Some(&url), None, None).expect("it is a proxy");
    assert!(!format!("{proxies:?}").contains("p@ss") && !format!("{proxies:?}").contains("user"));
    let dialer = dialer("127.0.0.1:9".parse().expect("an address"), proxies);
    let mut dialed =
        dialer.dial(&host("a.test"), 22, grant(&granting("")), Load::Bytes).await.expect("it is let through");
    assert!(dialed.address == address && matches!(dialed.route, Route::Company));
    // It speaks first, and nothing more comes of its socket.
    tokio::time::timeout(Duration::from_secs(5), dialed.stream.speaks()).await.expect("it has spoken");
    let mut first = [0; 13];
    dialed.stream.read_exact(&mut first).await.expect("it is there");
    assert_eq!(&first, b"SSH-2.0-first");
    let want = "CONNECT a.test:22 HTTP/1.1\r\nhost: a.test:22\r\nproxy-authorization: Basic dXNlcjpwQHNz\r\n\r\n";
    assert_eq!(*asked.lock().expect("it is ours"), want);
}

#[tokio::test]
async fn a_proxy_that_says_no_is_not_gone_around() {
    for (answer, reason) in [
        (b"HTTP/1.1 407 no\r\n\r\n".as_slice(), "other credentials"),
        (b"HTTP/1.1 403 no\r\n\r\n", "answers 403"),
        (b"HTTP/1.1 302 go\r\nlocation: http://b.test/\r\n\r\n", "answers 302"),
        (b"nonsense\r\n\r\n", "malformed"),
        (b"", "without an answer"),
    ] {
        let (address, _) = company(answer).await;
        let proxies =
            Proxies::parse(Some(&format!("http://user:hidden@{address}")), None, None).expect("it is a proxy");
        let dialer = dialer("127.0.0.1:9".parse().expect("an address"), proxies);
        let error = dialer
            .dial(&host("a.test"), 443, grant(&granting("")), Load::Bytes)
            .await
            .expect_err("it is not let through");
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains(&address.to_string()) && !text.contains("hidden"), "{text}");
    }
}

#[tokio::test]
async fn requests_in_the_clear_are_handed_to_a_companys_proxy() {
    let (address, asked) = company(b"").await;
    let url = format!("http://user:hidden@{address}/");
    let dialer =
        dialer("127.0.0.1:9".parse().expect("an address"), Proxies::parse(None, Some(&url), None).expect("one"));
    let dialed = dialer.dial(&host("a.test"), 8080, grant(&granting("")), Load::Requests).await.expect("it is there");
    let Route::Forward(forward) = dialed.route else { panic!("{:?}", dialed.route) };
    assert!(!format!("{forward:?}").contains("hidden"));
    let value = forward.authorization().expect("it fits").expect("there is one");
    assert!(value == "Basic dXNlcjpoaWRkZW4=" && value.is_sensitive());
    assert_eq!(*asked.lock().expect("it is ours"), "", "it is asked for nothing before the first request");
}

#[test]
fn proxies_are_chosen_as_curl_does() {
    let url = "http://proxy.test";
    for (except, name, port, want) in [
        ("", "a.test", 443, true),
        ("", "a.test", 8443, true),
        ("", "a.test", 80, false),
        ("*", "a.test", 443, false),
        ("a.test", "a.test", 443, false),
        ("a.test", "b.a.test", 443, false),
        (".a.test", "a.test", 443, false),
        ("a.test.", "a.test", 443, false),
        ("A.TEST", "a.test", 443, false),
        ("a.test", "xa.test", 443, true),
        ("x.test, a.test", "a.test", 443, false),
        ("x.test a.test", "a.test", 443, false),
        ("10.0.0.0/8", "10.1.2.3", 443, false),
        ("10.0.0.0/8", "11.1.2.3", 443, true),
        ("10.1.2.3", "10.1.2.3", 443, false),
        ("[2606:4700::1]", "2606:4700::1", 443, false),
        ("2606:4700::/32", "2606:4700::1", 443, false),
        (",,.,", "a.test", 443, true),
    ] {
        let proxies = Proxies::parse(Some(url), None, Some(except)).expect("it is a proxy");
        assert_eq!(proxies.of(&host(name), port, Load::Bytes).is_some(), want, "{except} {name} {port}");
    }
    let both = Proxies::parse(Some("https://one.test"), Some("two.test:8080"), None).expect("they are proxies");
    let chosen = |port, load| both.of(&host("a.test"), port, load).expect("there is one").to_string();
    for (port, load, want) in [
        (443, Load::Bytes, "https://one.test:443"),
        (80, Load::Bytes, "http://two.test:8080"),
        (8080, Load::Bytes, "https://one.test:443"),
        (8080, Load::Requests, "http://two.test:8080"),
        (8080, Load::Upgrade, "http://two.test:8080"),
    ] {
        assert_eq!(chosen(port, load), want, "{port} {load:?}");
    }
    let empty = Proxies::parse(Some(" "), Some(""), None).expect("empty is none");
    assert!(empty.of(&host("a.test"), 443, Load::Bytes).is_none());
}

#[test]
fn a_proxy_that_is_none_is_refused_without_repeating_it() {
    for url in
        ["socks5://u:hidden@p.test", "http://u:hidden@", "http://u:hidden@p.test:99999", "http://u:hid%zzden@p.test"]
    {
        let error = Proxies::parse(Some(url), None, None).expect_err("it is none");
        assert_eq!(error.fault, Fault::Operator);
        assert!(!error.to_string().contains("hid"), "{error}");
    }
}
