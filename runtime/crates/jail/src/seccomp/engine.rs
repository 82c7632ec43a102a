//! The list that a container's engine installs, as it reads it: what our first process needs to make a sandbox in there, and
//! whatever a guest may do. The guest's own list is laid over it by the init, as everywhere.
//! It never depends on the machine, and holds no call that neither of the two makes.
//!
//! The format is that of Docker and Podman (`seccomp.json`; libseccomp's names for actions and architectures). Calls are
//! allowed whatever their arguments are: which of them a guest may make, and how, is the inner list's to say.

use super::recorded;
use super::table::{Answer, Call, Entry, Verdict, calls, entries, name};
use crate::plan::{Record, Sockets};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// What the first process and the init do before a guest is there.
const SET_UP: &[Call] = calls![
    SYS_unshare SYS_setns SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig
    SYS_fsmount SYS_mount_setattr SYS_sethostname SYS_keyctl SYS_seccomp SYS_prctl SYS_ptrace SYS_process_vm_readv SYS_openat2
    SYS_mknodat SYS_clone SYS_ioctl SYS_fcntl SYS_socket SYS_socketpair SYS_sendto SYS_sendmsg SYS_setsockopt SYS_prlimit64
    SYS_renameat2 SYS_personality
];

/// Refused as by a kernel that lacks it: C libraries then use clone(2) (the default answer, EPERM, they take for the end).
const NOT_THERE: [&str; 1] = ["clone3"];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: &'static str,
    architectures: [&'static str; 1],
    syscalls: [Rule; 2],
}

#[derive(Serialize)]
struct Rule {
    names: BTreeSet<&'static str>,
    action: &'static str,
    #[serde(rename = "errnoRet", skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
}

/// The list as JSON.
pub fn engine_profile() -> String {
    let tables = [
        entries(Sockets::Loopback, Record::AllOpens),
        entries(Sockets::Loopback, Record::Off),
        recorded::of_the_recorder(),
        recorded::of_the_tracer(),
    ];
    let made = tables.iter().flatten().filter(|entry| is_made(entry)).map(|entry| entry.name);
    let names = made.chain(SET_UP.iter().map(|call| name(*call))).collect();
    let profile = Profile {
        default_action: "SCMP_ACT_ERRNO",
        architectures: [ARCHITECTURE],
        syscalls: [
            Rule { names, action: "SCMP_ACT_ALLOW", errno: None },
            Rule { names: NOT_THERE.into(), action: "SCMP_ACT_ERRNO", errno: Some(libc::ENOSYS) },
        ],
    };
    serde_json::to_string(&profile).expect("plain data serialises to memory")
}

/// SHA-256 of [`engine_profile`], hex: what a plan names.
pub fn engine_profile_sha256() -> String {
    Sha256::digest(engine_profile()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether some call of this number is done by the kernel.
fn is_made(entry: &Entry) -> bool {
    let made = |verdict: &Verdict| matches!(verdict, Verdict::Allow | Verdict::Notify(Answer::Allow));
    made(&entry.otherwise) || entry.cases.iter().any(|case| made(&case.verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeSet<String> {
        let profile: serde_json::Value = serde_json::from_str(&engine_profile()).expect("it is JSON");
        let names = profile["syscalls"][0]["names"].as_array().expect("a list").iter();
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    #[test]
    fn whatever_a_guest_may_do_the_engine_lets_it() {
        let names = names();
        for entry in entries(Sockets::Loopback, Record::Changes).iter().filter(|entry| is_made(entry)) {
            assert!(names.contains(entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn what_nobody_of_ours_does_the_engine_refuses() {
        let names = names();
        for name in [
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "init_module",
            "finit_module",
            "kexec_load",
            "open_by_handle_at",
            "add_key",
            "request_key",
            "process_vm_writev",
            "reboot",
            "swapon",
            "acct",
            "clock_settime",
            "settimeofday",
            "iopl",
            "ioperm",
            "modify_ldt",
            "syslog",
            "quotactl",
            "clone3",
        ] {
            assert!(!names.contains(name), "{name}");
        }
    }

    #[test]
    fn the_list_is_the_same_every_time() {
        assert_eq!(engine_profile(), engine_profile());
        assert_eq!(engine_profile_sha256().len(), 64);
    }
}
