//! The walk beside `openat2`: trees and paths at random, links that may not be followed, names that change meanwhile.
//! Every attack has its control: a walk that holds nothing, or the host's own resolver, is led outside.

use super::*;
use crate::backend::wasm::worker::resolve::{NO_FOLLOW, open_ambient_directory};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static NUMBER: AtomicUsize = AtomicUsize::new(0);
const SCOPES: [Scope; 2] = [Scope::Beneath, Scope::AsRoot];
const QUICK: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// A directory `view`, with something beside it that nobody may reach.
struct Grounds {
    outside: PathBuf,
    top: OwnedFd,
}

impl Grounds {
    fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let outside = std::env::temp_dir().join(format!("stockade-walk-{}-{number}", std::process::id()));
        fs::create_dir_all(outside.join("view")).expect("ours");
        fs::write(outside.join("f"), "secret").expect("ours");
        let top = open_ambient_directory(&outside.join("view")).expect("it is there");
        Self { outside, top }
    }

    fn view(&self) -> PathBuf {
        self.outside.join("view")
    }

    fn walk(&self, path: &[u8], flags: OFlags, scope: Scope) -> Result<OwnedFd, Errno> {
        open(self.top.as_fd(), path, flags, made_with(flags), scope, &mut NAMES_MAX.clone())
    }

    /// The same by the kernel, as long as renames elsewhere disturb it.
    fn kernel(&self, path: &[u8], flags: OFlags, scope: Scope) -> Result<OwnedFd, Errno> {
        by_kernel(self.top.as_fd(), path, flags, scope)
    }

    fn in_view<'a>(&'a self, names_left: &'a mut usize) -> Walk<'a> {
        let (held, names) = (Vec::new(), Vec::new());
        Walk { top: self.top.as_fd(), scope: Scope::Beneath, held, names, slash: false, links: 0, names_left }
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.outside).expect("ours");
    }
}

fn made_with(flags: OFlags) -> Mode {
    if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o600) } else { Mode::empty() }
}

fn by_kernel(top: BorrowedFd<'_>, path: &[u8], flags: OFlags, scope: Scope) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::openat2(top, path, flags, made_with(flags), scope.flags()) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn name_of(file: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("it is open")
}

fn text(file: OwnedFd) -> String {
    std::io::read_to_string(fs::File::from(file)).expect("it is text")
}

/// What came of opening: the object by its numbers and its name, or the error.
fn came(opened: Result<OwnedFd, Errno>, way: OFlags) -> Result<(u64, u64, PathBuf), Errno> {
    let file = opened?;
    let name = name_of(&file);
    let stat = rustix::fs::fstat(&file).expect("it is open");
    // Made by this very opening: the other one shall find the same, and then have another number.
    if way.contains(OFlags::CREATE)
        && stat.st_size == 0
        && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
    {
        fs::remove_file(&name).expect("ours");
        return Ok((0, 0, name));
    }
    Ok((stat.st_dev, stat.st_ino, name))
}

/// SplitMix64: the same trees on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("small")
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A path as a guest or a link says it.
    fn path(&mut self) -> String {
        let mut path = self.one(&["", "", "", "", "/", "//"]).to_owned();
        for place in 0..=self.below(5) {
            if place > 0 {
                path.push_str(self.one(&["/", "/", "/", "//"]));
            }
            path.push_str(self.one(&["a", "b", "c", "d", "a", "b", "c", "d", "..", "..", "."]));
        }
        path + self.one(&["", "", "", "", "/", "/."])
    }
}

/// Puts directories, files, links and a pipe into a directory.
fn plant(dice: &mut Dice, directory: &Path, depth: usize, shut: &mut Vec<PathBuf>) {
    for name in ["a", "b", "c", "d"] {
        let path = directory.join(name);
        match dice.below(12) {
            0..=3 if depth > 0 => {
                fs::create_dir(&path).expect("ours");
                plant(dice, &path, depth - 1, shut);
                // Root goes through all of them.
                let mode = [0o700, 0o700, 0o700, 0o700, 0o600, 0o500, 0o000][dice.below(7)];
                if mode != 0o700 {
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
                    shut.push(path);
                }
            }
            0..=4 => fs::write(&path, "something").expect("ours"),
            5..=9 => symlink(dice.path(), &path).expect("ours"),
            10 => rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("a pipe"),
            _ => {}
        }
    }
}

