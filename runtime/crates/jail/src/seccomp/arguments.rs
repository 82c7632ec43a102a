//! The part of the table that looks at arguments: sockets, namespaces, terminals, devices, prctl.
//! It never looks behind a pointer: what stands there can change after the look.

use super::table::{Call, Case, Condition, Entry, Half, Verdict, calls, name, number};
use crate::plan::Sockets;

/// The kernel refuses: the program is told.
const NOT_PERMITTED: Verdict = Verdict::Errno(libc::EPERM);
/// What a kernel without this family says.
const NO_FAMILY: Verdict = Verdict::Errno(libc::EAFNOSUPPORT);
/// What a kernel without this protocol says. Go's MPTCP and others then use plain TCP.
const NO_PROTOCOL: Verdict = Verdict::Errno(libc::EPROTONOSUPPORT);
/// What a kernel without this socket option says.
const NO_OPTION: Verdict = Verdict::Errno(libc::ENOPROTOOPT);
/// What a kernel with TCP Fast Open switched off says.
const NOT_SUPPORTED: Verdict = Verdict::Errno(libc::EOPNOTSUPP);
/// What an older kernel says to a prctl option.
const NO_SUCH_OPTION: Verdict = Verdict::Errno(libc::EINVAL);

/// `SOCK_TYPE_MASK` of the kernel: the type without `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
const SOCKET_TYPE: u32 = 0xf;
/// `S_IFMT`.
const FILE_TYPE: u32 = 0xf000;
/// `MSG_FASTOPEN` (tcp(7)): connects without a call of connect.
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 1 << 3;
/// `RENAME_WHITEOUT`.
const RENAME_WHITEOUT: u32 = 1 << 2;
/// `ADDR_NO_RANDOMIZE`.
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;

/// Every flag of clone(2) that makes a namespace. `CLONE_NEWTIME` shares its bit with the exit signal there.
const CLONE_NEW: [u32; 7] = [
    0x0002_0000, // CLONE_NEWNS
    0x0200_0000, // CLONE_NEWCGROUP
    0x0400_0000, // CLONE_NEWUTS
    0x0800_0000, // CLONE_NEWIPC
    0x1000_0000, // CLONE_NEWUSER
    0x2000_0000, // CLONE_NEWPID
    0x4000_0000, // CLONE_NEWNET
];
/// `CLONE_NEWTIME`, for unshare(2).
const CLONE_NEWTIME: u32 = 0x80;
/// `CLONE_PARENT`: the child becomes a child of the caller's parent, which is the session's init.
const CLONE_PARENT: u32 = 0x8000;

/// Controls that are refused, by their number.
const IOCTL_REFUSED: [u32; 11] = [
    0x5412,      // TIOCSTI: types into the terminal (CVE-2017-5226)
    0x541c,      // TIOCLINUX: pastes into the console
    0x541d,      // TIOCCONS: takes the console's output
    0x5423,      // TIOCSETD: loads line disciplines (CVE-2023-6546)
    0x8901,      // FIOSETOWN: whom a descriptor signals
    0x8902,      // SIOCSPGRP: the same
    0x4030_5828, // FS_IOC_RESVSP: changes a file's space, past a refusal to truncate
    0x4030_5829, // FS_IOC_UNRESVSP
    0x4030_582a, // FS_IOC_RESVSP64
    0x4030_582b, // FS_IOC_UNRESVSP64
    0x4030_5839, // FS_IOC_ZERO_RANGE
];
/// Controls that are allowed although their class is refused: they clone and compare ranges of two open files.
const IOCTL_CLONE: [u32; 3] = [
    0x4004_9409, // FICLONE
    0x4020_940d, // FICLONERANGE
    0xc018_9436, // FIDEDUPERANGE
];
/// Classes of controls that are refused: mask and value.
const IOCTL_CLASSES: [(u32, u32); 3] = [
    (0xff00, 0x9400),      // btrfs: a snapshot shows a whole subvolume through any one file of it
    (0xffff_ff00, 0x4b00), // keyboard: a remapped key types for whoever sits at the console
    (0xffff_ff00, 0x5600), // virtual terminals
];

