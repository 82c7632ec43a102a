"""Made logs of tools, as data: a good one, and what breaks each of their rules (LOG-FORMAT.md section 9, 13 to 15).

It decides nothing, as rules.py, which takes these in. Every case is made with a recorder and without.
"""

from doubles import FILE, H, H2, RECORDER, changed, opened, outcome
from forge import HASH

GIVEN = {"t": 1, "tool": "edit", "h": HASH, "files": "write", "net": "requests+sockets"}
ENDED = {"t": 1, "cause": "exit", "status": 0, "wall_us": 9, "cpu_us": 8, "mem_bytes": 65536}
RESULT = {"cause": "exit", "status": 0, "wall_us": 9, "cpu_us": 8, "t": 1}
USES = 915
ORDER = ("path", "path_h", "to", "to_h", "host", "port", "fl", "value", "errno", "ino", "was", "r", "w", "below", "times")


def given(**more):
    return "tool.start", {**GIVEN, **more}, more.pop("tc", "c1")


def use(op, path=None, **more):
    t = more.pop("t", 1)
    members = {**({"path": path} if path else {}), **more}
    return "tool.use", {"t": t, "op": op, **{name: members[name] for name in ORDER if name in members}}, "c1"


def request(host="a.b", **more):
    return use("request", host=host, port=443, **more)


def connect(host="a.b", **more):
    return use("connect", host=host, port=443, **more)


def socket(c, host="a.b", **more):
    return connection(c, host, via="wasi-tcp", **more)


def end(uses, **more):
    return "tool.end", {**{k: v for k, v in {**ENDED, **more}.items() if k in ("t", "cause", "status")},
                        **({"why": more["why"]} if "why" in more else {}),
                        **{k: more.get(k, ENDED[k]) for k in ("wall_us", "cpu_us", "mem_bytes")}, "uses": uses}, "c1"


def connection(c, host="a.b", via="wasi", tc="c1"):
    return "net.open", {"c": c, "host": host, "port": 443, "via": via}, tc


def gone(c):
    return "net.close", {"c": c, "up": 1, "down": 1, "us": 1, "why": "done"}, "c1"


def refusal(host="a.b"):
    return "net.refuse", {"host": host, "port": 443, "rule": "not granted", "reason": "no"}, "c1"


GOOD = {
    "call": ("call", {"tool": "edit", "via": "mcp"}, "c1"),
    "permit": ("permit", {"rules": ["r"]}, "c1"),
    "start": given(),
    "look": use("read", "src", r=70, below=900),
    "open made": use("open", "made", fl="W|CREAT|EXCL", ino=[1, 2], was="absent"),
    "open held": use("open", "held", fl="RW", ino=[1, 7], times=3),
    "write": use("write", "held", r=9, w=9),
    "mkdir": use("mkdir", "d"),
    "rename": use("rename", "old", to="new"),
    "link": use("link", "second", to="first"),
    "unlink": use("unlink", {"b64": "_w"}),
    "refused": use("open", "/etc/shadow", fl="R|CREAT", errno=13),
    "request": request(),
    "net.open": connection(1),
    "net.close": gone(1),
    "clock": use("clock", times=4),
    "end": end(USES),
    "out made": outcome("made"),
    "out held": outcome("held", "modified", ino=[9, 7]),
    "out elsewhere": outcome("elsewhere", "modified", ino=[1, 7]),
    "out d": outcome("d"),
    "out new": outcome("new/x/y"),
    "out old": outcome("old/x/y", "deleted"),
    "out second": outcome("second"),
    "out first": outcome("first", "metadata"),
    "out bytes": outcome({"b64": "_w"}, "deleted"),
    "result": ("result", RESULT, "c1"),
}


def log(**changes):
    """GOOD with some records replaced by others, by none or by several, and the end's count of uses made right."""
    records = []
    changes = {name.replace("_", " ").replace("net ", "net."): to for name, to in changes.items()}
    assert set(changes) <= set(GOOD), changes
    for name, record in GOOD.items():
        to = changes.get(name, record)
        records += to if isinstance(to, list) else [to] if to else []
    if "end" not in changes:
        uses = sum(o.get("below", o.get("times", 1)) for kind, o, *_ in records if kind == "tool.use")
        records = [end(uses) if kind == "tool.end" else (kind, o, *rest) for kind, o, *rest in records]
    return {"records": records}


def late(name):
    """One record behind the result."""
    made = log(**{name.replace(" ", "_"): None})
    return {"records": [*made["records"], GOOD[name]]}


def read_only(**more):
    """A tool that may only look, and did only that."""
    changes = [name for name, record in GOOD.items() if record[0] == "fs.outcome" or record[0] == "tool.use" and name not in ("look", "refused", "clock", "request")]
    return log(**{name.replace(" ", "_"): None for name in changes}, start=given(files="read"), **more)


