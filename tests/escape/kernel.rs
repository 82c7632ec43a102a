//! Attacks on the kernel itself: system calls that no guest needs, other ways to make them, namespaces and mounts.
//! It never passes the kernel an argument that could take effect on the host.

use crate::table::Attack;

/// System calls that must not be answered; the probe knows arguments for each that cannot take effect.
const CALLS: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kexec_load",
    "kexec_file_load",
    "keyctl",
    "lookup_dcookie",
    "modify_ldt",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "open_tree_attr",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "sysfs",
    "umount2",
    "userfaultfd",
    "ustat",
    "listmount",
    "statmount",
    "listns",
];

/// The same gate by 32-bit numbers: name and words (`arch/x86/entry/syscalls/syscall_32.tbl`).
const I386: &[(&str, &[&str])] = &[
    ("getpid", &["20"]),
    ("ptrace", &["26", "9999"]),
    ("personality", &["136", "4294967295"]),
    ("unshare", &["310", "0"]),
    ("socket", &["359", "16", "3", "0"]),
    ("keyctl", &["288", "0", "4294967293", "0"]),
    ("bpf", &["357", "99"]),
    ("io_uring_setup", &["425", "0"]),
    ("userfaultfd", &["374", "1"]),
    ("perf_event_open", &["336", "0"]),
    ("mount", &["21", "0"]),
];

/// x32 numbers are the 64-bit ones with a bit set.
const X32: &[(&str, &[&str])] = &[
    ("getpid", &["39"]),
    ("ptrace", &["521", "9999"]),
    ("unshare", &["272", "0"]),
    ("keyctl", &["250", "0", "-3", "0"]),
    ("io_uring_setup", &["425", "0"]),
    ("bpf", &["321", "99"]),
];

const NAMESPACES: [&str; 8] = ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup", "time"];

pub(crate) fn attacks() -> Vec<Attack> {
    let reached = CALLS
        .iter()
        .map(|call| Attack::probe("71, 82", format!("{call}_is_not_reached"), &["reach", call]).where_possible());
    let gates = I386.iter().map(|(call, words)| {
        let words = [&["i386"], *words].concat();
        Attack::probe("72", format!("{call}_is_not_reached_through_the_32_bit_gate"), &words).where_possible()
    });
    let x32 = X32.iter().map(|(call, words)| {
        let words = [&["x32"], *words].concat();
        Attack::probe("72", format!("{call}_is_not_reached_by_its_x32_number"), &words).where_possible()
    });
    reached.chain(gates).chain(x32).chain(namespaces()).chain(mounts()).chain(others()).collect()
}

fn namespaces() -> impl Iterator<Item = Attack> {
    NAMESPACES.into_iter().flat_map(|namespace| {
        // The flag of a time namespace is part of the signal's number in clone(2): only the other two can make one.
        let possible = move |call: &&str| namespace != "time" || *call != "clone";
        ["unshare", "clone3", "clone"].into_iter().filter(possible).map(move |call| {
            Attack::probe("73", format!("{call}_makes_no_{namespace}_namespace"), &[call, namespace]).where_possible()
        })
    })
}

fn mounts() -> [Attack; 8] {
    [
        Attack::probe("73", "nothing_is_mounted_in_a_new_user_namespace", &["mount-in-new-user-namespace"])
            .where_possible(),
        Attack::probe("86", "no_tmpfs_is_mounted", &["mount", "tmpfs", "/tmp"]).where_possible(),
        Attack::probe("86", "no_proc_is_mounted", &["mount", "proc", "/tmp"]).where_possible(),
        Attack::probe("86", "no_cgroup_is_mounted", &["mount", "cgroup2", "/tmp"]).where_possible(),
        Attack::probe("18", "proc_is_not_uncovered", &["unmount", "/proc"]).where_possible(),
        Attack::probe("18", "proc_is_not_made_writable", &["remount", "/proc"]).where_possible(),
        Attack::probe("20", "no_tree_is_detached", &["detach-tree", "/"]).where_possible(),
        Attack::probe("14, 23", "a_new_root_does_not_lead_out", &["change-root", "{hidden}/secret"])
            .file("{hidden}/secret", "{canary}")
            .where_possible(),
    ]
}

fn others() -> [Attack; 4] {
    [
        Attack::probe("71", "no_ring_is_set_up", &["ring-opens"]),
        Attack::probe("82", "reading_does_not_imply_executing", &["personality", "4194304"]),
        Attack::probe("82", "the_personality_is_not_32_bit", &["personality", "8"]),
        Attack::probe("72", "a_second_filter_loosens_nothing", &["loosen-filter"]).where_possible(),
    ]
}
