//! Ways around the filter itself: other conventions, new namespaces, flags that a filter cannot see.
//! It never leaves the namespaces that it makes: each attempt happens in a child that ends at once.

use crate::sys::{Arg, c, call, call_i386, exit_now, fork, unheeded, wait_for};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::File;
use std::io::{Read, Write};

pub(crate) const TABLE: &[Entry] = &[
    ("i386", i386),
    ("x32", x32),
    ("unshare", unshare),
    ("clone", clone),
    ("clone3", clone3),
    ("mount-in-new-user-namespace", mount_in_new_user_namespace),
    ("ring-opens", ring_opens),
    ("personality", personality),
    ("mount", mount),
    ("unmount", unmount),
    ("remount", remount),
    ("detach-tree", detach_tree),
    ("change-root", change_root),
    ("loosen-filter", loosen_filter),
    ("dumpable-init", dumpable_init),
];

/// Tries something in a child: a filter that kills takes the child alone, and says so by its signal.
pub(crate) fn in_child(attack: impl FnOnce() -> Attempt) -> Attempt {
    let (mut reader, mut writer) = std::io::pipe()?;
    let pid = fork()?;
    if pid == 0 {
        let word = match attack() {
            Ok(gain) => format!("+{gain}"),
            Err(Miss::Errno(errno)) => format!("e{errno}"),
            Err(Miss::Nothing(why)) => format!("-{why}"),
            Err(Miss::Broken(why)) => format!("!{why}"),
        };
        drop(writer.write_all(word.as_bytes()));
        exit_now(0);
    }
    drop(writer);
    let mut word = String::new();
    reader.read_to_string(&mut word)?;
    let status = wait_for(pid)?;
    let signal = status & 0x7f;
    if signal != 0 {
        return Err(Miss::Nothing(format!("killed by signal {signal}")));
    }
    match word.split_at_checked(1) {
        Some(("+", gain)) => Ok(gain.to_owned()),
        Some(("e", errno)) => Err(Miss::Errno(errno.parse().unwrap_or(0))),
        Some(("-", why)) => Err(Miss::Nothing(why.to_owned())),
        _ => Err(Miss::Broken(format!("child said \"{word}\""))),
    }
}

/// A system call through the 32-bit gate: number and up to three arguments in the i386 convention.
fn i386(args: &Args) -> Attempt {
    let word = |index: usize| args.number(index).ok().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    let (number, words) = (word(0), [word(1), word(2), word(3)]);
    in_child(|| {
        let answer = call_i386(number, words);
        // Any errno but these was given by the system call itself: it was reached.
        if matches!(-answer, libc::EPERM | libc::ENOSYS | libc::EACCES) {
            return Err(Miss::Errno(-answer));
        }
        Ok(format!("answered {answer}"))
    })
}

fn x32(args: &Args) -> Attempt {
    let number = args.number(0)? | 0x4000_0000;
    let rest: Vec<i64> = (1..7).map(|index| args.number(index).unwrap_or(0)).collect();
    in_child(|| {
        let mut words: Vec<Arg<'_>> = rest.iter().copied().map(Arg::Int).collect();
        match call(number, &mut words) {
            Ok(answer) => Ok(format!("answered {answer}")),
            Err(errno @ (libc::EPERM | libc::ENOSYS | libc::EACCES)) => Err(Miss::Errno(errno)),
            Err(errno) => Ok(format!("answered error {errno}")),
        }
    })
}

/// Flags of namespaces by name.
fn namespace_flag(name: &str) -> Result<i64, Miss> {
    let flag = match name {
        "user" => libc::CLONE_NEWUSER,
        "mnt" => libc::CLONE_NEWNS,
        "net" => libc::CLONE_NEWNET,
        "pid" => libc::CLONE_NEWPID,
        "ipc" => libc::CLONE_NEWIPC,
        "uts" => libc::CLONE_NEWUTS,
        "cgroup" => libc::CLONE_NEWCGROUP,
        "time" => 0x80,
        other => return Err(Miss::Broken(format!("no namespace called {other}"))),
    };
    Ok(i64::from(flag))
}

fn unshare(args: &Args) -> Attempt {
    let flag = namespace_flag(args.text(0)?)?;
    in_child(|| {
        call(libc::SYS_unshare, &mut [Arg::Int(flag)])?;
        Ok("a namespace of its own".to_owned())
    })
}

/// The raw clone with a namespace flag; the child ends at once.
fn clone(args: &Args) -> Attempt {
    let flag = namespace_flag(args.text(0)?)? | i64::from(libc::SIGCHLD);
    in_child(|| {
        match call(libc::SYS_clone, &mut [Arg::Int(flag), Arg::Int(0), Arg::Int(0), Arg::Int(0), Arg::Int(0)])? {
            0 => exit_now(0),
            pid => {
                unheeded(wait_for(i32::try_from(pid).unwrap_or(-1)));
                Ok("a child in a namespace of its own".to_owned())
            }
        }
    })
}

/// The flags lie in memory, where a filter cannot look: the call itself has to be refused.
fn clone3(args: &Args) -> Attempt {
    let flag = namespace_flag(args.text(0)?)?.cast_unsigned();
    in_child(|| {
        let mut request = [0_u8; 88];
        request[..8].copy_from_slice(&flag.to_ne_bytes());
        request[32..40].copy_from_slice(&17_u64.to_ne_bytes());
        match call(libc::SYS_clone3, &mut [Arg::In(&request), Arg::Int(88)])? {
            0 => exit_now(0),
            pid => {
                unheeded(wait_for(i32::try_from(pid).unwrap_or(-1)));
                Ok("a child in a namespace of its own".to_owned())
            }
        }
    })
}

