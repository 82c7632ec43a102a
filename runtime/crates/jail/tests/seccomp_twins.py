# The harmless twins of attacks: what programs need. Prints "RESULT name ok|reason".
import asyncio, multiprocessing, os, signal, socket, subprocess, threading, time, concurrent.futures, ctypes, fcntl, termios, struct

def twin_asyncio():
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.001)
        done = loop.run_in_executor(None, lambda: 7)
        assert await done == 7
    asyncio.run(main())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    async def answer(): return 7
    assert asyncio.run_coroutine_threadsafe(answer(), loop).result(5) == 7
    loop.call_soon_threadsafe(loop.stop)
    thread.join()

def twin_dev_server():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection, _ = server.accept()
    client.sendall(b"x")
    assert connection.recv(1) == b"x"

def twin_udp():
    one, two = socket.socket(2, 2), socket.socket(2, 2)
    one.bind(("127.0.0.1", 0))
    two.sendto(b"x", one.getsockname())
    assert one.recv(1) == b"x"

def twin_unix():
    server = socket.socket(1, 1)
    server.bind("socket")
    server.listen()
    client = socket.socket(1, 1)
    client.connect("socket")

def twin_getaddrinfo():
    assert socket.getaddrinfo("localhost", 80)

def twin_getifaddrs():
    assert socket.if_nameindex()
    pointer = ctypes.c_void_p()
    assert ctypes.CDLL(None).getifaddrs(ctypes.byref(pointer)) == 0

def twin_threads():
    threads = [threading.Thread(target=time.sleep, args=(0.001,)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

def twin_subprocess():
    assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
    assert subprocess.run(["true"], start_new_session=True, close_fds=True).returncode == 0

def twin_files():
    with open("file", "w") as file:
        file.write("x")
        fcntl.flock(file, fcntl.LOCK_EX)
        os.posix_fallocate(file.fileno(), 0, 4096)
    os.rename("file", "other"); os.link("other", "third"); os.symlink("other", "fourth")
    os.chmod("other", 0o700); os.utime("other"); os.truncate("other", 0); os.mkfifo("fifo")

def twin_multiprocessing_pipe():
    ours, theirs = multiprocessing.Pipe()
    ours.send("x")
    assert theirs.recv() == "x"

def twin_terminal():
    leader, follower = os.openpty()
    assert len(fcntl.ioctl(follower, termios.TIOCGWINSZ, b"\0" * 8)) == 8
    termios.tcsetattr(follower, termios.TCSANOW, termios.tcgetattr(follower))

def twin_executor():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]

def twin_semaphore():
    lock = multiprocessing.Lock()
    with lock: pass

def twin_signals():
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    pidfd = os.pidfd_open(os.getpid())
    signal.pidfd_send_signal(pidfd, 0)

for name, twin in [(name[5:], twin) for name, twin in list(globals().items()) if name.startswith("twin_")]:
    try:
        twin()
        print("RESULT", name, "ok", flush=True)
    except Exception as error:
        print("RESULT", name, repr(error).replace("\n", " "), flush=True)
