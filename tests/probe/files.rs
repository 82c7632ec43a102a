//! Ways to change a file or directory that is not the guest's: one per system call that can.
//! It never cleans up: what was changed is the test's evidence.

use crate::sys::{Arg, c, call, map};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Marks what an attack wrote.
const MARK: &[u8] = b"written by the guest\n";

const AT_FDCWD: i64 = libc::AT_FDCWD as i64;

/// Each takes the path of an existing file in a directory that is not the guest's, and changes one or the other.
pub(crate) const TABLE: &[Entry] = &[
    ("open-write", open_write),
    ("open-append", open_append),
    ("open-truncate", open_truncate),
    ("open-write-only", open_write_only),
    ("create", create),
    ("truncate", truncate),
    ("unlink", unlink),
    ("rename-away", rename_away),
    ("rename-over", rename_over),
    ("rename-exchange", rename_exchange),
    ("rename-whiteout", rename_whiteout),
    ("whiteout-here", whiteout_here),
    ("link-in-and-write", link_in_and_write),
    ("link-out", link_out),
    ("symlink-out", symlink_out),
    ("make-directory", make_directory),
    ("make-fifo", make_fifo),
    ("make-device", make_device),
    ("chmod", chmod),
    ("chmod-by-descriptor", chmod_by_descriptor),
    ("chown", chown),
    ("set-times", set_times),
    ("set-xattr", set_xattr),
    ("set-flags", set_flags),
    ("set-project", set_project),
    ("tmpfile-link", tmpfile_link),
    ("copy-range", copy_range),
    ("send-file", send_file),
    ("splice", splice),
    ("map-shared", map_shared),
    ("allocate", allocate),
    ("zero-range", zero_range),
    ("reopen-through-proc", reopen_through_proc),
    ("through-descriptor", through_descriptor),
    ("by-handle", by_handle),
    ("swap-race", swap_race),
    ("write-here", write_here),
    ("move-aside", move_aside),
];

fn writable(path: &str) -> Result<File, Miss> {
    Ok(OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)?)
}

fn beside(path: &str) -> String {
    format!("{path}.planted")
}

fn open_write(args: &Args) -> Attempt {
    writable(args.text(0)?)?.write_all(MARK)?;
    Ok("wrote".to_owned())
}

/// Opens for writing and writes nothing: for kernel files in which a write would do something.
fn open_write_only(args: &Args) -> Attempt {
    writable(args.text(0)?)?;
    Ok("open for writing".to_owned())
}

fn open_append(args: &Args) -> Attempt {
    OpenOptions::new().append(true).open(args.text(0)?)?.write_all(MARK)?;
    Ok("appended".to_owned())
}

fn open_truncate(args: &Args) -> Attempt {
    OpenOptions::new().write(true).truncate(true).open(args.text(0)?)?;
    Ok("truncated".to_owned())
}

fn create(args: &Args) -> Attempt {
    OpenOptions::new().write(true).create_new(true).open(beside(args.text(0)?))?.write_all(MARK)?;
    Ok("created".to_owned())
}

fn truncate(args: &Args) -> Attempt {
    call(libc::SYS_truncate, &mut [Arg::In(&c(args.text(0)?)), Arg::Int(1)])?;
    Ok("truncated".to_owned())
}

fn unlink(args: &Args) -> Attempt {
    fs::remove_file(args.text(0)?)?;
    Ok("removed".to_owned())
}

fn rename_away(args: &Args) -> Attempt {
    let path = args.text(0)?;
    fs::rename(path, beside(path))?;
    Ok("renamed".to_owned())
}

/// A file of the guest's own, in its working directory.
fn own_file(name: &str) -> Result<String, Miss> {
    fs::write(name, MARK).map_err(|e| Miss::Broken(format!("own file {name}: {e}")))?;
    Ok(name.to_owned())
}

fn rename_over(args: &Args) -> Attempt {
    fs::rename(own_file("own")?, args.text(0)?)?;
    Ok("replaced".to_owned())
}

fn rename_with(flags: u32, from: &str, to: &str) -> Attempt {
    let (from, to) = (c(from), c(to));
    call(
        libc::SYS_renameat2,
        &mut [Arg::Int(AT_FDCWD), Arg::In(&from), Arg::Int(AT_FDCWD), Arg::In(&to), Arg::Int(i64::from(flags))],
    )?;
    Ok("renamed".to_owned())
}