#[test]
fn the_walk_opens_what_the_kernel_opens_and_refuses_what_it_refuses() {
    let ways = [
        OFlags::PATH,
        OFlags::PATH | OFlags::NOFOLLOW,
        OFlags::PATH | OFlags::DIRECTORY,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        QUICK,
        QUICK | OFlags::NOFOLLOW,
        QUICK | OFlags::DIRECTORY,
        QUICK | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        QUICK | OFlags::WRONLY,
        QUICK | OFlags::RDWR | OFlags::NOFOLLOW,
        QUICK | OFlags::WRONLY | OFlags::CREATE,
        QUICK | OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW,
        QUICK | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
    ];
    let mut outcomes = std::collections::BTreeMap::new();
    for seed in 0..40 {
        let (mut dice, mut shut) = (Dice(seed), Vec::new());
        let grounds = Grounds::new();
        plant(&mut dice, &grounds.view(), 3, &mut shut);
        for _ in 0..100 {
            let path = dice.path();
            for (scope, way) in SCOPES.into_iter().flat_map(|scope| ways.map(|way| (scope, way))) {
                let kernel = came(grounds.kernel(path.as_bytes(), way, scope), way);
                let walk = came(grounds.walk(path.as_bytes(), way, scope), way);
                assert_eq!(walk, kernel, "tree {seed}: \"{path}\" {way:?} {scope:?}");
                *outcomes.entry(kernel.map_err(|errno| errno.to_string()).err()).or_insert(0_usize) += 1;
            }
        }
        for path in shut.iter().rev() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("ours");
        }
    }
    let of = |errno: Option<Errno>| outcomes.get(&errno.map(|errno| errno.to_string())).copied().unwrap_or(0);
    for wanted in [None, Some(Errno::LOOP), Some(Errno::XDEV), Some(Errno::NOTDIR), Some(Errno::EXIST)] {
        assert!(of(wanted) > 100, "too few of {wanted:?}: {outcomes:?}");
    }
}

#[test]
fn a_path_goes_through_forty_links_and_no_more() {
    let grounds = Grounds::new();
    fs::write(grounds.view().join("l0"), "own").expect("ours");
    for number in 1..=41 {
        symlink(format!("l{}", number - 1), grounds.view().join(format!("l{number}"))).expect("ours");
    }
    for scope in SCOPES {
        assert_eq!(text(grounds.walk(b"l40", QUICK, scope).expect("forty links")), "own");
        for path in [&b"l41"[..], b"l41/", b"l20/../l40"] {
            let kernel = grounds.kernel(path, QUICK, scope).map(drop);
            assert_eq!(grounds.walk(path, QUICK, scope).map(drop), kernel);
        }
        assert_eq!(grounds.walk(b"l41", QUICK, scope).map(drop), Err(Errno::LOOP));
    }
}

#[test]
fn links_of_proc_that_are_no_text_are_not_followed() {
    let top = open_ambient_directory(Path::new("/")).expect("it is there");
    let own = std::process::id();
    let paths = ["root/etc/passwd", "cwd/.", "exe", "fd/0", "ns/mnt", "root", "task/../root/etc", "status"];
    let paths = paths.iter().flat_map(|name| [format!("proc/self/{name}"), format!("proc/{own}/{name}")]);
    for path in paths.chain(["proc/mounts", "proc/net/dev", "proc/self"].map(str::to_owned)) {
        for way in [OFlags::PATH, OFlags::PATH | OFlags::NOFOLLOW, QUICK, QUICK | OFlags::DIRECTORY] {
            let kernel = came(by_kernel(top.as_fd(), path.as_bytes(), way, Scope::AsRoot), way);
            let walk = came(
                open(top.as_fd(), path.as_bytes(), way, Mode::empty(), Scope::AsRoot, &mut NAMES_MAX.clone()),
                way,
            );
            assert_eq!(walk, kernel, "{path} {way:?}");
        }
    }
    let root =
        open(top.as_fd(), b"proc/self/root/etc", OFlags::PATH, Mode::empty(), Scope::AsRoot, &mut NAMES_MAX.clone());
    assert_eq!(root.map(drop), Err(Errno::LOOP));
    open(top.as_fd(), b"proc/self/status", QUICK, Mode::empty(), Scope::AsRoot, &mut NAMES_MAX.clone())
        .expect("that link is text");
}

