//! Raw system calls for the attacks, and the probe's only `unsafe` code.
//! It never retries, wraps or interprets: an attack wants the kernel's own answer.

/// One argument of a system call.
#[derive(Debug)]
pub(crate) enum Arg<'a> {
    /// A number, a descriptor, flags.
    Int(i64),
    /// Memory that the kernel reads.
    In(&'a [u8]),
    /// Memory that the kernel writes.
    Out(&'a mut [u8]),
}

/// An error number.
pub(crate) type Errno = i32;

/// Makes a system call, by number: also by the numbers of other conventions, since that is an attack of its own.
pub(crate) fn call(number: i64, args: &mut [Arg<'_>]) -> Result<i64, Errno> {
    let mut words = [0_i64; 6];
    for (word, arg) in words.iter_mut().zip(args.iter_mut()) {
        *word = match arg {
            Arg::Int(value) => *value,
            Arg::In(bytes) => bytes.as_ptr().expose_provenance().cast_signed() as i64,
            Arg::Out(bytes) => bytes.as_mut_ptr().expose_provenance().cast_signed() as i64,
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: pointers come from slices that outlive the call, and callers pass lengths of those slices or constants
    // within them. Numbers can still ask the kernel to change this very process (brk, munmap); no attack does, and a
    // probe that broke itself would exit with neither of the two codes that count.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { Err(errno()) } else { Ok(result) }
}

/// Error number of the last failed call.
pub(crate) fn errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// For an answer that changes nothing: what follows looks at what happened instead.
pub(crate) fn unheeded<T>(_answer: T) {}

/// A path or name as the kernel takes it.
pub(crate) fn c(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// A system call through the 32-bit entry of the kernel (`int 0x80`), whose numbers differ from the 64-bit ones.
/// Only numbers are passed: no pointer of ours fits into 32 bits.
pub(crate) fn call_i386(number: u32, args: [u32; 3]) -> i32 {
    let result: i64;
    // SAFETY: the handler preserves all registers but rax (arch/x86/entry/entry_64_compat.S clears r8 to r11, which are
    // declared), rbx is restored by the second exchange, and the calls used (getpid, personality, socket, keyctl) take
    // no pointers.
    unsafe {
        core::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(args[0]) => _,
            inout("rax") i64::from(number) => result,
            in("rcx") u64::from(args[1]),
            in("rdx") u64::from(args[2]),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    #[expect(clippy::cast_possible_truncation, reason = "a 32-bit call answers in 32 bits")]
    let answer = result as i32;
    answer
}

/// Forks; the probe is single-threaded wherever this is called.
pub(crate) fn fork() -> Result<i32, Errno> {
    // SAFETY: single-threaded callers only (attacks with threads do not fork), so the child may do anything.
    let pid = unsafe { libc::fork() };
    if pid == -1 { Err(errno()) } else { Ok(pid) }
}

/// A file of a descriptor that the kernel has just made for us.
pub(crate) fn file_of(descriptor: i32) -> std::fs::File {
    use std::os::fd::FromRawFd as _;
    // SAFETY: callers pass the result of a call that makes a descriptor, once; nothing else owns it.
    unsafe { std::fs::File::from_raw_fd(descriptor) }
}

/// Waits for a child; its wait status.
pub(crate) fn wait_for(pid: i32) -> Result<i32, Errno> {
    let mut status = [0_u8; 4];
    call(libc::SYS_wait4, &mut [Arg::Int(pid.into()), Arg::Out(&mut status), Arg::Int(0), Arg::Int(0)])?;
    Ok(i32::from_ne_bytes(status))
}

/// Ends this process without running anything that belongs to the parent of a fork.
pub(crate) fn exit_now(code: i64) -> ! {
    unheeded(call(libc::SYS_exit_group, &mut [Arg::Int(code)]));
    std::process::abort()
}

/// Maps anonymous or file memory; the mapping lives as long as the probe.
pub(crate) fn map(bytes: usize, protection: i32, flags: i32, fd: i32) -> Result<&'static mut [u8], Errno> {
    // SAFETY: a null hint lets the kernel choose a free range, so nothing that exists is replaced.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(errno());
    }
    // SAFETY: the kernel just gave us `bytes` bytes at `start`, page-aligned and ours alone; never unmapped.
    Ok(unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), bytes) })
}

/// Attaches a System V shared memory segment.
pub(crate) fn shm_attach(id: i32, bytes: usize) -> Result<&'static mut [u8], Errno> {
    // SAFETY: a null address lets the kernel choose a free range.
    let start = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    if start.expose_provenance() == usize::MAX {
        return Err(errno());
    }
    // SAFETY: the segment was made with `bytes` bytes by the test's helper and stays attached until exit. Another process
    // may write it at the same time: a torn byte changes no decision here.
    Ok(unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), bytes) })
}

