//! What a worker of these tests does when it is asked to, and the attacks that a list of calls has to end.
//! It never runs anything that a request does not name.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use stockade_jail::Unconfined;
use stockade_jail::worker::{Confined, Files};

/// Counted by the thread of a worker that has one.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// An attack for that thread.
static ORDER: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

/// The worker's `main`: answers requests until its supervisor is gone.
pub(crate) fn serve(unconfined: Unconfined) -> i32 {
    let supervisor = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if std::path::Path::new(&mark_of_threads(supervisor)).exists() && tick().is_err() {
        return 4;
    }
    let Ok(confined) = unconfined.irrevocably_confine_with(tick) else { return 1 };
    let Confined { channel, files, .. } = confined;
    let mut request = vec![0; 4096];
    loop {
        let Ok((length, _)) = rustix::net::recv(&channel, &mut request, rustix::net::RecvFlags::empty()) else {
            return 2;
        };
        if length == 0 {
            return 0;
        }
        let text = String::from_utf8_lossy(&request[..length]).into_owned();
        let words: Vec<&str> = text.split('\u{1f}').collect();
        let done = match words.as_slice() {
            ["stream"] => echo(channel.as_fd()),
            words => answer(words, files.as_ref()),
        };
        let answer = match done {
            Ok(answer) => format!("ok {answer}"),
            Err(errno) => format!("errno {}", errno.raw_os_error()),
        };
        if rustix::net::send(&channel, answer.as_bytes(), rustix::net::SendFlags::NOSIGNAL).is_err() {
            return 3;
        }
    }
}

/// Waits for a stream, as a runtime does, and sends back once what comes on it.
fn echo(channel: BorrowedFd<'_>) -> Result<String, Errno> {
    use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags, add, create, wait};
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recv, recvmsg, send};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    recvmsg(channel, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let rights = ancillary.drain().find_map(|message| {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message { rights.next() } else { None }
    });
    let (stream, events) = (rights.ok_or(Errno::BADMSG)?, create(CreateFlags::CLOEXEC)?);
    add(&events, &stream, EventData::new_u64(7), EventFlags::IN | EventFlags::ET)?;
    let mut ready = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
    wait(&events, &mut ready, None)?;
    let (length, _) = recv(&stream, &mut bytes, RecvFlags::DONTWAIT)?;
    send(&stream, &bytes[..length], SendFlags::NOSIGNAL)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// A file that is there where the workers of a supervisor are to have threads too early.
pub(crate) fn mark_of_threads(supervisor: i32) -> String {
    format!("/tmp/stockade-jail-threads-of-{supervisor}")
}

fn tick() -> std::io::Result<()> {
    std::thread::Builder::new()
        .spawn(|| {
            loop {
                TICKS.fetch_add(1, Ordering::Relaxed);
                let order = ORDER.lock().expect("nobody panics").take();
                order.map(|name| attack(&name).ok());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        })
        .map(drop)
}

fn answer(words: &[&str], files: Option<&Files>) -> Result<String, Errno> {
    let io = |error: std::io::Error| Errno::from_io_error(&error).expect("it came from the kernel");
    match words {
        ["read", path] => std::fs::read_to_string(path).map_err(io),
        ["write", path, text] => std::fs::write(path, text).map(|()| String::new()).map_err(io),
        ["append", path] => std::fs::File::options().append(true).open(path).map(|_| String::new()).map_err(io),
        ["truncate", path] => {
            std::fs::File::options().write(true).truncate(true).open(path).map(|_| String::new()).map_err(io)
        }
        ["truncate-to-read", path] => {
            rustix::fs::openat(CWD, *path, OFlags::RDONLY | OFlags::TRUNC, Mode::empty()).map(|_| String::new())
        }
        ["reread", path] => {
            // Opened for reading; again, through the table of descriptors, for writing.
            let file = std::fs::File::open(path).map_err(io)?;
            let table = &files.ok_or(Errno::NOENT)?.proc_fds;
            let again = rustix::fs::openat(table, file.as_raw_fd().to_string(), OFlags::WRONLY, Mode::empty())?;
            std::fs::File::from(again).write_all(b"x").map(|()| String::new()).map_err(io)
        }
        ["list", path] => {
            let entries = std::fs::read_dir(path).map_err(io)?;
            let mut names = entries
                .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(io))
                .collect::<Result<Vec<_>, _>>()?;
            names.sort();
            Ok(names.join(" "))
        }
        ["path", path] => name_of(std::fs::File::open(path).map_err(io)?.as_fd(), files),
        ["beneath", directory, path] => {
            let directory = std::fs::File::open(directory).map_err(io)?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat2(&directory, *path, flags, Mode::empty(), ResolveFlags::BENEATH)?;
            let mut text = String::new();
            std::fs::File::from(file).read_to_string(&mut text).map_err(io)?;
            Ok(text)
        }
        ["from-root", path] => {
            let root = &files.ok_or(Errno::NOENT)?.root;
            let file = rustix::fs::openat(root, *path, OFlags::RDONLY, Mode::empty())?;
            name_of(file.as_fd(), files)
        }
        ["up", path] => {
            let found = rustix::fs::openat(&files.ok_or(Errno::NOENT)?.proc_fds, *path, OFlags::PATH, Mode::empty())?;
            let stat = rustix::fs::fstat(&found)?;
            Ok(format!("{}:{}", stat.st_dev, stat.st_ino))
        }
        ["ids"] => Ok(format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())),
        ["ticks"] => Ok(TICKS.load(Ordering::Relaxed).to_string()),
        ["attack", name] => attack(name),
        ["attack-in-thread", name] => {
            *ORDER.lock().expect("nobody panics") = Some((*name).to_owned());
            std::thread::sleep(std::time::Duration::from_secs(10));
            Ok(String::new())
        }
        ["exit", code] => std::process::exit(code.parse().expect("a number")),
        ["allocate", mib] => {
            let bytes = mib.parse::<usize>().expect("a number") << 20;
            let mut memory: Vec<u8> = Vec::new();
            memory.try_reserve_exact(bytes).map_err(|_| Errno::NOMEM)?;
            memory.resize(bytes, 1);
            Ok(memory.len().to_string())
        }
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        [change, rest @ ..] => changes(change, rest).map(|()| String::new()),
        [] => Err(Errno::INVAL),
    }
}

