//! Performed opens beside plain ones: the same answers, the same flags, the same trees, as root and as an ordinary user.
//! It never takes "let through" for an answer where the open can be performed.

use super::*;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A directory of one test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(below: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("{below}/stockade-opener-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        mend(&self.0);
        fs::remove_dir_all(&self.0).ok();
    }
}

fn mend(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).ok();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            mend(&entry.path());
        }
    }
}

/// A process to open for: it waits in a directory, with a umask, and descriptors from 9 on.
struct Guest {
    child: Child,
    umask: u32,
}

impl Guest {
    fn new(directory: &Path, umask: u32, before: &str) -> Self {
        let script = format!("umask {umask:04o}; {before}; echo ready; exec sleep 600 >&-");
        #[expect(clippy::disallowed_methods, reason = "a test's guest")]
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut said = [0; 6];
        std::io::Read::read_exact(&mut out, &mut said).unwrap();
        assert_eq!(&said, b"ready\n");
        // It closed its end when it became `sleep`, and has its descriptors from then on.
        std::io::Read::read_to_end(&mut out, &mut Vec::new()).unwrap();
        Self { child, umask }
    }

    fn in_directory(directory: &Path) -> Self {
        Self::new(directory, 0o022, ":")
    }

    fn ask<'a>(&self, path: &'a CStr, flags: i32, mode: u32) -> Asked<'a> {
        Asked {
            thread: self.child.id(),
            directory: libc::AT_FDCWD,
            path,
            flags: flags.cast_unsigned(),
            mode,
            umask: Some(self.umask),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What an unconfined process is answered to the same call.
fn plain(directory: BorrowedFd<'_>, umask: u32, path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd, Errno> {
    rustix::process::umask(Mode::from_bits_retain(umask));
    // SAFETY: the path is a NUL-terminated string that outlives the call, and openat(2) writes to no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_openat, directory.as_raw_fd(), path.as_ptr(), flags, mode) };
    let number = crate::sys::answer(result)?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(number).unwrap()) })
}

fn directory(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn c(text: impl AsRef<[u8]>) -> CString {
    CString::new(text.as_ref()).unwrap()
}

/// Runs a test on a thread of its own, which the opener takes apart.
fn apart(test: impl FnOnce(&mut Opener) + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| test(&mut Opener::irrevocably_begin().unwrap())).join().unwrap();
    });
}

