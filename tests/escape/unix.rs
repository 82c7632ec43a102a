//! Attacks through UNIX sockets, System V and POSIX IPC and keyrings: everything that joins processes by a name.
//! It never touches an object that the test's own helper did not make.

use crate::table::Attack;

pub(crate) fn attacks() -> Vec<Attack> {
    [by_path(), by_abstract_name(), descriptors(), ipc(), keys()].concat()
}

/// Where a program of the host's may have its socket.
const PLACES: &[(&str, &str)] = &[
    ("in_a_hidden_directory", "{hidden}/s"),
    ("in_a_readable_directory", "{readable}/s"),
    ("in_the_workspace", "{ws}/s"),
    ("in_tmp", "/tmp/{canary}"),
    ("in_home", "{home}/s"),
];

fn by_path() -> Vec<Attack> {
    const WAYS: &[(&str, &str, &str)] = &[
        ("a_stream_socket", "stream", "unix-stream"),
        ("a_seqpacket_socket", "seqpacket", "unix-seqpacket"),
        ("a_datagram", "datagram", "unix-datagram"),
        ("a_datagram_message", "datagram", "unix-datagram-message"),
        ("a_connected_datagram", "datagram", "unix-datagram-connected"),
        ("an_end_of_a_pair", "datagram", "unix-pair-message"),
        ("a_connected_end_of_a_pair", "datagram", "unix-pair-connect"),
    ];
    let mut all = Vec::new();
    for (place_name, place) in PLACES {
        for (way_name, kind, way) in WAYS {
            let name = format!("{way_name}_does_not_reach_the_host_{place_name}");
            all.push(Attack::probe("30, 65-68", name, &[way, place]).aimed_at(&["host-unix", kind, place]));
        }
        let name = format!("a_link_to_a_socket_does_not_reach_the_host_{place_name}");
        all.push(Attack::probe("30, 66", name, &["unix-through-link", place]).aimed_at(&[
            "host-unix",
            "stream",
            place,
        ]));
        let name = format!("a_stream_socket_does_not_reach_the_host_{place_name}_in_review");
        all.push(Attack::probe("30, 66", name, &["unix-stream", place]).review().aimed_at(&[
            "host-unix",
            "stream",
            place,
        ]));
    }
    all
}

fn by_abstract_name() -> Vec<Attack> {
    const WAYS: &[(&str, &str, &str)] = &[
        ("a_stream_socket", "stream", "unix-stream"),
        ("a_seqpacket_socket", "seqpacket", "unix-seqpacket"),
        ("a_datagram", "datagram", "unix-datagram"),
        ("a_datagram_message", "datagram", "unix-datagram-message"),
        ("an_end_of_a_pair", "datagram", "unix-pair-message"),
        ("a_connected_end_of_a_pair", "datagram", "unix-pair-connect"),
    ];
    WAYS.iter()
        .map(|(name, kind, way)| {
            Attack::probe("65", format!("{name}_does_not_reach_an_abstract_name"), &[way, "@{canary}"]).aimed_at(&[
                "host-unix",
                kind,
                "@{canary}",
            ])
        })
        .collect()
}

fn descriptors() -> Vec<Attack> {
    let receive = |place_name: &str, place: &str| {
        Attack::probe("69", format!("no_descriptor_is_received_{place_name}"), &["unix-receive-descriptor", place])
            .file("{hidden}/secret", "{canary}")
            .aimed_at(&["host-unix", "pass", place, "{hidden}/secret"])
    };
    vec![
        receive("through_a_hidden_socket", "{hidden}/s"),
        receive("through_a_readable_socket", "{readable}/s"),
        receive("through_an_abstract_name", "@{canary}"),
        Attack::probe("69", "no_descriptor_leaves_through_standard_output", &["send-directory-through-stdout"])
            .launched(&["socket-as-output"]),
        Attack::probe("31", "a_socket_is_not_planted_in_the_hosts_tmp", &["unix-bind", "/tmp/{canary}"])
            .watch("/tmp/{canary}")
            .harmless(),
        Attack::probe("65", "a_name_is_not_planted_among_the_hosts", &["unix-bind", "@{canary}-planted"]).harmless(),
    ]
}

fn ipc() -> Vec<Attack> {
    let sysv = |name: &str, attempt: &[&str]| {
        Attack::probe("81", format!("{name}_of_the_host_is_not_reached"), attempt).aimed_at(&["host-sysv"])
    };
    vec![
        sysv("a_shared_memory_segment", &["shm-attach", "{segment}"]),
        sysv("a_shared_memory_segment_by_its_key", &["shm-by-key", "{key}"]),
        sysv("a_message_queue_to_send", &["message-send", "{queue}"]),
        sysv("a_message_queue_to_receive", &["message-receive", "{queue}"]),
        sysv("a_semaphore", &["semaphore-set", "{semaphore}"]),
        Attack::probe("81", "shared_memory_of_the_host_is_not_listed", &["shm-list", "{segment}"])
            .beside(&["host-sysv"]),
        Attack::probe("81", "a_posix_queue_of_the_host_is_not_reached", &["posix-queue-send", "{canary}"])
            .aimed_at(&["host-queue", "{canary}"]),
    ]
}

fn keys() -> Vec<Attack> {
    let key = |name: &str, attempt: &[&str]| {
        Attack::probe("82", name, attempt).beside(&["host-key", "{canary}"]).where_possible()
    };
    vec![
        key("a_key_of_the_user_is_not_found", &["key-search", "{canary}"]),
        key("a_key_of_the_user_is_not_given", &["key-request", "{canary}"]),
        key("a_key_of_the_user_is_not_read_by_its_number", &["key-read", "{key}"]),
        key("no_key_is_left_for_the_user", &["key-add", "{canary}-planted"]),
    ]
}
