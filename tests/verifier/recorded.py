"""Double entry, rules 7 to 11 and 14 of LOG-FORMAT.md section 9: what a recorder saw, and what tools did to files, against
calls, outcomes and connections.

It keeps every record of a session in memory, looks at all of them as often as it likes, and never decides what a finding
is worth.
"""

import collections

import tools
from primitives import Malformed, unbase64

EVENTS = ("proc.start", "proc.exec", "proc.call", "proc.exit", "fs.open", "fs.change", "net.ask")
ONLY_RECORDED = tuple(kind for kind in EVENTS if kind != "proc.exit")
PERFORMED = ("performed", "outcome")


def check_recorded(incomplete, note, leaves):
    """Everything about the recorder of a session whose leaves these are."""
    first = leaves[0] if leaves and leaves[0]["k"] == "session.open" else None
    recorder = first["o"].get("recorder") if first else None
    if not recorder or recorder["grade"] == "outcome-only":
        note("there was no recorder")
        for leaf in leaves:
            if leaf["k"] in ONLY_RECORDED:
                incomplete(f"leaf {leaf['n']}: {leaf['k']}, and there was no recorder")
    say = lambda leaf, text: incomplete(f"leaf {leaf['n']} ({leaf['k']}): {text}")  # noqa: E731
    if not recorder or recorder["grade"] == "outcome-only":
        for records in of_tools(leaves):
            check_files(say, note, records)
        return
    calls = order_of_calls(say, leaves)
    check_processes(say, leaves)
    for leaf in leaves:
        if leaf["k"] == "fs.open" and leaf["ev"] in PERFORMED and recorder["grade"] != "notify+addfd":
            say(leaf, "this recorder performs nothing")
    for records in calls.values():
        check_files(say, note, records)
    check_connections(say, leaves)


def order_of_calls(say, leaves):
    """Rule 8; by call, its events and outcomes up to its result."""
    permitted, over, calls = set(), set(), collections.defaultdict(list)
    for leaf in leaves:
        kind, call = leaf["k"], leaf.get("tc")
        if kind == "permit":
            permitted.add(call)
        if kind in (*EVENTS, "fs.outcome"):
            if call is None or call not in permitted:
                say(leaf, "its call was not permitted before it")
            elif call in over:
                say(leaf, "it is behind the result of its call")
            else:
                calls[call].append(leaf)
        if kind == "tool.use" and call in permitted and call not in over:
            calls[call].append(leaf)
        if kind == "result":
            over.add(call)
    return calls


def of_tools(leaves):
    """Without a recorder: of each call that has a tool, what there is of files from its start to the call's result."""
    calls, over = {}, set()
    for leaf in leaves:
        kind, call = leaf["k"], leaf.get("tc")
        if kind == "tool.start":
            calls.setdefault(call, [])
        if kind in ("tool.use", "fs.outcome") and call in calls and call not in over:
            calls[call].append(leaf)
        if kind == "result":
            over.add(call)
    return calls.values()


# ---- Processes (rule 7) ---------------------------------------------------------------------------------------------------


def check_processes(say, leaves):
    started, ended, program, executed, mains = {}, set(), {}, set(), {}
    for leaf in leaves:
        kind, o = leaf["k"], leaf["o"]
        p = o.get("p")
        if kind == "proc.start":
            if p in started:
                say(leaf, "it was started before")
            if "pp" in o and o["pp"] not in started:
                say(leaf, "what made it was not started")
            if "pp" not in o and mains.setdefault(leaf.get("tc"), p) != p:
                say(leaf, "its call began with another process")
            started[p] = leaf
        elif kind in EVENTS:
            own = started.get(p)
            if not own or p in ended or own.get("tc") != leaf.get("tc"):
                say(leaf, "its process was not started, has ended, or is of another call")
            if kind == "proc.exec":
                executed.add(p)
                program[p] = o.get("exe", program.get(p))
            if kind == "proc.exit":
                ended.add(p)
                if own and (own["o"]["pid"], own["o"].get("pp")) != (o["pid"], o.get("pp")):
                    say(leaf, "it was started with another pid or parent")
                if "exe" in o and o["exe"] != program.get(p):
                    say(leaf, "it executed something else last")
        elif kind == "result" and p is not None:
            if mains.get(leaf.get("tc")) != p:
                say(leaf, "its call did not begin with this process")
            elif o["cause"] == "exit" and p not in executed:
                say(leaf, "its process executed nothing")
    for p, leaf in started.items():
        if p not in ended:
            say(leaf, "it does not end")


# ---- Files (rules 9 and 10) -----------------------------------------------------------------------------------------------


