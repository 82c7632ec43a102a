//! The list of system calls that a guest may make, compiled to BPF once and installed between fork and exec.
//! It never decides on memory that a pointer leads to: only the architecture, the number and register values.
//!
//! The program is in `seccompiler`'s types and loaded by it: it makes two system calls, allocates nothing while they
//! succeed, and so is safe after vfork. Compiled is it here, since a filter of `seccompiler` has two verdicts only, checks
//! the architecture but not the x32 bit, and compares numbers one after the other; its compiler has to agree with ours
//! on every rule that it can express (`peer.rs`, a test).
//!
//! A program is: architecture, x32 bit, a binary search by number, and for each number its entry of the table. Calls
//! without cases end before any argument is loaded, so the kernel recognises them as always allowed and stops running
//! the program for them (seccomp_cache_prepare in Linux ≥ 5.11).

mod arguments;
mod engine;
mod gvisor;
#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod peer;
mod recorded;
mod table;
mod traced;
mod worker;

use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::plan::{Record, Sockets};
use rustix::io::Errno;
use seccompiler::{BpfProgram, sock_filter};
use sha2::{Digest, Sha256};
use std::os::fd::{FromRawFd as _, OwnedFd};
use table::{Case, Condition, Entry, Half, Verdict};

pub use engine::{engine_profile, engine_profile_sha256};
pub use gvisor::compile as compile_for_gvisor;
pub(crate) use recorded::{REMOVEXATTRAT, SETXATTRAT, WRITING, name, number_of as number};
pub(crate) use table::Answer;
pub use traced::of_guests as compile_traced;
pub(crate) use traced::{Lists, lists as compile_for_a_tracer};
pub(crate) use worker::compile as compile_for_a_worker;

/// `BPF_MAXINSNS`: the kernel takes no longer program.
const INSTRUCTIONS_MAX: usize = 4096;
/// A conditional jump carries 8 bits.
const JUMP_MAX: usize = 255;

/// Offsets in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;
/// Where in its eight bytes an argument's low half lies, and its high one.
const LOW_HALF: u32 = if cfg!(target_endian = "little") { 0 } else { 4 };
const HIGH_HALF: u32 = 4 - LOW_HALF;

/// `AUDIT_ARCH_*` of the one architecture whose numbers the table holds.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// `__X32_SYSCALL_BIT`: on x86-64 each number exists a second time with this bit, under the same architecture. No
/// other architecture has numbers this high, so the check does no harm there.
const X32_BIT: u32 = 0x4000_0000;

/// The C library counts BPF codes in `u32`; an instruction holds 16 bits.
const fn code(bits: u32) -> u16 {
    assert!(bits <= 0xffff, "a BPF code has 16 bits");
    (bits & 0xffff) as u16
}
const LOAD: u16 = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
const AND: u16 = code(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K);
const JUMP: u16 = code(libc::BPF_JMP | libc::BPF_JA);
const JUMP_EQUAL: u16 = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
const JUMP_AT_LEAST: u16 = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
const RETURN: u16 = code(libc::BPF_RET | libc::BPF_K);

/// A compiled list. Its program was made from the table alone, and holds nothing of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    program: BpfProgram,
    bytes: Vec<u8>,
    telling: Vec<Entry>,
}

/// Compiles the list for a wall and a recorder. Same wall and recorder, same program, on every machine.
///
/// # Errors
/// A bug of ours: two entries for one call, or a program beyond what the kernel takes.
pub fn compile(sockets: Sockets, record: Record) -> Result<Filter, JailError> {
    of_entries(&table::entries(sockets, record))
}

/// Compiles the list of the recorder's own thread.
pub(crate) fn of_the_recorder() -> Result<Filter, JailError> {
    of_entries(&recorded::of_the_recorder())
}

/// Compiles the list of the same thread where it traces.
pub(crate) fn of_the_tracer() -> Result<Filter, JailError> {
    of_entries(&recorded::of_the_tracer())
}

/// Asks for a listener, with a list that allows everything and tells of nothing: for a process that is of no use
/// afterwards.
pub(crate) fn try_listener(wait: Wait) -> Result<(), Errno> {
    let allow = sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let filter = Filter { program: vec![allow], bytes: Vec::new(), telling: Vec::new() };
    filter.install_with_listener(wait).map(drop)
}

/// Compiles a table. Whatever is not in it is not there.
fn of_entries(entries: &[Entry]) -> Result<Filter, JailError> {
    of_entries_or(entries, Verdict::Errno(libc::ENOSYS))
}

