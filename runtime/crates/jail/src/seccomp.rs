//! The list of system calls that a guest may make, compiled to BPF once and installed between fork and exec.
//! It never decides on memory that a pointer leads to: only the architecture, the number and register values.
//!
//! The compiler is our own, since the `seccompiler` crate gives one filter two verdicts only, and checks the
//! architecture but not the x32 bit. A program is: architecture, x32 bit, a binary search by number, and for each
//! number its entry of the table. Calls without cases end before any argument is loaded, so the kernel recognises them
//! as always allowed and stops running the program for them (seccomp_cache_prepare in Linux ≥ 5.11).

mod arguments;
#[cfg(test)]
mod interpreter;
mod table;

use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::plan::Sockets;
use sha2::{Digest, Sha256};
use table::{Case, Condition, Entry, Verdict};

/// `BPF_MAXINSNS`: the kernel takes no longer program.
const INSTRUCTIONS_MAX: usize = 4096;
/// A conditional jump carries 8 bits.
const JUMP_MAX: usize = 255;

/// Offsets in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;
/// Where in its eight bytes an argument's low half lies.
const LOW_HALF: u32 = if cfg!(target_endian = "little") { 0 } else { 4 };

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
    program: Vec<Instruction>,
    bytes: Vec<u8>,
}

/// One instruction: `struct sock_filter`, in a type that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
const _: () = assert!(align_of::<Instruction>() == align_of::<libc::sock_filter>());

/// Compiles the list for a wall. Same wall, same program, on every machine.
///
/// # Errors
/// A bug of ours: two entries for one call, or a program beyond what the kernel takes.
pub fn compile(sockets: Sockets) -> Result<Filter, JailError> {
    let entries = table::entries(sockets);
    if let Some(twice) = entries.windows(2).find(|pair| pair[0].number == pair[1].number) {
        return Err(JailError::bug("compile the list of calls", format!("two entries for {}", twice[0].name)));
    }
    let program = assemble(&entries);
    if program.len() > INSTRUCTIONS_MAX {
        return Err(JailError::bug("compile the list of calls", format!("{} instructions", program.len())));
    }
    let bytes = program.iter().flat_map(|instruction| instruction.bytes()).collect();
    Ok(Filter { program, bytes })
}

impl Filter {
    /// Installs the list on the calling thread, irrevocably; its children inherit it. Allocates nothing unless it
    /// fails. Needs `no_new_privs`.
    ///
    /// # Errors
    /// The kernel's answer of seccomp(2).
    pub fn install(&self) -> Result<LayerState, JailError> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len()).expect("at most INSTRUCTIONS_MAX, checked by `compile`"),
            filter: self.program.as_ptr().cast_mut().cast(),
        };
        // SAFETY: `program` points to `len` live instructions whose layout equals sock_filter's (asserted above); the
        // kernel copies them during the call and writes nothing, so that pointing it to shared data is sound.
        let answer =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0_u32, &raw const program) };
        if answer != 0 {
            return Err(JailError::last_os("install the list of calls", "seccomp"));
        }
        Ok(LayerState::active(Layer::Seccomp))
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

/// The whole program.
fn assemble(entries: &[Entry]) -> Vec<Instruction> {
    let kill = verdict(Verdict::Kill);
    let mut program = vec![
        Instruction::load(OFFSET_ARCHITECTURE),
        Instruction::jump_if(JUMP_EQUAL, ARCHITECTURE, 1, 0),
        kill,
        Instruction::load(OFFSET_NUMBER),
        Instruction::jump_if(JUMP_AT_LEAST, X32_BIT, 0, 1),
        kill,
    ];
    program.extend(search(&ranges(entries)));
    program
}

/// What becomes of the numbers from `first` up to the next range.
struct Range<'a> {
    first: u32,
    cases: &'a [Case],
    otherwise: Verdict,
}

/// All numbers from 0 on, cut where the answer changes.
fn ranges(entries: &[Entry]) -> Vec<Range<'_>> {
    let unknown = |first| Range { first, cases: &[], otherwise: Verdict::Errno(libc::ENOSYS) };
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
fn search(ranges: &[Range<'_>]) -> Vec<Instruction> {
    if let [range] = ranges {
        return answer(range);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let pivot = high[0].first;
    let (low, high) = (search(low), search(high));
    let mut program = if let Ok(skip @ 0..=255) = u8::try_from(low.len()) {
        vec![Instruction::jump_if(JUMP_AT_LEAST, pivot, skip, 0)]
    } else {
        let skip = u32::try_from(low.len()).expect("a part is shorter than the whole, which `compile` bounds");
        vec![
            Instruction::jump_if(JUMP_AT_LEAST, pivot, 0, 1),
            Instruction { code: JUMP, if_true: 0, if_false: 0, operand: skip },
        ]
    };
    program.extend(low);
    program.extend(high);
    program
}

/// The cases of one entry, then its last verdict.
fn answer(range: &Range<'_>) -> Vec<Instruction> {
    let mut program: Vec<Instruction> = range.cases.iter().flat_map(one_case).collect();
    program.push(verdict(range.otherwise));
    program
}

/// One case: its conditions in order, each of which jumps behind the case when it does not hold.
fn one_case(case: &Case) -> Vec<Instruction> {
    let sizes = case.when.iter().map(condition_size);
    let mut rest = sizes.sum::<usize>() + 1;
    let mut program = Vec::with_capacity(rest);
    for condition in &case.when {
        rest -= condition_size(condition);
        assert!(rest <= JUMP_MAX, "a case has a handful of conditions");
        let behind = u8::try_from(rest).expect("asserted above");
        program.push(Instruction::load(OFFSET_ARGUMENTS + 8 * u32::from(condition.argument) + LOW_HALF));
        if condition.mask != u32::MAX {
            program.push(Instruction { code: AND, if_true: 0, if_false: 0, operand: condition.mask });
        }
        program.push(Instruction::jump_if(JUMP_EQUAL, condition.value, 0, behind));
    }
    program.push(verdict(case.verdict));
    program
}

/// Instructions of one condition.
const fn condition_size(condition: &Condition) -> usize {
    if condition.mask == u32::MAX { 2 } else { 3 }
}

/// Ends the program.
fn verdict(verdict: Verdict) -> Instruction {
    let operand = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | (errno.cast_unsigned() & libc::SECCOMP_RET_DATA),
        Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    Instruction { code: RETURN, if_true: 0, if_false: 0, operand }
}

impl Instruction {
    /// Loads a word of `struct seccomp_data`.
    const fn load(offset: u32) -> Self {
        Self { code: LOAD, if_true: 0, if_false: 0, operand: offset }
    }

    /// Compares the accumulator and skips that many instructions.
    const fn jump_if(code: u16, operand: u32, if_true: u8, if_false: u8) -> Self {
        Self { code, if_true, if_false, operand }
    }

    /// The same bytes on every machine.
    fn bytes(self) -> [u8; 8] {
        let [code_low, code_high] = self.code.to_le_bytes();
        let [a, b, c, d] = self.operand.to_le_bytes();
        [code_low, code_high, self.if_true, self.if_false, a, b, c, d]
    }
}

#[cfg(test)]
mod tests;
