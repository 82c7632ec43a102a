//! Ways to change a file, start a program or end that a recorder may fail to see.
//! It never hides anything by itself: each is what ordinary programs do, or could.

use crate::sys::{Arg, c, call, exit_now, file_of, fork, map, unheeded, wait_for};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) const TABLE: &[Entry] = &[
    ("write-mapped", write_mapped),
    ("write-sendfile", write_sendfile),
    ("write-splice", write_splice),
    ("write-copy-range", write_copy_range),
    ("write-nameless", write_nameless),
    ("write-how", write_how),
    ("write-by-ring", write_by_ring),
    ("write-from-daemon", write_from_daemon),
    ("write-after-reuse", write_after_reuse),
    ("write-program", write_program),
    ("write-from-threads", write_from_threads),
    ("write-in-own-landlock", write_in_own_landlock),
    ("write-through-swapped-links", write_through_swapped_links),
    ("stop-and-go", stop_and_go),
    ("fork-many", fork_many),
    ("listen-to-itself", listen_to_itself),
];

/// What is written.
const TEXT: &[u8] = b"changed";

fn int(value: impl Into<i64>) -> Arg<'static> {
    Arg::Int(value.into())
}

fn length() -> i64 {
    i64::try_from(TEXT.len()).expect("a short text")
}

fn for_writing(path: &str) -> Result<File, Miss> {
    Ok(OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?)
}

fn write_mapped(args: &Args) -> Attempt {
    let file = for_writing(args.text(0)?)?;
    file.set_len(u64::try_from(TEXT.len()).expect("a short text"))?;
    let memory = map(TEXT.len(), libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd())?;
    drop(file);
    memory.copy_from_slice(TEXT);
    Ok("written through memory".to_owned())
}

fn write_sendfile(args: &Args) -> Attempt {
    let (from, to) = (File::open(args.text(0)?)?, for_writing(args.text(1)?)?);
    let sent = call(libc::SYS_sendfile, &mut [int(to.as_raw_fd()), int(from.as_raw_fd()), Arg::Int(0), Arg::Int(64)])?;
    Ok(format!("{sent} bytes sent"))
}

fn write_splice(args: &Args) -> Attempt {
    let (from, to) = (File::open(args.text(0)?)?, for_writing(args.text(1)?)?);
    let mut ends = [0; 8];
    call(libc::SYS_pipe2, &mut [Arg::Out(&mut ends), Arg::Int(0)])?;
    let end = |at: usize| i32::from_ne_bytes(ends[at..at + 4].try_into().expect("four bytes"));
    let splice = |from: i32, to: i32| {
        call(libc::SYS_splice, &mut [int(from), Arg::Int(0), int(to), Arg::Int(0), Arg::Int(64), Arg::Int(0)])
    };
    splice(from.as_raw_fd(), end(4))?;
    let came = splice(end(0), to.as_raw_fd())?;
    Ok(format!("{came} bytes spliced"))
}

fn write_copy_range(args: &Args) -> Attempt {
    let (from, to) = (File::open(args.text(0)?)?, for_writing(args.text(1)?)?);
    let (from, to) = (int(from.as_raw_fd()), int(to.as_raw_fd()));
    let copied = call(libc::SYS_copy_file_range, &mut [from, Arg::Int(0), to, Arg::Int(0), Arg::Int(64), Arg::Int(0)])?;
    Ok(format!("{copied} bytes copied"))
}

/// A file without a name, which gets one when it is complete: by its descriptor, or through `/proc`.
fn write_nameless(args: &Args) -> Attempt {
    let (directory, name) = (args.text(0)?, args.text(1)?);
    let mut file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o644).open(directory)?;
    file.write_all(TEXT)?;
    let here = i64::from(libc::AT_FDCWD);
    let (start, old, flags) = match args.text(2)? {
        "descriptor" => (i64::from(file.as_raw_fd()), c(""), libc::AT_EMPTY_PATH),
        _ => (here, c(&format!("/proc/self/fd/{}", file.as_raw_fd())), libc::AT_SYMLINK_FOLLOW),
    };
    let new = c(name);
    call(libc::SYS_linkat, &mut [Arg::Int(start), Arg::In(&old), Arg::Int(here), Arg::In(&new), int(flags)])?;
    Ok("named".to_owned())
}

