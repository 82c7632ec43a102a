# Attacks on the kernel, each in a process of its own. Prints "RESULT name ok|errno|signal N".
import ctypes, mmap, os, socket, struct, sys, fcntl, tempfile
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def syscall(number, *arguments):
    answer = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if answer < 0:
        raise OSError(ctypes.get_errno(), "")
    return answer

def machine_code(code):
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    if answer < 0:
        raise OSError(-answer, "")

def whiteout_by_rename():
    open("from", "w").close()
    syscall(316, -100, ctypes.c_char_p(b"from"), -100, ctypes.c_char_p(b"to"), 4)

def seccomp_listener():
    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000))
    libc.prctl(38, 1, 0, 0, 0)
    syscall(317, 1, 8, ctypes.byref(Program(1, ctypes.addressof(code))))

def owner():
    ours, theirs = socket.socketpair()
    fcntl.fcntl(ours, 8, os.getpid())

def owner_by_control():
    ours, theirs = socket.socketpair()
    fcntl.ioctl(ours, 0x8901, struct.pack("i", os.getpid()))

def zero_range():
    with open("zero", "wb") as file:
        file.write(b"x" * 8192)
        file.flush()
        fcntl.ioctl(file, 0x40305839, struct.pack("hhqqi16x4x", 0, 0, 0, 4096, 0)[:48])

def fast_open_option():
    socket.socket().setsockopt(6, 30, 1)

def vm_read():
    text = ctypes.create_string_buffer(b"secret")
    here = ctypes.create_string_buffer(6)
    vector = lambda buffer: ctypes.byref((ctypes.c_size_t * 2)(ctypes.addressof(buffer), 6))
    syscall(310, os.getpid(), vector(here), 1, vector(text), 1, 0)

def io_uring():
    syscall(425, 1, ctypes.create_string_buffer(120))

def clone3_namespace():
    arguments = (ctypes.c_uint64 * 8)(0x10000000, 0, 0, 0, 17, 0, 0, 0)
    if syscall(435, ctypes.byref(arguments), 64) == 0:
        os._exit(0)
    os.wait()

def clone_namespace():
    if syscall(56, 0x10000011, 0, 0, 0, 0) == 0:
        os._exit(0)
    os.wait()

def handle():
    buffer = ctypes.create_string_buffer(136)
    struct.pack_into("I", buffer, 0, 128)
    syscall(303, -100, ctypes.c_char_p(b"/"), buffer, ctypes.byref(ctypes.c_int()), 0)

def perf():
    attributes = ctypes.create_string_buffer(128)
    struct.pack_into("IIQ", attributes, 0, 1, 128, 1)
    syscall(298, attributes, 0, -1, -1, 0)

def segments():
    syscall(154, 0, ctypes.create_string_buffer(64), 64)

def remap():
    # PR_SET_MM_MAP_SIZE only asks: it is the harmless end of the option.
    size = ctypes.c_uint()
    if libc.prctl(35, 15, ctypes.byref(size), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")

ATTACKS = {
    "unshare-user": lambda: syscall(272, 0x10000000),
    "clone-user": clone_namespace,
    "clone3-user": clone3_namespace,
    "ptrace": lambda: syscall(101, 0, 0, 0, 0),
    "process_vm_readv": vm_read,
    "pidfd_getfd": lambda: syscall(438, syscall(434, os.getpid(), 0), 0, 0),
    "kcmp": lambda: syscall(312, os.getpid(), os.getpid(), 0, 0, 0),
    "handle": handle,
    "io_uring": io_uring,
    "userfaultfd": lambda: syscall(323, 1),
    "perf": perf,
    "keyctl": lambda: syscall(250, 0, -3, 1),
    "memfd_secret": lambda: syscall(447, 0),
    "modify_ldt": segments,
    "personality-linux32": lambda: syscall(135, 8),
    "personality-exec": lambda: syscall(135, 0x0400000),
    "seccomp-listener": seccomp_listener,
    "prctl-mm": remap,
    "whiteout-rename": whiteout_by_rename,
    "whiteout-mknod": lambda: os.mknod("node", 0o020644, 0),
    "fcntl-owner": owner,
    "ioctl-owner": owner_by_control,
    "ioctl-zero-range": zero_range,
    "tcp-fast-open": fast_open_option,
    "mptcp": lambda: socket.socket(2, 1, 262),
    "sctp": lambda: socket.socket(2, 1, 132),
    "udp-lite": lambda: socket.socket(2, 2, 136),
    "packet": lambda: socket.socket(17, 3, 0),
    "alg": lambda: socket.socket(38, 5, 0),
    "vsock": lambda: socket.socket(40, 1, 0),
    "netlink-netfilter": lambda: socket.socket(16, 3, 12),
    "adjtimex": lambda: syscall(159, ctypes.create_string_buffer(256)),
    # getpid through each door that a filter may have forgotten.
    "x32": lambda: syscall(0x40000000 | 39),
    "i386": lambda: machine_code(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3"),
}

os.chdir(tempfile.mkdtemp(dir=os.getcwd()))
for name, attack in ATTACKS.items():
    sys.stdout.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            attack()
            os.write(writer, b"ok")
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 64).decode()
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    print("RESULT", name, f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else said, flush=True)
