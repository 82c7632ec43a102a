//! Attacks on files: everything that changes one, by every spelling of its path, in what is hidden and in what is readable.
//! It never aims at a file that the test did not make, but for the kernel's own in `/proc`, `/sys` and `/dev`.

use crate::table::{Attack, Prop};

/// Places that are not the guest's, and what they are called in names of tests.
const PLACES: [(&str, &str); 2] = [("{hidden}", "hidden"), ("{readable}", "read_only")];

/// System calls that change a file or its directory, by the probe's names; whether the control depends on the machine.
const CHANGES: &[(&str, bool)] = &[
    ("open-write", false),
    ("open-append", false),
    ("open-truncate", false),
    ("create", false),
    ("truncate", false),
    ("unlink", false),
    ("rename-away", false),
    ("rename-over", false),
    ("rename-exchange", false),
    ("rename-whiteout", true),
    ("link-in-and-write", false),
    ("link-out", false),
    ("symlink-out", false),
    ("make-directory", false),
    ("make-fifo", false),
    ("chmod", false),
    ("chmod-by-descriptor", false),
    ("chown", false),
    ("set-times", false),
    ("set-xattr", false),
    ("set-flags", true),
    ("set-project", true),
    ("tmpfile-link", false),
    ("copy-range", false),
    ("send-file", false),
    ("splice", false),
    ("map-shared", false),
    ("allocate", false),
    ("zero-range", true),
    ("reopen-through-proc", false),
];

/// Ways to spell the path of a file in `{place}`.
const SPELLINGS: &[(&str, &str)] = &[
    ("its_path", "{place}/file"),
    ("a_planted_link_to_its_directory", "{ws}/link/file"),
    ("dots", "{ws}/../{name}/file"),
    ("proc_self_root", "/proc/self/root{place}/file"),
    ("proc_self_cwd", "/proc/self/cwd/../{name}/file"),
    ("proc_thread_self", "/proc/thread-self/root{place}/file"),
    ("a_chain_of_links", "{ws}/first/file"),
];

/// Changes that are tried by every spelling; the others by the first two.
const BY_EVERY_SPELLING: [&str; 4] = ["open-write", "create", "rename-over", "unlink"];

pub(crate) fn attacks() -> Vec<Attack> {
    [changes(), reads(), kernel_files(), devices(), others()].concat()
}

fn changes() -> Vec<Attack> {
    let mut all = Vec::new();
    for (place, place_name) in PLACES {
        for (change, depends) in CHANGES {
            let spellings = if BY_EVERY_SPELLING.contains(change) { SPELLINGS } else { &SPELLINGS[..2] };
            for (spelling_name, spelling) in spellings {
                let bare = place.trim_matches(['{', '}']);
                let path = spelling.replace("{place}", place).replace("{name}", bare);
                let name =
                    format!("{}_by_{spelling_name}_does_not_change_what_is_{place_name}", change.replace('-', "_"));
                let attack = Attack::probe("15, 22-25, 33", name, &[change, &path])
                    .file(&format!("{place}/file"), "content of the host\n")
                    .link("{ws}/link", place)
                    .link("{ws}/first", "second")
                    .link("{ws}/second", place)
                    .watch(place);
                all.push(if *depends { attack.where_possible() } else { attack });
            }
        }
        let planted = Attack::probe(
            "24",
            format!("a_link_to_a_file_does_not_write_what_is_{place_name}"),
            &["open-write", "{ws}/link"],
        )
        .file(&format!("{place}/file"), "content of the host\n")
        .link("{ws}/link", &format!("{place}/file"))
        .watch(place);
        let raced = Attack::probe(
            "17, 77",
            format!("a_swapped_link_does_not_write_what_is_{place_name}"),
            &["swap-race", &format!("{place}/file")],
        )
        .file(&format!("{place}/file"), "content of the host\n")
        .watch(place);
        let descriptor = format!("{}/file", place.trim_matches(['{', '}']));
        let climbed = Attack::probe(
            "19, 23",
            format!("a_descriptor_of_a_directory_does_not_lead_to_what_is_{place_name}"),
            &["through-descriptor", &descriptor],
        )
        .file(&format!("{place}/file"), "content of the host\n")
        .watch(place);
        all.extend([planted, raced, climbed]);
    }
    // The same while the workspace is copy-on-write: the layer must not let a change through either.
    let layered = ["open-write", "create", "rename-over", "link-in-and-write"].map(|change| {
        Attack::probe(
            "15",
            format!("{}_does_not_leave_the_layer", change.replace('-', "_")),
            &[change, "{ws}/link/file"],
        )
        .review()
        .file("{readable}/file", "content of the host\n")
        .link("{ws}/link", "{readable}")
        .watch("{readable}")
    });
    all.extend(layered);
    let own = Attack::probe("15", "review_does_not_write_the_workspace_itself", &["open-write", "{ws}/file"])
        .review()
        .file("{ws}/file", "content of the host\n")
        .watch("{ws}/file")
        .harmless();
    all.push(own);
    all
}

