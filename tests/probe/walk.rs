//! `walk FROM COUNT STEPS`: random sequences of file operations from numbered seeds, each step with what the kernel said.
//! It never changes a name outside of its own directories, never runs as root, and never says what may differ between two
//! runs beside the kernel's answers: no inode, no time, no process id.

use crate::sys::{Arg, Errno, c, call, unheeded};
use crate::{Args, Miss, say};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

mod steps;

/// Descriptors that a walk keeps open at most.
const SLOTS: usize = 14;
/// Where other ends of pipes are kept, so that no open of one waits.
const PIPE_KEEPER: i64 = 200;
/// Bytes of a file that are told.
const TOLD_BYTES: usize = 48;

/// Names that the steps use, all of them below a walk's own directories. `{long}` and `{longer}` are as long as a name may
/// be, and one more.
const NAMES: [&str; 33] = [
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "a",
    "b",
    "c",
    "d/a",
    "d/b",
    "d/d",
    "d/d/a",
    "e/a",
    "e/b",
    "l",
    "l/a",
    "m",
    "m/b",
    "./a",
    "d/../b",
    "d/./a",
    "d//b",
    "d/",
    "a/",
    "a/b",
    "l/",
    ".",
    "",
    "{long}",
    "{longer}",
    "{here}/a",
    "{here}/d/b",
];
/// Names that are only opened or looked at.
const OTHERS: [&str; 8] =
    ["..", "/dev/null", "/dev/full", "/dev/stdout", "/proc/self/fd/5", "/proc/self/cwd/a", "/proc/self/comm", "/"];
/// What symbolic links lead to. None leads further up than to the directory that is made for one walk.
const TARGETS: [&str; 12] =
    ["a", "d", "l", "m", "nowhere", "d/a", "../a", "/dev/null", "/dev/stdout", "/proc/self/fd/4", "{here}/b", "e/../a"];
/// Flags besides the access mode.
const FLAGS: [i32; 18] = [
    libc::O_CREAT,
    libc::O_CREAT,
    libc::O_CREAT | libc::O_EXCL,
    libc::O_CREAT | libc::O_TRUNC,
    libc::O_CREAT | libc::O_NOFOLLOW,
    libc::O_TRUNC,
    libc::O_APPEND,
    libc::O_NOFOLLOW,
    libc::O_DIRECTORY,
    libc::O_CLOEXEC,
    libc::O_NONBLOCK,
    libc::O_SYNC,
    libc::O_NOATIME,
    libc::O_NOCTTY,
    libc::O_PATH,
    libc::O_CREAT | libc::O_DIRECTORY,
    libc::O_TMPFILE,
    0,
];
const MODES: [i64; 9] = [0o644, 0o600, 0o666, 0o755, 0o000, 0o444, 0o2755, 0o4711, 0o1777];
const UMASKS: [i64; 6] = [0o022, 0, 0o027, 0o077, 0o002, 0o777];

/// Numbers from a seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a usize fits");
        usize::try_from(self.roll() % limit.max(1)).expect("smaller than a usize")
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Which part of a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Its first process.
    Main,
    /// A child or a thread, whose descriptors go with it.
    Passing,
}

/// One walk.
struct Walk {
    part: Part,
    dice: Dice,
    here: PathBuf,
    slots: Vec<i64>,
    pipes: i64,
    told: String,
}

type Answer = Result<i64, Errno>;

/// Walks, and tells.
pub(crate) fn run(args: &Args) -> Result<(), Miss> {
    let number = |index| args.number(index).and_then(|n| u64::try_from(n).map_err(|_| Miss::Broken("seed".to_owned())));
    let (from, count, steps) = (number(0)?, number(1)?, number(2)?);
    // Names lead nowhere else, and a mistake in them must not be root's.
    if call(libc::SYS_geteuid, &mut []) == Ok(0) {
        return Err(Miss::Broken("this does not run as root".to_owned()));
    }
    let base = std::env::current_dir()?;
    for seed in from..from.saturating_add(count) {
        unheeded(call(libc::SYS_umask, &mut [Arg::Int(0o022)]));
        let own = base.join(format!("walk-{seed}"));
        let here = own.join("up/here");
        fs::create_dir_all(&here)?;
        go(&here)?;
        let mut walk = Walk {
            part: Part::Main,
            dice: Dice(seed),
            here: here.clone(),
            slots: Vec::new(),
            pipes: 0,
            told: format!("walk {seed}\n"),
        };
        walk.plant();
        for _ in 0..steps {
            walk.step();
        }
        walk.leave();
        go(&base)?;
        walk.tree(&own);
        say(&walk.told);
        open_up(&own);
        fs::remove_dir_all(&own)?;
    }
    Ok(())
}

impl Walk {
    /// Something to begin with.
    fn plant(&mut self) {
        for name in ["d", "e", "d/d"] {
            unheeded(call(libc::SYS_mkdir, &mut [Arg::In(&c(name)), Arg::Int(0o755)]));
        }
        for name in ["a", "d/b", "e/a"] {
            unheeded(fs::write(name, name));
        }
        for (target, name) in [("d", "l"), ("e/a", "m")] {
            unheeded(call(libc::SYS_symlink, &mut [Arg::In(&c(target)), Arg::In(&c(name))]));
        }
    }

