//! Ways to use a machine up. Each stops by itself at the amount that it is given.
//! It never goes beyond that amount, so that it is harmless where no wall holds it.

use crate::sys::{self, Arg, call, exit_now, fork, map, unheeded};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const TABLE: &[Entry] = &[
    ("fork-bomb", fork_bomb),
    ("fork-bomb-nested", fork_bomb_nested),
    ("thread-bomb", thread_bomb),
    ("memory-bomb", memory_bomb),
    ("memory-bomb-shared-out", memory_bomb_shared_out),
    ("memory-bomb-mapped", memory_bomb_mapped),
    ("memory-bomb-file", memory_bomb_file),
    ("disk-bomb", disk_bomb),
    ("disk-bomb-many-files", disk_bomb_many_files),
    ("file-bomb", file_bomb),
    ("descriptor-bomb", descriptor_bomb),
    ("spin", spin),
    ("spin-in-children", spin_in_children),
    ("wait", wait),
    ("ignore-and-wait", ignore_and_wait),
    ("output-bomb", output_bomb),
    ("crash", crash),
];

const MIB: usize = 1 << 20;

fn amount(args: &Args, index: usize) -> Result<usize, Miss> {
    usize::try_from(args.number(index)?).map_err(|_| Miss::Broken("a negative amount".to_owned()))
}

/// Children that sleep; they end with their parent, and when it is done.
fn fork_bomb(args: &Args) -> Attempt {
    let wanted = amount(args, 0)?;
    let (mut children, mut refused) = (Vec::new(), None);
    while children.len() < wanted {
        match fork() {
            Ok(0) => sleep_under_parent(),
            Ok(pid) => children.push(pid),
            Err(errno) => {
                refused = Some(errno);
                break;
            }
        }
    }
    for pid in &children {
        unheeded(call(libc::SYS_kill, &mut [Arg::Int((*pid).into()), Arg::Int(9)]));
    }
    match refused {
        Some(_) => Err(Miss::Nothing(format!("stopped at {} processes", children.len()))),
        None => Ok(format!("{} processes at once", children.len())),
    }
}

fn sleep_under_parent() -> ! {
    const SET_DEATH_SIGNAL: i64 = 1;
    unheeded(call(libc::SYS_prctl, &mut [Arg::Int(SET_DEATH_SIGNAL), Arg::Int(9)]));
    std::thread::sleep(Duration::from_secs(20));
    exit_now(0)
}

/// Each process makes the next and sleeps: no single parent has many children.
fn fork_bomb_nested(args: &Args) -> Attempt {
    let wanted = amount(args, 0)?;
    let (mut reader, writer) = std::io::pipe()?;
    let mut depth = 0;
    let first = fork()?;
    if first != 0 {
        drop(writer);
        let mut deepest = String::new();
        std::io::Read::read_to_string(&mut reader, &mut deepest)?;
        let deepest = deepest.len();
        return if deepest >= wanted {
            Ok(format!("{deepest} deep"))
        } else {
            Err(Miss::Nothing(format!("stopped at {deepest}")))
        };
    }
    while depth < wanted {
        depth += 1;
        drop((&writer).write_all(b"."));
        if fork() != Ok(0) {
            drop(writer);
            std::thread::sleep(Duration::from_secs(2));
            exit_now(0);
        }
    }
    exit_now(0)
}

fn thread_bomb(args: &Args) -> Attempt {
    let wanted = amount(args, 0)?;
    let started = Instant::now();
    for count in 0..wanted {
        let sleeper = std::thread::Builder::new().stack_size(65_536);
        let spawned =
            sleeper.spawn(move || std::thread::sleep(Duration::from_secs(3).saturating_sub(started.elapsed())));
        if spawned.is_err() {
            return Err(Miss::Nothing(format!("stopped at {count} threads")));
        }
    }
    Ok(format!("{wanted} threads at once"))
}

/// Touches every page, so that it is memory and not a promise.
fn fill(bytes: usize, flags: i32, fd: i32) -> Result<(), Miss> {
    let memory = map(bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd)?;
    memory.chunks_mut(4096).for_each(|page| page[0] = 1);
    Ok(())
}

/// Keeps what a bomb took: to have it for an instant is not to have it, and limits that are sampled see what stays.
fn kept() -> String {
    std::thread::sleep(Duration::from_secs(1));
    "all of it".to_owned()
}