/// One of everything that a path can lead to.
fn plant(root: &Path) {
    let put = |name: &str, mode| {
        fs::write(root.join(name), format!("content of {name}")).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    put("present", 0o640);
    put("read-only", 0o444);
    put("closed", 0o000);
    fs::create_dir(root.join("dir")).unwrap();
    put("dir/present", 0o600);
    fs::create_dir(root.join("set-gid")).unwrap();
    fs::set_permissions(root.join("set-gid"), fs::Permissions::from_mode(0o2775)).unwrap();
    fs::create_dir(root.join("sticky")).unwrap();
    fs::set_permissions(root.join("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
    put("sticky/present", 0o666);
    let foreign = root.join("sticky/foreign");
    fs::write(&foreign, "of somebody else").unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o666)).unwrap();
    // Only root can give a file away; for others it is one of their own.
    std::os::unix::fs::chown(&foreign, Some(12_345), Some(12_345)).ok();
    fs::create_dir(root.join("locked")).unwrap();
    put("locked/present", 0o644);
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    for (name, target) in [
        ("to-present", "present"),
        ("to-absent", "made-through-a-link"),
        ("to-dir", "dir"),
        ("to-itself", "to-itself"),
        ("to-link", "to-present"),
        ("to-fifo", "fifo"),
        ("to-stdout", "/dev/stdout"),
        ("to-own-name", "/proc/self/comm"),
        ("to-null", "/dev/null"),
        ("to-absent-descriptor", "/proc/self/fd/77"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_bits_retain(0o600), 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
}

/// A tree in words: kinds, modes, owners, sizes, content.
fn tree(root: &Path) -> String {
    let mut text = String::new();
    let mut names: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(path) = names.pop() {
        let data = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let content = if data.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if data.is_file() {
            fs::read(&path).map_or_else(|e| e.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
        } else {
            String::new()
        };
        let (mode, owner, group, size) = (data.mode(), data.uid(), data.gid(), data.size());
        let size = if data.is_dir() { 0 } else { size };
        writeln!(text, "{name} {mode:o} {owner}:{group} {size} {content:?}").unwrap();
        if data.is_dir() {
            let mut below: Vec<PathBuf> =
                fs::read_dir(&path).into_iter().flatten().map(|e| e.unwrap().path()).collect();
            below.sort();
            names.extend(below);
        }
    }
    text
}

/// What was answered, for comparing.
fn told(answer: Result<OwnedFd, Errno>) -> Result<impl PartialEq + std::fmt::Debug, Errno> {
    let file = answer?;
    let flags = rustix::fs::fcntl_getfl(&file).unwrap().bits().cast_signed();
    let mut byte = [0];
    Ok((flags, rustix::io::write(&file, b"written"), rustix::io::read(&file, &mut byte)))
}

const PATHS: &[&str] = &[
    "",
    ".",
    "..",
    "./",
    "absent",
    "absent/",
    "present",
    "present/",
    "present/below",
    "read-only",
    "closed",
    "dir",
    "dir/",
    "dir/.",
    "dir/absent",
    "dir/present",
    "dir/../present",
    "dir//present",
    "nowhere/absent",
    "set-gid/absent",
    "sticky/absent",
    "sticky/present",
    "sticky/foreign",
    "locked/absent",
    "locked/present",
    "to-present",
    "to-present/",
    "to-absent",
    "to-absent/",
    "to-dir",
    "to-dir/",
    "to-dir/absent",
    "to-link",
    "to-null",
    "socket/x",
    "fifo/x",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/absent-in-the-root/x",
    "to-itself/x",
];
/// What is never opened for a guest.
const LET_THROUGH: &[&str] = &[
    "fifo",
    "to-fifo",
    "socket",
    "to-stdout",
    "to-own-name",
    "/dev/stdout",
    "/dev/stdin",
    "/dev/tty",
    "/dev/ptmx",
    "/proc/self/comm",
    "/proc/thread-self/comm",
    "/proc/self/fd/0",
    "/proc/self/cwd/absent",
    "/proc/self/oom_score_adj",
    "/proc/self/root/tmp/absent",
    "/proc/self/absent",
    "/proc/self/fd/77",
    "to-own-name",
    "to-absent-descriptor",
    "to-own-name/x",
    "/proc/self/task/1/x",
];

/// Flags of which every set is tried.
const SETS: [i32; 5] = [libc::O_CREAT, libc::O_EXCL, libc::O_TRUNC, libc::O_NOFOLLOW, libc::O_DIRECTORY];
/// Flags that are tried one by one.
const SINGLE: [i32; 13] = [
    0,
    libc::O_APPEND,
    libc::O_NONBLOCK,
    libc::O_CLOEXEC,
    libc::O_NOCTTY,
    libc::O_SYNC,
    libc::O_DSYNC,
    libc::O_NOATIME,
    libc::O_ASYNC,
    libc::O_DIRECT,
    libc::O_LARGEFILE,
    1 << 30,
    4,
];

/// All flags to try with a path: every set of these, and each of the rarer ones.
fn flag_sets(sets: &[i32]) -> Vec<i32> {
    let mut all = Vec::new();
    for access in 0..4 {
        for set in 0..1 << sets.len() {
            let chosen = sets.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
            all.push(chosen.fold(access, |flags, (_, flag)| flags | flag));
        }
        // The rarer ones are the same on every file system, but for O_DIRECT.
        for single in SINGLE.iter().filter(|single| sets.len() == SETS.len() || **single == libc::O_DIRECT) {
            all.push(access | single | libc::O_CREAT);
            all.push(access | single | libc::O_TRUNC);
        }
        all.push(access | TMPFILE.cast_signed());
        for more in [0, libc::O_EXCL, libc::O_CREAT, libc::O_TRUNC, libc::O_NOFOLLOW] {
            all.push(access | libc::O_TMPFILE | more);
        }
    }
    all
}

/// Two trees, one for each side, planted again when a side changed its own.
struct Twins {
    scratch: Scratch,
    planted: String,
}

impl Twins {
    fn new(below: &str) -> Self {
        let scratch = Scratch::new(below);
        let sides = ["plain", "performed"].map(|side| scratch.dir(side));
        sides.iter().for_each(|side| plant(side));
        let planted = tree(&sides[0]);
        assert_eq!(planted, tree(&sides[1]));
        Self { scratch, planted }
    }

    fn side(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    /// Compares both sides, and plants what was changed.
    fn compare(&self, what: &str) {
        let [plain, performed] = ["plain", "performed"].map(|side| tree(&self.side(side)));
        assert_eq!(plain, performed, "{what}");
        if plain != self.planted {
            for side in ["plain", "performed"] {
                let side = self.side(side);
                mend(&side);
                for entry in fs::read_dir(&side).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() && !path.is_symlink() {
                        fs::remove_dir_all(path).unwrap();
                    } else {
                        fs::remove_file(path).unwrap();
                    }
                }
                fs::set_permissions(&side, fs::Permissions::from_mode(0o755)).unwrap();
                plant(&side);
            }
        }
    }
}

fn compare_everything(below: &str, sets: &[i32]) {
    let twins = Twins::new(below);
    // In case the harness's own umask is another one: the roots are made the same.
    twins.compare("nothing done");
    let guest = Guest::in_directory(&twins.side("performed"));
    let base = directory(&twins.side("plain"));
    apart(|opener| {
        for path in PATHS {
            for flags in flag_sets(sets) {
                one(&twins, &guest, base.as_fd(), opener, path, flags);
            }
        }
    });
}

fn one(twins: &Twins, guest: &Guest, base: BorrowedFd<'_>, opener: &mut Opener, path: &str, flags: i32) {
    let what = format!("{path:?} {flags:o}");
    let mode = 0o4751;
    if flags & TMPFILE.cast_signed() != 0 {
        let outcome = opener.open(&guest.ask(&c(path), flags, mode), || true);
        let right = if flags & libc::O_PATH != 0 { Why::PathOnly } else { Why::Nameless };
        assert!(matches!(outcome, Outcome::LetThrough(why) if why == right), "{what}: {outcome:?}");
        return;
    }
    let path = c(path);
    let before = fs::metadata(twins.side("performed").join(path.to_str().unwrap())).is_ok();
    let outcome = opener.open(&guest.ask(&path, flags, mode), || true);
    let performed = match outcome {
        Outcome::Opened(opened) => {
            assert_eq!(opened.descriptor_flags, (flags & libc::O_CLOEXEC).cast_unsigned(), "{what}");
            assert_eq!(opened.made, !before, "{what}");
            Ok(opened.file)
        }
        Outcome::Refused(errno) => Err(errno),
        Outcome::LetThrough(Why::Links) => {
            // The kernel says the same to the guest, unless it is a link that is the guest's alone to follow.
            assert_eq!(plain(base, guest.umask, &path, flags, mode).unwrap_err(), Errno::LOOP, "{what}");
            return twins.compare(&what);
        }
        Outcome::LetThrough(_) | Outcome::Gone => panic!("{what}: {outcome:?}"),
    };
    let plain = plain(base, guest.umask, &path, flags, mode);
    assert_eq!(told(plain), told(performed), "{what}");
    twins.compare(&what);
}

#[test]
fn a_performed_open_is_as_a_plain_one_on_disk() {
    compare_everything(std::env::temp_dir().to_str().unwrap(), &[libc::O_CREAT, libc::O_TRUNC]);
}

#[test]
fn a_performed_open_is_as_a_plain_one_on_tmpfs() {
    compare_everything("/dev/shm", &SETS);
}

#[test]
fn what_waits_or_depends_on_the_opener_is_let_through() {
    let twins = Twins::new("/tmp");
    let guest = Guest::in_directory(&twins.side("performed"));
    apart(|opener| {
        for path in LET_THROUGH {
            for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC] {
                let path = c(path);
                let outcome = opener.open(&guest.ask(&path, flags, 0o600), || true);
                // A machine without a terminal has none of these.
                let missing = matches!(outcome, Outcome::Refused(Errno::NOENT | Errno::NOTDIR))
                    && path.to_bytes().starts_with(b"/dev/");
                let through = matches!(outcome, Outcome::LetThrough(Why::Kind | Why::Links));
                assert!(through || missing, "{path:?} {flags:o}: {outcome:?}");
            }
        }
        let only = guest.ask(c"present", libc::O_PATH | libc::O_RDWR, 0);
        assert!(matches!(opener.open(&only, || true), Outcome::LetThrough(Why::PathOnly)));
    });
    twins.compare("let through");
}

#[test]
fn long_names_are_answered_as_they_are_without_us() {
    let twins = Twins::new("/tmp");
    let guest = Guest::in_directory(&twins.side("performed"));
    let base = directory(&twins.side("plain"));
    apart(|opener| {
        let longest = "./".repeat(2044) + "longest";
        let paths = ["x".repeat(255), "x".repeat(256), longest.clone(), format!("./{longest}"), "d/".repeat(2047)];
        assert_eq!(longest.len(), PATH_BYTES_MAX - 1);
        for path in paths {
            one(&twins, &guest, base.as_fd(), opener, &path, libc::O_WRONLY | libc::O_CREAT);
        }
        // A directory so deep that no path leads to it from the root: ours must not become longer than the guest's own.
        let deep = twins.side("performed");
        let mut here = directory(&deep);
        for _ in 0..25 {
            rustix::fs::mkdirat(&here, "n".repeat(200), Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, "n".repeat(200), OFlags::PATH, Mode::empty()).unwrap();
        }
        let before = format!("for i in {{1..25}}; do cd -P {} 2>/dev/null; done", "n".repeat(200));
        let guest = Guest::new(&deep, 0o022, &before);
        let outcome = opener.open(&guest.ask(c"at-the-bottom", libc::O_WRONLY | libc::O_CREAT, 0o600), || true);
        assert!(matches!(outcome, Outcome::Opened(_)), "{outcome:?}");
        assert_eq!(opener.name(), Name { bytes: b"at-the-bottom", cut: false });
        rustix::fs::statat(&here, "at-the-bottom", AtFlags::empty()).unwrap();
    });
}

#[test]
fn every_umask_set_gid_directory_and_default_acl_is_obeyed() {
    let twins = Twins::new(std::env::temp_dir().to_str().unwrap());
    // user::rwx user:1:rw- group::r-x mask::rwx other::--- (struct posix_acl_xattr_header, version 2)
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let acl = [
        2_u32.to_le_bytes().to_vec(),
        entry(1, 7, u32::MAX),
        entry(2, 6, 1),
        entry(4, 5, u32::MAX),
        entry(16, 7, u32::MAX),
        entry(32, 0, u32::MAX),
    ]
    .concat();
    let mut rule = [false; 2];
    for (side, set) in ["plain", "performed"].iter().zip(&mut rule) {
        let sub = twins.side(side).join("ruled");
        fs::create_dir(&sub).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        *set = rustix::fs::setxattr(&sub, "system.posix_acl_default", &acl, flags).is_ok();
    }
    assert_eq!(rule[0], rule[1]);
    let base = directory(&twins.side("plain"));
    apart(|opener| {
        for umask in [0, 0o002, 0o022, 0o027, 0o077, 0o777] {
            let guest = Guest::new(&twins.side("performed"), umask, ":");
            assert_eq!(opener.proc().umask(guest.child.id()), Ok(umask));
            for directory in ["", "ruled/", "set-gid/", "sticky/"] {
                for mode in [0, 0o600, 0o666, 0o2755, 0o7777] {
                    let path = c(format!("{directory}made-{umask:o}-{mode:o}"));
                    let flags = libc::O_CREAT | libc::O_WRONLY;
                    let performed = opener.open(&guest.ask(&path, flags, mode), || true);
                    assert!(matches!(performed, Outcome::Opened(_)), "{path:?} {performed:?}");
                    plain(base.as_fd(), umask, &path, flags, mode).unwrap();
                }
            }
        }
    });
    let [plain, performed] = ["plain", "performed"].map(|side| tree(&twins.side(side)));
    assert_eq!(plain, performed);
}

#[test]
fn a_file_is_not_made_without_knowing_the_umask() {
    let twins = Twins::new("/tmp");
    let guest = Guest::in_directory(&twins.side("performed"));
    apart(|opener| {
        let asked = Asked { umask: None, ..guest.ask(c"new", libc::O_CREAT | libc::O_WRONLY, 0o600) };
        assert!(matches!(opener.open(&asked, || true), Outcome::LetThrough(Why::Umask)));
        let asked = Asked { umask: None, ..guest.ask(c"present", libc::O_WRONLY, 0) };
        assert!(matches!(opener.open(&asked, || true), Outcome::Opened(_)));
    });
}

#[test]
fn the_directory_is_the_guests_own_also_when_it_is_gone() {
    let scratch = Scratch::new("/tmp");
    let (one, two) = (scratch.dir("one"), scratch.dir("two"));
    fs::write(two.join("file"), "x").unwrap();
    let before = format!("exec 9<{} 10<{}", two.display(), two.join("file").display());
    let guest = Guest::new(&one, 0o022, &before);
    apart(|opener| {
        let made = |opener: &mut Opener, directory, path: &CStr| {
            let asked = Asked { directory, ..guest.ask(path, libc::O_CREAT | libc::O_WRONLY, 0o600) };
            opener.open(&asked, || true)
        };
        assert!(matches!(made(opener, libc::AT_FDCWD, c"by-directory"), Outcome::Opened(_)));
        assert_eq!(opener.name().bytes, one.join("by-directory").as_os_str().as_bytes());
        assert!(matches!(made(opener, 9, c"by-descriptor"), Outcome::Opened(_)));
        assert_eq!(opener.name().bytes, two.join("by-descriptor").as_os_str().as_bytes());
        assert!(matches!(made(opener, 10, c"below-a-file"), Outcome::Refused(Errno::NOTDIR)));
        assert_eq!(opener.name().bytes, two.join("file/below-a-file").as_os_str().as_bytes());
        for none in [11, -1, -99, i32::MAX, i32::MIN] {
            assert!(matches!(made(opener, none, c"nowhere"), Outcome::LetThrough(Why::Directory)));
            assert_eq!(opener.name().bytes, b"nowhere");
        }
        // An absolute path needs no directory.
        let absolute = c(one.join("absolute").as_os_str().as_bytes());
        assert!(matches!(made(opener, -1, &absolute), Outcome::Opened(_)));
        fs::remove_file(one.join("by-directory")).unwrap();
        fs::remove_file(one.join("absolute")).unwrap();
        fs::remove_dir(&one).unwrap();
        assert!(matches!(made(opener, libc::AT_FDCWD, c"in-a-grave"), Outcome::Refused(Errno::NOENT)));
    });
    assert_eq!(fs::read_dir(&two).unwrap().count(), 2);
}

#[test]
fn a_full_table_of_descriptors_makes_no_file() {
    let scratch = Scratch::new("/tmp");
    // The last but one is left to `sleep`, for its libraries.
    for (fill, full) in [(":", false), ("for i in {3..14}; do eval \"exec $i</dev/null\"; done", true)] {
        let guest = Guest::new(&scratch.0, 0o022, &format!("{fill}; ulimit -n 16"));
        apart(|opener| {
            let outcome = opener.open(&guest.ask(c"file", libc::O_CREAT | libc::O_WRONLY, 0o600), || true);
            if full {
                assert!(matches!(outcome, Outcome::LetThrough(Why::Descriptors)), "{outcome:?}");
            } else {
                assert!(matches!(outcome, Outcome::Opened(_)), "{outcome:?}");
                fs::remove_file(scratch.0.join("file")).unwrap();
            }
        });
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    }
}

#[test]
fn nothing_is_opened_for_who_is_gone() {
    let scratch = Scratch::new("/tmp");
    let mut guest = Guest::in_directory(&scratch.0);
    apart(|opener| {
        let make = libc::O_CREAT | libc::O_WRONLY;
        assert!(matches!(opener.open(&guest.ask(c"file", make, 0o600), || false), Outcome::Gone));
        guest.child.kill().unwrap();
        guest.child.wait().unwrap();
        assert!(matches!(opener.open(&guest.ask(c"file", make, 0o600), || false), Outcome::Gone));
        assert!(matches!(opener.open(&guest.ask(c"file", make, 0o600), || true), Outcome::LetThrough(Why::Directory)));
        assert!(matches!(
            opener.open(&guest.ask(c"/tmp/file", make, 0o600), || true),
            Outcome::LetThrough(Why::Descriptors)
        ));
    });
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
}

#[test]
fn a_lease_is_not_waited_for() {
    let scratch = Scratch::new(std::env::temp_dir().to_str().unwrap());
    let path = scratch.0.join("leased");
    fs::write(&path, "x").unwrap();
    let file = fs::File::open(&path).unwrap();
    // A signal that nobody minds, instead of SIGIO, which ends a process. `F_SETSIG`: the C library's list lacks it.
    const F_SETSIG: i32 = 10;
    for (command, value) in [(F_SETSIG, libc::SIGWINCH), (libc::F_SETLEASE, libc::F_RDLCK)] {
        // SAFETY: both commands take a number (fcntl(2)).
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), command, value) }, 0);
    }
    let guest = Guest::in_directory(&scratch.0);
    apart(|opener| {
        let outcome = opener.open(&guest.ask(c"leased", libc::O_WRONLY, 0), || true);
        assert!(matches!(outcome, Outcome::LetThrough(Why::Waits)), "{outcome:?}");
        let outcome = opener.open(&guest.ask(c"leased", libc::O_WRONLY | libc::O_NONBLOCK, 0), || true);
        assert!(matches!(outcome, Outcome::Refused(Errno::AGAIN)), "{outcome:?}");
    });
}