def check_files(say, note, records):
    """`records` are those of one call, in order, up to its result."""
    opens = [leaf for leaf in records if leaf["k"] == "fs.open" and writes(leaf["o"])]
    used = [leaf for leaf in records if leaf["k"] == "tool.use" and tools.is_change(leaf["o"])]
    changes = [leaf for leaf in records if leaf["k"] == "fs.change" and is_known(leaf["o"])] + used
    outcomes = [leaf for leaf in records if leaf["k"] == "fs.outcome"]
    plain = {leaf["n"]: any(explains(before, leaf) for before in records[:at] if before["k"] != "fs.outcome")
             for at, leaf in enumerate(records) if leaf["k"] == "fs.outcome"}
    inodes = {tuple(leaf["o"]["ino"]) for leaf in opens + used + [leaf for leaf in outcomes if plain[leaf["n"]]] if "ino" in leaf["o"]}
    for leaf in outcomes:
        if not plain[leaf["n"]] and ("ino" not in leaf["o"] or tuple(leaf["o"]["ino"]) not in inodes):
            # One that another name could explain is asked at the end, any other where it stands.
            until = None if "ino" in leaf["o"] else leaf["n"]
            doubt_or(say, note, records, leaf, until, "nothing explains it")
    moved = {name for leaf in changes for name in moves(leaf["o"])}
    gone = moved | {name_of(leaf["o"]) for leaf in changes if leaf["o"]["op"] in ("unlink", "rmdir")}
    touched = collections.Counter(name for leaf in opens if is_known(leaf["o"]) for name in [name_of(leaf["o"])])
    touched.update(name for leaf in changes for name in {name_of(leaf["o"]), *moves(leaf["o"]), *linked(leaf)})
    for leaf in used:
        o = leaf["o"]
        alone = o["op"] in ("unlink", "rmdir") and touched[name_of(o)] == 1 and not moved & above(o["path"])
        found = any(name_of(after["o"]) == name_of(o) for after in outcomes if after["n"] > leaf["n"])
        if alone and not found and not raw(o["path"]).startswith(b"/"):
            doubt_or(say, note, records, leaf, None, "what it removed is in no outcome")
    for leaf in opens + used:
        o = leaf["o"]
        if leaf["k"] == "fs.open":
            made = leaf["ev"] in PERFORMED and "was" in o and is_known(o)
        else:
            made = o["op"] in ("link", "symlink", "mkdir") or o["op"] == "open" and "was" in o
        if not made or raw(o["path"]).startswith(b"/"):
            continue
        found = any(name_of(after["o"]) == name_of(o) for after in outcomes if after["n"] > leaf["n"])
        if not found and name_of(o) not in gone and not moved & above(o["path"]):
            doubt_or(say, note, records, leaf, None, "what it made is in no outcome")


def explains(event, outcome):
    """Whether an event accounts for an outcome by its name."""
    kind, o, of = event["k"], event["o"], outcome["o"]
    if kind == "fs.open":
        return writes(o) and is_known(o) and name_of(o) == name_of(of)
    if kind == "fs.change" and is_known(o):
        return name_of(of) in {name_of(o), *moves(o)} or bool(set(moves(o)) & above(of["path"]))
    if kind == "tool.use" and tools.is_change(o):
        names = {name_of(o), *moves(o), *linked(event)}
        return name_of(of) in names or bool(set(moves(o)) & above(of["path"]))
    if kind == "net.ask" and o["op"] == "bind" and of.get("a", {}).get("ty") == "socket":
        bound = socket_path(o["addr"])
        return bound is not None and bound.rpartition(b"/")[2] == raw(of["path"]).rpartition(b"/")[2]
    return False


def doubt_or(say, note, records, leaf, until, text):
    """A finding; but a note where the name is longer than a record keeps, and something may explain it that is as long."""
    may = "path_h" in leaf["o"] and any(
        may_explain(event, raw(leaf["o"]["path"])) for event in records if until is None or event["n"] < until)
    if may:
        note(f"leaf {leaf['n']}: its name is longer than a record keeps, and what may explain it is not known whole")
    else:
        say(leaf, text)


def may_explain(event, kept):
    kind, o = event["k"], event["o"]
    if kind == "tool.use":
        if not tools.is_change(o):
            return False
    elif kind not in ("fs.open", "fs.change") or kind == "fs.open" and not writes(o):
        return False
    elif not is_known(o):
        return True
    far = [raw(o[which]) for which in ("path", "to") if f"{which}_h" in o] if o.get("op") in ("rename", "exchange") else []
    return any(kept.startswith(name) or name.startswith(kept) for name in far)


def is_known(o):
    """Whether a record has all its names, or a hash of each that it has not."""
    return o.get("cut", 0) == ("path_h" in o) + ("to_h" in o)


def writes(o):
    flags = set(o["fl"].split("|"))
    makes = "CREAT" in flags and ("was" in o or "ino" not in o)
    return (bool({"W", "RW", "TRUNC"} & flags) or makes) and o.get("errno", 0) == 0


def moves(o):
    """The names that a rename or exchange takes from what they were of."""
    return [name_of(o, which) for which in ("path", "to") if which in o] if o["op"] in ("rename", "exchange") else []


def linked(leaf):
    """The other name of a file to which a tool gave one."""
    return [name_of(leaf["o"], "to")] if leaf["k"] == "tool.use" and leaf["o"]["op"] == "link" else []


def name_of(o, which="path"):
    """A name: what the record has of it, and the hash of the whole where that is not all."""
    return raw(o[which]), o.get(f"{which}_h")


def raw(path):
    return path.encode() if type(path) is str else unbase64(path["b64"], url=True)


def above(path):
    """Every directory above a path, as far as the record has it."""
    path = raw(path)
    return {(path[:at], None) for at, byte in enumerate(path) if byte == 0x2F}


def socket_path(addr):
    if addr.startswith("unix-b64:"):
        try:
            return unbase64(addr.removeprefix("unix-b64:"), url=True)
        except Malformed:
            return None
    return addr.removeprefix("unix:").encode() if addr.startswith("unix:") else None


# ---- Connections (rule 11) ------------------------------------------------------------------------------------------------


def check_connections(say, leaves):
    asks, opens = collections.Counter(), collections.Counter()
    last = {}
    for leaf in leaves:
        o = leaf["o"]
        if leaf["k"] == "net.ask" and o["op"] in ("connect", "send"):
            asks[o["addr"]] += o.get("times", 1)
        if leaf["k"] == "net.open" and o["via"] in ("direct", "http", "socks"):
            if o.get("addr") not in asks:
                say(leaf, "nobody asked for this connection")
            elif o["via"] == "direct":
                opens[o["addr"]] += 1
                last[o["addr"]] = leaf
    for addr, times in opens.items():
        if times > asks[addr]:
            say(last[addr], "there are more connections than were asked for")
