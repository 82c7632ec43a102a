//! Ways to read, change, stop or outlive a process that is not the guest's.
//! It never touches a process but the one whose number it is given, and its own children.

use crate::sys::{Arg, Errno, call, exit_now, fork, remote_memory, unheeded};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

pub(crate) const TABLE: &[Entry] = &[
    ("trace-attach", trace_attach),
    ("trace-seize", trace_seize),
    ("memory-read", memory_read),
    ("memory-write", memory_write),
    ("memory-file-read", memory_file_read),
    ("memory-file-write", memory_file_write),
    ("take-descriptor", take_descriptor),
    ("kill", kill),
    ("kill-by-descriptor", kill_by_descriptor),
    ("queue-signal", queue_signal),
    ("owner-signal", owner_signal),
    ("proc-read", proc_read),
    ("proc-link", proc_link),
    ("proc-write", proc_write),
    ("join-namespace", join_namespace),
    ("set-limits", set_limits),
    ("set-priority", set_priority),
    ("set-affinity", set_affinity),
    ("compare", compare),
    ("limit-above", limit_above),
    ("become", become_user),
    ("is-effectively", is_effectively),
    ("gain-capabilities", gain_capabilities),
    ("daemon", daemon),
    ("run-from-memory", run_from_memory),
    ("find-parent", find_parent),
];

/// Something at this address is mapped in every process that runs: where the kernel keeps nothing, access has still
/// been checked before the address is.
const ANY_ADDRESS: i64 = 0x1_0000;

fn trace(request: u32, pid: i64) -> Result<i64, Errno> {
    call(libc::SYS_ptrace, &mut [Arg::Int(request.into()), Arg::Int(pid), Arg::Int(0), Arg::Int(0)])
}

fn trace_attach(args: &Args) -> Attempt {
    let pid = args.number(0)?;
    trace(libc::PTRACE_ATTACH, pid)?;
    unheeded(call(libc::SYS_wait4, &mut [Arg::Int(pid), Arg::Int(0), Arg::Int(libc::__WALL.into()), Arg::Int(0)]));
    unheeded(trace(libc::PTRACE_DETACH, pid));
    Ok("attached".to_owned())
}

fn trace_seize(args: &Args) -> Attempt {
    trace(libc::PTRACE_SEIZE, args.number(0)?)?;
    Ok("seized".to_owned())
}

fn memory(number: i64, args: &Args) -> Attempt {
    let address =
        usize::try_from(args.number(1).unwrap_or(ANY_ADDRESS)).map_err(|_| Miss::Broken("address".to_owned()))?;
    let mut bytes = *b"overwritten";
    match remote_memory(number, args.number(0)?, address, &mut bytes) {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        // The address was wrong, the access was granted.
        Err(libc::EFAULT) => Ok("access granted".to_owned()),
        Err(errno) => Err(Miss::Errno(errno)),
    }
}

fn memory_read(args: &Args) -> Attempt {
    memory(libc::SYS_process_vm_readv, args)
}

fn memory_write(args: &Args) -> Attempt {
    memory(libc::SYS_process_vm_writev, args)
}

fn memory_file_read(args: &Args) -> Attempt {
    let file = File::open(format!("/proc/{}/mem", args.number(0)?))?;
    let mut bytes = [0; 11];
    let address = u64::try_from(args.number(1).unwrap_or(ANY_ADDRESS)).unwrap_or_default();
    drop(file.read_at(&mut bytes, address));
    Ok("opened its memory".to_owned())
}

fn memory_file_write(args: &Args) -> Attempt {
    let file = OpenOptions::new().write(true).open(format!("/proc/{}/mem", args.number(0)?))?;
    let address = u64::try_from(args.number(1).unwrap_or(ANY_ADDRESS)).unwrap_or_default();
    drop(file.write_at(b"overwritten", address));
    Ok("opened its memory for writing".to_owned())
}

fn process_descriptor(pid: i64) -> Result<i64, Errno> {
    call(libc::SYS_pidfd_open, &mut [Arg::Int(pid), Arg::Int(0)])
}

fn take_descriptor(args: &Args) -> Attempt {
    let process = process_descriptor(args.number(0)?)?;
    let taken =
        (0..16).find_map(|fd| call(libc::SYS_pidfd_getfd, &mut [Arg::Int(process), Arg::Int(fd), Arg::Int(0)]).ok());
    taken.map(|fd| format!("took a descriptor as {fd}")).ok_or(Miss::Errno(libc::EPERM))
}

fn kill(args: &Args) -> Attempt {
    call(libc::SYS_kill, &mut [Arg::Int(args.number(0)?), Arg::Int(args.number(1).unwrap_or(9))])?;
    Ok("signalled".to_owned())
}

