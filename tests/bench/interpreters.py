"""Text work in the shell tool beside `bash -c` for the same, and a Python call beside `python3 -c pass`.

Both tools are called as a harness calls them: in a warm session, judged, logged and sealed. Beside them are the bare process,
which nobody judges, confines or records, and the same process through the session, which is what an agent has instead. It never
compares a script whose output is not the same on both sides.
"""

import json
import os
import subprocess
import sys
import time

# What agents run over a small project.
SCRIPTS = [
    ("grep, sort", "grep -rn 'use std' src | sort | head -50"),
    ("log levels", "cat log.txt | grep ERROR | awk '{print $4}' | sort | uniq -c | sort -rn"),
    ("loop over files", "for f in src/*.rs; do wc -l < \"$f\"; done"),
    ("sed, cut, uniq", "sed 's/INFO/info/' log.txt | cut -d' ' -f3 | sort | uniq -c"),
    ("find, xargs, grep", "find src -name '*.rs' | sort | xargs grep -l item_3 | wc -l"),
    ("echo, tr", "echo hi | tr a-z A-Z"),
    ("words of a text", "tr -s ' ' '\\n' < log.txt | sort | uniq -c | sort -rn | head -5"),
    ("sums by awk", "awk -F= '/ERROR/ {n[$2]++; sum += $3} END {for (k in n) c++; print c, sum}' log.txt"),
    ("regular expression", "grep -nE 'level=[0-3] code=[0-9]*7$' log.txt | tail -3"),
    ("20,000 lines", "grep ERROR medium.txt | cut -d' ' -f4 | sort | uniq -c"),
    ("200,000 lines", "grep ERROR large.txt | cut -d' ' -f4 | sort | uniq -c"),
]
# The Python tool is not part of the program: `tools-wasm/build python` makes it.
PROFILE = """
profile = 1
name = "interpreters"
extends = ["shell"]

[[tool]]
name = "python"
file = "{file}"
reason = "what is measured"
"""
# How much faster they must be.
SHELL_TIMES, PYTHON_TIMES = 3, 10


def project(root):
    """Ten sources of four hundred lines, and logs of two, of twenty and of two hundred thousand."""
    (root / "src").mkdir(exist_ok=True)
    for number in range(10):
        lines = (f"fn item_{number}_{line}() {{ let x = {line}; }}\nuse std::env;\n" for line in range(200))
        (root / f"src/f{number}.rs").write_text("".join(lines), encoding="utf-8")
    for name, count in (("log", 2_000), ("medium", 20_000), ("large", 200_000)):
        lines = (f"2024-01-01 10:00:{n % 60:02} {'INFO' if n % 7 else 'ERROR'} level={n % 9} code={n}\n" for n in range(count))
        (root / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def pythons():
    """The interpreter that runs this, and the distribution's where that is another one: builds differ fourfold in how fast they start."""
    own, of_system = os.path.realpath(sys.executable), "/usr/bin/python3"
    there = os.path.exists(of_system) and os.path.realpath(of_system) != own
    return [own, of_system] if there else [own]


class Interpreters:
    """One warm session, and processes beside it."""

    def __init__(self, bench, interleaved, spread, ratio):
        self.bench, self.interleaved, self.spread, self.ratio = bench, interleaved, spread, ratio
        project(bench.workspace)
        profile = bench.root / "interpreters.toml"
        profile.write_text(PROFILE.format(file=bench.top / "tools-wasm/components/python.wasm"), encoding="utf-8")
        self.session = bench.session(profile)

    def close(self):
        """Ends the session."""
        self.session.stdin.close()
        self.session.wait(timeout=60)

    def tool(self, name, arguments):
        """Seconds of one call, and the structured part of its answer."""
        begun = time.perf_counter()
        self.session.stdin.write(json.dumps({"id": 1, "call": {"tool": name, "args": arguments}}) + "\n")
        answer = json.loads(self.session.stdout.readline())
        seconds = time.perf_counter() - begun
        if "reply" not in answer:
            raise SystemExit(f"{name} did not answer: {answer}")
        return seconds, answer["reply"]["structured"]

    def walled(self, *words):
        """Seconds of the same process through the session: judged, confined, recorded and sealed as the tool's call is."""
        begun = time.perf_counter()
        self.session.stdin.write(json.dumps({"id": 1, "call": {"tool": "bash", "command": {"argv": list(words)}}}) + "\n")
        answer = json.loads(self.session.stdout.readline())
        seconds = time.perf_counter() - begun
        if answer.get("exit") != {"code": 0}:
            raise SystemExit(f"{words!r} did not run in the session: {answer}")
        return seconds

    def process(self, *words):
        """Seconds of one process, and its output."""
        begun = time.perf_counter()
        ended = subprocess.run(words, cwd=self.bench.workspace, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        return time.perf_counter() - begun, ended.stdout

    def measure(self, turns):
        """Every script on both sides in turns, then Python."""
        for name, script in SCRIPTS:
            printed, wanted = self.tool("shell", {"command": script})[1]["stdout"], self.process("bash", "-c", script)[1]
            if printed != wanted:
                raise SystemExit(f"{script!r} prints {printed[:200]!r}, and in bash {wanted[:200]!r}")
            sides = [
                lambda s=script: self.tool("shell", {"command": s})[0],
                lambda s=script: self.process("bash", "-c", s)[0],
                lambda s=script: self.walled("bash", "-c", s),
            ]
            self.beside(f"shell, {name}", f"bash, {name}", sides, turns, SHELL_TIMES)
        for python in pythons():
            sides = [
                lambda: self.tool("python", {"code": "None"})[0],
                lambda p=python: self.process(p, "-c", "pass")[0],
                lambda p=python: self.walled(p, "-c", "pass"),
            ]
            self.beside("python tool, one call", f"{python} -c pass", sides, turns, PYTHON_TIMES)

    def beside(self, ours_name, theirs_name, sides, turns, times):
        """The tool, the bare process, the process through the session; and how much faster the tool is than the bare one."""
        ours, theirs, walled = self.interleaved(turns, sides)
        self.spread(ours_name, ours)
        self.spread(theirs_name, theirs)
        self.spread(f"{theirs_name}, through the session", walled)
        self.ratio(f"{ours_name} / {theirs_name}", ours, theirs, round(1 / times, 3))
        self.ratio(f"{ours_name} / {theirs_name}, through the session", ours, walled, None)
