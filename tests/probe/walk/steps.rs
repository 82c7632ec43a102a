//! The steps of a walk, one function each.
//! It never waits for anything: named pipes have both ends open, locks are tried.

use super::{Dice, FLAGS, MODES, PIPE_KEEPER, Part, TARGETS, UMASKS, Walk};
use crate::sys::{Arg, c, call, exit_now, fork, map, unheeded, wait_for};
use std::fmt::Write as _;

impl Walk {
    pub(super) fn open(&mut self) {
        let (name, told) = self.any_name();
        let flags = i64::from(self.dice.of(&[0, 1, 1, 2, 2, 3]) | self.dice.of(&FLAGS) | self.dice.of(&FLAGS));
        let mode = self.dice.of(&MODES);
        let (how, answer) = match self.dice.below(8) {
            0 => ("creat", call(libc::SYS_creat, &mut [Arg::In(&name), Arg::Int(mode)])),
            1..=3 => ("open", call(libc::SYS_open, &mut [Arg::In(&name), Arg::Int(flags), Arg::Int(mode)])),
            _ => {
                let start = self.start();
                let args = &mut [Arg::Int(start), Arg::In(&name), Arg::Int(flags), Arg::Int(mode)];
                ("openat", call(libc::SYS_openat, args))
            }
        };
        self.tell(&format!("{how} {told:?} {flags:o} {mode:o}"), answer);
        let Ok(descriptor) = answer else { return };
        self.flags_of(descriptor);
        if self.dice.below(3) == 0 {
            // At once: whoever opened it for us must not hold it any more.
            self.hold_and_let_go(descriptor);
        } else {
            unheeded(self.keep(answer));
        }
    }

    fn flags_of(&mut self, descriptor: i64) {
        for command in [libc::F_GETFL, libc::F_GETFD] {
            let answer = call(libc::SYS_fcntl, &mut [Arg::Int(descriptor), Arg::Int(command.into())]);
            self.tell(if command == libc::F_GETFL { "  flags" } else { "  descriptor" }, answer);
        }
    }

    /// Locks a file, closes it, and locks it through a second description that was there before: which works if the first
    /// close was the last one. Devices are everybody's, and so are their locks.
    fn hold_and_let_go(&mut self, descriptor: i64) {
        if is_device(descriptor) {
            return unheeded(call(libc::SYS_close, &mut [Arg::Int(descriptor)]));
        }
        let path = c(&format!("/proc/self/fd/{descriptor}"));
        let second = call(libc::SYS_open, &mut [Arg::In(&path), Arg::Int(libc::O_RDONLY.into())]);
        let exclusive = i64::from(libc::LOCK_EX | libc::LOCK_NB);
        let first = call(libc::SYS_flock, &mut [Arg::Int(descriptor), Arg::Int(exclusive)]);
        unheeded(call(libc::SYS_close, &mut [Arg::Int(descriptor)]));
        self.tell("  lock", first);
        if let Ok(second) = second {
            let answer = call(libc::SYS_flock, &mut [Arg::Int(second), Arg::Int(exclusive)]);
            self.tell("  lock of a second one", answer);
            unheeded(call(libc::SYS_close, &mut [Arg::Int(second)]));
        }
    }

    pub(super) fn close(&mut self) {
        if self.slots.is_empty() {
            return;
        }
        let index = self.dice.below(self.slots.len());
        let descriptor = self.slots.swap_remove(index);
        let answer = call(libc::SYS_close, &mut [Arg::Int(descriptor)]);
        self.tell(&format!("close {descriptor}"), answer);
    }

    pub(super) fn write(&mut self) {
        let (descriptor, length) = (self.slot(), 1 + self.dice.below(40));
        let bytes = vec![b'a' + u8::try_from(length % 26).expect("a letter"); length];
        let length = i64::try_from(length).expect("a short text");
        let answer = if self.dice.below(2) == 0 {
            call(libc::SYS_write, &mut [Arg::Int(descriptor), Arg::In(&bytes), Arg::Int(length)])
        } else {
            let offset = self.dice.of(&[0, 3, 100]);
            let args = &mut [Arg::Int(descriptor), Arg::In(&bytes), Arg::Int(length), Arg::Int(offset)];
            call(libc::SYS_pwrite64, args)
        };
        self.tell(&format!("write {descriptor} {length}"), answer);
    }