/// Options of prctl(2) that are allowed: each concerns the caller alone.
const PRCTL_ALLOWED: &[u32] = &[
    1,
    2, // SET_PDEATHSIG, GET_PDEATHSIG
    3,
    4, // GET_DUMPABLE, SET_DUMPABLE
    7,
    8, // GET_KEEPCAPS, SET_KEEPCAPS: locked by the secure bits
    13,
    14, // GET_TIMING, SET_TIMING
    15,
    16, // SET_NAME, GET_NAME
    21,
    22, // GET_SECCOMP, SET_SECCOMP: a filter can only be added
    23,
    24, // CAPBSET_READ, CAPBSET_DROP
    25,
    26, // GET_TSC, SET_TSC
    27,
    28, // GET_SECUREBITS, SET_SECUREBITS: locked
    29,
    30, // SET_TIMERSLACK, GET_TIMERSLACK
    33,
    34, // MCE_KILL, MCE_KILL_GET
    36,
    37, // SET_CHILD_SUBREAPER, GET_CHILD_SUBREAPER
    38,
    39, // SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS
    40, // GET_TID_ADDRESS
    41,
    42, // SET_THP_DISABLE, GET_THP_DISABLE
    47, // CAP_AMBIENT: raising is locked
    52,
    53, // GET_SPECULATION_CTRL, SET_SPECULATION_CTRL
    59, // SET_SYSCALL_USER_DISPATCH: emulators; dispatched calls still pass this list
    65,
    66,          // SET_MDWE, GET_MDWE
    68,          // GET_MEMORY_MERGE
    78,          // FUTEX_HASH
    0x4155_5856, // GET_AUXV
    0x5356_4d41, // SET_VMA: names of anonymous memory
    0x5961_6d61, // SET_PTRACER: whom Yama lets trace the caller; ptrace is refused anyway
];
/// Options of prctl(2) that are refused aloud.
const PRCTL_REFUSED: [u32; 3] = [
    35, // SET_MM: rewrites what /proc shows of the caller
    62, // SCHED_CORE: shares a core's scheduling with others
    67, // SET_MEMORY_MERGE: pages shared with others can be timed
];

/// Entries of this part.
pub(super) fn entries(sockets: Sockets) -> Vec<Entry> {
    let mut all = vec![
        clone_flags(),
        unshare_flags(),
        socket(sockets),
        socketpair(sockets),
        controls(),
        prctl(),
        entry(
            calls![SYS_personality],
            personality_cases(),
            NOT_PERMITTED,
            "other personalities change what memory and calls mean",
        ),
        entry(
            calls![SYS_seccomp],
            vec![Case { when: vec![bits(1, NEW_LISTENER)], verdict: NOT_PERMITTED }],
            Verdict::Allow,
            "a guest may filter itself; one listener at a time, and that one is ours",
        ),
        entry(
            calls![SYS_renameat2],
            vec![Case { when: vec![bits(4, RENAME_WHITEOUT)], verdict: NOT_PERMITTED }],
            Verdict::Allow,
            "a whiteout is a device node: it hides files of the layer below",
        ),
        entry(
            calls![SYS_fcntl],
            [8, 15].map(|command| case(vec![is(1, command)], NOT_PERMITTED)).to_vec(), // F_SETOWN, F_SETOWN_EX
            Verdict::Allow,
            "whom a descriptor signals: the kernel would send it on the guest's behalf",
        ),
        setsockopt(),
    ];
    for (call, flags) in [(calls![SYS_sendto], 3), (calls![SYS_sendmsg], 2), (calls![SYS_sendmmsg], 3)] {
        let cases = vec![case(vec![bits(flags, MSG_FASTOPEN)], NOT_SUPPORTED)];
        all.push(entry(
            call,
            cases,
            Verdict::Allow,
            "TCP Fast Open connects without connect, past Landlock's rule for it",
        ));
    }
    all.extend(nodes());
    all.extend(other_processes(sockets));
    all
}

/// clone(2). Linux itself looks at the low 32 bits of its flags only.
fn clone_flags() -> Entry {
    let mut cases: Vec<Case> = CLONE_NEW.map(|flag| case(vec![bits(0, flag)], NOT_PERMITTED)).to_vec();
    cases.push(case(vec![bits(0, CLONE_PARENT)], NOT_PERMITTED));
    entry(
        calls![SYS_clone],
        cases,
        Verdict::Allow,
        "processes and threads, but no nested namespace, whose root meets more of the kernel",
    )
}