/// As a library does that prefers the newer call.
fn write_how(args: &Args) -> Attempt {
    let name = c(args.text(0)?);
    let flags = u64::try_from(libc::O_CREAT | libc::O_WRONLY).expect("flags");
    let how: Vec<u8> = [flags, 0o644, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let newer = call(libc::SYS_openat2, &mut [int(libc::AT_FDCWD), Arg::In(&name), Arg::In(&how), Arg::Int(24)]);
    let (mut file, which) = match newer {
        Ok(descriptor) => (file_of(i32::try_from(descriptor).expect("descriptors are small")), "openat2"),
        Err(libc::ENOSYS) => (for_writing(args.text(0)?)?, "openat"),
        Err(errno) => return Err(Miss::Errno(errno)),
    };
    file.write_all(TEXT)?;
    Ok(format!("written by {which}"))
}

/// Only asks for a ring: with one, opens and writes need no system call of the process's.
fn write_by_ring(_args: &Args) -> Attempt {
    let mut parameters = [0; 120];
    call(libc::SYS_io_uring_setup, &mut [Arg::Int(4), Arg::Out(&mut parameters)])?;
    Ok("a ring".to_owned())
}

/// A grandchild in a session of its own writes, when nobody of its family is left.
fn write_from_daemon(args: &Args) -> Attempt {
    let path = args.text(0)?.to_owned();
    let first = fork()?;
    if first != 0 {
        wait_for(first)?;
        return await_file(&path);
    }
    unheeded(call(libc::SYS_setsid, &mut []));
    if fork() != Ok(0) {
        exit_now(0);
    }
    std::thread::sleep(Duration::from_millis(50));
    unheeded(fs::write(&path, TEXT));
    std::thread::sleep(Duration::from_millis(50));
    exit_now(3)
}

fn await_file(path: &str) -> Attempt {
    let until = Instant::now() + Duration::from_secs(20);
    while fs::read(path).ok().as_deref() != Some(TEXT) {
        if Instant::now() > until {
            return Err(Miss::Nothing("nothing was written".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok("written".to_owned())
}

/// Makes processes until the kernel gives out a number again; the one that gets it writes.
fn write_after_reuse(args: &Args) -> Attempt {
    let path = c(args.text(0)?);
    let first = fork_and(|| exit_now(0))?;
    for _ in 0..200_000 {
        let child = fork_and(|| {
            if call(libc::SYS_getpid, &mut []) == Ok(i64::from(first)) {
                let flags = i64::from(libc::O_CREAT | libc::O_WRONLY);
                let made = call(libc::SYS_open, &mut [Arg::In(&path), Arg::Int(flags), Arg::Int(0o644)]);
                unheeded(call(libc::SYS_write, &mut [Arg::Int(made.unwrap_or(-1)), Arg::In(TEXT), Arg::Int(length())]));
                exit_now(9);
            }
            exit_now(0)
        })?;
        if child == first {
            return Ok(format!("the number {first} again"));
        }
    }
    Err(Miss::Nothing("numbers do not come again".to_owned()))
}

/// A child's life, and its number.
fn fork_and(life: impl FnOnce()) -> Result<i32, Miss> {
    let child = fork()?;
    if child == 0 {
        life();
        exit_now(0);
    }
    wait_for(child)?;
    Ok(child)
}

/// Writes a program of 64-bit x86 that has no C library: it opens a file, writes three bytes, and ends by `exit`, not
/// `exit_group`.
fn write_program(args: &Args) -> Attempt {
    let (path, target) = (args.text(0)?, c(args.text(1)?));
    let mut code = vec![0xb8, 2, 0, 0, 0]; // mov eax, open
    let first = code.len();
    code.extend([0x48, 0x8d, 0x3d, 0, 0, 0, 0]); // lea rdi, [target]
    code.extend([0xbe, 0x41, 2, 0, 0]); // mov esi, O_WRONLY | O_CREAT | O_TRUNC
    code.extend([0xba, 0xa4, 1, 0, 0]); // mov edx, 0644
    code.extend([0x0f, 0x05, 0x89, 0xc7]); // syscall; mov edi, eax
    code.extend([0xb8, 1, 0, 0, 0]); // mov eax, write
    let second = code.len();
    code.extend([0x48, 0x8d, 0x35, 0, 0, 0, 0]); // lea rsi, [target]
    code.extend([0xba, 3, 0, 0, 0, 0x0f, 0x05]); // mov edx, 3; syscall
    code.extend([0xb8, 0x3c, 0, 0, 0, 0xbf, 5, 0, 0, 0, 0x0f, 0x05]); // mov eax, exit; mov edi, 5; syscall
    for at in [first, second] {
        let distance = u32::try_from(code.len() - at - 7).expect("a short program").to_le_bytes();
        code.splice(at + 3..at + 7, distance);
    }
    code.extend(target);
    const HEADERS: u64 = 120;
    const BASE: u64 = 0x40_0000;
    let size = HEADERS + u64::try_from(code.len()).expect("a short program");
    let word = |value: u64| value.to_le_bytes();
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([word(BASE + HEADERS), word(64), word(0)].concat());
    file.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x05\0\0\0");
    file.extend([word(0), word(BASE), word(BASE), word(size), word(size), word(0x1000)].concat());
    file.extend(code);
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(path)?.write_all(&file)?;
    Ok(format!("{size} bytes"))
}

fn number(args: &Args, index: usize) -> Result<usize, Miss> {
    usize::try_from(args.number(index)?).map_err(|_| Miss::Broken("a negative number".to_owned()))
}

/// Each of many threads makes its own file.
fn write_from_threads(args: &Args) -> Attempt {
    let (directory, count) = (args.text(0)?, number(args, 1)?);
    let start = std::sync::Barrier::new(count);
    let made = std::thread::scope(|scope| {
        let one = |n| {
            let start = &start;
            let life = move || {
                start.wait();
                fs::write(format!("{directory}/{n}"), TEXT).is_ok()
            };
            std::thread::Builder::new().stack_size(64 * 1024).spawn_scoped(scope, life)
        };
        let threads: Result<Vec<_>, _> = (0..count).map(one).collect();
        threads.map(|threads| threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|made| *made).count())
    })?;
    if made == count { Ok(format!("{made} files")) } else { Err(Miss::Nothing(format!("{made} files of {count}"))) }
}

/// Takes the right to write away from itself, and writes.
fn write_in_own_landlock(args: &Args) -> Attempt {
    const WRITE_FILE: u64 = 1 << 1;
    const MAKE_FILE: u64 = 1 << 8;
    let rules = (WRITE_FILE | MAKE_FILE).to_ne_bytes();
    let made = call(libc::SYS_landlock_create_ruleset, &mut [Arg::In(&rules), Arg::Int(8), Arg::Int(0)]);
    let confined = made.and_then(|rules| {
        call(libc::SYS_prctl, &mut [Arg::Int(38), Arg::Int(1), Arg::Int(0), Arg::Int(0), Arg::Int(0)])?;
        call(libc::SYS_landlock_restrict_self, &mut [Arg::Int(rules), Arg::Int(0)])
    });
    confined.map_err(|errno| Miss::Broken(format!("no Landlock of one's own: errno {errno}")))?;
    fs::write(args.text(0)?, TEXT)?;
    Ok("written".to_owned())
}

/// Opens a name a number of times while another thread makes it lead elsewhere; each time a line is written.
fn write_through_swapped_links(args: &Args) -> Attempt {
    let (root, times) = (Path::new(args.text(0)?), number(args, 1)?);
    for name in ["good", "evil"] {
        fs::create_dir(root.join(name))?;
        fs::write(root.join(name).join("file"), "")?;
        symlink(name, root.join(format!("to-{name}")))?;
    }
    let over = AtomicBool::new(false);
    let here = i64::from(libc::AT_FDCWD);
    let (one, two) = (root.join("to-good"), root.join("to-evil"));
    let (one, two) = (c(&one.display().to_string()), c(&two.display().to_string()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let args = &mut [Arg::Int(here), Arg::In(&one), Arg::Int(here), Arg::In(&two), Arg::Int(2)];
                unheeded(call(libc::SYS_renameat2, args));
                std::thread::yield_now();
            }
        });
        let written = (0..times).try_for_each(|_| {
            OpenOptions::new().append(true).open(root.join("to-good/file")).and_then(|mut file| file.write_all(b"x\n"))
        });
        over.store(true, Ordering::Relaxed);
        written
    })?;
    let lines = |name: &str| fs::metadata(root.join(name).join("file")).map_or(0, |data| data.len() / 2);
    Ok(format!("good={} evil={}", lines("good"), lines("evil")))
}

/// Stops a child again and again while it opens files, and opens some itself meanwhile.
fn stop_and_go(args: &Args) -> Attempt {
    let directory = args.text(0)?;
    let child = fork()?;
    if child == 0 {
        for n in 0.. {
            if fs::write(format!("{directory}/child-{}", n % 7), TEXT).is_err() {
                exit_now(1);
            }
        }
    }
    let signal = |number: i32| call(libc::SYS_kill, &mut [int(child), int(number)]);
    for n in 0..300 {
        signal(libc::SIGSTOP)?;
        fs::write(format!("{directory}/own-{}", n % 7), TEXT)?;
        signal(libc::SIGCONT)?;
        std::thread::sleep(Duration::from_micros(100));
    }
    signal(libc::SIGSTOP)?;
    fs::write(format!("{directory}/last"), TEXT)?;
    signal(libc::SIGKILL)?;
    wait_for(child)?;
    Ok("stopped 301 times".to_owned())
}

/// Children that end at once, each with its own code, a handful at a time.
fn fork_many(args: &Args) -> Attempt {
    let count = number(args, 0)?;
    let mut running = Vec::new();
    for n in 0..count {
        let child = fork()?;
        if child == 0 {
            exit_now(i64::try_from(n % 100).expect("small"));
        }
        running.push((child, n % 100));
        if running.len() == 16 || n + 1 == count {
            for (child, code) in running.drain(..) {
                let status = usize::try_from(wait_for(child)?).unwrap_or(0);
                if status != code << 8 {
                    return Err(Miss::Nothing(format!("status {status} instead of code {code}")));
                }
            }
        }
    }
    Ok(format!("{count} children"))
}

/// A program that lets everything pass, with a listener of its own.
fn listen_to_itself(_args: &Args) -> Attempt {
    const NEW_LISTENER: i64 = 8;
    let allow = libc::sock_filter { code: 6, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let program = [allow];
    let head = [1_u64, u64::try_from(program.as_ptr().expose_provenance()).expect("an address")];
    let head: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
    call(libc::SYS_prctl, &mut [Arg::Int(38), Arg::Int(1), Arg::Int(0), Arg::Int(0), Arg::Int(0)])?;
    let listener = call(libc::SYS_seccomp, &mut [Arg::Int(1), Arg::Int(NEW_LISTENER), Arg::In(&head)])?;
    Ok(format!("listener {listener}"))
}
