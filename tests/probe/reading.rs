//! Ways to see what the guest was not given: contents, names, existence, other processes' secrets.
//! It never prints more of a secret than that it was found.

use crate::sys::{Arg, c, call};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(crate) const TABLE: &[Entry] = &[
    ("read", read),
    ("read-relative-to-proc", read_relative_to_proc),
    ("list-finds", list_finds),
    ("exists-oracle", exists_oracle),
    ("open-device", open_device),
    ("environment-holds", environment_holds),
    ("processes-hold", processes_hold),
    ("process-visible", process_visible),
    ("writable-below", writable_below),
    ("mount-without", mount_without),
    ("tree-holds", tree_holds),
    ("status-lacks", status_lacks),
    ("kernel-addresses", kernel_addresses),
];

fn bounded(path: &Path) -> Result<Vec<u8>, Miss> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(needle)
}

/// Reads a file; with a second argument, success is finding that text.
fn read(args: &Args) -> Attempt {
    let bytes = bounded(Path::new(args.text(0)?))?;
    match args.text(1) {
        Ok(needle) if !holds(&bytes, needle) => Err(Miss::Nothing("read something else".to_owned())),
        _ if bytes.is_empty() => Err(Miss::Nothing("read nothing".to_owned())),
        _ => Ok(format!("read {} bytes", bytes.len())),
    }
}

/// Reads a path below `root` or `cwd` of every process that can be seen.
fn read_relative_to_proc(args: &Args) -> Attempt {
    let (path, needle) = (args.text(0)?, args.text(1)?);
    let found = processes().into_iter().find_map(|process| {
        ["root", "cwd/../../../../../../..", "task/../root"].into_iter().find_map(|way| {
            let whole = format!("{}/{way}{path}", process.display());
            bounded(Path::new(&whole)).ok().filter(|bytes| holds(bytes, needle)).map(|_| whole)
        })
    });
    found.ok_or_else(|| Miss::Nothing("through no process".to_owned()))
}

fn list_finds(args: &Args) -> Attempt {
    let (directory, name) = (args.text(0)?, args.text(1)?);
    let found = fs::read_dir(directory)?.flatten().any(|entry| entry.file_name().to_string_lossy().contains(name));
    if found { Ok("listed".to_owned()) } else { Err(Miss::Nothing("not among the entries".to_owned())) }
}

/// Can a path that exists be told from one that does not? Asked in every way that gives an error number.
fn exists_oracle(args: &Args) -> Attempt {
    let path = args.text(0)?;
    let absent = format!("{path}.certainly-absent");
    let at = i64::from(libc::AT_FDCWD);
    let ways: [(&str, i64, i64); 5] = [
        ("access", libc::SYS_faccessat, 0),
        ("open", libc::SYS_openat, libc::O_RDONLY.into()),
        ("path descriptor", libc::SYS_openat, libc::O_PATH.into()),
        ("create exclusively", libc::SYS_openat, i64::from(libc::O_CREAT | libc::O_EXCL)),
        ("make a directory", libc::SYS_mkdirat, 0o700),
    ];
    for (way, number, flags) in ways {
        let answer = |path: &str| call(number, &mut [Arg::Int(at), Arg::In(&c(path)), Arg::Int(flags)]).map(|_| ());
        let (one, other) = (answer(path), answer(&absent));
        if one != other {
            return Ok(format!("{way}: {one:?} against {other:?}"));
        }
    }
    Err(Miss::Nothing("the same answer for both".to_owned()))
}

/// Opens a device node for reading, without waiting.
fn open_device(args: &Args) -> Attempt {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(args.text(0)?)?;
    Ok("opened".to_owned())
}

fn environment_holds(args: &Args) -> Attempt {
    let needle = args.text(0)?;
    if holds(&bounded(Path::new("/proc/self/environ"))?, needle) {
        return Ok("in the own environment".to_owned());
    }
    Err(Miss::Nothing("not in the environment".to_owned()))
}

fn processes() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    entries.filter(|entry| entry.file_name().to_str().is_some_and(numbered)).map(|entry| entry.path()).collect()
}

/// Looks through what `/proc` tells of every process but this one for a text.
fn processes_hold(args: &Args) -> Attempt {
    // The text comes in two halves, so that the probe's own command line and those of its parents do not hold it.
    let needle = format!("{}{}", args.text(0)?, args.text(1)?);
    let own = PathBuf::from(format!("/proc/{}", std::process::id()));
    for process in processes().into_iter().filter(|process| *process != own) {
        for part in ["environ", "cmdline", "comm", "maps", "mountinfo", "cgroup", "stat"] {
            if bounded(&process.join(part)).is_ok_and(|bytes| holds(&bytes, &needle)) {
                return Ok(format!("{}/{part}", process.display()));
            }
        }
        for link in ["exe", "cwd", "root"] {
            if fs::read_link(process.join(link)).is_ok_and(|to| holds(to.as_os_str().as_encoded_bytes(), &needle)) {
                return Ok(format!("{}/{link}", process.display()));
            }
        }
    }
    Err(Miss::Nothing("nowhere in /proc".to_owned()))
}