/// unshare(2), whose high bits the kernel refuses.
fn unshare_flags() -> Entry {
    let mut cases: Vec<Case> = CLONE_NEW.map(|flag| case(vec![bits(0, flag)], NOT_PERMITTED)).to_vec();
    cases.push(case(vec![bits(0, CLONE_NEWTIME)], NOT_PERMITTED));
    entry(
        calls![SYS_unshare],
        cases,
        Verdict::Allow,
        "no nested namespace; a table of descriptors of one's own is harmless",
    )
}

/// socket(2): family, type, protocol.
fn socket(sockets: Sockets) -> Entry {
    let [inet, inet6] = [libc::AF_INET, libc::AF_INET6].map(family);
    let cases = match sockets {
        Sockets::PairsOnly => Vec::new(),
        Sockets::Loopback | Sockets::Internet => {
            let unix: &[i32] = match sockets {
                Sockets::Loopback => &[libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET],
                Sockets::Internet | Sockets::PairsOnly => &[],
            };
            let mut cases: Vec<Case> =
                unix.iter().map(|kind| case(vec![family(libc::AF_UNIX), socket_type(*kind)], Verdict::Allow)).collect();
            for internet in [inet, inet6] {
                for (kind, protocol) in [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)]
                {
                    for protocol in [0, protocol.cast_unsigned()] {
                        cases.push(case(vec![internet, socket_type(kind), is(2, protocol)], Verdict::Allow));
                    }
                }
                // MPTCP, SCTP, DCCP, UDP-Lite, ICMP, raw: protocols that rules for TCP and UDP do not see.
                cases.push(case(vec![internet], NO_PROTOCOL));
            }
            // Routing only, for getifaddrs; changing routes needs a capability. Not XFRM, netfilter, audit, generic…
            for kind in [libc::SOCK_RAW, libc::SOCK_DGRAM] {
                cases.push(case(vec![family(libc::AF_NETLINK), socket_type(kind), is(2, 0)], Verdict::Allow));
            }
            cases
        }
    };
    entry(
        calls![SYS_socket],
        cases,
        NO_FAMILY,
        "only families that the session's own namespaces hold; no VSOCK, ALG, PACKET, KEY, RXRPC, BLUETOOTH, TIPC, XDP, CAN…",
    )
}

/// socketpair(2). A datagram end can name another socket as its peer later, a stream end cannot.
fn socketpair(sockets: Sockets) -> Entry {
    let kinds: &[i32] = match sockets {
        Sockets::Loopback => &[libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET],
        // A pair of sequenced packets is born connected for good, as a stream pair is (Rust's std passes pidfds over
        // one); without namespaces nothing needs it.
        Sockets::Internet => &[libc::SOCK_STREAM, libc::SOCK_SEQPACKET],
        Sockets::PairsOnly => &[libc::SOCK_STREAM],
    };
    let cases =
        kinds.iter().map(|kind| case(vec![family(libc::AF_UNIX), socket_type(*kind)], Verdict::Allow)).collect();
    entry(calls![SYS_socketpair], cases, NO_FAMILY, "event loops wake themselves with a stream pair")
}

/// setsockopt(2): level and name.
fn setsockopt() -> Entry {
    let refused = [
        (6, 30),   // TCP_FASTOPEN_CONNECT: connects without connect
        (6, 31),   // TCP_ULP: protocols on top of TCP, inside the kernel
        (17, 100), // UDP_ENCAP: IPsec in UDP (CVE-2026-46300)
        (1, 26),   // SO_ATTACH_FILTER: programs in the kernel
        (1, 50),   // SO_ATTACH_BPF
        (1, 51),   // SO_ATTACH_REUSEPORT_CBPF
        (1, 52),   // SO_ATTACH_REUSEPORT_EBPF
    ];
    let cases = refused.map(|(level, option)| case(vec![is(1, level), is(2, option)], NO_OPTION)).to_vec();
    entry(
        calls![SYS_setsockopt],
        cases,
        Verdict::Allow,
        "options that go round a rule or carry programs into the kernel do not exist",
    )
}

