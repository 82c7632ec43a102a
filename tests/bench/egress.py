"""What the outlet adds to requests and connections, beside no proxy at all and beside two that many people use.

One generator and one server serve all sides (`tests/load`), in turns. It never compares numbers of two runs, and never
counts a request that was not answered well.
"""

import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

# Bytes of a body, with their names.
BODIES = [(256, "256 B"), (1024, "1 KB"), (65536, "64 KB")]
# Connections where throughput is measured; latency has one.
CONNECTIONS = 32
# How long each side is asked for at a time, seconds.
ASKED_S = 0.5
# What one outlet holds at a time; a session that wants more is refused.
CONNECTIONS_MAX = 1024
TICKS = os.sysconf("SC_CLK_TCK")
# The outlet's sides: the host that is asked for, and what its grant says.
REQUESTS = 'methods = ["GET"]\npaths = ["/**"]\n'
SECRET = """
[[secret]]
name = "key"
env = "API_KEY"
shape = "opaque"
place = { header = "authorization", format = "Bearer {}" }
hosts = ["secret.test"]
reason = "the key of the bench"
"""
OUTLETS = {
    "passed through": ("whole.test", "", ""),
    "opened": ("open.test", REQUESTS, ""),
    "opened, secret, scrub": ("secret.test", REQUESTS, SECRET),
    "the same, log in memory": ("secret.test", REQUESTS, SECRET),
}
FULL = "opened, secret, scrub"
# Each use of a secret waits for the disk; this side has none, and shows what is left.
MEMORY = "the same, log in memory"
HAPROXY = """
global
    maxconn 4096
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend inside
    bind 127.0.0.1:{port} ssl crt {root}/both.pem alpn http/1.1
    default_backend outside
backend outside
    # As the outlet does: each connection from inside has its own to the outside, and each a handshake of its own.
    http-reuse never
    server one 127.0.0.1:{upstream} ssl verify required ca-file {root}/ca.pem sni str(localhost) alpn http/1.1 no-ssl-reuse
"""


class Side:
    """A generator that takes commands, and the process whose work is counted."""

    def __init__(self, name, generator, proxy=None, others=()):
        self.name, self.generator, self.proxy, self.others = name, generator, proxy, others
        self.cpu_s, self.requests, self.found = {}, {}, {}

    def obey(self, command):
        """The generator's answer to a command; all must have gone well."""
        told = self.tell(command)
        if told.get("error") or told.get("failed"):
            raise SystemExit(f"{self.name}: {command}: {told}")
        return told

    def tell(self, command):
        """The generator's answer to a command."""
        self.generator.stdin.write(command + "\n")
        self.generator.stdin.flush()
        line = self.generator.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the generator has ended at {command!r}")
        return json.loads(line)

    def busy(self):
        """CPU time that the proxy has used, with all its threads, seconds."""
        return cpu_s(self.proxy) if self.proxy else 0.0

    def counted(self, what, command, unit):
        """Obeys a command, and adds its CPU time and its count to what was found before."""
        begun = self.busy()
        told = self.obey(command)
        self.cpu_s[what] = self.cpu_s.get(what, 0.0) + self.busy() - begun
        self.requests[what] = self.requests.get(what, 0) + told[unit]
        self.found.setdefault(what, []).append(told | {"rate": told[unit] / told["seconds"]})

    def median(self, what, key):
        """The middle one of the turns."""
        return statistics.median(told[key] for told in self.found[what])

    def over(self, base, what, key):
        """By how much it is more than another side, turn by turn, in the middle."""
        pairs = zip(self.found[what], base.found[what])
        return statistics.median(ours[key] - theirs[key] for ours, theirs in pairs)

    def per(self, what):
        """CPU time of the proxy for one, microseconds."""
        return self.cpu_s[what] / self.requests[what] * 1e6

    def close(self):
        """Ends the generator, and the proxy where that is a process of its own."""
        self.generator.stdin.close()
        self.generator.wait(timeout=60)
        for process in self.others:
            process.terminate()
            process.wait(timeout=30)


