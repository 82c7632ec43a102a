//! Packets, and what the log says about them.

use super::*;
use crate::egress::testing::{Logged, profile};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

fn v4(protocol: u8, to: [u8; 4], segment: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 198, 18, 0, 9];
    packet.extend_from_slice(&to);
    packet.extend_from_slice(segment);
    packet
}

fn v6(next: u8, to: &str, rest: &[u8]) -> Vec<u8> {
    let to: std::net::Ipv6Addr = to.parse().expect("an address");
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    packet.extend_from_slice(&[0; 16]);
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(rest);
    packet
}

fn tcp(port: u16, flags: u8) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![0x80, 0, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]
}

fn udp(from: u16, port: u16) -> Vec<u8> {
    [from.to_be_bytes(), port.to_be_bytes(), [0, 8], [0, 0]].concat()
}

#[track_caller]
fn check(packet: &[u8], want: Option<(&str, u16, Protocol)>) {
    let want =
        want.map(|(address, port, protocol)| Attempt { address: address.parse().expect("an address"), port, protocol });
    assert_eq!(packet::read(packet), want);
    // No part of it is read as something else, and none panics.
    for length in 0..packet.len() {
        let part = packet::read(packet.get(..length).expect("it is shorter"));
        assert!(part.is_none() || part == want, "{length} bytes: {part:?}");
    }
}

const UDP: Protocol = Protocol::Udp { from: None };

#[test]
fn attempts_are_syns_and_datagrams() {
    check(&v4(6, [8, 8, 8, 8], &tcp(443, 0x02)), Some(("8.8.8.8", 443, Protocol::Tcp)));
    check(&v4(6, [8, 8, 8, 8], &tcp(443, 0xc2)), Some(("8.8.8.8", 443, Protocol::Tcp)));
    check(&v4(17, [8, 8, 8, 8], &udp(4000, 123)), Some(("8.8.8.8", 123, UDP)));
    check(&v4(17, [8, 8, 8, 8], &udp(53, 4000)), Some(("8.8.8.8", 4000, Protocol::Udp { from: Some(53) })));
    check(&v6(6, "2606:4700::1", &tcp(22, 0x02)), Some(("2606:4700::1", 22, Protocol::Tcp)));
    check(&v6(17, "::ffff:1.2.3.4", &udp(4000, 123)), Some(("1.2.3.4", 123, UDP)));
    let behind_two = [&[60, 0, 0, 0, 0, 0, 0, 0], &[6, 1, 0, 0, 0, 0, 0, 0], [0; 8].as_slice(), &tcp(22, 2)].concat();
    check(&v6(0, "2606:4700::1", &behind_two), Some(("2606:4700::1", 22, Protocol::Tcp)));
    let first_part = [&[17, 0, 0, 1, 0, 0, 0, 9], udp(1, 2).as_slice()].concat();
    check(&v6(44, "2606:4700::1", &first_part), Some(("2606:4700::1", 2, UDP)));
}

#[test]
fn nothing_else_is_an_attempt() {
    for flags in [0x12, 0x10, 0x04, 0x14, 0x01, 0x00] {
        check(&v4(6, [8, 8, 8, 8], &tcp(443, flags)), None);
    }
    check(&v4(1, [8, 8, 8, 8], &[8, 0, 0, 0, 0, 0, 0, 0]), None);
    check(&v4(132, [8, 8, 8, 8], &udp(1, 2)), None);
    let mut later_part = v4(17, [8, 8, 8, 8], &udp(1, 2));
    later_part[7] = 9;
    check(&later_part, None);
    let mut short_header = v4(17, [8, 8, 8, 8], &udp(1, 2));
    short_header[0] = 0x44;
    check(&short_header, None);
    check(&v6(44, "2606:4700::1", &[&[17, 0, 0, 8, 0, 0, 0, 9], udp(1, 2).as_slice()].concat()), None);
    check(&v6(59, "2606:4700::1", &udp(1, 2)), None);
    check(&v6(0, "2606:4700::1", &[0; 200]), None);
    check(&v6(0, "2606:4700::1", &[0, 255, 0, 0]), None);
    check(&[0x75; 60], None);
}

