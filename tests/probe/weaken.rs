//! Starts a command in a poorer world: a kernel that lacks a layer, a parent that leaks, a terminal to abuse.
//! It never attacks: it is what stands around an attack, the same for control and confined run.

use crate::sys::{Arg, call, exit_now, fork, install_filter, receive_message, unheeded, wait_for};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) const TABLE: &[Entry] = &[
    ("without", without),
    ("leaking", leaking),
    ("socket-as-output", socket_as_output),
    ("under-terminal", under_terminal),
    ("layer-works", layer_works),
];

/// What a kernel may lack, and the system calls that it then answers with "no such call".
const LAYERS: &[(&str, &[i64], i32)] = &[
    ("nothing", &[], 0),
    ("landlock", &[libc::SYS_landlock_create_ruleset], libc::ENOSYS),
    ("landlock-disabled", &[libc::SYS_landlock_create_ruleset], libc::EOPNOTSUPP),
    ("landlock-half", &[libc::SYS_landlock_restrict_self], libc::ENOMEM),
    ("seccomp", &[libc::SYS_seccomp], libc::ENOSYS),
    ("mount-api", &[libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_fsopen], libc::ENOSYS),
    ("mount-attributes", &[libc::SYS_mount_setattr], libc::ENOSYS),
    ("new-root", &[libc::SYS_pivot_root], libc::ENOMEM),
    ("openat2", &[libc::SYS_openat2], libc::ENOSYS),
    ("openat2-forbidden", &[libc::SYS_openat2], libc::EPERM),
    ("close-range", &[libc::SYS_close_range], libc::ENOSYS),
    ("keyring", &[libc::SYS_keyctl], libc::ENOSYS),
    ("user-namespaces", &[libc::SYS_unshare, libc::SYS_clone3], libc::EPERM),
    ("limits", &[libc::SYS_prlimit64], libc::EPERM),
];

fn layer(name: &str) -> Result<(&'static [i64], i32), Miss> {
    let found = LAYERS.iter().find(|(known, ..)| *known == name);
    found.map(|(_, calls, errno)| (*calls, *errno)).ok_or_else(|| Miss::Broken(format!("no layer {name}")))
}

/// Replaces this process.
fn become_command(words: &[String]) -> Miss {
    let Some((program, rest)) = words.split_first() else { return Miss::Broken("no command".to_owned()) };
    #[expect(clippy::disallowed_methods, reason = "a launcher starts what it was given")]
    let error = Command::new(program).args(rest).exec();
    Miss::Broken(format!("{program}: {error}"))
}

/// Runs a command whose kernel lacks a layer. `clone` with CLONE_NEWUSER is refused together with `unshare`.
fn without(args: &Args) -> Attempt {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    let (calls, errno) = layer(args.text(0)?)?;
    let refuse = 0x0005_0000 | errno.cast_unsigned();
    let mut program = vec![(LOAD, 0, 0, 0)];
    for number in calls {
        program.push((JUMP_EQUAL, 0, 1, u32::try_from(*number).expect("numbers are small")));
        program.push((RETURN, 0, 0, refuse));
    }
    if args.text(0)? == "user-namespaces" {
        let clone = u32::try_from(libc::SYS_clone).expect("numbers are small");
        // Not clone: skip three. Else load the flags (argument 0, offset 16) and look for CLONE_NEWUSER.
        program.extend([
            (JUMP_EQUAL, 0, 3, clone),
            (LOAD, 0, 0, 16),
            (JUMP_SET, 0, 1, 0x1000_0000),
            (RETURN, 0, 0, refuse),
        ]);
    }
    program.push((RETURN, 0, 0, ALLOW));
    install_filter(&program)?;
    Err(become_command(args.rest(1)))
}

/// Success when every call of a layer answers with something else than what `without` answers: the control of `without`.
fn layer_works(args: &Args) -> Attempt {
    let (calls, errno) = layer(args.text(0)?)?;
    let works = calls.iter().all(|number| {
        let answer = call(*number, &mut [-1, -1, -1, -1, -1, -1].map(Arg::Int));
        answer.is_ok() || answer != Err(errno)
    });
    if works { Ok("works".to_owned()) } else { Err(Miss::Errno(errno)) }
}

/// Runs a command with descriptors that are not close-on-exec: a directory and a file outside.
fn leaking(args: &Args) -> Attempt {
    let directory = File::open(args.text(0)?)?;
    let file = File::options().read(true).append(true).open(args.text(1)?)?;
    for fd in [directory.as_raw_fd(), file.as_raw_fd()] {
        // dup clears close-on-exec.
        call(libc::SYS_dup, &mut [Arg::Int(fd.into())])?;
        call(libc::SYS_dup2, &mut [Arg::Int(fd.into()), Arg::Int(i64::from(fd) + 100)])?;
    }
    Err(become_command(args.rest(2)))
}