fn name_of(file: BorrowedFd<'_>, files: Option<&Files>) -> Result<String, Errno> {
    let table = &files.ok_or(Errno::NOENT)?.proc_fds;
    let name = rustix::fs::readlinkat(table, file.as_raw_fd().to_string(), Vec::new())?;
    Ok(name.to_string_lossy().into_owned())
}

/// Whatever changes something without writing into an open file.
fn changes(change: &str, words: &[&str]) -> Result<(), Errno> {
    let now = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
        last_modification: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
    };
    match (change, words) {
        ("mkdir", [path]) => rustix::fs::mkdirat(CWD, *path, Mode::from_raw_mode(0o755)),
        ("unlink", [path]) => rustix::fs::unlinkat(CWD, *path, AtFlags::empty()),
        ("rename", [from, to]) => rustix::fs::renameat(CWD, *from, CWD, *to),
        ("link", [from, to]) => rustix::fs::linkat(CWD, *from, CWD, *to, AtFlags::empty()),
        ("symlink", [target, path]) => rustix::fs::symlinkat(*target, CWD, *path),
        ("chmod", [path]) => rustix::fs::chmodat(CWD, *path, Mode::from_raw_mode(0o600), AtFlags::empty()),
        ("fchmod", [path]) => {
            let file = rustix::fs::openat(CWD, *path, OFlags::RDONLY, Mode::empty())?;
            rustix::fs::fchmod(file, Mode::from_raw_mode(0o600))
        }
        ("utimes", [path]) => rustix::fs::utimensat(CWD, *path, &now, AtFlags::empty()),
        ("futimes", [path]) => {
            let file = rustix::fs::openat(CWD, *path, OFlags::RDONLY, Mode::empty())?;
            rustix::fs::futimens(file, &now)
        }
        _ => Err(Errno::NOSYS),
    }
}