    pub(super) fn read(&mut self) {
        // At a position: a pipe has none, and so is not waited for.
        let descriptor = self.slot();
        let mut bytes = [0; 8];
        let args = &mut [Arg::Int(descriptor), Arg::Out(&mut bytes), Arg::Int(8), Arg::Int(0)];
        let answer = call(libc::SYS_pread64, args);
        self.tell(&format!("read {descriptor}"), answer);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        writeln!(self.told, "  {text:?}").expect("a String takes all");
    }

    pub(super) fn duplicate(&mut self) {
        let descriptor = self.slot();
        let answer = call(libc::SYS_dup, &mut [Arg::Int(descriptor)]);
        let answer = self.keep(answer);
        self.tell(&format!("dup {descriptor}"), answer);
    }

    pub(super) fn rename(&mut self) {
        let ((from, from_told), (to, to_told)) = (self.name(), self.name());
        let flags = self.dice.of(&[0, 0, 1, 2]);
        let answer = if flags == 0 && self.dice.below(2) == 0 {
            call(libc::SYS_rename, &mut [Arg::In(&from), Arg::In(&to)])
        } else {
            let (first, second) = (self.start(), self.start());
            let args = &mut [Arg::Int(first), Arg::In(&from), Arg::Int(second), Arg::In(&to), Arg::Int(flags)];
            call(libc::SYS_renameat2, args)
        };
        self.tell(&format!("rename {from_told:?} {to_told:?} {flags}"), answer);
    }

    pub(super) fn link(&mut self) {
        let ((from, from_told), (to, to_told)) = (self.name(), self.name());
        let flags = i64::from(self.dice.of(&[0, libc::AT_SYMLINK_FOLLOW]));
        let (first, second) = (self.start(), self.start());
        let args = &mut [Arg::Int(first), Arg::In(&from), Arg::Int(second), Arg::In(&to), Arg::Int(flags)];
        let answer = call(libc::SYS_linkat, args);
        self.tell(&format!("link {from_told:?} {to_told:?} {flags}"), answer);
    }

    pub(super) fn symlink(&mut self) {
        let target = self.dice.of(&TARGETS);
        let (name, told) = self.name();
        let answer = call(libc::SYS_symlink, &mut [Arg::In(&c(&self.filled(target))), Arg::In(&name)]);
        self.tell(&format!("symlink {target:?} {told:?}"), answer);
    }

    pub(super) fn unlink(&mut self) {
        let (name, told) = self.name();
        let start = self.start();
        let answer = call(libc::SYS_unlinkat, &mut [Arg::Int(start), Arg::In(&name), Arg::Int(0)]);
        self.tell(&format!("unlink {told:?}"), answer);
    }

    pub(super) fn make_directory(&mut self) {
        let (name, told) = self.name();
        let mode = self.dice.of(&[0o755, 0o755, 0o700, 0o2755, 0o1777, 0o555]);
        let start = self.start();
        let answer = call(libc::SYS_mkdirat, &mut [Arg::Int(start), Arg::In(&name), Arg::Int(mode)]);
        self.tell(&format!("mkdir {told:?} {mode:o}"), answer);
    }

    pub(super) fn remove_directory(&mut self) {
        let (name, told) = self.name();
        let answer = call(libc::SYS_rmdir, &mut [Arg::In(&name)]);
        self.tell(&format!("rmdir {told:?}"), answer);
    }