/// What openat(2) would pass over, or make of it.
#[test]
fn what_openat2_refuses_the_walk_refuses() {
    let grounds = Grounds::new();
    fs::write(grounds.view().join("f"), "own").expect("ours");
    let long = [vec![b'.'; 1], b"/.".repeat(PATH_BYTES_MAX / 2)].concat();
    let name = vec![b'x'; 256];
    for scope in SCOPES {
        for (path, flags) in [
            (&b"."[..], OFlags::TMPFILE | OFlags::RDWR),
            (b"f", OFlags::DIRECT | OFlags::APPEND | OFlags::TMPFILE),
            (b"f\0/x", QUICK),
            (b"", QUICK),
            (b"x/", QUICK | OFlags::CREATE | OFlags::WRONLY),
            (b"f/", QUICK | OFlags::CREATE | OFlags::WRONLY),
            (b".", QUICK | OFlags::CREATE | OFlags::WRONLY),
            (b"f/..", QUICK),
            (b"f/.", QUICK),
            (b"/", QUICK | OFlags::WRONLY),
            (long.as_slice(), QUICK),
            (name.as_slice(), QUICK),
        ] {
            let refused = grounds.walk(path, flags, scope).expect_err("it is refused");
            if !flags.contains(OFlags::TMPFILE) {
                assert_eq!(Some(refused), grounds.kernel(path, flags, scope).err(), "{path:?} {flags:?}");
            }
        }
    }
    assert_eq!(fs::read_dir(grounds.view()).expect("there").count(), 1, "nothing was made");
}

/// A difference that must be: each directory of the way is held, and a worker has an end of descriptors.
#[test]
fn links_that_lead_deeper_than_any_path_end() {
    let grounds = Grounds::new();
    let mut below = grounds.top.try_clone().expect("one more");
    for _ in 0..DEPTH_MAX + 60 {
        rustix::fs::mkdirat(&below, "d", Mode::RWXU).expect("ours");
        below = rustix::fs::openat(&below, "d", LOOK, Mode::empty()).expect("it is there");
    }
    symlink("d/".repeat(2000), grounds.view().join("far")).expect("ours");
    let path = [b"far".to_vec(), b"/d".repeat(100)].concat();
    grounds.kernel(&path, OFlags::PATH, Scope::Beneath).expect("the control: it is there");
    // The second where the process that tests may have fewer descriptors than a worker.
    let refused = grounds.walk(&path, OFlags::PATH, Scope::Beneath).map(drop);
    assert!(matches!(refused, Err(Errno::NAMETOOLONG | Errno::MFILE)), "{refused:?}");
    let path = b"d/".repeat(500);
    grounds.walk(&path, OFlags::PATH, Scope::Beneath).expect("a path that people have");
    let (mut above, mut parents) = (grounds.top.try_clone().expect("one more"), Vec::new());
    while let Ok(next) = rustix::fs::openat(&above, "d", LOOK, Mode::empty()) {
        parents.push(std::mem::replace(&mut above, next));
        if parents.len() > 500 {
            // As flat as whatever removes it can take.
            let there = format!("part-{}", NUMBER.fetch_add(1, Ordering::SeqCst));
            rustix::fs::renameat(parents.pop().expect("some"), "d", &grounds.top, there).expect("ours");
            parents.clear();
        }
    }
}