fn reads() -> Vec<Attack> {
    let secret = |attack: Attack| attack.file("{hidden}/secret", "{canary}\n");
    let read = |name: &str, path: &str| {
        secret(Attack::probe("23, 26", format!("{name}_does_not_read_what_is_hidden"), &["read", path, "{canary}"]))
            .link("{ws}/link", "{hidden}/secret")
            .link("{ws}/directory", "{hidden}")
    };
    let spelled = [
        read("its_path", "{hidden}/secret"),
        read("a_planted_link", "{ws}/link"),
        read("a_planted_link_to_its_directory", "{ws}/directory/secret"),
        read("dots", "{ws}/../hidden/secret"),
        read("proc_self_root", "/proc/self/root{hidden}/secret"),
        read("proc_self_cwd", "/proc/self/cwd/../hidden/secret"),
        read("proc_thread_self", "/proc/thread-self/root{hidden}/secret"),
        read("a_task_of_proc_self", "/proc/self/task/../root{hidden}/secret"),
    ];
    let others = [
        secret(Attack::probe(
            "23",
            "no_process_leads_to_what_is_hidden",
            &["read-relative-to-proc", "{hidden}/secret", "{canary}"],
        )),
        secret(Attack::probe("26", "listing_does_not_find_what_is_hidden", &["list-finds", "{hidden}", "secret"])),
        secret(Attack::probe(
            "26",
            "existence_of_what_is_hidden_cannot_be_told",
            &["exists-oracle", "{hidden}/secret"],
        )),
        secret(Attack::probe(
            "26",
            "nothing_in_the_tree_holds_the_secret",
            &["tree-holds", "/", "{canary}", "/proc", "/sys", "/usr"],
        ))
        .control(&["tree-holds", "{root}", "{canary}"]),
        secret(Attack::probe("27", "a_file_handle_does_not_open_an_inode", &["by-handle", "{ws}"])).where_possible(),
    ];
    [spelled.to_vec(), others.to_vec(), reads_by_other_programs()].concat()
}

/// Reads by a shell's tricks and by programs that run others.
fn reads_by_other_programs() -> Vec<Attack> {
    let secret = |attack: Attack| attack.file("{hidden}/secret", "{canary}\n");
    vec![
        secret(Attack::shell(
            "43",
            "a_shell_does_not_read_what_is_hidden",
            "cat < <(bash < <(echo cat '{hidden}/secret'))",
        )),
        secret(Attack::shell("42", "sed_does_not_read_what_is_hidden", "echo x | sed 'e cat {hidden}/secret'")),
        secret(Attack::shell(
            "42",
            "find_does_not_read_what_is_hidden",
            "find . -maxdepth 0 -exec cat '{hidden}/secret' ';'",
        )),
        secret(Attack::shell("42", "xargs_does_not_read_what_is_hidden", "echo '{hidden}/secret' | xargs cat")),
        secret(Attack::shell("42", "tar_does_not_read_what_is_hidden", "tar cf - '{hidden}/secret' | tar xOf -")),
        secret(Attack::shell("44", "env_split_does_not_read_what_is_hidden", "env -S 'cat {hidden}/secret'")),
        secret(Attack::shell(
            "41",
            "a_pager_does_not_read_what_is_hidden",
            "export PAGER='cat {hidden}/secret #'; eval \"$PAGER\"",
        )),
        secret(Attack::shell(
            "45",
            "the_loader_does_not_read_what_is_hidden",
            "/lib64/ld-linux-x86-64.so.2 /bin/cat '{hidden}/secret'",
        )),
        secret(Attack::shell(
            "45",
            "a_copied_program_does_not_read_what_is_hidden",
            "cp /bin/cat x; ./x '{hidden}/secret'",
        )),
        secret(Attack::shell(
            "45",
            "perl_does_not_read_what_is_hidden",
            "perl -e 'open F, q({hidden}/secret); print <F>'",
        )),
        secret(Attack::shell(
            "11",
            "a_long_chain_of_commands_does_not_read_what_is_hidden",
            "for i in {1..200}; do true; done; true && true; cat '{hidden}/secret'",
        )),
    ]
}