fn memory_bomb(args: &Args) -> Attempt {
    for _ in 0..amount(args, 0)? {
        fill(MIB, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    }
    Ok(kept())
}

/// The same amount, spread over eight processes: a limit of each process alone does not see it.
fn memory_bomb_shared_out(args: &Args) -> Attempt {
    let each = amount(args, 0)? / 8;
    let (mut reader, writer) = std::io::pipe()?;
    for _ in 0..8 {
        if fork()? == 0 {
            for _ in 0..each {
                drop(fill(MIB, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1));
            }
            drop((&writer).write_all(b"."));
            drop(writer);
            std::thread::sleep(Duration::from_secs(2));
            exit_now(0);
        }
    }
    drop(writer);
    let mut done = String::new();
    std::io::Read::read_to_string(&mut reader, &mut done)?;
    if done.len() == 8 { Ok(kept()) } else { Err(Miss::Nothing(format!("{} of 8 lived", done.len()))) }
}

fn memory_bomb_mapped(args: &Args) -> Attempt {
    for _ in 0..amount(args, 0)? {
        fill(MIB, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)?;
    }
    Ok(kept())
}

/// Memory that belongs to no process: a memfd.
fn memory_bomb_file(args: &Args) -> Attempt {
    let made = call(libc::SYS_memfd_create, &mut [Arg::In(b"bomb\0"), Arg::Int(0)])?;
    let mut file = sys::file_of(i32::try_from(made).expect("descriptors are small"));
    for _ in 0..amount(args, 0)? {
        file.write_all(&vec![1; MIB])?;
    }
    Ok(kept())
}

fn disk_bomb(args: &Args) -> Attempt {
    let path = Path::new(args.text(0)?).join("bomb");
    let written = (0..amount(args, 1)?).try_for_each(|_| {
        // Opened anew for each part: a limit of one descriptor or one write does not see it.
        let mut file = File::options().append(true).create(true).open(&path)?;
        file.write_all(&vec![1; MIB])
    });
    let told = written.map(|()| kept()).map_err(Miss::from);
    drop(fs::remove_file(&path));
    told
}

/// The same amount in files of one MiB: a limit on the size of a file does not see it.
fn disk_bomb_many_files(args: &Args) -> Attempt {
    let directory = Path::new(args.text(0)?).join("bombs");
    fs::create_dir(&directory)?;
    let written =
        (0..amount(args, 1)?).try_for_each(|count| fs::write(directory.join(count.to_string()), vec![1; MIB]));
    let told = written.map(|()| kept()).map_err(Miss::from);
    drop(fs::remove_dir_all(&directory));
    told
}

/// Empty files: inodes are used up, not bytes.
fn file_bomb(args: &Args) -> Attempt {
    let directory = Path::new(args.text(0)?).join("inodes");
    fs::create_dir(&directory)?;
    let made = (0..amount(args, 1)?).try_for_each(|count| File::create(directory.join(count.to_string())).map(drop));
    drop(fs::remove_dir_all(&directory));
    made.map(|()| "all of them".to_owned()).map_err(Miss::from)
}

fn descriptor_bomb(args: &Args) -> Attempt {
    let wanted = amount(args, 0)?;
    let mut open = Vec::new();
    while open.len() < wanted {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(_) => return Err(Miss::Nothing(format!("stopped at {} descriptors", open.len()))),
        }
    }
    Ok(format!("{wanted} descriptors at once"))
}

fn busy(seconds: u64) {
    let started = sys::cpu_time();
    let mut number = 1_u64;
    while sys::cpu_time() - started < Duration::from_secs(seconds) {
        for _ in 0..100_000 {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005));
        }
    }
}

fn seconds(args: &Args) -> Result<u64, Miss> {
    u64::try_from(args.number(0)?).map_err(|_| Miss::Broken("a negative time".to_owned()))
}

fn spin(args: &Args) -> Attempt {
    busy(seconds(args)?);
    Ok("spun to the end".to_owned())
}

/// One child after another, each for a short while: a limit of each process alone does not see it.
fn spin_in_children(args: &Args) -> Attempt {
    for _ in 0..seconds(args)? {
        let pid = fork()?;
        if pid == 0 {
            busy(1);
            exit_now(0);
        }
        sys::wait_for(pid)?;
    }
    Ok("spun to the end".to_owned())
}

fn wait(args: &Args) -> Attempt {
    std::thread::sleep(Duration::from_secs(seconds(args)?));
    Ok("waited to the end".to_owned())
}

/// Waits with every signal ignored or blocked that can be.
fn ignore_and_wait(args: &Args) -> Attempt {
    let all = [0xff_u8; 8];
    call(libc::SYS_rt_sigprocmask, &mut [Arg::Int(0), Arg::In(&all), Arg::Int(0), Arg::Int(8)])?;
    wait(args)
}

fn output_bomb(args: &Args) -> Attempt {
    let mut out = std::io::stdout().lock();
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    for _ in 0..amount(args, 0)? * 1024 {
        out.write_all(&line)?;
    }
    Ok("all of it".to_owned())
}

/// Dies of a signal that dumps core, in the current directory.
fn crash(_args: &Args) -> Attempt {
    let unlimited = [u64::MAX.to_ne_bytes(), u64::MAX.to_ne_bytes()].concat();
    let core = Arg::Int(libc::RLIMIT_CORE.into());
    unheeded(call(libc::SYS_prlimit64, &mut [Arg::Int(0), core, Arg::In(&unlimited), Arg::Int(0)]));
    let pid = fork()?;
    if pid == 0 {
        unheeded(call(libc::SYS_kill, &mut [Arg::Int(std::process::id().into()), Arg::Int(libc::SIGSEGV.into())]));
        exit_now(0);
    }
    let status = sys::wait_for(pid)?;
    if status & 0x80 != 0 {
        Ok("a core was dumped".to_owned())
    } else {
        Err(Miss::Nothing("no core was dumped".to_owned()))
    }
}