class Egress:
    """A server, and everything that can stand before it."""

    def __init__(self, bench, load, note, pss):
        self.bench, self.load, self.note, self.pss = bench, str(load), note, pss
        self.root = bench.root / "egress"
        self.root.mkdir()
        shutil.copy(load, bench.workspace / "load")
        certificates(self.root)
        self.server = self.start([self.load, "serve", str(self.root / "both.pem"), str(self.root / "key.pem")])
        self.port = json.loads(self.server.stdout.readline())["port"]
        self.memory = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm", prefix="stockade-bench-"))
        self.environments = {name: bench.env for name in OUTLETS} | {MEMORY: {**bench.env, "STOCKADE_STATE": str(self.memory)}}
        secret = {"input": b"sk-bench-7Qm2vX9rT4bLk8Zp3Wd6Yh1N", "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        for name in FULL, MEMORY:
            subprocess.run([bench.binary, "secret", "set", "key"], env=self.environments[name], **secret)

    def start(self, words, **options):
        """A process that takes lines and gives lines."""
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)

    def drive(self, *settings):
        """The generator, outside."""
        return self.start([self.load, "drive", *settings])

    def direct(self):
        """Nothing between."""
        return Side("direct", self.drive(f"to=127.0.0.1:{self.port}", "name=localhost", f"ca={self.root}/ca.pem"))

    def outlet(self, name):
        """A stockade with the generator inside."""
        host, rules, secret = OUTLETS[name]
        profile = self.root / f"{host}.toml"
        grant = f'[[grant.net]]\nhost = "{host}"\nports = [443]\nresolve = ["127.0.0.1:{self.port}"]\ntrust = "ca.pem"\nreason = "the bench"\n{rules}'
        profile.write_text(f'profile = 1\nname = "bench"\nextends = ["shell"]\n{grant}{secret}', encoding="utf-8")
        bearer = " bearer=API_KEY" if secret else ""
        script = f'set -- $(getent ahostsv4 {host}); exec ./load drive "to=$1:443" name={host} "ca=$SSL_CERT_FILE"{bearer}'
        generator = self.start(self.bench.run("/bin/sh", "-c", script, profile=str(profile)), env=self.environments[name])
        return Side(name, generator, generator.pid)

    def haproxy(self):
        """A proxy that opens TLS and makes it again, and looks at nothing."""
        program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        if not program and os.getuid() == 0 and shutil.which("apt-get"):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
            command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", "haproxy"]
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        if not program:
            print("!! haproxy: not installed, and not measured; as root: apt-get install haproxy")
            return None
        port, config = free_port(), self.root / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=port, root=self.root, upstream=self.port), encoding="utf-8")
        proxy = subprocess.Popen([program, "-db", "-q", "-f", config], stdin=subprocess.DEVNULL)
        listening(port, proxy)
        return Side("haproxy", self.drive(f"to=127.0.0.1:{port}", "name=localhost", f"ca={self.root}/ca.pem"), proxy.pid, [proxy])

    def mitmproxy(self):
        """The proxy that people take to look into TLS."""
        place = pathlib.Path(f"/var/tmp/stockade-test-{os.getuid()}/mitmproxy")
        program = place / "bin/mitmdump"
        if not program.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
            made = subprocess.run([sys.executable, "-m", "venv", place], **quiet)
            if made.returncode == 0:
                subprocess.run([place / "bin/pip", "install", "-q", "mitmproxy"], **quiet)
        if not program.is_file():
            print(f"!! mitmproxy: not installed, and not measured; it would be in {place}, by pip")
            return None
        port, home = free_port(), self.root / "mitmproxy"
        settings = [f"confdir={home}", f"ssl_verify_upstream_trusted_ca={self.root}/ca.pem", "flow_detail=0"]
        words = [program, "-q", "--listen-host", "127.0.0.1", "--listen-port", str(port)]
        proxy = subprocess.Popen([*words, *(word for setting in settings for word in ("--set", setting))], stdin=subprocess.DEVNULL)
        listening(port, proxy)
        settings = f"to=127.0.0.1:{self.port}", f"via=127.0.0.1:{port}", "name=localhost", f"ca={home}/mitmproxy-ca-cert.pem"
        return Side("mitmproxy", self.drive(*settings), proxy.pid, [proxy])

    def measure(self, turns, tunnels):
        """All of it."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            self.compare(turns)
            self.idle(tunnels)
        finally:
            self.server.stdin.close()
            self.server.wait(timeout=30)
            shutil.rmtree(self.memory)

    def compare(self, turns):
        """All sides, in turns."""
        sides = []
        try:
            for make in (self.direct, *(lambda name=name: self.outlet(name) for name in OUTLETS), self.haproxy, self.mitmproxy):
                sides += [side for side in [make()] if side]
            self.warm(sides)
            for _ in range(turns):
                for side in sides:
                    self.turn(side)
            for side in sides:
                self.tell(side, sides[0])
            self.waits()
        finally:
            for side in sides:
                side.close()

    def waits(self):
        """What the disk alone takes for a use of a secret."""
        times = []
        with open(self.root / "waits", "ab", buffering=0) as file:
            for _ in range(300):
                file.write(b"x" * 400)
                begun = time.perf_counter()
                os.fdatasync(file.fileno())
                times.append(time.perf_counter() - begun)
        times.sort()
        self.note("fdatasync(2) beside the log, p50", times[len(times) // 2] * 1e6, "us")
        self.note("fdatasync(2) beside the log, p99", times[len(times) * 99 // 100] * 1e6, "us")

    def warm(self, sides):
        """What only the first request pays for."""
        for side in sides:
            side.obey("open 8")
            side.obey("load /1024 0.3")
            side.obey("close")

    def turn(self, side):
        """One side, one turn: its requests, its events, its tunnels."""
        side.obey("open 1")
        for body, _ in BODIES:
            side.counted((1, body), f"load /{body} {ASKED_S}", "requests")
        side.counted("events", "events 20 10", "events")
        side.obey("close")
        side.obey(f"open {CONNECTIONS}")
        for body, _ in BODIES:
            side.counted((CONNECTIONS, body), f"load /{body} {ASKED_S}", "requests")
        side.obey("close")
        side.counted("tunnels", f"tunnels {2 * ASKED_S} 4", "tunnels")

    def tell(self, side, direct):
        """The numbers of a side."""
        for body, text in BODIES:
            one, many, name = (1, body), (CONNECTIONS, body), f"{side.name}, {text}"
            if side is direct:
                self.note(f"{name}: p50", side.median(one, "p50_us"), "us")
                self.note(f"{name}: p99", side.median(one, "p99_us"), "us")
            else:
                added = side.over(direct, one, "p50_us")
                aimed = side.name == FULL and body == 1024
                self.note(f"{name}: added p50", added, "us", "<= 60" if aimed else "", added <= 60 if aimed else None)
                self.note(f"{name}: added p99", side.over(direct, one, "p99_us"), "us")
            self.note(f"{name}: requests a second at {CONNECTIONS}", side.median(many, "rate"), "/s")
            if side.proxy:
                rate = 1e6 / side.per(many)
                aimed = side.name == FULL and body == 1024
                self.note(f"{name}: CPU a request, 1 / {CONNECTIONS}", f"{side.per(one):.1f} / {side.per(many):.1f}", "us")
                self.note(f"{name}: requests a second and core", rate, "/s", ">= 20,000" if aimed else "", rate >= 20_000 if aimed else None)
        if side is direct:
            self.note(f"{side.name}: an event's delay, p50", side.median("events", "p50_us"), "us")
        else:
            self.note(f"{side.name}: an event's delay, added p50", side.over(direct, "events", "p50_us"), "us")
            self.note(f"{side.name}: an event's delay, added p99", side.over(direct, "events", "p99_us"), "us")
        self.note(f"{side.name}: new tunnels a second, a request on each", side.median("tunnels", "rate"), "/s")
        if side.proxy:
            each = side.per("tunnels") / 1e3
            aimed = side.name in OUTLETS and side.name != MEMORY
            self.note(f"{side.name}: CPU for a new tunnel and its request", each, "ms", "<= 1.5" if aimed else "", each <= 1.5 if aimed else None)

    def idle(self, count):
        """Idle tunnels: what they hold, whether all still answer; and that a session has no more than its share."""
        each = CONNECTIONS_MAX - 24
        shares = [min(each, count - begun) for begun in range(0, count, each)]
        sides = [self.outlet(FULL) for _ in shares]
        try:
            for side in sides:
                side.obey("ask /256")
            time.sleep(0.5)
            before, alone = self.held(sides), self.working(sides)
            begun = time.perf_counter()
            opened = sum(side.tell(f"open {share}")["opened"] for side, share in zip(sides, shares))
            seconds = time.perf_counter() - begun
            time.sleep(2)
            after = self.held(sides)
            busy = self.working(sides)
            answered = sum(side.tell("ask /256")["requests"] for side in sides)
            more = sides[0].tell(f"open {2 * CONNECTIONS_MAX - shares[0]}")
            for side in sides:
                side.obey("close")
            # An outlet gives memory back a second after its connections have gone.
            time.sleep(4)
            left = self.held(sides)
        finally:
            for side in sides:
                side.close()
        name = f"{count:,} tunnels, {len(shares)} sessions"
        self.note(f"{name}: opened", seconds, "s")
        self.note(f"{name}: supervisors' PSS, each tunnel", (after - before) / max(1, opened), "KiB")
        self.note(f"{name}: supervisors' PSS, all", after / 1024, "MiB")
        self.note(f"{name}: supervisors' PSS, all, before / when all are closed", f"{before / 1024:.1f} / {left / 1024:.1f}", "MiB")
        self.note(f"{name}: supervisors' CPU, idle, before / with them", f"{alone:.1f} / {busy:.1f}", "%")
        self.note(f"{name}: opened, answered after being idle", f"{opened:,}, {answered:,}", "", f"{count:,} each", opened == answered == count)
        self.note("connections that one session gets at most", more["opened"], "", f"{CONNECTIONS_MAX:,}", more["opened"] == CONNECTIONS_MAX)
        print(f"    the next one: {more['why']}")

    def working(self, sides):
        """Per cent of a core that the supervisors use while nothing happens."""
        busy, begun = sum(side.busy() for side in sides), time.perf_counter()
        time.sleep(4)
        return (sum(side.busy() for side in sides) - busy) / (time.perf_counter() - begun) * 100

    def held(self, sides):
        """KiB that the supervisors hold."""
        return sum(self.pss(side.proxy) for side in sides)


def certificates(root):
    """An authority, and a certificate for all names, with openssl(1)."""
    names = ",".join(f"DNS:{name}" for name in ["localhost", *(host for host, _, _ in OUTLETS.values())])
    (root / "names").write_text(f"subjectAltName = {names}\n", encoding="ascii")
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    sign = ["openssl", "x509", "-req", "-in", "asked.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    for command in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=Authority of the bench", "-keyout", "ca.key", "-out", "ca.pem"],
        [*new, "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "asked.pem"],
        [*sign, "-extfile", "names", "-out", "leaf.pem"],
    ):
        subprocess.run(command, cwd=root, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    both = [(root / name).read_text(encoding="ascii") for name in ("leaf.pem", "key.pem")]
    (root / "both.pem").write_text("".join(both), encoding="ascii")


def cpu_s(pid):
    """CPU time of a process, all its threads, those that have ended too, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def free_port():
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listening(port, process):
    """Waits until a process listens."""
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise SystemExit(f"nobody listens on port {port}; the process ended with {process.wait()}")