/// Lets packets through a socket of another kind, which hands them out the same way, and returns the log.
async fn watched(packets: &[Vec<u8>], lost: u64) -> String {
    let logged = Logged::new();
    let text = "[[grant.net]]\nhost = \"db.test\"\nports = [5432]\nreason = \"a test\"\n";
    let profile = Arc::new(profile(text));
    let outline = Arc::new(Outline::of(&profile).expect("it can be held").expect("it has a grant"));
    let names = Arc::new(Names::new(outline.names.clone(), |_| false));
    let judge = Judge { profile, outline, names, account: logged.account() };
    let (inside, outside) = UnixDatagram::pair().expect("a pair");
    outside.set_nonblocking(true).expect("it can wait");
    let left = AtomicU64::new(lost);
    let drops: Drops = Box::new(move |_| Ok(left.swap(0, Ordering::Relaxed)));
    let watch = Refusals::new(OutletEnd::Socket(inside.into()), drops, judge).expect("it can be waited for");
    let feed = async {
        for packet in packets {
            while outside.send(packet).is_err() {
                tokio::task::yield_now().await;
            }
        }
    };
    watch.serve(feed).await.expect("the log takes it");
    logged.text()
}

#[tokio::test]
async fn refusals_are_in_the_log_once_with_their_number() {
    let mut packets = vec![v4(17, [8, 8, 8, 8], &udp(4000, 443)); 5];
    packets.extend(vec![v4(6, [198, 18, 1, 0], &tcp(22, 2)); 2]);
    packets.push(v6(6, "2606:4700::1", &tcp(2222, 2)));
    let log = watched(&packets, 0).await;
    assert_eq!(log.matches("net.refuse").count(), 3, "{log}");
    assert!(log.contains("no UDP is let out, also not to \\\"8.8.8.8\\\" port 443"), "{log}");
    assert!(log.contains("(5 attempts within 1 s)") && log.contains("(2 attempts within 1 s)"), "{log}");
    assert!(log.contains("\"host\":\"db.test\",\"port\":22"), "{log}");
    assert!(log.contains("\"host\":\"2606:4700::1\",\"port\":2222"), "{log}");
    assert!(!log.contains("\"gap\""), "{log}");
}

#[tokio::test]
async fn what_arrives_or_stays_inside_is_not_reported() {
    let log = watched(
        &[
            v4(6, [127, 0, 0, 1], &tcp(8080, 2)),
            v6(17, "::1", &udp(1, 8080)),
            v4(6, [198, 18, 1, 0], &tcp(5432, 2)),
            v4(6, [198, 18, 0, 1], &tcp(3128, 2)),
            v4(17, [1, 1, 1, 1], &udp(4000, 53)),
            v4(17, [1, 1, 1, 1], &udp(53, 4000)),
        ],
        0,
    )
    .await;
    assert_eq!(log.matches("net.refuse").count(), 0, "{log}");
}

#[tokio::test]
async fn a_scan_of_more_ports_than_a_window_has_is_logged_whole() {
    let packets: Vec<Vec<u8>> = (0..2500).map(|port| v4(6, [9, 9, 9, 9], &tcp(10_000 + port, 2))).collect();
    let log = watched(&packets, 0).await;
    assert_eq!(log.matches("net.refuse").count(), 2500);
}

#[tokio::test]
async fn packets_that_came_too_fast_are_counted_and_leave_no_gap() {
    let log = watched(&[], 17).await;
    assert!(log.contains("\"host\":\"*\"") && log.contains("17 packets"), "{log}");
    assert!(!log.contains("\"k\":\"gap\""), "{log}");
}