fn rename_exchange(args: &Args) -> Attempt {
    rename_with(libc::RENAME_EXCHANGE, &own_file("own")?, args.text(0)?)
}

fn rename_whiteout(args: &Args) -> Attempt {
    let path = args.text(0)?;
    rename_with(libc::RENAME_WHITEOUT, path, &beside(path))
}

/// Makes a character device 0/0 in the guest's own directory: overlayfs on the host would read it as a deletion.
fn whiteout_here(_args: &Args) -> Attempt {
    rename_with(libc::RENAME_WHITEOUT, &own_file("own")?, "moved")
}

fn link_in_and_write(args: &Args) -> Attempt {
    fs::hard_link(args.text(0)?, "linked")?;
    writable("linked")?.write_all(MARK)?;
    Ok("wrote through a hard link".to_owned())
}

fn link_out(args: &Args) -> Attempt {
    fs::hard_link(own_file("own")?, beside(args.text(0)?))?;
    Ok("linked".to_owned())
}

fn symlink_out(args: &Args) -> Attempt {
    std::os::unix::fs::symlink("/etc/passwd", beside(args.text(0)?))?;
    Ok("linked".to_owned())
}

fn make_directory(args: &Args) -> Attempt {
    fs::create_dir(beside(args.text(0)?))?;
    Ok("made".to_owned())
}

fn make_node(path: &str, mode: u32, device: i64) -> Attempt {
    call(libc::SYS_mknodat, &mut [Arg::Int(AT_FDCWD), Arg::In(&c(path)), Arg::Int(i64::from(mode)), Arg::Int(device)])?;
    Ok("made".to_owned())
}

fn make_fifo(args: &Args) -> Attempt {
    make_node(&beside(args.text(0)?), libc::S_IFIFO | 0o666, 0)
}

/// Makes a device node (major and minor number given) and opens it.
fn make_device(args: &Args) -> Attempt {
    let path = args.text(0)?;
    let device = args.number(1)? << 8 | args.number(2)?;
    make_node(path, libc::S_IFCHR | 0o666, device)?;
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    Ok("made a device and opened it".to_owned())
}

fn chmod(args: &Args) -> Attempt {
    call(libc::SYS_fchmodat, &mut [Arg::Int(AT_FDCWD), Arg::In(&c(args.text(0)?)), Arg::Int(0o4777)])?;
    Ok("changed the mode".to_owned())
}

fn chmod_by_descriptor(args: &Args) -> Attempt {
    let file = File::open(args.text(0)?)?;
    call(libc::SYS_fchmod, &mut [Arg::Int(file.as_raw_fd().into()), Arg::Int(0o600)])?;
    Ok("changed the mode".to_owned())
}

fn chown(args: &Args) -> Attempt {
    // To the same owner: allowed to the owner, and the ctime tells that it was done.
    call(
        libc::SYS_fchownat,
        &mut [Arg::Int(AT_FDCWD), Arg::In(&c(args.text(0)?)), Arg::Int(-1), Arg::Int(own_group()), Arg::Int(0)],
    )?;
    Ok("changed the owner".to_owned())
}

fn own_group() -> i64 {
    call(libc::SYS_getegid, &mut []).unwrap_or(-1)
}

