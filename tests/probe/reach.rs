//! System calls that no guest needs: each is called so that it can do no harm, to see whether the kernel answers at all.
//! It never passes an argument that could take effect.

use crate::kernel::in_child;
use crate::sys::{Arg, call};
use crate::{Args, Attempt, Entry, Miss};

pub(crate) const TABLE: &[Entry] = &[("reach", reach)];

/// An address that is never mapped, a descriptor that is never open.
const BAD: i64 = -1;

/// Name, number, arguments that cannot take effect. Answers other than "not permitted" and "no such call" mean that the
/// kernel's code was reached.
const CALLS: &[(&str, i64, [i64; 6])] = &[
    ("acct", libc::SYS_acct, [BAD, 0, 0, 0, 0, 0]),
    ("add_key", libc::SYS_add_key, [BAD, BAD, 0, 0, 0, 0]),
    ("adjtimex", libc::SYS_adjtimex, [BAD, 0, 0, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [BAD, 0, 0, 0, 0, 0]),
    ("clock_adjtime", libc::SYS_clock_adjtime, [0, BAD, 0, 0, 0, 0]),
    ("clock_settime", libc::SYS_clock_settime, [0, BAD, 0, 0, 0, 0]),
    ("delete_module", libc::SYS_delete_module, [BAD, 0, 0, 0, 0, 0]),
    ("fanotify_init", libc::SYS_fanotify_init, [0, 0, 0, 0, 0, 0]),
    ("finit_module", libc::SYS_finit_module, [BAD, BAD, 0, 0, 0, 0]),
    ("fsconfig", libc::SYS_fsconfig, [BAD, 0, 0, 0, 0, 0]),
    ("fsmount", libc::SYS_fsmount, [BAD, 0, 0, 0, 0, 0]),
    ("fsopen", libc::SYS_fsopen, [BAD, 0, 0, 0, 0, 0]),
    ("fspick", libc::SYS_fspick, [BAD, BAD, 0, 0, 0, 0]),
    ("init_module", libc::SYS_init_module, [0, 0, BAD, 0, 0, 0]),
    ("io_uring_enter", libc::SYS_io_uring_enter, [BAD, 0, 0, 0, 0, 0]),
    ("io_uring_register", libc::SYS_io_uring_register, [BAD, 0, 0, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0, 0, 0, 0]),
    ("ioperm", libc::SYS_ioperm, [0, 1, 0, 0, 0, 0]),
    ("iopl", libc::SYS_iopl, [0, 0, 0, 0, 0, 0]),
    ("kexec_load", libc::SYS_kexec_load, [0, 99, 0, 0, 0, 0]),
    ("kexec_file_load", libc::SYS_kexec_file_load, [BAD, BAD, 0, 0, 0, 0]),
    ("keyctl", libc::SYS_keyctl, [0, -3, 0, 0, 0, 0]),
    ("lookup_dcookie", libc::SYS_lookup_dcookie, [0, 0, 0, 0, 0, 0]),
    ("modify_ldt", libc::SYS_modify_ldt, [0, 0, 0, 0, 0, 0]),
    ("mount", libc::SYS_mount, [BAD, BAD, BAD, 0, 0, 0]),
    ("mount_setattr", libc::SYS_mount_setattr, [BAD, BAD, 0, 0, 0, 0]),
    ("move_mount", libc::SYS_move_mount, [BAD, BAD, BAD, BAD, 0, 0]),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, [BAD, BAD, 0, 0, 0, 0]),
    ("open_tree", libc::SYS_open_tree, [BAD, BAD, 0, 0, 0, 0]),
    ("perf_event_open", libc::SYS_perf_event_open, [BAD, 0, -1, -1, 0, 0]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [BAD, 0, 0, 0, 0, 0]),
    ("pivot_root", libc::SYS_pivot_root, [BAD, BAD, 0, 0, 0, 0]),
    ("process_vm_readv", libc::SYS_process_vm_readv, [0, 0, 0, 0, 0, 0]),
    ("process_vm_writev", libc::SYS_process_vm_writev, [0, 0, 0, 0, 0, 0]),
    ("quotactl", libc::SYS_quotactl, [0x8000_0100, BAD, 0, 0, 0, 0]),
    ("quotactl_fd", libc::SYS_quotactl_fd, [BAD, 0, 0, 0, 0, 0]),
    ("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0, 0]),
    ("request_key", libc::SYS_request_key, [BAD, BAD, 0, 0, 0, 0]),
    ("setdomainname", libc::SYS_setdomainname, [BAD, 1, 0, 0, 0, 0]),
    ("sethostname", libc::SYS_sethostname, [BAD, 1, 0, 0, 0, 0]),
    ("setns", libc::SYS_setns, [BAD, 0, 0, 0, 0, 0]),
    ("settimeofday", libc::SYS_settimeofday, [BAD, 0, 0, 0, 0, 0]),
    ("swapoff", libc::SYS_swapoff, [BAD, 0, 0, 0, 0, 0]),
    ("swapon", libc::SYS_swapon, [BAD, 0, 0, 0, 0, 0]),
    ("syslog", libc::SYS_syslog, [10, 0, 0, 0, 0, 0]),
    ("sysfs", libc::SYS_sysfs, [3, 0, 0, 0, 0, 0]),
    ("umount2", libc::SYS_umount2, [BAD, 0, 0, 0, 0, 0]),
    ("unshare", libc::SYS_unshare, [0, 0, 0, 0, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]),
    ("ustat", libc::SYS_ustat, [0, BAD, 0, 0, 0, 0]),
    ("listmount", 458, [BAD, BAD, 0, 0, 0, 0]),
    ("statmount", 457, [BAD, BAD, 0, 0, 0, 0]),
    ("listns", 470, [BAD, BAD, 0, 0, 0, 0]),
    ("open_tree_attr", 467, [BAD, BAD, 0, 0, 0, 0]),
];

fn reach(args: &Args) -> Attempt {
    let name = args.text(0)?;
    let found = CALLS.iter().find(|(known, ..)| *known == name);
    let (_, number, words) = found.ok_or_else(|| Miss::Broken(format!("no call {name} in the table")))?;
    in_child(|| match call(*number, &mut words.map(Arg::Int)) {
        Ok(answer) => Ok(format!("answered {answer}")),
        Err(errno @ (libc::EPERM | libc::ENOSYS | libc::EACCES)) => Err(Miss::Errno(errno)),
        Err(errno) => Ok(format!("answered: {}", std::io::Error::from_raw_os_error(errno))),
    })
}