    /// A named pipe, whose both ends are kept open, so that no later open waits for one.
    pub(super) fn make_pipe(&mut self) {
        if self.part == Part::Passing {
            return;
        }
        let (name, told) = self.name();
        let mode = i64::from(libc::S_IFIFO | 0o644);
        let here = Arg::Int(libc::AT_FDCWD.into());
        let made = call(libc::SYS_mknodat, &mut [here, Arg::In(&name), Arg::Int(mode), Arg::Int(0)]);
        self.tell(&format!("mkfifo {told:?}"), made);
        if made.is_err() {
            return;
        }
        let flags = i64::from(libc::O_RDWR | libc::O_NONBLOCK);
        let opened = call(libc::SYS_open, &mut [Arg::In(&name), Arg::Int(flags)]);
        self.tell("  opened", opened);
        let Ok(descriptor) = opened else {
            return unheeded(call(libc::SYS_unlink, &mut [Arg::In(&name)]));
        };
        let keeper = PIPE_KEEPER + self.pipes;
        self.pipes += 1;
        unheeded(call(libc::SYS_dup3, &mut [Arg::Int(descriptor), Arg::Int(keeper), Arg::Int(0)]));
        unheeded(call(libc::SYS_close, &mut [Arg::Int(descriptor)]));
    }

    pub(super) fn change_mode(&mut self) {
        let mode = self.dice.of(&MODES);
        if self.dice.below(2) == 0 {
            let descriptor = self.slot();
            let answer = call(libc::SYS_fchmod, &mut [Arg::Int(descriptor), Arg::Int(mode)]);
            return self.tell(&format!("fchmod {descriptor} {mode:o}"), answer);
        }
        let (name, told) = self.name();
        let answer = call(libc::SYS_chmod, &mut [Arg::In(&name), Arg::Int(mode)]);
        self.tell(&format!("chmod {told:?} {mode:o}"), answer);
    }

    pub(super) fn change_length(&mut self) {
        let length = self.dice.of(&[0, 5, 5000]);
        if self.dice.below(2) == 0 {
            let descriptor = self.slot();
            let answer = call(libc::SYS_ftruncate, &mut [Arg::Int(descriptor), Arg::Int(length)]);
            return self.tell(&format!("ftruncate {descriptor} {length}"), answer);
        }
        let (name, told) = self.name();
        let answer = call(libc::SYS_truncate, &mut [Arg::In(&name), Arg::Int(length)]);
        self.tell(&format!("truncate {told:?} {length}"), answer);
    }

    pub(super) fn change_directory(&mut self) {
        if self.dice.below(3) == 0 {
            let descriptor = self.slot();
            let answer = call(libc::SYS_fchdir, &mut [Arg::Int(descriptor)]);
            self.tell(&format!("fchdir {descriptor}"), answer);
            return self.stay();
        }
        let name = self.dice.of(&["d", "e", "..", "l", "{here}", "{here}", "d/d", "nowhere"]);
        let answer = call(libc::SYS_chdir, &mut [Arg::In(&c(&self.filled(name)))]);
        self.tell(&format!("chdir {name:?}"), answer);
        self.stay();
    }

    pub(super) fn change_umask(&mut self) {
        let umask = self.dice.of(&UMASKS);
        let answer = call(libc::SYS_umask, &mut [Arg::Int(umask)]);
        self.tell(&format!("umask {umask:o}"), answer);
    }

    /// A file without a name, which gets one by its descriptor.
    pub(super) fn nameless(&mut self) {
        let flags =
            i64::from(libc::O_TMPFILE | self.dice.of(&[libc::O_RDWR, libc::O_WRONLY, libc::O_RDWR | libc::O_EXCL]));
        let directory = self.dice.of(&[".", "d", "e", "a", "{here}"]);
        let name = c(&self.filled(directory));
        let made = call(libc::SYS_open, &mut [Arg::In(&name), Arg::Int(flags), Arg::Int(0o640)]);
        self.tell(&format!("nameless {directory:?} {flags:o}"), made);
        let Ok(descriptor) = made else { return };
        self.flags_of(descriptor);
        unheeded(call(libc::SYS_write, &mut [Arg::Int(descriptor), Arg::In(b"nameless"), Arg::Int(8)]));
        let (new, told) = self.name();
        let way = c(&format!("/proc/self/fd/{descriptor}"));
        let here = i64::from(libc::AT_FDCWD);
        let (start, old, follow) = match self.dice.below(2) {
            0 => (here, way.as_slice(), libc::AT_SYMLINK_FOLLOW),
            _ => (descriptor, &b"\0"[..], libc::AT_EMPTY_PATH),
        };
        let args = &mut [Arg::Int(start), Arg::In(old), Arg::Int(here), Arg::In(&new), Arg::Int(follow.into())];
        let answer = call(libc::SYS_linkat, args);
        self.tell(&format!("  named {told:?} {follow:o}"), answer);
        unheeded(self.keep(made));
    }