fn kill_by_descriptor(args: &Args) -> Attempt {
    let process = process_descriptor(args.number(0)?)?;
    call(libc::SYS_pidfd_send_signal, &mut [Arg::Int(process), Arg::Int(9), Arg::Int(0), Arg::Int(0)])?;
    Ok("signalled".to_owned())
}

fn queue_signal(args: &Args) -> Attempt {
    let pid = args.number(0)?;
    let mut info = [0_u8; 128];
    info[8..12].copy_from_slice(&(-1_i32).to_ne_bytes());
    call(libc::SYS_rt_tgsigqueueinfo, &mut [Arg::Int(pid), Arg::Int(pid), Arg::Int(9), Arg::In(&info)])?;
    Ok("signalled".to_owned())
}

/// F_SETOWN: the kernel sends the signal when the pipe becomes readable.
fn owner_signal(args: &Args) -> Attempt {
    use std::os::fd::AsRawFd as _;
    let (reader, mut writer) = std::io::pipe()?;
    let fd = i64::from(reader.as_raw_fd());
    let set = |command: i32, value: i64| {
        call(libc::SYS_fcntl, &mut [Arg::Int(fd), Arg::Int(command.into()), Arg::Int(value)])
    };
    set(libc::F_SETOWN, args.number(0)?)?;
    set(10, 9)?; // F_SETSIG, SIGKILL
    set(libc::F_SETFL, (libc::O_ASYNC | libc::O_NONBLOCK).into())?;
    writer.write_all(b"x")?;
    std::thread::sleep(Duration::from_millis(50));
    Ok("a signal was ordered".to_owned())
}

fn proc_read(args: &Args) -> Attempt {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{}/{}", args.number(0)?, args.text(1)?))?.take(4096).read_to_end(&mut bytes)?;
    if bytes.is_empty() { Err(Miss::Nothing("empty".to_owned())) } else { Ok(format!("{} bytes", bytes.len())) }
}

fn proc_link(args: &Args) -> Attempt {
    let path = format!("/proc/{}/{}", args.number(0)?, args.text(1)?);
    Ok(fs::read_link(path)?.display().to_string())
}

fn proc_write(args: &Args) -> Attempt {
    let path = format!("/proc/{}/{}", args.number(0)?, args.text(1)?);
    OpenOptions::new().write(true).open(path)?.write_all(args.text(2)?.as_bytes())?;
    Ok("written".to_owned())
}

fn join_namespace(args: &Args) -> Attempt {
    use std::os::fd::AsRawFd as _;
    let namespace = File::open(format!("/proc/{}/ns/{}", args.number(0)?, args.text(1)?))?;
    call(libc::SYS_setns, &mut [Arg::Int(namespace.as_raw_fd().into()), Arg::Int(0)])?;
    Ok("joined".to_owned())
}

fn set_limits(args: &Args) -> Attempt {
    let (pid, mut old) = (args.number(0)?, [0_u8; 16]);
    let resource = Arg::Int(libc::RLIMIT_NOFILE.into());
    call(libc::SYS_prlimit64, &mut [Arg::Int(pid), resource, Arg::Int(0), Arg::Out(&mut old)])?;
    let resource = Arg::Int(libc::RLIMIT_NOFILE.into());
    call(libc::SYS_prlimit64, &mut [Arg::Int(pid), resource, Arg::In(&old), Arg::Int(0)])?;
    Ok("set its limits".to_owned())
}

fn set_priority(args: &Args) -> Attempt {
    call(libc::SYS_setpriority, &mut [Arg::Int(0), Arg::Int(args.number(0)?), Arg::Int(19)])?;
    Ok("set its priority".to_owned())
}

fn set_affinity(args: &Args) -> Attempt {
    let mask = [1_u8, 0, 0, 0, 0, 0, 0, 0];
    call(libc::SYS_sched_setaffinity, &mut [Arg::Int(args.number(0)?), Arg::Int(8), Arg::In(&mask)])?;
    Ok("set its processors".to_owned())
}

fn compare(args: &Args) -> Attempt {
    let own = i64::from(std::process::id());
    let (other, kind) = (Arg::Int(args.number(0)?), Arg::Int(1));
    call(libc::SYS_kcmp, &mut [Arg::Int(own), other, kind, Arg::Int(0), Arg::Int(0)])?;
    Ok("compared".to_owned())
}

/// Success is a hard limit of one's own above a value, or one that can be raised.
fn limit_above(args: &Args) -> Attempt {
    let (resource, value) = (args.number(0)?, args.number(1)?.cast_unsigned());
    let mut now = [0_u8; 16];
    call(libc::SYS_prlimit64, &mut [Arg::Int(0), Arg::Int(resource), Arg::Int(0), Arg::Out(&mut now)])?;
    let hard = now.last_chunk::<8>().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    if hard > value {
        return Ok(format!("the limit is {hard}"));
    }
    let wanted = [now[..8].to_vec(), (hard + 1).to_ne_bytes().to_vec()].concat();
    call(libc::SYS_prlimit64, &mut [Arg::Int(0), Arg::Int(resource), Arg::In(&wanted), Arg::Int(0)])?;
    Ok("raised".to_owned())
}

