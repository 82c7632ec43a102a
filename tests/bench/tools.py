"""A call of a tool, judged, logged, run in WASI and sealed, beside the same through a process.

It never counts a client's library: lines go in and come out, and the client is this file.
"""

import json
import os
import statistics
import time

PROFILE = """
profile = 1
name = "tools"
extends = ["shell"]
record = "{record}"

[[grant.tool]]
name   = "noop"
reason = "it is measured"
"""
# As DESIGN has them.
CALL_US_MAX, CALLS_PER_S_MIN = 80, 60_000
CALLS = 20_000


def line(call):
    """A call, as a session takes it."""
    return json.dumps({"id": 1, "call": call}) + "\n"


NOOP = line({"tool": "noop", "args": {}})
READ = line({"tool": "read", "args": {"file_path": "kilobyte"}})
CAT = line({"tool": "bash", "command": {"argv": ["/bin/cat", "kilobyte"]}})
TRUE = line({"tool": "bash", "command": {"argv": ["/bin/true"]}})


class Tools:
    """Warm sessions, and what is asked of them."""

    def __init__(self, bench, interleaved, note):
        self.bench, self.interleaved, self.note = bench, interleaved, note
        (bench.workspace / "kilobyte").write_text("0123456789abcde\n" * 64, encoding="utf-8")
        self.profiles = {}
        for record in ("changes", "off"):
            self.profiles[record] = bench.root / f"tools-{record}.toml"
            self.profiles[record].write_text(PROFILE.format(record=record), encoding="utf-8")

    def side(self, session, text):
        """One call, timed."""

        def turn():
            begun = time.perf_counter()
            session.stdin.write(text)
            answer = session.stdout.readline()
            seconds = time.perf_counter() - begun
            assert '"reply"' in answer or '"exit":{"code":0}' in answer, answer
            return seconds

        return turn

    def spread(self, name, seconds, target=None):
        """Median and 99th percentile, in microseconds."""
        ordered = sorted(seconds)
        median = statistics.median(ordered) * 1e6
        self.note(f"{name}, p50", median, "us", f"<= {target}" if target else "", median <= target if target else None)
        self.note(f"{name}, p99", ordered[int(len(ordered) * 0.99)] * 1e6, "us")
        return median

    def measure(self, turns):
        """Calls in turns, then as many as go through, then the first of a session."""
        session, silent = self.bench.session(self.profiles["changes"]), self.bench.session(self.profiles["off"])
        names = ["no-op tool", "read of 1 KB", "/bin/true", "cat of 1 KB"]
        sides = [self.side(session, text) for text in (NOOP, READ, TRUE, CAT)]
        found = dict(zip(names, self.interleaved(turns * 10, sides)))
        # Beside each other alone: between commands the caches of a session that is asked rarely are cold.
        pair = [self.side(session, NOOP), self.side(silent, NOOP)]
        found |= zip(["no-op tool, recorded", "no-op tool, nothing recorded"], self.interleaved(turns * 10, pair))
        alone = self.interleaved(turns * 20, [self.side(session, NOOP)])[0]
        close(session, silent)
        medians = {name: self.spread(name, seconds) for name, seconds in found.items()}
        self.spread("no-op tool, call after call", alone, CALL_US_MAX)
        self.note("no-op tool / /bin/true", medians["no-op tool"] / medians["/bin/true"], "x")
        self.note("read / cat of 1 KB", medians["read of 1 KB"] / medians["cat of 1 KB"], "x")
        self.note("no-op tool, recorded / not", medians["no-op tool, recorded"] / medians["no-op tool, nothing recorded"], "x")
        for count in (1, os.cpu_count() or 1, 2 * (os.cpu_count() or 1)):
            self.throughput(count)
        self.starts(turns)

    def throughput(self, count):
        """Calls of several sessions at once, written without waiting for answers."""
        sessions = [self.bench.session(self.profiles["changes"]) for _ in range(count)]
        for session in sessions:
            self.side(session, NOOP)()
        begun, pids = time.perf_counter(), []
        for session in sessions:
            pid = os.fork()
            if pid == 0:
                session.stdin.write(NOOP * CALLS)
                session.stdin.flush()
                os._exit(0)
            pids.append(pid)
        for session in sessions:
            answers = sum('"reply"' in session.stdout.readline() for _ in range(CALLS))
            assert answers == CALLS, answers
        rate = count * CALLS / (time.perf_counter() - begun)
        for pid in pids:
            os.waitpid(pid, 0)
        close(*sessions)
        self.note(f"no-op calls a second, {count} session{'s' if count > 1 else ''}", rate, "/s", f">= {CALLS_PER_S_MIN:,}", rate >= CALLS_PER_S_MIN)

    def starts(self, turns):
        """A new session to its first result: a tool's, whose code is in the cache, and a command's."""

        def first(text):
            def turn():
                begun = time.perf_counter()
                session = self.bench.session(self.profiles["changes"])
                self.side(session, text)()
                seconds = time.perf_counter() - begun
                close(session)
                return seconds

            return turn

        tool, command = self.interleaved(max(5, turns // 2), [first(NOOP), first(TRUE)])
        self.spread("a new session to a tool's result, warm cache", tool)
        self.spread("a new session to a command's result", command)


def close(*sessions):
    """Ends sessions."""
    for session in sessions:
        session.stdin.close()
        session.wait(timeout=120)