fn set_times(args: &Args) -> Attempt {
    let times: Vec<u8> = [1_i64, 0, 1, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let path = c(args.text(0)?);
    call(libc::SYS_utimensat, &mut [Arg::Int(AT_FDCWD), Arg::In(&path), Arg::In(&times), Arg::Int(0)])?;
    Ok("changed the times".to_owned())
}

fn set_xattr(args: &Args) -> Attempt {
    let (path, name) = (c(args.text(0)?), c("user.stockade-probe"));
    call(libc::SYS_setxattr, &mut [Arg::In(&path), Arg::In(&name), Arg::In(b"1"), Arg::Int(1), Arg::Int(0)])?;
    Ok("set an attribute".to_owned())
}

/// FS_IOC_SETFLAGS works on a descriptor that was opened for reading: Landlock's write rights do not cover it.
fn set_flags(args: &Args) -> Attempt {
    const GET_FLAGS: i64 = 0x8008_6601;
    const SET_FLAGS: i64 = 0x4008_6602;
    const NO_DUMP: u32 = 0x40;
    let file = File::open(args.text(0)?)?;
    let fd = i64::from(file.as_raw_fd());
    let mut flags = [0_u8; 8];
    call(libc::SYS_ioctl, &mut [Arg::Int(fd), Arg::Int(GET_FLAGS), Arg::Out(&mut flags)])?;
    let [a, b, c, d, ..] = flags;
    let changed = (u32::from_ne_bytes([a, b, c, d]) ^ NO_DUMP).to_ne_bytes();
    let mut words = [0_u8; 8];
    words[..4].copy_from_slice(&changed);
    call(libc::SYS_ioctl, &mut [Arg::Int(fd), Arg::Int(SET_FLAGS), Arg::In(&words)])?;
    Ok("changed inode flags".to_owned())
}

/// FS_IOC_FSSETXATTR: the same through the newer call (flags only, unchanged project).
fn set_project(args: &Args) -> Attempt {
    const GET: i64 = 0x801c_581f;
    const SET: i64 = 0x401c_5820;
    const NO_DUMP: u8 = 0x80;
    let file = File::open(args.text(0)?)?;
    let fd = i64::from(file.as_raw_fd());
    let mut attributes = [0_u8; 28];
    call(libc::SYS_ioctl, &mut [Arg::Int(fd), Arg::Int(GET), Arg::Out(&mut attributes)])?;
    attributes[0] ^= NO_DUMP;
    call(libc::SYS_ioctl, &mut [Arg::Int(fd), Arg::Int(SET), Arg::In(&attributes)])?;
    Ok("changed inode attributes".to_owned())
}

fn tmpfile_link(args: &Args) -> Attempt {
    let path = args.text(0)?;
    let directory = Path::new(path).parent().ok_or_else(|| Miss::Broken("no parent".to_owned()))?;
    let mut file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o644).open(directory)?;
    file.write_all(MARK)?;
    let (from, to) = (c(&format!("/proc/self/fd/{}", file.as_raw_fd())), c(&beside(path)));
    let follow = i64::from(libc::AT_SYMLINK_FOLLOW);
    call(
        libc::SYS_linkat,
        &mut [Arg::Int(AT_FDCWD), Arg::In(&from), Arg::Int(AT_FDCWD), Arg::In(&to), Arg::Int(follow)],
    )?;
    Ok("linked an unnamed file".to_owned())
}

fn copy_range(args: &Args) -> Attempt {
    let (from, to) = (File::open(own_file("own")?)?, writable(args.text(0)?)?);
    let (from, to) = (Arg::Int(from.as_raw_fd().into()), Arg::Int(to.as_raw_fd().into()));
    call(libc::SYS_copy_file_range, &mut [from, Arg::Int(0), to, Arg::Int(0), Arg::Int(8), Arg::Int(0)])?;
    Ok("copied".to_owned())
}

fn send_file(args: &Args) -> Attempt {
    let (from, to) = (File::open(own_file("own")?)?, writable(args.text(0)?)?);
    let (from, to) = (Arg::Int(from.as_raw_fd().into()), Arg::Int(to.as_raw_fd().into()));
    call(libc::SYS_sendfile, &mut [to, from, Arg::Int(0), Arg::Int(8)])?;
    Ok("sent".to_owned())
}

fn splice(args: &Args) -> Attempt {
    let (reader, mut writer) = std::io::pipe()?;
    writer.write_all(MARK)?;
    let to = writable(args.text(0)?)?;
    let (from, to) = (Arg::Int(reader.as_raw_fd().into()), Arg::Int(to.as_raw_fd().into()));
    call(libc::SYS_splice, &mut [from, Arg::Int(0), to, Arg::Int(0), Arg::Int(8), Arg::Int(0)])?;
    Ok("spliced".to_owned())
}

fn map_shared(args: &Args) -> Attempt {
    let path = args.text(0)?;
    // Read-write if it can be had, else read-only: then the mapping itself is the attack.
    let file = OpenOptions::new().read(true).write(true).open(path).or_else(|_| File::open(path))?;
    let memory = map(8, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd())?;
    memory.fill(b'!');
    file.sync_all()?;
    Ok("wrote through a mapping".to_owned())
}

fn allocate(args: &Args) -> Attempt {
    let file = writable(args.text(0)?)?;
    call(libc::SYS_fallocate, &mut [Arg::Int(file.as_raw_fd().into()), Arg::Int(0), Arg::Int(0), Arg::Int(65_536)])?;
    Ok("grew".to_owned())
}