/// Runs a command with a socket as its standard output, passes the bytes on, and tells of a descriptor that came along.
fn socket_as_output(args: &Args) -> Attempt {
    let mut ends = [0_u8; 8];
    let (family, kind) = (Arg::Int(libc::AF_UNIX.into()), Arg::Int(libc::SOCK_STREAM.into()));
    call(libc::SYS_socketpair, &mut [family, kind, Arg::Int(0), Arg::Out(&mut ends)])?;
    let [a, b, c, d, e, f, g, h] = ends;
    let (ours, theirs) = (i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
    let pid = fork()?;
    if pid == 0 {
        unheeded(call(libc::SYS_dup2, &mut [Arg::Int(theirs.into()), Arg::Int(1)]));
        unheeded(call(libc::SYS_close, &mut [Arg::Int(theirs.into())]));
        unheeded(call(libc::SYS_close, &mut [Arg::Int(ours.into())]));
        drop(become_command(args.rest(0)));
        exit_now(70);
    }
    call(libc::SYS_close, &mut [Arg::Int(theirs.into())])?;
    let mut came = false;
    while let Ok((data, descriptor)) = receive_message(ours) {
        if descriptor.is_some() {
            came = true;
        } else if data.is_empty() {
            break;
        }
        std::io::stdout().write_all(&data)?;
    }
    finish(pid, came.then_some("a descriptor"))
}

/// Passes the command's exit code on, after telling what was found.
fn finish(pid: i32, found: Option<&str>) -> Attempt {
    let status = wait_for(pid)?;
    if let Some(found) = found {
        crate::say(&format!("reached {found}"));
    }
    let code = if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) };
    exit_now(code.into())
}

/// Runs a command on a new terminal which is its controlling one, and tells whether somebody typed into it meanwhile.
fn under_terminal(args: &Args) -> Attempt {
    const TIOCSPTLCK: i64 = 0x4004_5431;
    const TIOCGPTPEER: i64 = 0x5441;
    const TIOCSCTTY: i64 = 0x540e;
    const FIONREAD: i64 = 0x541b;
    let master = File::options().read(true).write(true).open("/dev/ptmx")?;
    let fd = i64::from(master.as_raw_fd());
    call(libc::SYS_ioctl, &mut [Arg::Int(fd), Arg::Int(TIOCSPTLCK), Arg::In(&0_i32.to_ne_bytes())])?;
    let flags = i64::from(libc::O_RDWR | libc::O_NOCTTY);
    let slave = call(libc::SYS_ioctl, &mut [Arg::Int(fd), Arg::Int(TIOCGPTPEER), Arg::Int(flags)])?;
    // Raw, so that a single typed character can be read without a newline.
    let mut modes = [0_u8; 36];
    call(libc::SYS_ioctl, &mut [Arg::Int(slave), Arg::Int(0x5401), Arg::Out(&mut modes)])?;
    modes[..16].fill(0);
    modes[8..12].copy_from_slice(&0xbf_u32.to_ne_bytes());
    call(libc::SYS_ioctl, &mut [Arg::Int(slave), Arg::Int(0x5402), Arg::In(&modes)])?;
    let pid = fork()?;
    if pid == 0 {
        unheeded(call(libc::SYS_setsid, &mut []));
        unheeded(call(libc::SYS_ioctl, &mut [Arg::Int(slave), Arg::Int(TIOCSCTTY), Arg::Int(0)]));
        (0..3).for_each(|stream| unheeded(call(libc::SYS_dup2, &mut [Arg::Int(slave), Arg::Int(stream)])));
        drop(become_command(args.rest(0)));
        exit_now(70);
    }
    let reader = relay(master.try_clone()?);
    let status = wait_for(pid)?;
    let mut waiting = [0_u8; 4];
    call(libc::SYS_ioctl, &mut [Arg::Int(slave), Arg::Int(FIONREAD), Arg::Out(&mut waiting)])?;
    call(libc::SYS_close, &mut [Arg::Int(slave)])?;
    reader.join().map_err(|_| Miss::Broken("the relay panicked".to_owned()))?;
    if i32::from_ne_bytes(waiting) > 0 {
        crate::say("reached the terminal's input");
    }
    exit_now((if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) }).into())
}

/// Copies the terminal's output to ours until the last holder of the other side is gone.
fn relay(mut master: File) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            drop(std::io::stdout().write_all(buffer.get(..length).unwrap_or_default()));
        }
        drop(std::io::stdout().flush());
    })
}