/// A difference that must be: the kernel goes through as many names as forty links say, and a worker has one thread.
#[test]
fn links_that_say_more_names_than_paths_have_end() {
    let grounds = Grounds::new();
    fs::create_dir(grounds.view().join("a")).expect("ours");
    fs::write(grounds.view().join("l0"), "own").expect("ours");
    for number in 1..=30 {
        let says = format!("{}l{}", "a/../".repeat(800), number - 1);
        symlink(says, grounds.view().join(format!("l{number}"))).expect("ours");
    }
    for scope in SCOPES {
        for path in [&b"l1"[..], b"l4"] {
            assert_eq!(text(grounds.walk(path, QUICK, scope).expect("the control: some links may")), "own");
        }
        for path in [&b"l6"[..], b"l30"] {
            grounds.kernel(path, QUICK, scope).expect("the control: it is there");
            assert_eq!(grounds.walk(path, QUICK, scope).map(drop), Err(Errno::LOOP));
        }
    }
}

/// Whoever disturbs a resolution gets no more of the thread by it.
#[test]
fn what_is_tried_again_is_of_the_same_names() {
    let grounds = Grounds::new();
    let mut left = 5;
    for wanted in [Ok(()), Ok(()), Err(Errno::LOOP)] {
        let opened = open(grounds.top.as_fd(), b"./.", LOOK, Mode::empty(), Scope::Beneath, &mut left);
        assert_eq!(opened.map(drop), wanted);
    }
}

#[test]
fn a_link_of_somebody_else_in_a_shared_directory_leads_nowhere() {
    let grounds = Grounds::new();
    let shared = grounds.view().join("shared");
    fs::create_dir(&shared).expect("ours");
    fs::write(grounds.view().join("file"), "own").expect("ours");
    symlink("../file", shared.join("link")).expect("ours");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).expect("ours");
    let read = |path: &[u8]| grounds.walk(path, QUICK, Scope::AsRoot).map(text);
    assert_eq!(read(b"shared/link").as_deref(), Ok("own"), "the control: one's own is followed");
    if fs::symlink_metadata(&shared).expect("there").uid() != 0 {
        return; // Nobody but root gives a link to somebody else.
    }
    std::os::unix::fs::lchown(shared.join("link"), Some(4321), Some(4321)).expect("root can");
    std::os::unix::fs::chown(&shared, Some(4322), Some(4322)).expect("root can");
    assert_eq!(read(b"shared/link"), Err(Errno::ACCESS));
    if fs::read_to_string("/proc/sys/fs/protected_symlinks").is_ok_and(|text| text.trim() == "1") {
        assert_eq!(grounds.kernel(b"shared/link", QUICK, Scope::AsRoot).map(drop), Err(Errno::ACCESS));
    }
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).expect("root can");
    assert_eq!(read(b"shared/link").as_deref(), Ok("own"), "where not everybody makes links");
}