/// FS_IOC_ZERO_RANGE: a change of content that is an ioctl to the kernel's hooks.
fn zero_range(args: &Args) -> Attempt {
    const ZERO_RANGE: i64 = 0x4030_5839;
    let path = args.text(0)?;
    let file = writable(path).or_else(|_| File::open(path).map_err(Miss::from))?;
    // struct space_resv: l_type, l_whence, l_start, l_len, l_sysid, l_pid, l_pad[4].
    let mut request = [0_u8; 48];
    request[16..24].copy_from_slice(&4096_i64.to_ne_bytes());
    call(libc::SYS_ioctl, &mut [Arg::Int(file.as_raw_fd().into()), Arg::Int(ZERO_RANGE), Arg::In(&request)])?;
    Ok("zeroed".to_owned())
}

fn reopen_through_proc(args: &Args) -> Attempt {
    let file = File::open(args.text(0)?)?;
    writable(&format!("/proc/self/fd/{}", file.as_raw_fd()))?.write_all(MARK)?;
    Ok("reopened for writing".to_owned())
}

/// Writes through a directory's descriptor and `/dev/fd/N/..`.
fn through_descriptor(args: &Args) -> Attempt {
    let here = File::open(".")?;
    let path = format!("/dev/fd/{}/../{}", here.as_raw_fd(), args.text(0)?);
    writable(&path)?.write_all(MARK)?;
    Ok("wrote through a descriptor".to_owned())
}

/// The Shocker attack: a handle that names an inode, whatever the mounts show.
fn by_handle(args: &Args) -> Attempt {
    // The handle of the working directory, then its parent "..", is walked to by inode number: a handle taken inside is
    // enough to show that handles can be opened at all.
    let mut handle = [0_u8; 136];
    handle[..4].copy_from_slice(&128_u32.to_ne_bytes());
    let (mut mount, path) = ([0_u8; 8], c(args.text(0)?));
    call(
        libc::SYS_name_to_handle_at,
        &mut [Arg::Int(AT_FDCWD), Arg::In(&path), Arg::Out(&mut handle), Arg::Out(&mut mount), Arg::Int(0)],
    )?;
    let here = File::open(".")?;
    let fd = call(
        libc::SYS_open_by_handle_at,
        &mut [Arg::Int(here.as_raw_fd().into()), Arg::In(&handle), Arg::Int(libc::O_RDONLY.into())],
    )?;
    Ok(format!("opened by handle as {fd}"))
}

/// One thread swaps a link between an own directory and a foreign one, the other writes through it: whoever checks a
/// path and then uses it loses. The directory is the one of the given file.
fn swap_race(args: &Args) -> Attempt {
    const ROUNDS: u32 = 4_000;
    let target = args.text(0)?;
    let directory = Path::new(target).parent().ok_or_else(|| Miss::Broken("no parent".to_owned()))?.to_owned();
    fs::create_dir_all("inside")?;
    let name = Path::new(target).file_name().ok_or_else(|| Miss::Broken("no name".to_owned()))?.to_owned();
    fs::write(Path::new("inside").join(&name), "")?;
    std::os::unix::fs::symlink("inside", "flip")?;
    let flipper = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            let aim = if round % 2 == 0 { directory.as_path() } else { Path::new("inside") };
            // A lost round changes nothing: the next one swaps again.
            drop(std::os::unix::fs::symlink(aim, "flop").and_then(|()| fs::rename("flop", "flip")));
        }
    });
    let through = Path::new("flip").join(name);
    while !flipper.is_finished() {
        if let Ok(file) = OpenOptions::new().write(true).open(&through) {
            drop(file.write_at(MARK, 0));
        }
    }
    flipper.join().map_err(|_| Miss::Broken("the flipping thread panicked".to_owned()))?;
    let mut content = Vec::new();
    File::open(target)?.read_to_end(&mut content)?;
    if content == MARK { Ok("wrote outside".to_owned()) } else { Err(Miss::Nothing("never outside".to_owned())) }
}

/// Creates or replaces a file, its missing directories too, with the given content.
fn write_here(args: &Args) -> Attempt {
    let path = Path::new(args.text(0)?);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let content = args.text(1).unwrap_or("#!/bin/sh\ntouch /tmp/planted\n");
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(path)?.write_all(content.as_bytes())?;
    Ok("written".to_owned())
}

/// Moves a directory aside, makes a new one in its place and puts a file there.
fn move_aside(args: &Args) -> Attempt {
    let (directory, file) = (args.text(0)?, args.text(1)?);
    fs::rename(directory, format!("{directory}.aside"))?;
    let path = Path::new(directory).join(file);
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    fs::write(path, MARK)?;
    Ok("replaced a directory".to_owned())
}
