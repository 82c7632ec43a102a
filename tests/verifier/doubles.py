"""Made logs of a recorder, as data: a good one, and what breaks each of its rules (LOG-FORMAT.md section 9, 7 to 11).

It decides nothing, as rules.py, which takes these in.
"""

RECORDER = {"grade": "notify+addfd", "scope": "changes"}
FILE, SOCKET = {"ty": "file", "mode": 420, "z": 0}, {"ty": "socket", "mode": 493}


def whole(name, more):
    """The hash of a whole name, which stands behind what a record has of it."""
    return {f"{name}_h": more.pop(f"{name}_h")} if f"{name}_h" in more else {}


def opened(path, fl="W", ev="performed", **more):
    return "fs.open", {"p": 2, "path": path, **whole("path", more), "fl": fl, **more}, "c1", ev


def changed(op, path, **more):
    return "fs.change", {"p": 2, "op": op, "path": path, **whole("path", more), **more}, "c1", "observed"


def ask(op, addr, **more):
    return "net.ask", {"p": 2, "op": op, "addr": addr, **more}, "c1", "observed"


def outcome(path, op="created", **more):
    states = {"created": {"a": FILE}, "deleted": {"b": FILE}}.get(op, {"b": FILE, "a": {**FILE, "z": 1}})
    return "fs.outcome", {"path": path, **whole("path", more), "op": op, **{**states, **more}}, "c1", "outcome"


def start(p, **more):
    return "proc.start", {"p": p, **{k: v for k, v in more.items() if k != "pid"}, "pid": more.get("pid", p + 10)}, "c1", "confirmed"


def execed(p, **more):
    return "proc.exec", {"p": p, **more}, "c1", "confirmed"


def exit(p, **more):
    pid = more.pop("pid", p + 10)
    head = {"p": p, **({"pp": more.pop("pp")} if "pp" in more else {}), "pid": pid, **({"exe": more.pop("exe")} if "exe" in more else {})}
    return "proc.exit", {**head, "cause": "exit", "status": 0, **more}, "c1", "confirmed"


def connection(c, addr="198.18.0.9:443", via="direct"):
    to = {"addr": addr} if addr else {}
    return ("net.open", {"c": c, "host": "a.b", "port": 443, "via": via, **to, "rules": ["r"]}, None)


def gone(c):
    return ("net.close", {"c": c, "up": 1, "down": 1, "us": 1, "why": "done"}, None)


H, H2 = "0a" * 32, "0b" * 32
RESULT = {"cause": "exit", "status": 0, "wall_us": 1, "cpu_us": 1, "p": 1}
GOOD = {
    "call": ("call", {"tool": "exec", "via": "cli"}, "c1"),
    "permit": ("permit", {"rules": ["r"]}, "c1"),
    "start 1": start(1),
    "exec 1": execed(1, exe="/bin/sh", h="01" * 32, asked="x.sh"),
    "start 2": start(2, pp=1),
    "exec 2": execed(2, exe="/bin/tool", cut=2),
    "open made": opened("made", "RW|CREAT|EXCL", mode=420, errno=0, ino=[1, 2], was="absent"),
    "open seen": opened("seen", "W|APPEND", ev="observed"),
    "open held": opened("held", errno=0, ino=[1, 7], times=3),
    "mkdir": changed("mkdir", "d", value=493),
    "rename": changed("rename", "old", to="new"),
    "unlink": changed("unlink", {"b64": "_w"}),
    "bind": ask("bind", "unix:/w/d/s"),
    "bind bytes": ask("bind", "unix-b64:L3cv_w"),
    "connect": ask("connect", "198.18.0.9:443"),
    "net.open": connection(1),
    "net.close": gone(1),
    "refused": ("proc.call", {"p": 2, "call": "ptrace", "args": [0, 1, 2], "errno": 1, "times": 2}, "c1", "confirmed"),
    "exit 2": exit(2, pp=1, exe="/bin/tool"),
    "exit 1": exit(1),
    "out made": outcome("made"),
    "out seen": outcome("seen", "modified"),
    "out held": outcome("held", "modified", ino=[9, 7]),
    "out held too": outcome("held.too", "modified", ino=[9, 7]),
    "out elsewhere": outcome("elsewhere", "modified", ino=[1, 7]),
    "out d": outcome("d"),
    "out new": outcome("new/x/y"),
    "out old": outcome("old/x/y", "deleted"),
    "out bytes": outcome({"b64": "_w"}, "deleted"),
    "out socket": outcome("d/s", a=SOCKET),
    "out socket bytes": outcome({"b64": "ZC__"}, a=SOCKET),
    "result": ("result", RESULT, "c1"),
}


