//! Addresses and what they are: edges of every block, every embedding.

use super::*;

#[track_caller]
fn check(want: Class, addresses: &[&str]) {
    for text in addresses {
        let address: IpAddr = text.parse().expect("the table has addresses");
        assert_eq!(class(address), want, "{text}");
        assert_eq!(is_public(address), want == Class::Public, "{text}");
    }
}

#[test]
fn the_internet_is_public_up_to_the_edges_of_what_is_not() {
    check(
        Class::Public,
        &[
            "1.0.0.0",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "192.175.48.1",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "168.63.129.15",
            "100.128.100.200",
            "2001:200::1",
            "2606:4700:4700::1111",
            "2620:4f:8000::1",
            "2001:4:112::1",
            "2001:3::1",
            "2400::",
            "3ffe:ffff::1",
            "3fff:1000::",
            "2001:db7:ffff::",
            "2001:db9::",
        ],
    );
}

#[test]
fn no_special_block_is_public() {
    check(Class::Unspecified, &["0.0.0.0", "::"]);
    check(Class::Loopback, &["127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"]);
    check(
        Class::Private,
        &[
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "fc00::",
            "fd73:746f:636b::c612:100",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "fec0::1",
            "feff:ffff::",
        ],
    );
    check(Class::Shared, &["100.64.0.0", "100.127.255.255"]);
    check(Class::LinkLocal, &["169.254.0.0", "169.254.255.255", "169.254.169.253", "fe80::1", "febf::"]);
    check(Class::Multicast, &["224.0.0.0", "239.255.255.255", "ff00::", "ff02::fb"]);
    check(Class::Broadcast, &["255.255.255.255"]);
    check(
        Class::Documentation,
        &[
            "192.0.2.0",
            "192.0.2.255",
            "198.51.100.1",
            "203.0.113.9",
            "2001:db8::",
            "2001:db8:ffff::",
            "3fff::",
            "3fff:fff::",
        ],
    );
    check(Class::Benchmark, &["198.18.0.0", "198.19.255.255", "2001:2::", "2001:2:0:ffff::"]);
    check(
        Class::Reserved,
        &[
            "0.0.0.1",
            "0.255.255.255",
            "192.0.0.0",
            "192.0.0.9",
            "192.0.0.10",
            "192.0.0.170",
            "192.88.99.1",
            "240.0.0.0",
            "255.255.255.254",
            "100::",
            "100:0:0:1::1",
            "2001:1::1",
            "2001:10::1",
            "2001:20::1",
            "2001:30::1",
            "2001:1ff:ffff::",
            "4000::",
            "5f00::1",
            "1000::1",
            "64:ff9a::1",
            "64:ff9c::1",
            "200::1",
            "e000::1",
            "fbff::1",
            "fe00::1",
        ],
    );
}

#[test]
fn no_metadata_service_is_public() {
    check(
        Class::Metadata,
        &[
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
        ],
    );
}

#[test]
fn an_address_in_disguise_is_what_it_stands_for() {
    check(
        Class::Public,
        &[
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2600::5efe:8.8.8.8",
        ],
    );
    check(
        Class::Loopback,
        &["::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"],
    );
    check(
        Class::Private,
        &[
            "::ffff:10.0.0.1",
            "::192.168.0.1",
            "64:ff9b::10.0.0.1",
            "2002:c0a8:1::1",
            "2002:808:808:1:0:5efe:a00:1",
            "2600::5efe:10.0.0.1",
            "2600::200:5efe:172.16.0.1",
        ],
    );
    check(Class::LinkLocal, &["fe80::5efe:8.8.8.8"]);
    check(Class::Unspecified, &["::ffff:0.0.0.0", "64:ff9b::", "2002::1"]);
    check(Class::Reserved, &["::2", "::0.0.255.255"]);
}

#[test]
fn teredo_is_judged_by_its_server_and_its_client() {
    // 65.54.227.120 serves, the client is 192.0.2.45: both from RFC 4380's example and the registry.
    check(Class::Documentation, &["2001:0:4136:e378:8000:63bf:3fff:fdd2"]);
    // Client 8.8.8.8, then client 127.0.0.1, then server 10.0.0.1.
    check(Class::Public, &["2001:0:4136:e378:8000:63bf:f7f7:f7f7"]);
    check(Class::Loopback, &["2001:0:4136:e378:8000:63bf:80ff:fffe"]);
    check(Class::Private, &["2001:0:a00:1:8000:63bf:f7f7:f7f7"]);
}

#[test]
fn what_only_a_local_translator_understands_is_never_public() {
    check(Class::Translator, &["64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:1::10.0.0.1"]);
}

#[test]
fn every_mapped_address_is_judged_as_its_original() {
    for high in 0..=u16::MAX {
        let [a, b] = high.to_be_bytes();
        for (c, d) in [(0, 0), (0, 1), (2, 1), (100, 200), (129, 16), (169, 254), (255, 255)] {
            let address = Ipv4Addr::new(a, b, c, d);
            assert_eq!(class(IpAddr::V6(address.to_ipv6_mapped())), class(IpAddr::V4(address)), "{address}");
        }
    }
}
