//! Attacks on the network: every protocol and address that leads to the host, every family that is not needed.
//! It never sends a packet beyond this machine.

use crate::table::Attack;

/// Families of sockets by number, as `linux/socket.h` has them, but for UNIX, IPv4 and IPv6, which a guest needs,
/// and netlink, whose protocols follow.
const FAMILIES: &[(&str, &str)] = &[
    ("ax25", "3"),
    ("ipx", "4"),
    ("appletalk", "5"),
    ("netrom", "6"),
    ("bridge", "7"),
    ("atmpvc", "8"),
    ("x25", "9"),
    ("rose", "11"),
    ("decnet", "12"),
    ("netbeui", "13"),
    ("security", "14"),
    ("key", "15"),
    ("packet", "17"),
    ("ash", "18"),
    ("econet", "19"),
    ("atmsvc", "20"),
    ("rds", "21"),
    ("sna", "22"),
    ("irda", "23"),
    ("pppox", "24"),
    ("wanpipe", "25"),
    ("llc", "26"),
    ("infiniband", "27"),
    ("mpls", "28"),
    ("can", "29"),
    ("tipc", "30"),
    ("bluetooth", "31"),
    ("iucv", "32"),
    ("rxrpc", "33"),
    ("isdn", "34"),
    ("phonet", "35"),
    ("ieee802154", "36"),
    ("caif", "37"),
    ("alg", "38"),
    ("nfc", "39"),
    ("vsock", "40"),
    ("kcm", "41"),
    ("qipcrtr", "42"),
    ("smc", "43"),
    ("xdp", "44"),
    ("mctp", "45"),
];

/// Protocols of netlink that reach far into the kernel. The one of routes (0) may be asked, since programs look for their
/// own addresses; that it tells of the loopback only is an attack of its own.
const NETLINK: &[(&str, &str)] = &[
    ("usersock", "2"),
    ("sock_diag", "4"),
    ("xfrm", "6"),
    ("selinux", "7"),
    ("iscsi", "8"),
    ("audit", "9"),
    ("fib_lookup", "10"),
    ("connector", "11"),
    ("netfilter", "12"),
    ("kobject_uevent", "15"),
    ("generic", "16"),
    ("crypto", "21"),
];

/// Protocols of IP that are neither TCP nor UDP: name, family, protocol, type.
const PROTOCOLS: &[(&str, &str, &str, &str)] = &[
    ("raw_ipv4", "2", "255", "3"),
    ("raw_ipv6", "10", "255", "3"),
    ("raw_icmp", "2", "1", "3"),
    ("raw_tcp", "2", "6", "3"),
    ("sctp_stream", "2", "132", "1"),
    ("sctp_seqpacket", "2", "132", "5"),
    ("dccp", "2", "33", "6"),
    ("packet_type_of_ipv4", "2", "3", "10"),
    ("smc", "2", "256", "1"),
    ("l2tp", "2", "115", "2"),
];

pub(crate) fn attacks() -> Vec<Attack> {
    [contacts(), families(), inbound()].concat()
}

