"""A session in a container, beside the engine's own command line on the same image.

It never starts an engine: STOCKADE_TEST_DOCKER names the socket of one, STOCKADE_TEST_IMAGE an image that it has.
"""

import json
import os
import subprocess
import time

# How much faster a warm call has to be than `docker exec`.
EXEC_RATIO_MAX = 1 / 20
CALL = json.dumps({"id": 1, "call": {"tool": "bash", "command": {"argv": ["/bin/true"]}}}) + "\n"
# What a container of ours is at the least: as the engine's own command line makes one.
HARD = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65534:65534", "--log-driver=none"]
SILENT = """
profile = 1
name = "silent"
extends = ["shell"]
record = "off"
"""

APPLYING = """
profile = 1
name = "applying"
extends = ["shell"]
[[grant.tool]]
name = "apply"
reason = "what is measured"
"""
# How long the next session's container is given to come up.
READY_S = 1.5


class Container:
    """An engine, an image, and what is asked of both walls."""

    def __init__(self, bench, note, took, interleaved, spread, ratio):
        self.bench, self.note, self.took, self.interleaved, self.spread, self.ratio = bench, note, took, interleaved, spread, ratio
        socket = os.environ.get("STOCKADE_TEST_DOCKER", "")
        self.image = os.environ.get("STOCKADE_TEST_IMAGE", "localhost/stockade-test/debian:1")
        self.engine = f"unix://{socket}" if socket else None
        self.docker = ["docker", "-H", self.engine or ""]

    def words(self, name, profile, runtime):
        """The first words of a session in a container."""
        chosen = ["--image", self.image, "--engine", self.engine, "--runtime", runtime]
        return [self.bench.binary, name, "--profile", str(profile), "--workspace", str(self.bench.workspace), *chosen]

    def session(self, profile, runtime):
        """A warm session, ready for lines."""
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "bufsize": 1}
        return subprocess.Popen(self.words("session", profile, runtime), env=self.bench.env, **options)

    def call(self, session):
        """One call, timed."""

        def turn():
            begun = time.perf_counter()
            session.stdin.write(CALL)
            answer = json.loads(session.stdout.readline())
            seconds = time.perf_counter() - begun
            assert answer.get("exit") == {"code": 0}, answer
            return seconds

        return turn

    def measure(self, turns):
        """Warm calls and cold sessions, with each runtime in which a session comes up."""
        if self.engine is None:
            print("container: no engine; tests/containers/engines starts one, and STOCKADE_TEST_DOCKER names its socket")
            return
        listed = subprocess.run([*self.docker, "info", "-f", "{{json .Runtimes}}"], capture_output=True, check=True, text=True)
        runtimes = json.loads(listed.stdout)
        for runtime in ("runc", "crun", "runsc"):
            trial = [*self.docker, "run", "--rm", f"--runtime={runtime}", *HARD, self.image, "/bin/true"]
            tried = subprocess.run(trial, capture_output=True, check=False, text=True)
            if runtime in runtimes and tried.returncode != 0:
                print(f"container: the engine itself starts nothing with {runtime}: {tried.stderr.strip()[:200]}")
            elif runtime in runtimes:
                self.warm(turns, runtime)
                self.cold(turns, runtime)
                # On gVisor a workspace is a copy, of the moment in which it was made: no container is kept ready.
                if runtime != "runsc":
                    self.following(turns, runtime)

    def warm(self, turns, runtime):
        """A call in a session that is there, beside `docker exec` in a container that is there."""
        silent = self.bench.root / "silent.toml"
        silent.write_text(SILENT, encoding="utf-8")
        recorded, unrecorded, process = self.session("shell", runtime), self.session(silent, runtime), self.bench.session()
        run = [*self.docker, "run", "-d", "--rm", f"--runtime={runtime}", *HARD, self.image, "/bin/sleep", "3600"]
        other = subprocess.run(run, capture_output=True, check=True, text=True).stdout.strip()
        try:
            execute = lambda: self.took([*self.docker, "exec", other, "/bin/true"])
            sides = [self.call(recorded), self.call(unrecorded), self.call(process), execute]
            ours, off, host, theirs = self.interleaved(turns, sides)
        finally:
            subprocess.run([*self.docker, "rm", "-f", other], capture_output=True, check=False)
            for session in (recorded, unrecorded, process):
                session.stdin.close()
                session.wait(timeout=60)
        self.spread(f"warm call in a container, {runtime}", ours)
        self.spread(f"docker exec, {runtime}", theirs)
        self.ratio(f"warm call in a container / docker exec, {runtime}", ours, theirs, EXEC_RATIO_MAX)
        self.ratio(f"warm call in a container / in the process wall, {runtime}", ours, host, None)
        self.ratio(f"warm call in a container, recorded / not, {runtime}", ours, off, None)

    def following(self, turns, runtime):
        """The session behind an `apply` over MCP, whose container was kept ready, beside `docker run`."""
        applying = self.bench.root / "applying.toml"
        applying.write_text(APPLYING, encoding="utf-8")
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "bufsize": 1}
        server = subprocess.Popen(self.words("mcp", applying, runtime), env=self.bench.env, **options)
        numbers = iter(range(1, 1 << 30))

        def ask(method, params):
            number = next(numbers)
            server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n")
            while (answer := json.loads(server.stdout.readline())).get("id") != number:
                pass
            return answer["result"]

        def next_session():
            """What is applied is one small file; the time is the old session's end and the new one's beginning."""
            time.sleep(READY_S)
            wrote = ask("tools/call", {"name": "bash", "arguments": {"command": f"echo {next(numbers)} > bench-applied"}})
            assert not wrote.get("isError"), wrote
            begun = time.perf_counter()
            applied = ask("tools/call", {"name": "apply", "arguments": {}})
            seconds = time.perf_counter() - begun
            assert applied["structuredContent"].get("session"), applied
            return seconds

        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        ask("initialize", hello)
        server.stdin.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}) + "\n")
        theirs = [*self.docker, "run", "--rm", f"--runtime={runtime}", *HARD, self.image, "/bin/true"]
        try:
            new, run = self.interleaved(max(5, turns // 4), [next_session, lambda: self.took(theirs)], warm_up=1)
        finally:
            server.stdin.close()
            server.wait(timeout=60)
        self.spread(f"next session in a container kept ready, {runtime}", new)
        self.ratio(f"next session in a container kept ready / docker run, {runtime}", new, run, None)

    def cold(self, turns, runtime):
        """A new session to its first result, log and layer included, beside `docker run`."""
        ours = [*self.words("run", "shell", runtime), "--quiet", "--", "/bin/true"]
        theirs = [*self.docker, "run", "--rm", f"--runtime={runtime}", *HARD, self.image, "/bin/true"]
        sides = [lambda: self.took(ours, env=self.bench.env), lambda: self.took(theirs)]
        new, run = self.interleaved(max(5, turns // 4), sides, warm_up=1)
        self.spread(f"cold session in a container, {runtime}", new)
        self.spread(f"docker run, {runtime}", run)
        self.ratio(f"cold session in a container / docker run, {runtime}", new, run, None)