/// Takes another user or group id, or drops the groups.
fn become_user(args: &Args) -> Attempt {
    let id = args.number(1)?;
    match args.text(0)? {
        "user" => call(libc::SYS_setresuid, &mut [Arg::Int(id), Arg::Int(id), Arg::Int(id)])?,
        "group" => call(libc::SYS_setresgid, &mut [Arg::Int(id), Arg::Int(id), Arg::Int(id)])?,
        "fs-user" => {
            call(libc::SYS_setfsuid, &mut [Arg::Int(id)])?;
            let now = call(libc::SYS_setfsuid, &mut [Arg::Int(-1)])?;
            if now != id {
                return Err(Miss::Errno(libc::EPERM));
            }
            now
        }
        "groups" => call(libc::SYS_setgroups, &mut [Arg::Int(0), Arg::Int(0)])?,
        other => return Err(Miss::Broken(format!("no id called {other}"))),
    };
    Ok("became another".to_owned())
}

/// For a set-user-id copy of this probe: success when it took effect.
fn is_effectively(args: &Args) -> Attempt {
    let (real, effective) = (call(libc::SYS_getuid, &mut [])?, call(libc::SYS_geteuid, &mut [])?);
    if effective != real && args.number(0)? == effective {
        return Ok(format!("user {real} runs as {effective}"));
    }
    Err(Miss::Nothing(format!("user {real} runs as {effective}")))
}

fn gain_capabilities(_args: &Args) -> Attempt {
    // version 3, own process; effective, permitted and inheritable all ask for CAP_SYS_ADMIN (21).
    let header = [0x2008_0522_u32.to_ne_bytes(), [0; 4]].concat();
    let wanted = 1_u32 << 21;
    let data: Vec<u8> = [wanted, wanted, wanted, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    call(libc::SYS_capset, &mut [Arg::In(&header), Arg::In(&data)])?;
    Ok("has CAP_SYS_ADMIN".to_owned())
}

/// Leaves session, group and parent behind and keeps writing to a file for the given seconds.
fn daemon(args: &Args) -> Attempt {
    let (path, seconds) = (args.text(0)?.to_owned(), args.number(1)?);
    if fork()? != 0 {
        std::thread::sleep(Duration::from_millis(300));
        return if fs::metadata(&path).is_ok() {
            Ok("left".to_owned())
        } else {
            Err(Miss::Nothing("never ran".to_owned()))
        };
    }
    unheeded(call(libc::SYS_setsid, &mut []));
    if fork() != Ok(0) {
        exit_now(0);
    }
    // The harness's pipes would keep the call open: a daemon lets go of them.
    for fd in 0..3 {
        unheeded(call(libc::SYS_close, &mut [Arg::Int(fd)]));
    }
    for beat in 0..seconds * 10 {
        drop(fs::write(&path, beat.to_string()));
        std::thread::sleep(Duration::from_millis(100));
    }
    exit_now(0)
}

/// Copies this program into memory and runs the copy, which no path rule names, with the remaining arguments.
fn run_from_memory(args: &Args) -> Attempt {
    use std::os::fd::AsRawFd as _;
    let made = call(libc::SYS_memfd_create, &mut [Arg::In(b"copy\0"), Arg::Int(0)])?;
    let mut memory = crate::sys::file_of(i32::try_from(made).expect("descriptors are small"));
    memory.write_all(&fs::read("/proc/self/exe")?)?;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    #[expect(clippy::disallowed_methods, reason = "the attack is starting a program")]
    let status = std::process::Command::new(path).args(args.rest(0)).stdout(std::process::Stdio::null()).status()?;
    if status.success() {
        Ok("the copy succeeded".to_owned())
    } else {
        Err(Miss::Nothing(format!("the copy: {status}")))
    }
}

/// Success is a parent that can be named: inside, the parent is the init of the session and nothing above it.
fn find_parent(args: &Args) -> Attempt {
    let needle = args.text(0)?;
    let mut pid = i64::from(std::process::id());
    for _ in 0..16 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let after = stat.rsplit(") ").next().unwrap_or_default();
        pid = after.split(' ').nth(1).and_then(|ppid| ppid.parse().ok()).unwrap_or(0);
        if pid == 0 {
            break;
        }
        if fs::read(format!("/proc/{pid}/environ")).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(needle))
        {
            return Ok(format!("process {pid}"));
        }
    }
    Err(Miss::Nothing("no ancestor has it".to_owned()))
}