fn mount_in_new_user_namespace(_args: &Args) -> Attempt {
    in_child(|| {
        let flags = namespace_flag("user")? | namespace_flag("mnt")?;
        call(libc::SYS_unshare, &mut [Arg::Int(flags)])?;
        let (kind, at) = (c("tmpfs"), c("/tmp"));
        call(libc::SYS_mount, &mut [Arg::In(&kind), Arg::In(&at), Arg::In(&kind), Arg::Int(0), Arg::Int(0)])?;
        Ok("mounted".to_owned())
    })
}

/// Sets a ring up: what its operations open, no filter sees.
fn ring_opens(_args: &Args) -> Attempt {
    in_child(|| {
        let mut parameters = [0_u8; 120];
        let ring = call(libc::SYS_io_uring_setup, &mut [Arg::Int(4), Arg::Out(&mut parameters)])?;
        Ok(format!("a ring as {ring}"))
    })
}

fn personality(args: &Args) -> Attempt {
    let wanted = args.number(0)?;
    in_child(|| {
        call(libc::SYS_personality, &mut [Arg::Int(wanted)])?;
        let now = call(libc::SYS_personality, &mut [Arg::Int(0xffff_ffff)])?;
        if now & wanted == wanted { Ok(format!("personality {now:#x}")) } else { Err(Miss::Errno(libc::EPERM)) }
    })
}

/// Mounts happen in a mount namespace of the child's own: as root the control must not change the host's.
fn privately(attack: impl FnOnce() -> Attempt) -> Attempt {
    in_child(|| {
        let unshared = call(libc::SYS_unshare, &mut [Arg::Int(namespace_flag("mnt")?)]).is_ok();
        if unshared {
            let (none, root) = (c("none"), c("/"));
            let flags = i64::try_from(libc::MS_REC | libc::MS_PRIVATE).expect("flags fit");
            call(libc::SYS_mount, &mut [Arg::In(&none), Arg::In(&root), Arg::Int(0), Arg::Int(flags), Arg::Int(0)])?;
        }
        attack()
    })
}

fn mount(args: &Args) -> Attempt {
    let (kind, at) = (c(args.text(0)?), c(args.text(1)?));
    privately(|| {
        call(libc::SYS_mount, &mut [Arg::In(&kind), Arg::In(&at), Arg::In(&kind), Arg::Int(0), Arg::Int(0)])?;
        Ok("mounted".to_owned())
    })
}

fn unmount(args: &Args) -> Attempt {
    let at = c(args.text(0)?);
    privately(|| {
        call(libc::SYS_umount2, &mut [Arg::In(&at), Arg::Int(libc::MNT_DETACH.into())])?;
        Ok("unmounted".to_owned())
    })
}

fn remount(args: &Args) -> Attempt {
    let at = c(args.text(0)?);
    privately(|| {
        let flags = i64::try_from(libc::MS_REMOUNT | libc::MS_BIND).expect("flags fit");
        let (none, kind) = (c("none"), c("none"));
        call(libc::SYS_mount, &mut [Arg::In(&none), Arg::In(&at), Arg::In(&kind), Arg::Int(flags), Arg::Int(0)])?;
        Ok("remounted".to_owned())
    })
}

/// open_tree with a clone: a detached copy of a mount, without what lies over it.
fn detach_tree(args: &Args) -> Attempt {
    let at = c(args.text(0)?);
    privately(|| {
        let here = Arg::Int(libc::AT_FDCWD.into());
        let tree = call(libc::SYS_open_tree, &mut [here, Arg::In(&at), Arg::Int(1)])?;
        Ok(format!("a tree as {tree}"))
    })
}

/// chroot below an open directory, then up past the root.
fn change_root(args: &Args) -> Attempt {
    let path = args.text(0)?.to_owned();
    in_child(|| {
        drop(std::fs::create_dir("jail"));
        let name = c("jail");
        call(libc::SYS_chroot, &mut [Arg::In(&name)])?;
        let mut text = String::new();
        File::open(format!("../../../../../../../../../..{path}"))?.read_to_string(&mut text)?;
        Ok("out of the root".to_owned())
    })
}

/// A second filter that allows everything: the kernel takes the strictest, so this must change nothing. Success is a
/// system call that works afterwards and did not before.
fn loosen_filter(_args: &Args) -> Attempt {
    in_child(|| {
        let allow_all = [(0x06, 0, 0, 0x7fff_0000)];
        unheeded(crate::sys::install_filter(&allow_all));
        call(libc::SYS_unshare, &mut [Arg::Int(i64::from(libc::CLONE_NEWUSER))])?;
        Ok("the filter gave way".to_owned())
    })
}

/// Is the init of the session (or another process) open to being read by its own user?
fn dumpable_init(args: &Args) -> Attempt {
    use std::os::unix::fs::MetadataExt as _;
    let pid = args.number(0)?;
    // Entries of a process that is not dumpable belong to root, or to nobody when root is not mapped.
    let (owner, own) = (std::fs::metadata(format!("/proc/{pid}/environ"))?.uid(), call(libc::SYS_getuid, &mut [])?);
    if i64::from(owner) == own { Ok("dumpable".to_owned()) } else { Err(Miss::Nothing(format!("owned by {owner}"))) }
}