    fn step(&mut self) {
        match self.dice.below(46) {
            0..=13 => self.open(),
            14..=16 => self.close(),
            17..=18 => self.write(),
            19 => self.read(),
            20 => self.duplicate(),
            21..=22 => self.rename(),
            23 => self.link(),
            24 => self.symlink(),
            25..=26 => self.unlink(),
            27..=28 => self.make_directory(),
            29 => self.remove_directory(),
            30 => self.make_pipe(),
            31 => self.change_mode(),
            32 => self.change_length(),
            33 => self.change_directory(),
            34 => self.change_umask(),
            35 => self.nameless(),
            36..=37 => self.lock(),
            38 => self.look(),
            39 => self.attribute(),
            40 => self.execute(),
            41 => self.child(),
            42 => self.thread(),
            43 => self.few_descriptors(),
            44 => self.map(),
            45 => self.copy(),
            _ => unreachable!("46 sides"),
        }
    }

    fn tell(&mut self, what: &str, answer: Answer) {
        let said = match answer {
            Ok(value) => value.to_string(),
            Err(errno) => format!("errno {errno}"),
        };
        writeln!(self.told, "{what} = {said}").expect("a String takes all");
    }

    fn filled(&self, template: &str) -> String {
        let here = self.here.display().to_string();
        template.replace("{longer}", &"n".repeat(256)).replace("{long}", &"n".repeat(255)).replace("{here}", &here)
    }

    /// A name as it is used, and as it is told.
    fn name(&mut self) -> (Vec<u8>, &'static str) {
        let template = self.dice.of(&NAMES);
        (c(&self.filled(template)), template)
    }

    /// The same of a name that is not changed, which may be anywhere.
    fn any_name(&mut self) -> (Vec<u8>, &'static str) {
        if self.dice.below(4) > 0 {
            return self.name();
        }
        let template = self.dice.of(&OTHERS);
        (c(&self.filled(template)), template)
    }

    /// Goes back where the current directory has become one above.
    fn stay(&mut self) {
        let inside = fs::read_link("/proc/self/cwd").is_ok_and(|now| now.starts_with(&self.here));
        if !inside {
            self.tell("  back", go(&self.here).map(|()| 0));
        }
    }

    fn slot(&mut self) -> i64 {
        if self.slots.is_empty() || self.dice.below(20) == 0 {
            return self.dice.of(&[-1, 250, 77]);
        }
        let index = self.dice.below(self.slots.len());
        self.slots[index]
    }

    /// A directory to start from: mostly the current one.
    fn start(&mut self) -> i64 {
        if self.dice.below(4) == 0 { self.slot() } else { libc::AT_FDCWD.into() }
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        if let Ok(descriptor) = answer {
            if self.slots.len() < SLOTS {
                self.slots.push(descriptor);
            } else {
                unheeded(call(libc::SYS_close, &mut [Arg::Int(descriptor)]));
            }
        }
        answer
    }

    fn leave(&mut self) {
        for descriptor in std::mem::take(&mut self.slots).into_iter().chain(PIPE_KEEPER..PIPE_KEEPER + self.pipes) {
            unheeded(call(libc::SYS_close, &mut [Arg::Int(descriptor)]));
        }
    }

    /// What there is in the end.
    fn tree(&mut self, path: &Path) {
        let Ok(data) = fs::symlink_metadata(path) else { return };
        let top = self.here.ancestors().nth(2).unwrap_or(&self.here);
        let name = path.strip_prefix(top).unwrap_or(path).display().to_string();
        let content = match (data.is_symlink(), data.is_file()) {
            (true, _) => fs::read_link(path).map(|to| to.display().to_string()).unwrap_or_default(),
            (_, true) => {
                let bytes = fs::read(path).map_err(|e| e.to_string().into_bytes()).unwrap_or_else(|text| text);
                String::from_utf8_lossy(&bytes[..bytes.len().min(TOLD_BYTES)]).into_owned()
            }
            (false, false) => String::new(),
        };
        let size = if data.is_dir() { 0 } else { data.size() };
        let links = data.nlink();
        writeln!(self.told, "  {name} {:o} {size} {links} {content:?}", data.mode()).expect("a String takes all");
        if data.is_dir() {
            let mut below: Vec<PathBuf> =
                fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            below.sort_by(|one, two| one.as_os_str().as_bytes().cmp(two.as_os_str().as_bytes()));
            for path in below {
                self.tree(&path);
            }
        }
    }
}

/// Makes a directory the current one.
fn go(directory: &Path) -> Result<(), Errno> {
    let name = [directory.as_os_str().as_bytes(), b"\0"].concat();
    call(libc::SYS_chdir, &mut [Arg::In(&name)]).map(|_| ())
}

/// Makes a tree removable.
fn open_up(directory: &Path) {
    unheeded(fs::set_permissions(directory, fs::Permissions::from_mode(0o700)));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