def result(**more):
    return log(result=("result", {**RESULT, **more}, "c1"))


CASES = [
    ("nothing is wrong", log(), 0),
    # Rule 13.
    ("13: without its start", log(start=None), 3),
    ("13: without its end", log(end=None), 3),
    ("13: one start more", log(start=[GOOD["start"], GOOD["start"]]), 3),
    ("13: another in the same call", log(start=[GOOD["start"], given(t=2)], clock=[GOOD["clock"], end(0, t=2)]), 3),
    ("13: two ends", log(end=[end(USES), end(0)]), 3),
    ("13: another tool than its call's", log(start=given(tool="grep")), 3),
    ("13: a use behind its end", log(end=[end(USES), use("clock")]), 3),
    ("13: a use of nobody", log(clock=use("clock", t=9, times=4)), 3),
    ("13: a use of no call", log(clock=("tool.use", {"t": 1, "op": "clock", "times": 4}, None)), 3),
    ("13: a use less than it ends with", log(look=None, end=end(USES)), 3),
    ("13: a use more than it ends with", log(clock=use("clock", times=5), end=end(USES)), 3),
    *[(f"13: {name} behind the result", late(name), 3) for name in ("start", "end", "clock", "out d")],
    ("13: a change before it began", log(permit=[GOOD["permit"], outcome("x")]), 3),
    ("13: it may only look", read_only(), 0),
    ("13: it may only look, and changes something", read_only(look=[GOOD["look"], GOOD["open made"], GOOD["unlink"]]), 3),
    ("13: it may only look, and something changed", read_only(end=[end(906), GOOD["out d"]]), 3),
    ("13: it may only look, and writes", read_only(look=[GOOD["look"], GOOD["write"]]), 3),
    ("13: it has no files, and looks", log(start=given(files="none")), 3),
    ("13: it has no network, and asks", log(start=given(net="none")), 3),
    ("13: it has no network, and is refused", log(start=given(net="none"), request=request(errno=13), net_open=None, net_close=None), 0),
    ("13: the result names none", log(result=("result", {k: v for k, v in RESULT.items() if k != "t"}, "c1")), 3),
    ("13: the result names another", result(t=2), 3),
    ("13: the result is another", result(status=1), 3),
    ("13: the result is of a failure", result(cause="error", status=5), 0),
    ("13: it failed", log(end=end(USES, cause="error", why="it trapped"), result=("result", {**RESULT, "cause": "error"}, "c1")), 0),
    ("13: it failed, and its result is good", log(end=end(USES, cause="error", why="it trapped")), 3),
    # Rule 14.
    *[(f"14: without {name}", log(**{name.replace(" ", "_"): None}), 3)
      for name in ("open made", "open held", "mkdir", "rename", "link", "unlink")],
    ("14: without what was written", log(write=None), 0),
    ("14: refused", log(open_made=use("open", "made", fl="W|CREAT", errno=13)), 3),
    ("14: a rename that was refused", log(rename=use("rename", "old", to="new", errno=18)), 3),
    ("14: only looked at", log(mkdir=use("stat", "d")), 3),
    ("14: only written to", log(mkdir=use("write", "d", w=1)), 3),
    ("14: only pointed to", log(mkdir=use("symlink", "x", to="d"), out_d=[GOOD["out d"], outcome("x")]), 3),
    ("14: another spelling", log(mkdir=use("mkdir", "./d"), out_d=[GOOD["out d"], outcome("./d")]), 3),
    ("14: another file with other names", log(out_elsewhere=outcome("elsewhere", "modified", ino=[1, 8])), 3),
    ("14: an outcome before its use", log(mkdir=[GOOD["out d"], GOOD["mkdir"]], out_d=None), 3),
    ("14: times of a file", log(mkdir=use("utimes", "d"), out_d=outcome("d", "metadata")), 0),
    ("14: mode and length of a file", log(mkdir=[use("chmod", "d", value=493), use("truncate", "e", value=0)], out_d=[outcome("d", "metadata"), outcome("e", "modified")]), 0),
    ("14: a name that is cut, with its hash", log(mkdir=use("mkdir", "d", path_h=H), out_d=outcome("d", path_h=H)), 0),
    ("14: a name that is cut, with another hash", log(mkdir=[use("mkdir", "d", path_h=H)], out_d=outcome("d", path_h=H2)), 3),
    ("14: renamed above, where the name is cut", log(rename=[GOOD["rename"], use("rename", "se", path_h=H2, to="x")],
                                                     out_d=[GOOD["out d"], outcome("seen", "modified", path_h=H)]), 0),
    ("14: what was made is in no outcome", log(out_made=None), 3),
    ("14: a directory that was made is in no outcome", log(out_d=None), 3),
    ("14: a link that was made is in no outcome", log(out_second=None), 3),
    ("14: made outside", log(mkdir=use("mkdir", "/d"), out_d=None), 0),
    ("14: made and removed", log(out_d=None, rename=[GOOD["rename"], use("rmdir", "d")]), 0),
    ("14: made and renamed", log(out_d=None, rename=[GOOD["rename"], use("rename", "d", to="e")]), 0),
    ("14: made in what was renamed", log(mkdir=use("mkdir", "new/d"), out_d=None), 0),
    ("14: opened, and it was there", log(out_held=None, out_elsewhere=None), 0),
    ("14: what was removed is in no outcome", log(out_bytes=None), 3),
    ("14: removed outside", log(unlink=use("unlink", "/x"), out_bytes=None), 0),
    ("14: removed and made again", log(unlink=[use("unlink", "x"), use("open", "x", fl="W|CREAT", was="absent")], out_bytes=outcome("x", "modified")), 0),
    ("14: removed and put there again", log(unlink=[use("unlink", "x"), use("rename", "y", to="x")], out_bytes=None), 0),
    ("14: removed, and the outcome before it", log(unlink=None, out_bytes=None, mkdir=[GOOD["mkdir"], use("chmod", "q", value=1)],
                                                   clock=[GOOD["clock"], outcome("q", "metadata"), use("unlink", "q")]), 0),
    ("14: removed below what was renamed", log(unlink=use("unlink", "old/z"), out_bytes=None), 0),
    ("14: not removed", log(unlink=use("unlink", "x", errno=2), out_bytes=None), 0),
    # Rule 15.
    ("15: nobody asked", log(request=None), 3),
    ("15: asked for another", log(request=request("c.d")), 3),
    ("15: asked behind", log(request=None, clock=[GOOD["clock"], GOOD["request"]]), 0),
    ("15: the outlet has not heard of it", log(net_open=None, net_close=None), 3),
    ("15: the outlet refused it", log(net_open=None, net_close=refusal()), 0),
    ("15: the outlet refused one of two", log(net_open=None, net_close=refusal(), request=request(times=2)), 3),
    ("15: one more than asked for", log(net_close=[GOOD["net.close"], connection(2), gone(2)]), 3),
    ("15: two over one connection", log(request=[GOOD["request"], GOOD["request"]]), 0),
    ("15: asked for twice", log(request=request(times=2), net_close=[GOOD["net.close"], connection(2), gone(2)]), 0),
    # Sockets: each use is one connection, or refused.
    ("13: it was given sockets alone, and asks", log(start=given(net="sockets")), 3),
    *[(f"13: it was given requests alone, and {op} is of sockets", log(start=given(net="requests"), clock=[GOOD["clock"], use(op, host="a.b", **more)]), 3)
      for op, more in (("lookup", {}), ("moved", {"port": 443, "r": 1}))],
    ("13: it was given requests alone, and connects", log(start=given(net="requests"), clock=[GOOD["clock"], connect(), socket(2), gone(2)]), 3),
    ("13: a name without a socket", log(clock=[GOOD["clock"], use("lookup", host="x.y", times=3)]), 0),
    ("15: a socket", log(clock=[GOOD["clock"], connect(), socket(2), use("moved", host="a.b", port=443, r=5, w=7), gone(2)]), 0),
    ("15: a socket that the outlet has not heard of", log(clock=[GOOD["clock"], connect()]), 3),
    ("15: a socket that nobody asked for", log(clock=[GOOD["clock"], socket(2), gone(2)]), 3),
    ("15: a request is no socket", log(request=None, net_open=socket(1), clock=[GOOD["clock"], GOOD["request"]]), 3),
    ("15: a socket is no request", log(request=connect()), 3),
    ("15: a socket that was refused", log(clock=[GOOD["clock"], connect("c.d"), refusal("c.d")]), 0),
    ("15: two sockets over one connection", log(clock=[GOOD["clock"], connect(times=2), socket(2), gone(2)]), 3),
    ("15: two sockets, one refused", log(clock=[GOOD["clock"], connect(times=2), socket(2), gone(2), refusal()]), 0),
    ("15: a socket and a request that the outlet has not heard of, and one refusal", log(request=request("c.d"), net_open=None, net_close=None, clock=[GOOD["clock"], connect(), refusal()]), 3),
    ("15: a socket of no call", log(clock=[GOOD["clock"], connect(), socket(2, tc=None), gone(2)]), 3),
    ("15: a socket that was not to be had", log(clock=[GOOD["clock"], use("connect", errno=24, times=900)]), 0),
    ("15: it was not sent", log(request=request(errno=111), net_open=None, net_close=None), 0),
    ("15: not sent, and a connection", log(request=request(errno=111)), 3),
    ("15: a connection of no call", log(net_open=connection(1, tc=None)), 3),
    ("15: a connection of another call", log(net_open=connection(1, tc="c2")), 3),
    ("15: a connection behind the result", {"records": [*log(net_open=None, net_close=refusal())["records"], connection(1), gone(1)]}, 3),
    # Forms.
    ("an operation that is unknown", log(mkdir=use("make", "d")), 2),
    ("a use of no name", log(look=use("read")), 2),
    ("a use with more than it has", log(mkdir=use("mkdir", "d", fl="W")), 2),
    ("an open without flags", log(open_held=use("open", "held", ino=[1, 7])), 2),
    ("an open that changes nothing", log(open_held=use("open", "held", fl="R")), 2),
    ("an open that would have made it", log(open_held=use("open", "held", fl="R|CREAT")), 2),
    ("an error that is none", log(look=use("read", "src", errno=0)), 2),
    ("bytes of what was refused", log(look=use("read", "src", errno=2, r=1)), 2),
    ("bytes that a look wrote", log(look=use("read", "src", w=1)), 2),
    ("several changes in one", log(mkdir=use("mkdir", "d", below=2)), 2),
    ("several refusals in one", log(refused=use("unlink", "d", errno=13, below=2)), 0),
    ("several renames that were refused, with one name", log(refused=use("rename", "d", to="e", errno=13, below=2)), 2),
    ("a name that was none, and refused", log(refused=use("symlink", errno=2)), 0),
    ("13: a socket, refused", log(refused=use("socket", errno=13)), 0),
    ("13: a socket, and nobody is given one", log(refused=use("socket")), 3),
    ("a socket somewhere", log(refused=use("socket", errno=13, host="a.b", port=1)), 2),
    ("sockets below a directory", log(refused=use("socket", errno=13, path=".", below=2)), 2),
    ("a connection to nobody", log(clock=[GOOD["clock"], use("connect", host="a.b")]), 2),
    ("a name with a port", log(clock=[GOOD["clock"], use("lookup", host="a.b", port=1)]), 2),
    ("bytes of a name", log(clock=[GOOD["clock"], use("lookup", host="a.b", r=1)]), 2),
    ("what moved, refused", log(clock=[GOOD["clock"], use("moved", host="a.b", port=1, errno=5, r=1)]), 2),
    ("an address that was none, and refused", log(refused=use("request", errno=22)), 0),
    ("no uses in one", log(look=use("read", "src", below=0)), 2),
    ("several times several", log(look=use("read", "src", below=2, times=2)), 2),
    ("once is not several times", log(look=use("read", "src", times=1)), 2),
    ("a path of a clock", log(clock=use("clock", "a")), 2),
    ("arguments of a program", log(clock=use("args")), 0),
    ("its input, as far as it was read", log(clock=use("stdin", r=5)), 0),
    ("bytes of arguments", log(clock=use("args", r=5)), 2),
    ("arguments somewhere", log(clock=use("args", "a")), 2),
    ("a request to no port", log(request=use("request", host="a.b")), 2),
    ("a port that is too large", log(request=use("request", host="a.b", port=2**16)), 2),
    ("the hash of no name", log(mkdir=use("mkdir", "d", to_h=H)), 2),
    ("a rename to nothing", log(rename=use("rename", "old")), 2),
    ("an empty name", log(mkdir=use("mkdir", {"b64": ""})), 2),
    ("given something unknown", log(start=given(files="all")), 2),
    ("a network that is unknown", log(start=given(net="all")), 2),
    ("an empty reason", log(end=end(USES, cause="error", why="")), 2),
    ("a way that is gone", log(net_open=connection(1, via="tool")), 2),
]

TOOLED = [(f"tools: {name}", made, code) for name, made, code in CASES]
TOOLED += [(f"tools, recorded: {name}", {**made, "recorder": RECORDER}, code) for name, made, code in CASES if code != 2]
# With processes beside a tool, one explains what the other left, as for two processes.
TOOLED += [
    ("tools, recorded: a process in no process", {**log(mkdir=[changed("mkdir", "d"), opened("e")], out_d=[outcome("d"), outcome("e", a=FILE)]),
                                                  "recorder": RECORDER}, 3),
    ("tools: an outcome in a call that has none", {"records": [
        *log()["records"], ("call", {"tool": "exec", "via": "cli"}, "c2"), ("permit", {"rules": ["r"]}, "c2"),
        ("fs.outcome", outcome("d")[1], "c2"), ("result", {"cause": "error", "status": 2, "wall_us": 1, "cpu_us": 1}, "c2")]}, 0),
]