fn process_visible(args: &Args) -> Attempt {
    let pid = args.number(0)?;
    let command = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    if command.trim() == "stockade-probe" && pid != i64::from(std::process::id()) {
        return Ok(format!("process {pid} is a {}", command.trim()));
    }
    Err(Miss::Nothing(format!("process {pid} is a {}", command.trim())))
}

/// Walks everything below a directory; success is finding something writable that lies below none of the others.
fn writable_below(args: &Args) -> Attempt {
    let mut found = Vec::new();
    walk(Path::new(args.text(0)?), &mut |path, data| {
        let allowed = args.rest(1).iter().any(|prefix| path.starts_with(prefix));
        let link = data.file_type().is_symlink();
        if !allowed && !link && can_write(path, data) {
            found.push(path.display().to_string());
        }
        !allowed
    });
    found.truncate(20);
    if found.is_empty() { Err(Miss::Nothing("nothing".to_owned())) } else { Ok(found.join(" ")) }
}

/// Writable in earnest: access(2) alone would call a file on a read-only mount readable and a device harmless.
fn can_write(path: &Path, data: &fs::Metadata) -> bool {
    let Some(text) = path.to_str() else { return false };
    let writable = call(libc::SYS_access, &mut [Arg::In(&c(text)), Arg::Int(libc::W_OK.into())]).is_ok();
    if data.is_file() {
        return writable && OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).is_ok();
    }
    if data.is_dir() {
        let probe = path.join(".stockade-probe-can-write");
        return writable && File::create_new(&probe).is_ok_and(|_| fs::remove_file(&probe).is_ok());
    }
    let harmless = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx"];
    writable && !harmless.contains(&text) && !data.file_type().is_socket()
}

fn walk(path: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata) -> bool) {
    let Ok(data) = fs::symlink_metadata(path) else { return };
    if !visit(path, &data) || !data.is_dir() {
        return;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.for_each(|entry| walk(&entry.path(), visit));
}

/// Success is a mount that lacks an option, below a prefix, other than those named.
fn mount_without(args: &Args) -> Attempt {
    let option = args.text(0)?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let lacking: Vec<&str> = table
        .lines()
        .filter_map(|line| Some((line.split(' ').nth(4)?, line.split(' ').nth(5)?)))
        .filter(|(_, options)| !options.split(',').any(|one| one == option))
        .map(|(place, _)| place)
        .filter(|place| !args.rest(1).iter().any(|allowed| place == allowed))
        .collect();
    if lacking.is_empty() { Err(Miss::Nothing("none".to_owned())) } else { Ok(lacking.join(" ")) }
}

/// Looks for a content anywhere below a directory, but below those named after it.
fn tree_holds(args: &Args) -> Attempt {
    let (needle, mut found) = (args.text(1)?, None);
    walk(Path::new(args.text(0)?), &mut |path, data| {
        let pseudo = args.rest(2).iter().any(|skipped| path.starts_with(skipped));
        let small = data.is_file() && data.size() < 1 << 20;
        if !pseudo && found.is_none() && small && bounded(path).is_ok_and(|bytes| holds(&bytes, needle)) {
            found = Some(path.display().to_string());
        }
        !pseudo && found.is_none()
    });
    found.ok_or_else(|| Miss::Nothing("nowhere".to_owned()))
}

/// Success is a line of `/proc/self/status` that differs from what a confined process has.
fn status_lacks(args: &Args) -> Attempt {
    let status = fs::read_to_string("/proc/self/status")?;
    let differs =
        |expected: &&String| !status.lines().any(|line| line.split_whitespace().collect::<String>() == **expected);
    let lacking: Vec<&String> = args.rest(0).iter().filter(differs).collect();
    if lacking.is_empty() { Err(Miss::Nothing("has all".to_owned())) } else { Ok(format!("lacks {lacking:?}")) }
}

/// Success is a symbol of the kernel's with its address.
fn kernel_addresses(_args: &Args) -> Attempt {
    let text = String::from_utf8_lossy(&bounded(Path::new("/proc/kallsyms"))?).into_owned();
    let shown =
        text.lines().any(|line| line.split(' ').next().is_some_and(|address| address.bytes().any(|byte| byte != b'0')));
    if shown { Ok("addresses".to_owned()) } else { Err(Miss::Nothing("names without addresses".to_owned())) }
}