/// Where a write concerns the whole machine.
const KERNEL_WRITES: &[&str] = &[
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/fs/file-max",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/user/max_user_namespaces",
    "/proc/irq/default_smp_affinity",
    "/proc/1/oom_score_adj",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/power/state",
    "/sys/fs/cgroup/memory/release_agent",
    "/sys/fs/cgroup/memory/cgroup.procs",
    "/sys/fs/cgroup/pids/tasks",
    "/sys/fs/cgroup/unified/cgroup.procs",
];
/// Where a read does.
const KERNEL_READS: &[&str] = &[
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/kpagecount",
    "/proc/vmallocinfo",
    "/proc/slabinfo",
    "/proc/1/environ",
    "/proc/1/maps",
    "/proc/1/stack",
    "/sys/firmware/acpi/tables/DSDT",
    "/sys/kernel/notes",
    "/sys/kernel/debug",
    "/sys/kernel/vmcoreinfo",
    "/sys/kernel/security/lsm",
];

/// Files of the kernel in which a write, or a read, concerns the whole machine.
fn kernel_files() -> Vec<Attack> {
    let slug = |path: &str| path.trim_matches('/').replace(['/', '.'], "_");
    let writes = KERNEL_WRITES.iter().map(|path| {
        Attack::probe("18, 86", format!("{}_is_not_opened_for_writing", slug(path)), &["open-write-only", path])
            .where_possible()
    });
    let reads = KERNEL_READS
        .iter()
        .map(|path| Attack::probe("18", format!("{}_is_not_read", slug(path)), &["read", path]).where_possible());
    let sweeps = [
        Attack::probe("18", "no_address_of_the_kernel_is_shown", &["kernel-addresses"]).where_possible(),
        Attack::probe("86", "nothing_of_sys_can_be_written", &["writable-below", "/sys"])
            .control(&["writable-below", "/sys/fs/cgroup"])
            .where_possible(),
        Attack::probe("18, 86", "nothing_of_proc_sys_can_be_written", &["writable-below", "/proc/sys"])
            .control(&["writable-below", "/proc/sys/kernel"])
            .where_possible(),
        Attack::probe(
            "15",
            "nothing_but_the_guests_own_places_can_be_written",
            &["writable-below", "/", "/proc", "{ws}", "{home}", "/tmp", "/dev/shm", "/dev/pts"],
        )
        .control(&["writable-below", "{root}", "{ws}"])
        .file("{readable}/deep/down/file", "x"),
        Attack::probe("35", "every_mount_ignores_set_user_id", &["mount-without", "nosuid"]),
        Attack::probe(
            "34",
            "every_mount_but_the_devices_ignores_device_nodes",
            &[
                "mount-without",
                "nodev",
                "/dev/null",
                "/dev/zero",
                "/dev/full",
                "/dev/random",
                "/dev/urandom",
                "/dev/tty",
                "/dev/pts",
            ],
        ),
    ];
    writes.chain(reads).chain(sweeps).collect()
}

