//! Classic BPF, interpreted: what the kernel will do with a program, found out without the kernel.
//! It never shares code with the compiler, so that a mistake there is not repeated here.

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Data {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) arguments: [u64; 6],
}

/// What a run of a program was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The value returned.
    pub(super) value: u32,
    /// Whether an argument was loaded: then the kernel cannot treat the call as always allowed.
    pub(super) looked_at_arguments: bool,
    /// Instructions executed.
    pub(super) steps: usize,
}

/// Runs `program` (8 bytes an instruction, little-endian) on `data`, as seccomp(2) and the kernel's
/// Documentation/networking/filter.rst describe it.
pub(super) fn run(program: &[u8], data: &Data) -> Run {
    let mut memory = Vec::with_capacity(64);
    memory.extend(data.number.to_le_bytes());
    memory.extend(data.architecture.to_le_bytes());
    memory.extend(0_u64.to_le_bytes());
    data.arguments.iter().for_each(|argument| memory.extend(argument.to_le_bytes()));
    let (mut at, mut accumulator, mut steps, mut looked_at_arguments) = (0, 0_u32, 0, false);
    loop {
        let raw: [u8; 8] = program[8 * at..8 * at + 8].try_into().unwrap();
        let code = u16::from_le_bytes([raw[0], raw[1]]);
        let (if_true, if_false) = (usize::from(raw[2]), usize::from(raw[3]));
        let operand = u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]);
        at += 1;
        steps += 1;
        let branch = |holds: bool| if holds { if_true } else { if_false };
        match code {
            0x20 => {
                assert!(operand.is_multiple_of(4) && operand < 64, "the kernel refuses this load");
                looked_at_arguments |= operand >= 8;
                let start = usize::try_from(operand).unwrap();
                accumulator = u32::from_le_bytes(memory[start..start + 4].try_into().unwrap());
            }
            0x54 => accumulator &= operand,
            0x05 => at += usize::try_from(operand).unwrap(),
            0x15 => at += branch(accumulator == operand),
            0x25 => at += branch(accumulator > operand),
            0x35 => at += branch(accumulator >= operand),
            0x45 => at += branch(accumulator & operand != 0),
            0x06 => return Run { value: operand, looked_at_arguments, steps },
            other => panic!("unknown code {other:#x} at {}", at - 1),
        }
    }
}