/// Compiles a table, with what becomes of calls that are not in it.
fn of_entries_or(entries: &[Entry], unknown: Verdict) -> Result<Filter, JailError> {
    if let Some(twice) = entries.windows(2).find(|pair| pair[0].number == pair[1].number) {
        return Err(JailError::bug("compile the list of calls", format!("two entries for {}", twice[0].name)));
    }
    let program = assemble(entries, unknown);
    if program.len() > INSTRUCTIONS_MAX {
        return Err(JailError::bug("compile the list of calls", format!("{} instructions", program.len())));
    }
    let bytes = bytes(&program);
    Ok(Filter { program, bytes, telling: recorded::telling(entries) })
}

impl Filter {
    /// Installs the list on the calling thread, irrevocably; its children inherit it. Allocates nothing unless it
    /// fails. Sets `no_new_privs`, without which the kernel takes no list from an ordinary user.
    ///
    /// # Errors
    /// The kernel's answer of seccomp(2).
    pub fn install(&self) -> Result<LayerState, JailError> {
        use seccompiler::Error;
        let failed = |act: &str, error: &std::io::Error| JailError::io(act, "seccomp", error);
        match seccompiler::apply_filter(&self.program) {
            Ok(()) => Ok(LayerState::active(Layer::Seccomp)),
            Err(Error::Seccomp(error)) => Err(failed("install the list of calls", &error)),
            Err(Error::Prctl(error)) => Err(failed("set no_new_privs before", &error)),
            // Not from this function: it neither compiles nor synchronises threads, and no program of ours is empty.
            Err(error @ (Error::Backend(_) | Error::EmptyFilter | Error::ThreadSync(_))) => {
                Err(JailError::bug("install the list of calls", error.to_string()))
            }
        }
    }

    /// Installs the list on every thread of the process. All of them must have `no_new_privs`.
    pub(crate) fn install_on_all_threads(&self) -> Result<LayerState, JailError> {
        let failed = |errno: Errno| JailError::os("install the list of calls", "seccomp", errno.raw_os_error());
        match self.give_to_the_kernel(libc::SECCOMP_FILTER_FLAG_TSYNC).map_err(failed)? {
            0 => Ok(LayerState::active(Layer::Seccomp)),
            thread => {
                Err(JailError::bug("install the list of calls on", format!("thread {thread}, which has another")))
            }
        }
    }

    /// seccomp(2) with these flags, and its answer.
    fn give_to_the_kernel(&self, flags: libc::c_ulong) -> Result<i64, Errno> {
        let length = u16::try_from(self.program.len()).map_err(|_| Errno::INVAL)?;
        let program = libc::sock_fprog { len: length, filter: self.program.as_ptr().cast_mut().cast() };
        // SAFETY: `program` and the instructions that it points to live through the call, which copies them and writes
        // nothing; both crates' `sock_filter` is the kernel's, and the length is that of the list.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
        crate::sys::answer(result)
    }

    /// Installs the list as [`Filter::install`] does, and returns the descriptor on which the kernel tells of calls
    /// (seccomp_unotify(2)). From then on whoever makes such a call waits for an answer, this thread included.
    ///
    /// # Errors
    /// The kernel's answer: `EBUSY` where a list that was installed before has a listener already, `EINVAL` where the
    /// kernel lacks a flag.
    pub(crate) fn install_with_listener(&self, wait: Wait) -> Result<OwnedFd, Errno> {
        rustix::thread::set_no_new_privs(true)?;
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
            | match wait {
                Wait::Interruptible => 0,
                Wait::Killable => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            };
        let descriptor = i32::try_from(self.give_to_the_kernel(flags)?).map_err(|_| Errno::OVERFLOW)?;
        // SAFETY: the kernel just gave us this descriptor, close-on-exec, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// What becomes of a call that the recorder was told of; `None` for one of which it is not.
    pub(crate) fn answer(&self, number: u32, arguments: &[u64; 6]) -> Option<Answer> {
        let position = self.telling.binary_search_by_key(&number, |entry| entry.number).ok()?;
        match recorded::verdict(self.telling.get(position)?, arguments) {
            Verdict::Notify(answer) => Some(answer),
            Verdict::Allow | Verdict::Errno(_) | Verdict::Kill => None,
        }
    }

    /// The same list, which sends `SIGSYS` where it would end the process: for gVisor, which then ends no more than the thread,
    /// and leaves the others and whoever waits for them.
    pub(crate) fn ending_by_a_signal(mut self) -> Self {
        let ends = |step: &&mut sock_filter| step.code == RETURN && step.k == libc::SECCOMP_RET_KILL_PROCESS;
        self.program.iter_mut().filter(ends).for_each(|step| step.k = libc::SECCOMP_RET_TRAP);
        self.bytes = bytes(&self.program);
        self
    }

    /// The program as the kernel reads it: `sock_filter` structures, little-endian on every machine.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of [`Filter::bytes`], for the log.
    pub fn sha256_hex(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How a call waits for the recorder once the recorder has been told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Any signal takes it out of the wait; the call then begins anew, and is told of again.
    Interruptible,
    /// Only a signal that ends the process does (Linux 5.19).
    Killable,
}

/// The whole program.
fn assemble(entries: &[Entry], unknown: Verdict) -> BpfProgram {
    let mut program = vec![
        load(OFFSET_ARCHITECTURE),
        jump_if(JUMP_EQUAL, ARCHITECTURE, 1, 0),
        verdict(Verdict::Kill),
        load(OFFSET_NUMBER),
        jump_if(JUMP_AT_LEAST, X32_BIT, 0, 1),
        verdict(Verdict::Kill),
    ];
    program.extend(search(&ranges(entries, unknown)));
    program
}

/// What becomes of the numbers from `first` up to the next range.
struct Range<'a> {
    first: u32,
    cases: &'a [Case],
    otherwise: Verdict,
}

/// All numbers from 0 on, cut where the answer changes.
fn ranges(entries: &[Entry], unknown: Verdict) -> Vec<Range<'_>> {
    let unknown = |first| Range { first, cases: &[], otherwise: unknown };
    let mut all: Vec<Range<'_>> = Vec::new();
    let mut next = 0;
    for entry in entries {
        if entry.number > next {
            all.push(unknown(next));
        }
        all.push(Range { first: entry.number, cases: &entry.cases, otherwise: entry.otherwise });
        next = entry.number + 1;
    }
    all.push(unknown(next));
    all.dedup_by(|next, last| next.cases.is_empty() && last.cases.is_empty() && next.otherwise == last.otherwise);
    all
}