fn contacts() -> Vec<Attack> {
    let contact = |number: &'static str, name: &str, helper: &[&str], attempt: &[&str]| {
        Attack::probe(number, format!("{name}_does_not_reach_the_host"), attempt).aimed_at(helper)
    };
    let (tcp4, tcp6, udp4) = (&["host-tcp", "0.0.0.0"], &["host-tcp", "::"], &["host-udp", "0.0.0.0"]);
    vec![
        contact("49", "tcp_to_the_loopback", tcp4, &["tcp", "127.0.0.1", "{port}"]),
        contact("49", "tcp_to_another_loopback_address", tcp4, &["tcp", "127.0.0.2", "{port}"]),
        contact("49", "tcp_to_the_last_loopback_address", tcp4, &["tcp", "127.255.255.254", "{port}"]),
        contact("49", "tcp_to_any_address", tcp4, &["tcp", "0.0.0.0", "{port}"]),
        contact("49", "tcp_to_the_ipv6_loopback", tcp6, &["tcp", "::1", "{port}"]).where_possible(),
        contact("49", "tcp_to_any_ipv6_address", tcp6, &["tcp", "::", "{port}"]).where_possible(),
        contact("49", "tcp_to_a_mapped_address", tcp4, &["tcp", "::ffff:127.0.0.1", "{port}"]).where_possible(),
        contact("49", "tcp_to_the_address_of_an_interface", tcp4, &["tcp", "{interface}", "{port}"]).where_possible(),
        contact("50", "mptcp", tcp4, &["mptcp", "127.0.0.1", "{port}"]).where_possible(),
        contact("50", "fast_open", tcp4, &["fast-open", "127.0.0.1", "{port}"]).where_possible(),
        contact("50", "fast_open_in_a_message", tcp4, &["fast-open-message", "127.0.0.1", "{port}"]).where_possible(),
        contact("50", "fast_open_by_connect", tcp4, &["fast-open-connect", "127.0.0.1", "{port}"]).where_possible(),
        contact("50", "udp", udp4, &["udp", "127.0.0.1", "{port}"]),
        contact("50", "udp_in_a_message", udp4, &["udp-message", "127.0.0.1", "{port}"]),
        contact("50", "udp_to_the_address_of_an_interface", udp4, &["udp", "{interface}", "{port}"]).where_possible(),
        contact("50", "udplite", &["host-udplite"], &["udplite", "127.0.0.1", "{port}"]).where_possible(),
        Attack::probe("50", "no_route_leads_out", &["interfaces"]).where_possible(),
        Attack::probe("64", "netlink_tells_of_no_interface", &["netlink"]).where_possible(),
        Attack::shell("60", "unset_proxy_variables_do_not_open_a_way", "unset HTTP_PROXY HTTPS_PROXY ALL_PROXY; exec 3<>/dev/tcp/127.0.0.1/{port} && head -c 5 <&3 >/dev/null")
            .aimed_at(&["host-tcp", "0.0.0.0"]),
        Attack::shell("45, 60", "curl_by_another_name_does_not_reach_the_host", "cp /usr/bin/curl ./other; ./other --http0.9 --noproxy '*' -m 2 -s http://127.0.0.1:{port}/ >/dev/null")
            .aimed_at(&["host-tcp", "0.0.0.0"])
            .where_possible(),
        Attack::shell("52", "a_name_does_not_leave_as_a_question", "exec 3<>/dev/udp/127.0.0.1/{port}; printf '\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6secret\\4evil\\0\\0\\1\\0\\1' >&3")
            .aimed_at(&["host-udp", "0.0.0.0"]),
    ]
}

fn families() -> Vec<Attack> {
    let family = |(name, number): &(&str, &str)| {
        Attack::probe("64", format!("a_socket_of_family_{name}_is_not_made"), &["family", number]).where_possible()
    };
    let netlink = |(name, number): &(&str, &str)| {
        Attack::probe("64", format!("a_netlink_socket_{name}_is_not_made"), &["family", "16", number]).where_possible()
    };
    let protocol = |(name, family, number, kind): &(&str, &str, &str, &str)| {
        Attack::probe("50", format!("a_{name}_socket_is_not_made"), &["family", family, number, kind]).where_possible()
    };
    let more = [
        // SOCK_CLOEXEC and SOCK_NONBLOCK share the type's word: a filter must not be confused by them.
        Attack::probe("64", "a_vsock_with_flags_does_not_reach_the_hypervisor", &["vsock-connect", "2"])
            .where_possible(),
        Attack::probe("64", "a_vsock_does_not_reach_the_machine_itself", &["vsock-connect", "1"]).where_possible(),
        Attack::probe("64", "a_family_in_the_high_half_of_the_word_is_not_made", &["family", "4294967313"])
            .where_possible(),
        Attack::probe("64", "a_pair_of_another_family_is_not_made", &["pair", "30", "1"]).where_possible(),
    ];
    FAMILIES
        .iter()
        .map(family)
        .chain(NETLINK.iter().map(netlink))
        .chain(PROTOCOLS.iter().map(protocol))
        .chain(more)
        .collect()
}

/// The other way: what listens inside must not be found on the host.
fn inbound() -> Vec<Attack> {
    vec![
        Attack::probe("63", "a_listener_inside_is_not_found_on_the_host", &["listen-everywhere", "{inside_port}"])
            .aimed_at(&["host-visitor", "{inside_port}"])
            .harmless(),
        Attack::shell(
            "63",
            "a_web_server_inside_is_not_found_on_the_host",
            "timeout 2 /usr/bin/python3 -m http.server {inside_port} >/dev/null 2>&1; true",
        )
        .aimed_at(&["host-visitor", "{inside_port}"])
        .where_possible(),
    ]
}
