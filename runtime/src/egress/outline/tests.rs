//! Profiles and the sockets that they need, as text.

use super::*;
use crate::egress::testing::profile;

fn grant(host: &str, ports: &str) -> String {
    let address = if host.parse::<IpAddr>().is_ok() { "address = true\n" } else { "" };
    format!("[[grant.net]]\nhost = \"{host}\"\n{address}ports = {ports}\nreason = \"a test\"\n")
}

fn outline(grants: &[(&str, &str)]) -> Result<Option<Outline>> {
    Outline::of(&profile(&grants.iter().map(|(host, ports)| grant(host, ports)).collect::<String>()))
}

#[track_caller]
fn check(grants: &[(&str, &str)], want: &str) {
    let outline = outline(grants).expect("it can be held").expect("it has grants");
    let want: String = want.split_inclusive('\n').map(str::trim_start).collect();
    assert_eq!(outline.to_string(), want);
}

#[track_caller]
fn refused(grants: &[(&str, &str)], want: &str) {
    let error = outline(grants).expect_err("it cannot be held");
    assert_eq!(error.fault, crate::error::Fault::Operator);
    assert_eq!(error.to_string(), want);
}

#[test]
fn without_a_grant_there_is_no_outlet() {
    assert_eq!(outline(&[]).expect("nothing to refuse"), None);
}

#[test]
fn low_ports_take_every_address() {
    check(
        &[("b.test", "[443, 80]"), ("a.test", "[443, 22]"), ("93.184.216.34", "[25]")],
        "udp *:53\ntcp *:53\ntcp 198.18.0.1:3128\ntcp *:22\ntcp *:25\ntcp *:80\ntcp *:443\nrefusals
         name a.test 198.18.1.0 fd73:746f:636b::c612:100
         name b.test 198.18.1.1 fd73:746f:636b::c612:101
        ",
    );
}

#[test]
fn high_ports_take_only_what_is_granted() {
    check(
        &[("db.test", "[5432]"), ("cache.test", "[6379, 5432]"), ("10.1.2.3", "[8443]"), ("2606:4700::1", "[8443]")],
        "udp *:53\ntcp *:53\ntcp 198.18.0.1:3128
         tcp 198.18.1.0:5432\ntcp 198.18.1.1:5432
         tcp [fd73:746f:636b::c612:100]:5432\ntcp [fd73:746f:636b::c612:101]:5432
         tcp 198.18.1.0:6379\ntcp [fd73:746f:636b::c612:100]:6379
         tcp 10.1.2.3:8443\ntcp [2606:4700::1]:8443\nrefusals
         name cache.test 198.18.1.0 fd73:746f:636b::c612:100
         name db.test 198.18.1.1 fd73:746f:636b::c612:101
        ",
    );
}

#[test]
fn a_wildcard_on_a_high_port_takes_every_address() {
    check(
        &[("db.test", "[5432]"), ("*.test", "[5432]")],
        "udp *:53\ntcp *:53\ntcp 198.18.0.1:3128\ntcp *:5432\nrefusals
         name db.test 198.18.1.0 fd73:746f:636b::c612:100
        ",
    );
}

#[test]
fn the_proxys_port_can_be_granted() {
    check(
        &[("a.test", "[3128]")],
        "udp *:53\ntcp *:53\ntcp 198.18.0.1:3128\ntcp 198.18.1.0:3128\ntcp [fd73:746f:636b::c612:100]:3128\nrefusals
         name a.test 198.18.1.0 fd73:746f:636b::c612:100
        ",
    );
    check(&[("*.test", "[3128]")], "udp *:53\ntcp *:53\ntcp *:3128\nrefusals\n");
}

#[test]
fn what_cannot_be_held_is_refused_with_a_hint() {
    refused(
        &[("a.test", "[53]")],
        "error: test:3 grants \"a.test\" port 53, which is the resolver's inside\n\
         hint: leave the port out: granted names are resolved without a grant",
    );
    refused(
        &[("127.0.0.1", "[8080]")],
        "error: test:3 grants \"127.0.0.1\", which inside is the inside itself\n\
         hint: give it a name with resolve = [\"127.0.0.1:PORT\"]; \"proxy.stockade.internal\" is taken",
    );
    let ports: Vec<String> = (2000..2063).map(|port| port.to_string()).collect();
    refused(
        &[("a.test", &format!("[{}]", ports.join(", ")))],
        "error: the profile's grants need 130 sockets, more than 128\n\
         hint: grant fewer ports from 1024 on, or one \"*.\" name in place of many names: each name needs two",
    );
}

#[test]
fn what_arrives_is_what_a_socket_takes() {
    let outline =
        outline(&[("db.test", "[5432]"), ("a.test", "[443]")]).expect("it can be held").expect("it has grants");
    for (address, port, want) in [
        ("1.2.3.4", 443, true),
        ("2606:4700::1", 443, true),
        ("1.2.3.4", 444, false),
        ("198.18.1.1", 5432, true),
        ("::ffff:198.18.1.1", 5432, true),
        ("fd73:746f:636b::c612:101", 5432, true),
        ("198.18.1.0", 5432, false),
        ("198.18.0.1", 3128, true),
        ("1.1.1.1", 53, true),
    ] {
        assert_eq!(outline.takes(address.parse().expect("an address"), port), want, "{address} {port}");
    }
    assert!(outline.takes_datagrams(53) && !outline.takes_datagrams(443));
}

#[test]
fn names_are_those_of_grants() {
    let profile = profile(&(grant("a.test", "[443]") + &grant("*.wild.test", "[443]")));
    for (name, want) in [("a.test", true), ("b.wild.test", true), ("wild.test", false), ("b.test", false)] {
        assert_eq!(names_host(&profile, &Host::parse(name).expect("a host")), want, "{name}");
    }
}