#[test]
fn a_directory_that_is_moved_away_meanwhile_does_not_lead_up_to_what_is_above() {
    let grounds = Grounds::new();
    fs::create_dir_all(grounds.view().join("a/b/c")).expect("ours");
    fs::write(grounds.view().join("a/f"), "own").expect("ours");
    let mut names_left = NAMES_MAX;
    let mut walk = grounds.in_view(&mut names_left);
    for name in ["a", "b", "c"] {
        walk.enter(name.as_bytes()).expect("it is there");
    }
    let naive = rustix::fs::openat(walk.directory(), ".", LOOK, Mode::empty()).expect("it is there");
    fs::rename(grounds.view().join("a/b/c"), grounds.view().join("c")).expect("ours");
    let control = rustix::fs::openat(&naive, "../../f", OFlags::RDONLY, Mode::empty()).expect("the control leads out");
    assert_eq!(text(control), "secret");
    walk.up().expect("it came from there");
    walk.up().expect("it came from there");
    assert_eq!(text(walk.last(b"f", QUICK, Mode::empty()).expect("it is there").expect("no link")), "own");
    walk.up().expect("it came from there");
    assert_eq!(walk.up(), Err(Errno::XDEV), "and no further than it began");
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Directories, links and files change places as fast as they can, and directories move up and down.
#[test]
fn a_race_of_exchanges_never_leads_the_walk_outside() {
    let grounds = Grounds::new();
    let view = grounds.view();
    fs::create_dir_all(view.join("a/b/c")).expect("ours");
    for path in ["f", "a/f", "a/b/f", "a/b/c/f"] {
        fs::write(view.join(path), "own").expect("ours");
    }
    symlink("../f", view.join("out")).expect("ours");
    symlink(&grounds.outside, view.join("away")).expect("ours");
    symlink("..", view.join("up")).expect("ours");
    let stop = AtomicBool::new(false);
    let (mut own, mut led) = (0_u32, 0_u32);
    let exchange = |one: &str, other: &str| {
        let (one, other) = (view.join(one), view.join(other));
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("both are ours");
    };
    std::thread::scope(|scope| {
        let stopping = Stopping(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                for other in ["away", "up"] {
                    exchange("a", other);
                    exchange("a", other);
                }
                exchange("f", "out");
                exchange("f", "out");
                fs::rename(view.join("a/b/c"), view.join("c")).expect("ours");
                fs::rename(view.join("c"), view.join("a/b/c")).expect("ours");
            }
        });
        let dots = format!("a/b/c/{}../../f", "./".repeat(200));
        let paths = ["f", "a/f", "a/../f", "a/b/../f", "a/b/c/../../f", "a/b/c/../../../f", &dots];
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        for round in 0_u32.. {
            for (path, scope) in paths.iter().flat_map(|path| SCOPES.map(|scope| (path, scope))) {
                led += u32::from(fs::read_to_string(view.join(path)).is_ok_and(|text| text == "secret"));
                match grounds.walk(path.as_bytes(), QUICK, scope) {
                    Ok(file) => {
                        assert_eq!(text(file), "own", "{path} {scope:?}");
                        own += 1;
                    }
                    Err(Errno::NOENT | Errno::XDEV | Errno::AGAIN | Errno::LOOP | Errno::NOTDIR) => {}
                    Err(other) => panic!("{path} {scope:?}: {other}"),
                }
            }
            if (round > 1_000 && own > 100 && led > 100) || std::time::Instant::now() > until {
                break;
            }
        }
        drop(stopping);
    });
    assert!(own > 100 && led > 100, "{own} were opened, the control was led outside {led} times");
}

/// A link that is exchanged with a file is never opened through, and what is made anew is made in the directory.
#[test]
fn a_race_at_the_last_name_neither_follows_nor_truncates_what_is_outside() {
    let grounds = Grounds::new();
    let (view, secret) = (grounds.view(), grounds.outside.join("f"));
    fs::write(view.join("file"), "own").expect("ours");
    symlink("../f", view.join("link")).expect("ours");
    let stop = AtomicBool::new(false);
    let mut made = 0;
    std::thread::scope(|scope| {
        let stopping = Stopping(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let exchanged = renameat_with(CWD, view.join("file"), CWD, view.join("link"), RenameFlags::EXCHANGE);
                exchanged.expect("both are ours");
            }
        });
        for _ in 0..20_000 {
            let writing = QUICK | OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
            match grounds.walk(b"file", writing, Scope::Beneath) {
                Ok(_) => made += 1,
                Err(Errno::XDEV | Errno::AGAIN) => {}
                Err(other) => panic!("{other}"),
            }
            let new = grounds.walk(b"link", QUICK | NEW | OFlags::WRONLY, Scope::Beneath);
            assert_eq!(new.map(drop), Err(Errno::EXIST));
        }
        drop(stopping);
    });
    assert!(made > 0, "the race leaves some to be opened");
    assert_eq!(fs::read_to_string(&secret).expect("there"), "secret");
    // The control: whoever follows it does truncate what is outside.
    let link = ["file", "link"].into_iter().find(|name| {
        let stat = rustix::fs::statat(&grounds.top, *name, NO_FOLLOW).expect("there");
        FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
    });
    fs::write(view.join(link.expect("one of them")), "").expect("it leads outside");
    assert_eq!(fs::read_to_string(&secret).expect("there"), "");
}