/// A call by number, with arguments that hurt nobody: done, or refused by the kernel's own checks.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    number: i64,
    arguments: [i64; 6],
}

const fn one(name: &'static str, number: i64, arguments: [i64; 6]) -> Attack {
    Attack { name, number, arguments }
}

const BAD: i64 = -1;
const READ_WRITE_EXECUTE: i64 = 7;
/// `MAP_PRIVATE | MAP_ANONYMOUS`.
const ANONYMOUS: i64 = 0x22;

/// Each ends a worker, and outside reaches the kernel.
pub(crate) const ATTACKS: [Attack; 58] = [
    one("socket", libc::SYS_socket, [libc::AF_INET as i64, libc::SOCK_STREAM as i64, 0, 0, 0, 0]),
    one("unix socket", libc::SYS_socket, [libc::AF_UNIX as i64, libc::SOCK_STREAM as i64, 0, 0, 0, 0]),
    one("socketpair", libc::SYS_socketpair, [libc::AF_UNIX as i64, libc::SOCK_STREAM as i64, 0, 0, 0, 0]),
    one("connect", libc::SYS_connect, [BAD, 0, 0, 0, 0, 0]),
    one("bind", libc::SYS_bind, [BAD, 0, 0, 0, 0, 0]),
    one("listen", libc::SYS_listen, [BAD, 0, 0, 0, 0, 0]),
    one("accept4", libc::SYS_accept4, [BAD, 0, 0, 0, 0, 0]),
    one("sendmmsg", libc::SYS_sendmmsg, [BAD, 0, 0, 0, 0, 0]),
    one("setsockopt", libc::SYS_setsockopt, [BAD, 1, 26, 0, 0, 0]),
    one("clone", libc::SYS_clone, [libc::CLONE_THREAD as i64, 0, 0, 0, 0, 0]),
    one("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0, 0]),
    one("execve", libc::SYS_execve, [0, 0, 0, 0, 0, 0]),
    one("execveat", libc::SYS_execveat, [BAD, 0, 0, 0, 0, 0]),
    one("kill", libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
    one("tkill", libc::SYS_tkill, [1, 0, 0, 0, 0, 0]),
    one("tgkill", libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]),
    one("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, [1, 0, 0, 0, 0, 0]),
    one("pidfd_open", libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
    one("pidfd_send_signal", libc::SYS_pidfd_send_signal, [BAD, 0, 0, 0, 0, 0]),
    one("pidfd_getfd", libc::SYS_pidfd_getfd, [BAD, 0, 0, 0, 0, 0]),
    one("ptrace", libc::SYS_ptrace, [16, BAD, 0, 0, 0, 0]),
    one("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0]),
    one("process_vm_writev", libc::SYS_process_vm_writev, [1, 0, 0, 0, 0, 0]),
    one("process_madvise", libc::SYS_process_madvise, [BAD, 0, 0, 0, 0, 0]),
    one("kcmp", libc::SYS_kcmp, [1, 1, 99, 0, 0, 0]),
    one("mount", libc::SYS_mount, [0, 0, 0, 0, 0, 0]),
    one("umount2", libc::SYS_umount2, [0, 0, 0, 0, 0, 0]),
    one("pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0, 0, 0]),
    one("chroot", libc::SYS_chroot, [0, 0, 0, 0, 0, 0]),
    one("chdir", libc::SYS_chdir, [0, 0, 0, 0, 0, 0]),
    one("fchdir", libc::SYS_fchdir, [BAD, 0, 0, 0, 0, 0]),
    one("open_tree", libc::SYS_open_tree, [BAD, 0, 0, 0, 0, 0]),
    one("move_mount", libc::SYS_move_mount, [BAD, 0, BAD, 0, 0, 0]),
    one("fsopen", libc::SYS_fsopen, [0, 0, 0, 0, 0, 0]),
    one("mount_setattr", libc::SYS_mount_setattr, [BAD, 0, 0, 0, 0, 0]),
    one("setns", libc::SYS_setns, [BAD, 0, 0, 0, 0, 0]),
    one("unshare", libc::SYS_unshare, [0, 0, 0, 0, 0, 0]),
    one("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0, 0, 0, 0]),
    one("bpf", libc::SYS_bpf, [BAD, 0, 0, 0, 0, 0]),
    one("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0, 0, 0, 0]),
    one("userfaultfd", libc::SYS_userfaultfd, [BAD, 0, 0, 0, 0, 0]),
    one("open_by_handle_at", libc::SYS_open_by_handle_at, [BAD, 0, 0, 0, 0, 0]),
    one("name_to_handle_at", libc::SYS_name_to_handle_at, [BAD, 0, 0, 0, 0, 0]),
    one("keyctl", libc::SYS_keyctl, [BAD, 0, 0, 0, 0, 0]),
    one("mknodat", libc::SYS_mknodat, [BAD, 0, 0, 0, 0, 0]),
    one("fchown", libc::SYS_fchown, [BAD, 0, 0, 0, 0, 0]),
    one("fsetxattr", libc::SYS_fsetxattr, [BAD, 0, 0, 0, 0, 0]),
    one("inotify_init1", libc::SYS_inotify_init1, [0, 0, 0, 0, 0, 0]),
    one("setresuid", libc::SYS_setresuid, [BAD, BAD, BAD, 0, 0, 0]),
    one("capset", libc::SYS_capset, [0, 0, 0, 0, 0, 0]),
    one("seccomp", libc::SYS_seccomp, [99, 0, 0, 0, 0, 0]),
    one("setrlimit", libc::SYS_setrlimit, [99, 0, 0, 0, 0, 0]),
    one("personality", libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
    one("sched_setaffinity", libc::SYS_sched_setaffinity, [0, 0, 0, 0, 0, 0]),
    one("shmget", libc::SYS_shmget, [0x7fff_fffe, 4096, 0, 0, 0, 0]),
    one("timer_create", libc::SYS_timer_create, [BAD, 0, 0, 0, 0, 0]),
    one("mmap", libc::SYS_mmap, [0, 4096, READ_WRITE_EXECUTE, ANONYMOUS, BAD, 0]),
    one("mprotect", libc::SYS_mprotect, [0, 0, READ_WRITE_EXECUTE, 0, 0, 0]),
];

/// Refused without an end: what a runtime may ask by the way.
pub(crate) const REFUSED: [Attack; 5] = [
    one("fcntl", libc::SYS_fcntl, [0, libc::F_SETOWN as i64, 1, 0, 0, 0]),
    one("ioctl", libc::SYS_ioctl, [BAD, 0x5412, 0, 0, 0, 0]),
    one("prctl", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as i64, 1, 0, 0, 0, 0]),
    one("prlimit64", libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as i64, 1, 0, 0, 0]),
    one("sendto", libc::SYS_sendto, [BAD, 0, 0, 0, 1 << 32, 16]),
];

/// What a list for code that is loaded has to allow, and one for a compiler must not.
pub(crate) const EXECUTABLE: Attack = one("executable", libc::SYS_mmap, [0, 4096, 5, ANONYMOUS, BAD, 0]);

/// Carries one out in this process.
pub(crate) fn attack(name: &str) -> Result<String, Errno> {
    let all = ATTACKS.iter().chain(&REFUSED).chain([&EXECUTABLE]);
    let attack = all.into_iter().find(|attack| attack.name == name).expect("an attack of the table");
    let [a, b, c, d, e, f] = attack.arguments;
    // SAFETY: of the calls in the table, those that read or write memory of ours get a null pointer or a descriptor that
    // does not exist, so the kernel refuses them, or an address that is none; the others touch none, or map new memory that nobody uses.
    let result = unsafe { libc::syscall(attack.number, a, b, c, d, e, f) };
    if result == -1 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).expect("it came from the kernel"));
    }
    Ok(result.to_string())
}
