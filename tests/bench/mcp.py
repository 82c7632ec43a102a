"""What MCP costs on top of a call: round trips through standard input and output, from a client's question to its answer.

All sides take turns in one run: the protocol alone (`ping`), tools of WASI, commands, and the same command over JSON lines.
It never counts a client library's time: the client is twenty lines of this file.
"""

import json
import subprocess
import time

VERSION = "2025-11-25"
HELLO = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
PROFILE = """profile = 1
name = "bench"
extends = ["shell"]

[[grant.tool]]
name   = "noop"
reason = "it is measured"
"""


class Server:
    """A server that has been greeted."""

    def __init__(self, words, env):
        self.process = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.number = 0
        self.ask("initialize", HELLO)
        self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def say(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.number += 1
        self.say({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == self.number and "result" in answer, answer
        return answer["result"]

    def side(self, method, params):
        """One round trip, timed; what answers must be no error."""

        def turn():
            begun = time.perf_counter()
            result = self.ask(method, params)
            seconds = time.perf_counter() - begun
            assert not result.get("isError"), result
            return seconds

        return turn

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0


def measure(bench, call, interleaved, spread, ratio):
    """Measures a server beside a session."""
    profile = bench.root / "mcp.toml"
    words = [bench.binary, "mcp", "--workspace", str(bench.workspace), "--profile"]
    (bench.workspace / "kilobyte").write_text("0123456789abcde\n" * 64)
    profile.write_text(PROFILE)
    server, session = Server([*words, str(profile)], bench.env), bench.session()
    names = [tool["name"] for tool in server.ask("tools/list", {})["tools"]]

    def lines():
        begun = time.perf_counter()
        session.stdin.write(call)
        answer = json.loads(session.stdout.readline())
        seconds = time.perf_counter() - begun
        assert answer.get("exit") == {"code": 0}, answer
        return seconds

    tool = lambda name, arguments: server.side("tools/call", {"name": name, "arguments": arguments})
    sides = {"MCP ping": server.side("ping", {}), "MCP bash true": tool("bash", {"command": "true"})}
    for name, label, arguments in [("noop", "MCP noop, in WASI", {}), ("read", "MCP read of 1 KB, in WASI", {"file_path": "kilobyte"})]:
        if name in names:
            sides[label] = tool(name, arguments)
        else:
            print(f"{label}: this build has no such tool")
    sides["JSON lines, /bin/true"] = lines
    found = dict(zip(sides, interleaved(bench.turns * 4, list(sides.values()))))
    server.close()
    session.stdin.close()
    session.wait(timeout=60)
    for label, seconds in found.items():
        spread(label, seconds)
    ratio("MCP bash true / JSON lines, /bin/true", found["MCP bash true"], found["JSON lines, /bin/true"], None)