/// Device nodes that lead to the machine.
fn devices() -> Vec<Attack> {
    const NODES: &[&str] = &[
        "kvm",
        "fuse",
        "mem",
        "port",
        "kmsg",
        "vda",
        "loop-control",
        "loop0",
        "net/tun",
        "uinput",
        "userfaultfd",
        "vsock",
        "vhost-vsock",
        "hwrng",
        "cpu_dma_latency",
        "btrfs-control",
        "tty0",
        "tty1",
        "vcs",
        "vcsa1",
        "ttyS0",
        "vga_arbiter",
        "console",
        "mapper/control",
        "nvram",
        "rtc0",
        "snapshot",
        "zram0",
        "dri/card0",
        "input/event0",
        "bus/usb/001/001",
    ];
    let opened = NODES.iter().map(|node| {
        let path = format!("/dev/{node}");
        Attack::probe("34", format!("dev_{}_is_not_there", node.replace(['/', '-'], "_")), &["open-device", &path])
            .where_possible()
    });
    // Major and minor numbers: memory, kernel messages, the first disk, fuse, a console.
    const NUMBERS: &[(&str, &str, &str)] = &[
        ("memory", "1", "1"),
        ("messages", "1", "11"),
        ("fuse", "10", "229"),
        ("console", "5", "1"),
        ("null", "1", "3"),
    ];
    let made = NUMBERS.iter().flat_map(|(what, major, minor)| {
        [("the_workspace", "{ws}/node"), ("tmp", "/tmp/{canary}"), ("shm", "/dev/shm/{canary}")].map(
            |(place_name, place)| {
                Attack::probe(
                    "34",
                    format!("a_{what}_device_is_not_made_in_{place_name}"),
                    &["make-device", place, major, minor],
                )
                .where_possible()
            },
        )
    });
    opened.chain(made).collect()
}

fn others() -> Vec<Attack> {
    let suid = |name: &str, directory: &str| {
        let program = format!("{directory}/suid");
        let mut attack = Attack::probe("35", name, &[]).prop(Prop::SetUserId(program.clone())).where_possible();
        attack.command = [program.as_str(), "is-effectively", "65534"].map(str::to_owned).to_vec();
        attack.rules("[[grant.exec]]\npath = \"{readable}\"\nreason = \"holds a set-user-id program\"")
    };
    vec![
        suid("a_set_user_id_program_in_the_workspace_has_no_effect", "{ws}"),
        suid("a_set_user_id_program_that_may_be_run_has_no_effect", "{readable}"),
        Attack::probe("32", "a_whiteout_is_not_made_in_the_workspace", &["whiteout-here"]).where_possible(),
        Attack::probe("31", "tmp_is_not_the_hosts", &["write-here", "/tmp/{canary}"]).watch("/tmp/{canary}").harmless(),
        Attack::probe("31", "var_tmp_is_not_the_hosts", &["write-here", "/var/tmp/{canary}"])
            .watch("/var/tmp/{canary}")
            .harmless(),
        Attack::probe("31", "dev_shm_is_not_the_hosts", &["write-here", "/dev/shm/{canary}"])
            .watch("/dev/shm/{canary}")
            .harmless(),
        Attack::probe("40", "home_is_not_the_hosts", &["write-here", "{home}/.bashrc"])
            .file("{home}/.bashrc", "")
            .watch("{home}")
            .harmless(),
        Attack::probe(
            "40",
            "a_new_file_in_home_is_not_the_hosts",
            &["write-here", "{home}/.config/autostart/x.desktop"],
        )
        .watch("{home}")
        .harmless(),
        Attack::probe("40", "a_program_on_the_path_in_home_is_not_the_hosts", &["write-here", "{home}/.local/bin/ls"])
            .watch("{home}")
            .harmless(),
        Attack::probe("31", "a_file_of_the_hosts_tmp_is_not_read", &["list-finds", "/tmp", "{canary}"])
            .prop(Prop::File("/tmp/{canary}/x".into(), String::new())),
        Attack::probe("19", "no_descriptor_is_inherited", &["inherited"])
            .launched(&["leaking", "{hidden}", "{hidden}/secret"])
            .file("{hidden}/secret", "x"),
        Attack::probe("19", "no_inherited_descriptor_leads_outside", &["read-through-inherited", "secret"])
            .launched(&["leaking", "{hidden}", "{hidden}/secret"])
            .file("{hidden}/secret", "x"),
        Attack::probe(
            "45",
            "a_program_in_memory_does_not_write_what_is_read_only",
            &["run-from-memory", "open-write", "{readable}/file"],
        )
        .file("{readable}/file", "content of the host\n")
        .watch("{readable}"),
    ]
}