/// A message with an optional address and optional descriptors.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    /// Destination, as a socket address.
    pub(crate) address: Option<&'a [u8]>,
    /// Content.
    pub(crate) data: &'a [u8],
    /// At most one descriptor, for SCM_RIGHTS.
    pub(crate) descriptor: Option<i32>,
}

/// `sendmsg`.
pub(crate) fn send_message(socket: i32, message: &Message<'_>, flags: i32) -> Result<i64, Errno> {
    let mut data = message.data.to_vec();
    let mut address = message.address.map(<[u8]>::to_vec);
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut control: [u64; 3];
    // SAFETY: an all-zero msghdr is a valid one: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if let Some(address) = address.as_mut() {
        header.msg_name = address.as_mut_ptr().cast();
        header.msg_namelen = u32::try_from(address.len()).expect("socket addresses are short");
    }
    if let Some(descriptor) = message.descriptor {
        // One cmsghdr (length 20, level, type) and the descriptor after it, as cmsg(3) lays it out on 64-bit Linux.
        let level = u64::from(libc::SOL_SOCKET.cast_unsigned());
        let rights = u64::from(libc::SCM_RIGHTS.cast_unsigned());
        control = [20, level | rights << 32, u64::from(descriptor.cast_unsigned())];
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = 24;
    }
    // SAFETY: every pointer in `header` is to a local that outlives the call, with its own length.
    let sent = unsafe { libc::sendmsg(socket, &raw const header, flags) };
    if sent == -1 { Err(errno()) } else { Ok(sent as i64) }
}

/// `recvmsg` of a message with at most one descriptor; the data and the descriptor.
pub(crate) fn receive_message(socket: i32) -> Result<(Vec<u8>, Option<i32>), Errno> {
    let mut data = vec![0_u8; 4096];
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut control = [0_u64; 3];
    // SAFETY: an all-zero msghdr is a valid one: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = 24;
    // SAFETY: every pointer in `header` is to a local that outlives the call, with its own length.
    let got = unsafe { libc::recvmsg(socket, &raw mut header, 0) };
    let length = usize::try_from(got).map_err(|_| errno())?;
    data.truncate(length);
    let carried = header.msg_controllen >= 20 && control[0] == 20;
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the word is the descriptor")]
    let descriptor = carried.then_some(control[2] as u32).map(u32::cast_signed);
    Ok((data, descriptor))
}

/// Reads or writes the memory of another process at an address of ours (`victim` runs the same static program).
pub(crate) fn remote_memory(number: i64, pid: i64, remote: usize, bytes: &mut [u8]) -> Result<i64, Errno> {
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(remote), iov_len: bytes.len() };
    // SAFETY: `local` describes `bytes`, which outlives the call; `remote` is an address in the other process, and the
    // kernel checks it.
    let done = unsafe { libc::syscall(number, pid, &raw const local, 1_u64, &raw const remote, 1_u64, 0_u64) };
    if done == -1 { Err(errno()) } else { Ok(done) }
}

/// Installs a seccomp program, given as `(code, jt, jf, k)`; for probes that imitate a poorer kernel.
pub(crate) fn install_filter(program: &[(u16, u8, u8, u32)]) -> Result<(), Errno> {
    let mut filter: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let header = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("a handful of instructions"),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers only.
    let kept = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) };
    if kept == -1 {
        return Err(errno());
    }
    // SAFETY: `header` points to `filter`; both outlive the call, which copies them (seccomp(2)).
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2_u64, &raw const header, 0_u64, 0_u64) };
    if set == -1 { Err(errno()) } else { Ok(()) }
}

/// CPU time that this process has used: a busy loop bounded by the wall clock would do less on a loaded machine.
pub(crate) fn cpu_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes for the whole call; on an error it stays zero.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0, "every kernel has this clock");
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    std::time::Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a thousand million"))
}