def log(recorder=RECORDER, **changes):
    """GOOD with some records replaced by others, by none or by several; "a b" is named a_b."""
    records = []
    changes = {name.replace("_", " ").replace("net ", "net."): to for name, to in changes.items()}
    assert set(changes) <= set(GOOD), changes
    for name, record in GOOD.items():
        to = changes.get(name, record)
        records += to if isinstance(to, list) else [to] if to else []
    return {"records": records, "recorder": recorder}


def late(name):
    """One record behind the result."""
    made = log(**{name.replace(" ", "_"): None})
    return {**made, "records": [*made["records"], GOOD[name]]}


TRACED = {"grade": "trace", "scope": "changes", "why": "somebody else listens"}
LESS = {"grade": "notify", "scope": "all-opens", "why": "no ADDFD"}
SEEN = {f"open_{name}": opened(name, "W", ev="observed", ino=[1, 7]) for name in ("made", "seen", "held")}
NONE = [name for name, record in GOOD.items() if record[0] not in ("proc.start", "proc.exec", "proc.call", "fs.open", "fs.change", "net.ask")]
UNRECORDED = {"records": [GOOD[name] for name in NONE]}

DOUBLES = [
    ("recorded: nothing is wrong", log(), 0),
    ("recorded: by a lesser recorder", log(LESS, **SEEN), 0),
    ("recorded: performed by a lesser recorder", log(LESS), 3),
    ("recorded: by a tracer", log(TRACED, **SEEN), 0),
    ("recorded: performed by a tracer", log(TRACED), 3),
    ("recorded: by a tracer, who left out an open", log(TRACED, **{**SEEN, "open_made": None}), 3),
    ("recorded: by a tracer, who left out an end", log(TRACED, **{**SEEN, "exit_2": None}), 3),
    ("no recorder", UNRECORDED, 0),
    ("no recorder, and says so", {**UNRECORDED, "recorder": {"grade": "outcome-only", "scope": "off", "why": "x"}}, 0),
    ("no recorder, and its records", log(None), 3),
    ("an empty reason of a recorder", log({**RECORDER, "why": ""}), 2),
    ("an unknown grade", log({**RECORDER, "grade": "good"}), 2),
    ("an unknown scope", log({**RECORDER, "scope": "some"}), 2),
    # Rule 7.
    *[(f"7: without {name}", log(**{name.replace(" ", "_"): None}), 3) for name in ("start 1", "start 2", "exec 1", "exit 1", "exit 2")],
    ("7: without the second program", log(exec_2=None), 3),
    ("7: without the second program, which ends as none", log(exec_2=None, exit_2=exit(2, pp=1)), 0),
    ("7: a program that nobody saw", log(exec_2=[GOOD["exec 2"], execed(2, asked="x")]), 0),
    ("7: another program last", log(exec_2=[GOOD["exec 2"], execed(2, exe="/bin/other")]), 3),
    ("7: started twice", log(start_2=[GOOD["start 2"], GOOD["start 2"]]), 3),
    ("7: made by none", log(start_2=start(2)), 3),
    ("7: made by one who came later", log(start_1=GOOD["start 2"], start_2=GOOD["start 1"]), 3),
    ("7: made by a stranger", log(start_2=start(2, pp=9)), 3),
    ("7: another pid", log(exit_2=exit(2, pp=1, pid=99)), 3),
    ("7: another parent", log(exit_2=exit(2)), 3),
    ("7: a record behind the end", log(exit_2=[GOOD["exit 2"], changed("chmod", "d")]), 3),
    ("7: a call by a stranger", log(refused=("proc.call", {"p": 9, "call": "x", "args": []}, "c1")), 3),
    ("7: the result of another process", log(result=("result", {**RESULT, "p": 2}, "c1")), 3),
    ("7: the status of an end that nobody saw", log(exit_2=exit(2, pp=1, cause="error")), 0),
    # Rule 8.
    *[(f"8: {name} behind the result", late(name), 3) for name in ("exit 1", "exit 2", "refused", "out d", "unlink", "bind")],
    ("8: an event of no call", log(mkdir=("fs.change", {"p": 2, "op": "mkdir", "path": "d"}, None)), 3),
    # Rule 9.
    *[(f"9: without {name}", log(**{name.replace(" ", "_"): None}), 3)
      for name in ("open made", "open seen", "mkdir", "rename", "unlink", "bind", "bind bytes")],
    ("9: without the open of a file with other names", log(open_held=None), 3),
    ("9: opened by another of its names", log(open_held=opened("x", errno=0, ino=[9, 7]), out_elsewhere=None), 0),
    ("9: another file with other names", log(out_held_too=outcome("held.too", "modified", ino=[9, 8])), 3),
    ("9: opened to be read", log(open_seen=opened("seen", "R")), 3),
    ("9: cut when it was opened to be read", log(open_seen=opened("seen", "R|TRUNC")), 0),
    ("9: made when it was opened to be read", log(open_seen=opened("seen", "R|CREAT", ino=[9, 70], was="absent")), 0),
    ("9: perhaps made when it was opened to be read", log(open_seen=opened("seen", "R|CREAT", "observed")), 0),
    ("9: there when it was opened to be read", log(open_seen=opened("seen", "R|CREAT", ino=[9, 70])), 3),
    ("9: not opened", log(open_seen=opened("seen", errno=13)), 3),
    ("9: a name that is cut", log(open_seen=opened("seen", cut=1)), 3),
    ("9: a name that is cut, with its hash", log(open_seen=opened("seen", cut=1, path_h=H), out_seen=outcome("seen", "modified", path_h=H)), 0),
    ("9: a name that is cut, with another hash", log(open_seen=opened("seen", cut=1, path_h=H), out_seen=outcome("seen", "modified", path_h=H2)), 3),
    ("9: a name that is cut, and one that is not", log(open_seen=opened("seen", cut=1, path_h=H)), 3),
    ("9: a long name, where others are not known whole", log(open_seen=opened("else", cut=1), out_seen=outcome("seen", "modified", path_h=H)), 0),
    ("9: a long name, where others were opened to be read", log(open_seen=opened("else", "R", cut=1), out_seen=outcome("seen", "modified", path_h=H)), 3),
    ("9: a long name, where others are not known whole, behind it", log(open_seen=[outcome("seen", "modified", path_h=H), changed("mkdir", "d", cut=1)], out_seen=None), 3),
    ("9: a long name of a file with others, where others are not known whole, behind it", log(
        open_seen=[outcome("seen", "modified", path_h=H, ino=[9, 8]), changed("mkdir", "d", cut=1)], out_seen=None), 0),
    ("9: renamed, both names cut", log(rename=changed("rename", "old", path_h=H, to="new", to_h=H2, cut=2), out_old=outcome("old", "deleted", path_h=H),
                                       out_new=outcome("new", path_h=H2)), 0),
    ("9: renamed above, where the name is cut", log(open_seen=changed("rename", "se", path_h=H2, to="x", cut=1), out_seen=outcome("seen", "modified", path_h=H)), 0),
    ("9: renamed elsewhere, where the name is cut", log(open_seen=changed("rename", "sx", path_h=H2, to="x", cut=1), out_seen=outcome("seen", "modified", path_h=H)), 3),
    ("9: a link whose target is cut", log(mkdir=changed("symlink", "d", to="far", to_h=H, cut=1)), 0),
    ("9: a link whose target is not known", log(mkdir=changed("symlink", "d", to="far", cut=1)), 3),
    ("9: a change whose name is cut", log(mkdir=changed("mkdir", "d", cut=1)), 3),
    ("9: an outcome before its event", log(mkdir=[GOOD["out d"], GOOD["mkdir"]], out_d=None), 3),
    ("9: only linked from", log(mkdir=changed("link", "x", to="d")), 3),
    ("9: only pointed to", log(mkdir=changed("symlink", "x", to="d")), 3),
    ("9: removed above", log(rename=[changed("rmdir", "old"), changed("rmdir", "new")]), 3),
    ("9: names change places", log(rename=changed("exchange", "new", to="old")), 0),
    ("9: a socket of another name", log(bind=ask("bind", "unix:/w/d/t")), 3),
    ("9: a socket that only listens", log(bind=ask("listen", "unix:/w/d/s")), 3),
    ("9: a file where a socket was bound", log(out_socket=outcome("d/s")), 3),
    ("9: an abstract socket", log(bind=ask("bind", "abstract:d/s")), 3),
    ("9: an address that is no base64", log(bind_bytes=ask("bind", "unix-b64:=")), 3),
    # Rule 10.
    ("10: what was made is in no outcome", log(out_made=None), 3),
    ("10: made outside", log(open_made=opened("/made", "W", was="absent"), out_made=None), 0),
    ("10: made, as far as was seen", log(open_made=opened("made", "W", ev="observed", was="absent"), out_made=None), 0),
    ("10: it was there", log(open_made=opened("made", "W"), out_made=None), 0),
    ("10: made and removed", log(out_made=None, mkdir=[GOOD["mkdir"], changed("unlink", "made")]), 0),
    ("10: removed, then made", log(out_made=None, open_made=[changed("unlink", "made"), GOOD["open made"]]), 0),
    ("10: made and renamed", log(out_made=None, mkdir=[GOOD["mkdir"], changed("rename", "made", to="x")]), 0),
    ("10: made, and another put there", log(out_made=None, mkdir=[GOOD["mkdir"], changed("rename", "x", to="made")]), 0),
    ("10: made in what was renamed", log(open_made=opened("new/m", "W", was="absent"), out_made=None), 0),
    ("10: made in what was removed", log(open_made=opened("q/m", "W", was="absent"), out_made=None, mkdir=[GOOD["mkdir"], changed("rmdir", "q")]), 3),
    ("10: made, with a name that is cut", log(open_made=opened("made", "W", was="absent", cut=1), out_made=None), 0),
    ("10: made, with the hash of a name that is cut", log(open_made=opened("made", "W", was="absent", cut=1, path_h=H), out_made=None), 3),
    ("10: made and found, with the hash of a name that is cut", log(open_made=opened("made", "W", was="absent", cut=1, path_h=H), out_made=outcome("made", path_h=H)), 0),
    ("10: made, with a name as long as one that is not known", log(
        open_made=opened("made", "W", was="absent", cut=1, path_h=H), out_made=None, mkdir=[GOOD["mkdir"], changed("chmod", "x", cut=1)]), 0),
    # Rule 11.
    ("11: nobody asked", log(connect=None), 3),
    ("11: asked for another", log(connect=ask("connect", "198.18.0.9:80")), 3),
    ("11: asked behind", log(connect=None, net_close=[GOOD["net.close"], GOOD["connect"]]), 3),
    ("11: bound, and not connected", log(connect=ask("bind", "198.18.0.9:443")), 3),
    ("11: with a first word", log(connect=ask("send", "198.18.0.9:443")), 0),
    ("11: no address", log(net_open=connection(1, None)), 3),
    ("11: one more than asked for", log(net_close=[GOOD["net.close"], connection(2), gone(2)]), 3),
    ("11: asked for twice", log(connect=ask("connect", "198.18.0.9:443", times=2), net_close=[GOOD["net.close"], connection(2), gone(2)]), 0),
    ("11: two over one to the proxy", log(net_open=connection(1, via="http"), net_close=[GOOD["net.close"], connection(2, via="http"), gone(2)]), 0),
    ("11: the outlet asks by itself", log(connect=None, net_open=connection(1, None, via="exchange")), 0),
    # Forms.
    ("flags in another order", log(open_seen=opened("seen", "W|EXCL|CREAT")), 2),
    ("flags without a way to access", log(open_seen=opened("seen", "CREAT")), 2),
    ("a flag that is unknown", log(open_seen=opened("seen", "W|PATH")), 2),
    ("once is not several times", log(open_seen=opened("seen", times=1)), 2),
    ("more cut than there is", log(open_seen=opened("seen", cut=2)), 2),
    ("nothing cut", log(exec_2=execed(2, exe="/bin/tool", cut=0)), 2),
    ("the hash of a name that is not cut", log(open_seen=opened("seen", path_h=H)), 2),
    ("two hashes of one cut name", log(rename=changed("rename", "old", path_h=H, to="new", to_h=H2, cut=1)), 2),
    ("the hash of no name", log(mkdir=changed("mkdir", "d", to_h=H, cut=1)), 2),
    ("the hash of no target", log(out_d=outcome("d", a={**FILE, "to_h": H})), 2),
    ("an inode without a device", log(open_seen=opened("seen", ino=[1])), 2),
    ("a mode of a type", log(open_seen=opened("seen", mode=0o100644)), 2),
    ("it was something else", log(open_seen=opened("seen", was="there")), 2),
    ("more arguments than three", log(refused=("proc.call", {"p": 2, "call": "x", "args": [0, 1, 2, 3]}, "c1")), 2),
    ("an unknown change", log(mkdir=changed("make", "d")), 2),
    ("no failed programs", log(exit_2=("proc.exit", {"p": 2, "pp": 1, "pid": 12, "failed": 0, "cause": "exit", "status": 0}, "c1")), 2),
    ("failed programs", log(exit_2=("proc.exit", {"p": 2, "pp": 1, "pid": 12, "failed": 9, "cause": "exit", "status": 0}, "c1")), 0),
    ("an empty name", log(mkdir=changed("mkdir", "")), 2),
    ("an unknown use of a socket", log(bind=ask("accept", "unix:/w/d/s")), 2),
]