/// Binary search by number, which is in the accumulator.
fn search(ranges: &[Range<'_>]) -> BpfProgram {
    if let [range] = ranges {
        return answer(range);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let pivot = high[0].first;
    let (low, high) = (search(low), search(high));
    let mut program = if let Ok(skip @ 0..=255) = u8::try_from(low.len()) {
        vec![jump_if(JUMP_AT_LEAST, pivot, skip, 0)]
    } else {
        let skip = u32::try_from(low.len()).expect("a part is shorter than the whole, which `compile` bounds");
        vec![jump_if(JUMP_AT_LEAST, pivot, 0, 1), instruction(JUMP, skip)]
    };
    program.extend(low);
    program.extend(high);
    program
}

/// The cases of one entry, then its last verdict.
fn answer(range: &Range<'_>) -> BpfProgram {
    let mut program: BpfProgram = range.cases.iter().flat_map(one_case).collect();
    program.push(verdict(range.otherwise));
    program
}

/// One case: its conditions in order, each of which jumps behind the case when it does not hold.
fn one_case(case: &Case) -> BpfProgram {
    let sizes = case.when.iter().map(condition_size);
    let mut rest = sizes.sum::<usize>() + 1;
    let mut program = Vec::with_capacity(rest);
    for condition in &case.when {
        rest -= condition_size(condition);
        assert!(rest <= JUMP_MAX, "a case has a handful of conditions");
        let behind = u8::try_from(rest).expect("asserted above");
        let half = match condition.half {
            Half::Low => LOW_HALF,
            Half::High => HIGH_HALF,
        };
        program.push(load(OFFSET_ARGUMENTS + 8 * u32::from(condition.argument) + half));
        if condition.mask != u32::MAX {
            program.push(instruction(AND, condition.mask));
        }
        program.push(jump_if(JUMP_EQUAL, condition.value, 0, behind));
    }
    program.push(verdict(case.verdict));
    program
}

/// Instructions of one condition.
const fn condition_size(condition: &Condition) -> usize {
    if condition.mask == u32::MAX { 2 } else { 3 }
}

/// Ends the program.
fn verdict(verdict: Verdict) -> sock_filter {
    let operand = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | (errno.cast_unsigned() & libc::SECCOMP_RET_DATA),
        Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        // What the answer will be is not in the program: the listener's end closed, the kernel says `ENOSYS`.
        Verdict::Notify(_) => libc::SECCOMP_RET_USER_NOTIF,
    };
    instruction(RETURN, operand)
}

/// An instruction that does not branch.
const fn instruction(code: u16, operand: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k: operand }
}

/// Loads a word of `struct seccomp_data`.
const fn load(offset: u32) -> sock_filter {
    instruction(LOAD, offset)
}

/// Compares the accumulator and skips that many instructions.
const fn jump_if(code: u16, operand: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code, jt: if_true, jf: if_false, k: operand }
}

/// The same bytes on every machine.
fn bytes(program: &[sock_filter]) -> Vec<u8> {
    let one = |instruction: &sock_filter| {
        let [code_low, code_high] = instruction.code.to_le_bytes();
        let [a, b, c, d] = instruction.k.to_le_bytes();
        [code_low, code_high, instruction.jt, instruction.jf, a, b, c, d]
    };
    program.iter().flat_map(one).collect()
}

#[cfg(test)]
mod tests;