/// ioctl(2).
fn controls() -> Entry {
    let allowed = IOCTL_CLONE.map(|number| case(vec![is(1, number)], Verdict::Allow));
    let refused = IOCTL_REFUSED.map(|number| case(vec![is(1, number)], NOT_PERMITTED));
    let classes = IOCTL_CLASSES.map(|(mask, value)| case(vec![masked(1, mask, value)], NOT_PERMITTED));
    let cases = allowed.into_iter().chain(refused).chain(classes).collect();
    entry(
        calls![SYS_ioctl],
        cases,
        Verdict::Allow,
        "terminals and files; nothing that types, signals or shows more than a path does",
    )
}

/// prctl(2).
fn prctl() -> Entry {
    let allowed = PRCTL_ALLOWED.iter().map(|option| case(vec![is(0, *option)], Verdict::Allow));
    let refused = PRCTL_REFUSED.map(|option| case(vec![is(0, option)], NOT_PERMITTED));
    let cases = allowed.chain(refused).collect();
    entry(
        calls![SYS_prctl],
        cases,
        NO_SUCH_OPTION,
        "options that concern the caller alone; the rest is as on an older kernel",
    )
}

/// personality(2): the default, asking, and fixed addresses, which sanitizers and debuggers need.
fn personality_cases() -> Vec<Case> {
    [0, 0xffff_ffff, ADDR_NO_RANDOMIZE].map(|value| case(vec![is(0, value)], Verdict::Allow)).to_vec()
}

/// Device nodes. The kernel lets anybody make the character device 0:0, overlayfs's whiteout.
fn nodes() -> Vec<Entry> {
    let devices = |mode| {
        [libc::S_IFCHR, libc::S_IFBLK].map(|kind| case(vec![masked(mode, FILE_TYPE, kind)], NOT_PERMITTED)).to_vec()
    };
    let why = "named pipes and sockets, but no devices";
    let mut all = vec![entry(calls![SYS_mknodat], devices(2), Verdict::Allow, why)];
    #[cfg(target_arch = "x86_64")]
    all.push(entry(calls![SYS_mknod], devices(1), Verdict::Allow, why));
    all
}

/// Limits and priorities of other processes: without a pid namespace the host's are among them.
fn other_processes(sockets: Sockets) -> Vec<Entry> {
    let by_argument: [(&[Call], u8); 7] = [
        (calls![SYS_prlimit64], 0),
        (calls![SYS_sched_setparam], 0),
        (calls![SYS_sched_setscheduler], 0),
        (calls![SYS_sched_setattr], 0),
        (calls![SYS_sched_setaffinity], 0),
        (calls![SYS_setpriority], 1),
        (calls![SYS_ioprio_set], 1),
    ];
    by_argument
        .into_iter()
        .map(|(call, pid)| match sockets {
            Sockets::Loopback | Sockets::Internet => {
                entry(call, Vec::new(), Verdict::Allow, "limits and priorities within the pid namespace")
            }
            Sockets::PairsOnly => entry(
                call,
                vec![case(vec![is(pid, 0)], Verdict::Allow)],
                NOT_PERMITTED,
                "limits and priorities of the caller alone",
            ),
        })
        .collect()
}

/// The argument is this.
pub(super) const fn is(argument: u8, value: u32) -> Condition {
    masked(argument, u32::MAX, value)
}

/// The argument has this one bit.
pub(super) const fn bits(argument: u8, bit: u32) -> Condition {
    masked(argument, bit, bit)
}

/// These bits of the argument are these.
pub(super) const fn masked(argument: u8, mask: u32, value: u32) -> Condition {
    Condition { argument, half: Half::Low, mask, value }
}

/// The first argument is this family.
const fn family(family: i32) -> Condition {
    is(0, family.cast_unsigned())
}

/// The second argument is this type of socket, whatever its flags.
const fn socket_type(kind: i32) -> Condition {
    masked(1, SOCKET_TYPE, kind.cast_unsigned())
}

/// A case.
pub(super) const fn case(when: Vec<Condition>, verdict: Verdict) -> Case {
    Case { when, verdict }
}

/// The entry of the one call in `calls`.
fn entry(calls: &[Call], cases: Vec<Case>, otherwise: Verdict, why: &'static str) -> Entry {
    let [call] = calls else { unreachable!("each entry here names one call") };
    Entry { name: name(*call), number: number(*call), cases, otherwise, why }
}