    pub(super) fn lock(&mut self) {
        let descriptor = self.slot();
        if is_device(descriptor) {
            return;
        }
        if self.dice.below(2) == 0 {
            let how = i64::from(self.dice.of(&[libc::LOCK_EX, libc::LOCK_SH]) | libc::LOCK_NB);
            let answer = call(libc::SYS_flock, &mut [Arg::Int(descriptor), Arg::Int(how)]);
            return self.tell(&format!("flock {descriptor} {how}"), answer);
        }
        // struct flock of 64-bit Linux: type, whence, start, length, process.
        let kind = i64::from(self.dice.of(&[libc::F_RDLCK, libc::F_WRLCK]));
        let lock: Vec<u8> = [kind, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let args = &mut [Arg::Int(descriptor), Arg::Int(libc::F_OFD_SETLK.into()), Arg::In(&lock)];
        let answer = call(libc::SYS_fcntl, args);
        self.tell(&format!("lock {descriptor} {kind}"), answer);
    }

    pub(super) fn look(&mut self) {
        let (name, told) = self.any_name();
        let mut buffer = [0; 256];
        let answer = call(libc::SYS_stat, &mut [Arg::In(&name), Arg::Out(&mut buffer)]);
        let mode = mode_of(&buffer);
        self.tell(&format!("stat {told:?} {mode:o}"), answer);
    }

    pub(super) fn attribute(&mut self) {
        let (name, told) = self.name();
        let attribute = c("user.walk");
        let answer = if self.dice.below(3) == 0 {
            call(libc::SYS_removexattr, &mut [Arg::In(&name), Arg::In(&attribute)])
        } else {
            let args = &mut [Arg::In(&name), Arg::In(&attribute), Arg::In(b"value"), Arg::Int(5), Arg::Int(0)];
            call(libc::SYS_setxattr, args)
        };
        self.tell(&format!("attribute {told:?}"), answer);
    }

    /// Writes a program and runs it, at times while it is still open.
    pub(super) fn execute(&mut self) {
        let (name, told) = self.name();
        let flags = i64::from(libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC);
        let made = call(libc::SYS_open, &mut [Arg::In(&name), Arg::Int(flags), Arg::Int(0o755)]);
        self.tell(&format!("program {told:?}"), made);
        let Ok(descriptor) = made else { return };
        let text = b"#!/bin/true\n";
        unheeded(call(libc::SYS_write, &mut [Arg::Int(descriptor), Arg::In(text), Arg::Int(12)]));
        if self.dice.below(4) > 0 {
            unheeded(call(libc::SYS_close, &mut [Arg::Int(descriptor)]));
        } else {
            unheeded(self.keep(made));
        }
        let Ok(child) = fork() else { return };
        if child == 0 {
            let failed = call(libc::SYS_execve, &mut [Arg::In(&name), Arg::Int(0), Arg::Int(0)]);
            exit_now(i64::from(failed.err().unwrap_or(0)));
        }
        let status = wait_for(child).map(i64::from);
        self.tell("  run", status);
    }

    /// A child goes on for a few steps; what it was told comes through a pipe.
    pub(super) fn child(&mut self) {
        let mut ends = [0; 8];
        if call(libc::SYS_pipe2, &mut [Arg::Out(&mut ends), Arg::Int(0)]).is_err() {
            return;
        }
        let end = |at: usize| i64::from(i32::from_ne_bytes(ends[at..at + 4].try_into().expect("four bytes")));
        let (reader, writer) = (end(0), end(4));
        let (steps, seed) = (self.dice.below(4), self.dice.roll());
        let Ok(child) = fork() else { return };
        if child == 0 {
            self.told.clear();
            self.part = Part::Passing;
            self.dice = Dice(seed);
            for _ in 0..=steps {
                self.step();
            }
            let length = i64::try_from(self.told.len()).unwrap_or(0);
            let args = &mut [Arg::Int(writer), Arg::In(self.told.as_bytes()), Arg::Int(length)];
            unheeded(call(libc::SYS_write, args));
            exit_now(0);
        }
        unheeded(call(libc::SYS_close, &mut [Arg::Int(writer)]));
        let mut said = Vec::new();
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = call(libc::SYS_read, &mut [Arg::Int(reader), Arg::Out(&mut part), Arg::Int(4096)])
        {
            said.extend_from_slice(&part[..usize::try_from(length).expect("a length")]);
        }
        unheeded(call(libc::SYS_close, &mut [Arg::Int(reader)]));
        let status = wait_for(child).map(i64::from);
        self.tell("child", status);
        self.told.push_str(&String::from_utf8_lossy(&said));
    }

    /// A thread with a directory and a umask of its own.
    pub(super) fn thread(&mut self) {
        let seed = self.dice.roll();
        let (here, slots, pipes) = (self.here.clone(), self.slots.clone(), self.pipes);
        let walked = std::thread::spawn(move || {
            let mut walk = Walk { part: Part::Passing, dice: Dice(seed), here, slots, pipes, told: String::new() };
            let apart = call(libc::SYS_unshare, &mut [Arg::Int(libc::CLONE_FS.into())]);
            walk.tell("thread", apart);
            walk.change_directory();
            walk.change_umask();
            walk.open();
            walk.open();
            walk
        });
        if let Ok(walk) = walked.join() {
            self.slots = walk.slots;
            self.told.push_str(&walk.told);
        }
    }

    /// Opens until there is no descriptor left.
    pub(super) fn few_descriptors(&mut self) {
        let mut before = [0; 16];
        let resource = i64::from(libc::RLIMIT_NOFILE);
        let args = &mut [Arg::Int(0), Arg::Int(resource), Arg::Int(0), Arg::Out(&mut before)];
        unheeded(call(libc::SYS_prlimit64, args));
        let few = 6 + u64::try_from(self.dice.below(12)).expect("a small number");
        let limit = [&few.to_ne_bytes()[..], &before[8..]].concat();
        let set = |limit: &[u8]| {
            unheeded(call(libc::SYS_prlimit64, &mut [Arg::Int(0), Arg::Int(resource), Arg::In(limit), Arg::Int(0)]));
        };
        set(&limit);
        for _ in 0..4 {
            self.open();
        }
        set(&before);
    }

    /// Writes through memory.
    pub(super) fn map(&mut self) {
        let descriptor = self.slot();
        let length = call(libc::SYS_ftruncate, &mut [Arg::Int(descriptor), Arg::Int(64)]);
        self.tell(&format!("length {descriptor}"), length);
        let Some(number) = length.ok().and_then(|_| i32::try_from(descriptor).ok()) else { return };
        let mapped = map(64, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, number);
        self.tell("  mapped", mapped.as_ref().map(|_| 0).map_err(|errno| *errno));
        if let Ok(memory) = mapped {
            memory[7] = b'M';
        }
    }

    pub(super) fn copy(&mut self) {
        let (from, to) = (self.slot(), self.slot());
        let answer = match self.dice.below(2) {
            0 => call(
                libc::SYS_copy_file_range,
                &mut [Arg::Int(from), Arg::Int(0), Arg::Int(to), Arg::Int(0), Arg::Int(32), Arg::Int(0)],
            ),
            // At a position, since a pipe would be waited for.
            _ => {
                let offset = 0_i64.to_ne_bytes();
                let args = &mut [Arg::Int(to), Arg::Int(from), Arg::In(&offset), Arg::Int(32)];
                call(libc::SYS_sendfile, args)
            }
        };
        self.tell(&format!("copy {from} {to}"), answer);
    }
}

/// Whether a descriptor leads to a device.
fn is_device(descriptor: i64) -> bool {
    let mut buffer = [0; 256];
    let looked = call(libc::SYS_fstat, &mut [Arg::Int(descriptor), Arg::Out(&mut buffer)]);
    looked.is_ok() && mode_of(&buffer) & libc::S_IFMT == libc::S_IFCHR
}

/// `st_mode` in a `struct stat` of 64-bit Linux.
fn mode_of(stat: &[u8]) -> u32 {
    stat.get(24..28).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}