#[test]
fn what_is_named_is_what_was_opened_while_links_are_swapped() {
    let scratch = Scratch::new("/tmp");
    let (good, evil) = (scratch.dir("good"), scratch.dir("evil"));
    for directory in [&good, &evil] {
        fs::write(directory.join("file"), "x").unwrap();
    }
    symlink("good", scratch.0.join("way")).unwrap();
    symlink("evil", scratch.0.join("other-way")).unwrap();
    let inode = |directory: &Path| fs::metadata(directory.join("file")).unwrap().ino();
    let expected = [(inode(&good), good.join("file")), (inode(&evil), evil.join("file"))];
    let guest = Guest::in_directory(&scratch.0);
    let mut seen = [0_u32; 2];
    while_exchanged(&scratch.0, "way", "other-way", |opener| {
        let Outcome::Opened(opened) = opener.open(&guest.ask(c"way/file", libc::O_WRONLY, 0), || true) else {
            panic!("not opened")
        };
        let which = expected.iter().position(|(inode, _)| *inode == opened.id.inode).expect("one of the two");
        assert_eq!(opener.name().bytes, expected[which].1.as_os_str().as_bytes());
        seen[which] += 1;
        seen.iter().all(|times| *times > 10)
    });
}

#[test]
fn a_pipe_that_takes_the_place_of_a_file_is_not_waited_for() {
    let scratch = Scratch::new("/tmp");
    plant(&scratch.0);
    let guest = Guest::in_directory(&scratch.0);
    let (mut opened, mut let_through) = (0_u32, 0_u32);
    while_exchanged(&scratch.0, "present", "fifo", |opener| {
        let outcome = opener.open(&guest.ask(c"present", libc::O_WRONLY | libc::O_CREAT, 0o600), || true);
        if let Outcome::Opened(file) = &outcome {
            assert!(rustix::fs::fstat(&file.file).unwrap().st_size > 0, "the file, not the pipe");
            opened += 1;
        } else {
            assert!(matches!(outcome, Outcome::LetThrough(Why::Kind | Why::Waits)), "{outcome:?}");
            let_through += 1;
        }
        opened > 10 && let_through > 10
    });
}

