//! Whom the kernel ends first when memory runs out: a call's processes, and the init of their session last.
//! It never makes any process safer than the supervisor is: it only raises scores, which everybody may do.

use std::fs::File;
use std::io::{Read as _, Write as _};

/// By how much calls are preferred: as if each of their processes held half of the memory that there is.
const PREFERENCE: i32 = 500;
/// Highest score (proc_pid_oom_score_adj(5)).
const SCORE_MAX: i32 = 1000;

/// The init's own score. Its calls inherit what it is at their birth.
#[derive(Debug)]
pub(crate) struct Victims {
    file: File,
    own: i32,
}

impl Victims {
    /// For the calling process, which must not be closed to itself yet (`PR_SET_DUMPABLE`), and still see a `/proc`
    /// that it may write to. `None` where it cannot: then the kernel's choice is what it is without us, and an init
    /// that it takes is reported all the same.
    pub(crate) fn of_this_process() -> Option<Self> {
        let mut file = File::options().read(true).write(true).open("/proc/self/oom_score_adj").ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Some(Self { file, own: text.trim().parse().ok()? })
    }

    /// Does something that makes a process, which will be preferred. The init is, too, meanwhile: until the new process
    /// executes, the two have one memory, and the kernel would end both in any case.
    pub(crate) fn preferring<T>(victims: Option<&Self>, act: impl FnOnce() -> T) -> T {
        let Some(victims) = victims else { return act() };
        victims.set((victims.own + PREFERENCE).min(SCORE_MAX));
        let made = act();
        victims.set(victims.own);
        made
    }

    fn set(&self, score: i32) {
        match write!(&self.file, "{score}") {
            // Refused, it stays as it was: no more than the order in which the kernel chooses depends on it.
            Ok(()) | Err(_) => {}
        }
    }
}