/// Runs something again and again, until it has seen enough, while two names change places.
fn while_exchanged(root: &Path, one: &str, two: &str, mut enough: impl FnMut(&mut Opener) -> bool + Send) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            while !over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, root.join(one), CWD, root.join(two), flags).unwrap();
            }
        });
        let opening = scope.spawn(|| {
            let mut opener = Opener::irrevocably_begin().unwrap();
            let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
            let mut times = 0;
            while !enough(&mut opener) || times < 2000 {
                times += 1;
                assert!(std::time::Instant::now() < until, "both sides were not seen");
            }
        });
        let result = opening.join();
        over.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}

#[test]
fn names_are_told_whole_or_said_to_be_cut() {
    let scratch = Scratch::new("/tmp");
    let guest = Guest::in_directory(&scratch.0);
    apart(|opener| {
        fs::create_dir(scratch.0.join("dir")).unwrap();
        let outcome = opener.open(&guest.ask(c"dir", libc::O_TMPFILE | libc::O_RDWR, 0o600), || true);
        assert!(matches!(outcome, Outcome::LetThrough(Why::Nameless)), "{outcome:?}");
        assert_eq!(opener.name(), Name { bytes: scratch.0.join("dir").as_os_str().as_bytes(), cut: false });
        let long = c("./".repeat(2040) + "absent");
        let outcome = opener.open(&guest.ask(&long, libc::O_WRONLY, 0), || true);
        assert!(matches!(outcome, Outcome::Refused(Errno::NOENT)), "{outcome:?}");
        assert_eq!((opener.name().bytes.len(), opener.name().cut), (PATH_BYTES_MAX, true));
    });
}

#[test]
fn the_same_as_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scratch = Scratch::new("/tmp");
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = scratch.0.join("again");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test that runs itself as somebody else")]
    let output = Command::new("setpriv")
        .args(["--reuid=54321", "--regid=54321", "--clear-groups", "--"])
        .arg(&copy)
        .args(["recorder::open", "--skip", "the_same_as_an_ordinary_user"])
        // Without it the harness asks NSS, which a static binary cannot.
        .env("HOME", "/")
        .env("TMPDIR", "/tmp")
        .output();
    let output = output.expect("setpriv, of util-linux");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}
