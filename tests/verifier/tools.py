"""Double entry of tools, rules 13 and 15 of LOG-FORMAT.md section 9: lives of tools, what they were given, their requests.

It keeps every record of a session in memory, and never decides what a finding is worth. Rule 14, files, is in recorded.py.
"""

import collections

KINDS = ("tool.start", "tool.use", "tool.end")
LOOKS = ("read", "list", "stat", "readlink")
CHANGES = ("open", "unlink", "rmdir", "rename", "link", "symlink", "mkdir", "chmod", "utimes", "truncate")
PATHS = (*LOOKS, "write", *CHANGES)
# What asks the outlet, and by which way the outlet says that it was asked.
ASKS = {"request": "wasi", "connect": "wasi-tcp"}


def is_change(o):
    """Whether a use is a change that was made."""
    return o["op"] in CHANGES and "errno" not in o


def count(o):
    """For how many uses a record stands."""
    return o.get("below", o.get("times", 1))


def check_tools(incomplete, leaves):
    say = lambda leaf, text: incomplete(f"leaf {leaf['n']} ({leaf['k']}): {text}")  # noqa: E731
    started, ended, uses = {}, {}, collections.Counter()
    named, permitted, over, of_call, changed = {}, set(), set(), {}, set()
    for leaf in leaves:
        kind, call, o = leaf["k"], leaf.get("tc"), leaf["o"]
        if kind == "call":
            named[call] = o["tool"]
        elif kind == "permit":
            permitted.add(call)
        elif kind == "fs.outcome" or kind in KINDS:
            if (kind != "fs.outcome" or call in of_call) and (call is None or call not in permitted or call in over):
                say(leaf, "its call was not permitted before it, or is over")
        if kind == "fs.outcome":
            changed.add(call)
            if call in of_call and started[of_call[call]]["o"]["files"] != "write":
                say(leaf, "the tool of its call may change nothing")
        elif kind == "tool.start":
            if o["t"] in started or call in of_call or call in changed or named.get(call, o["tool"]) != o["tool"]:
                say(leaf, "it began before, its call has another or a change, or asked for another")
            started[o["t"]] = leaf
            of_call[call] = o["t"]
            uses[o["t"]] = 0
            ended.pop(o["t"], None)
        elif kind in KINDS:
            own = started.get(o["t"])
            if not own or o["t"] in ended or own.get("tc") != call:
                say(leaf, "its tool was not started, has ended, or is of another call")
            if kind == "tool.use":
                uses[o["t"]] += count(o)
                if own and "errno" not in o and beyond(o["op"], own["o"]):
                    say(leaf, "its tool was not given that")
            else:
                if uses[o["t"]] != o["uses"]:
                    say(leaf, "its uses are not those of the records")
                ended[o["t"]] = o
        elif kind == "result" and call not in over:
            over.add(call)
            check_result(lambda text, leaf=leaf: say(leaf, text), o, of_call.get(call), ended)
    for t, leaf in started.items():
        if t not in ended:
            say(leaf, "it does not end")
    check_requests(say, leaves, of_call)


def beyond(op, given):
    if op in LOOKS:
        return given["files"] == "none"
    if op == "write" or op in CHANGES:
        return given["files"] != "write"
    # Of a socket that has this operation nobody is given anything.
    needs = {"request": "requests", "connect": "sockets", "moved": "sockets", "lookup": "sockets"}.get(op)
    return op == "socket" or needs is not None and needs not in given["net"].split("+")


def check_result(say, o, t, ended):
    if o.get("t") != t:
        say("it is not of the tool of its call")
    if t is None:
        return
    if t not in ended:
        say("the tool of its call has not ended")
    elif o["cause"] in ("exit", "signal") and (o["cause"], o["status"]) != (ended[t]["cause"], ended[t]["status"]):
        say("its tool ended in another way")


def check_requests(say, leaves, of_call):
    """Rule 15: per call, between the start of its tool and its result."""
    asked, opened, refused = (collections.defaultdict(collections.Counter) for _ in range(3))
    first, last, begun, over = {}, {}, set(), set()
    for leaf in leaves:
        kind, call, o = leaf["k"], leaf.get("tc"), leaf["o"]
        running = call in begun and call not in over
        if kind == "tool.start":
            begun.add(call)
        elif kind == "tool.use" and o["op"] in ASKS and "errno" not in o and running:
            to = (ASKS[o["op"]], o["host"], o["port"])
            asked[call][to] += count(o)
            first.setdefault((call, to), leaf)
        elif kind == "net.open" and o["via"] in ASKS.values():
            if not running:
                say(leaf, "no tool runs in its call")
            else:
                to = (o["via"], o["host"], o["port"])
                opened[call][to] += 1
                last[call, to] = leaf
        elif kind == "net.refuse" and running:
            refused[call]["all"] += 1
        elif kind == "result" and call not in over:
            over.add(call)
            for to, times in opened[call].items():
                if times > asked[call][to]:
                    say(last[call, to], "there are more connections of its tool than it asked for")
            # Several requests go over one connection; each socket is one.
            unheard = {to: times - opened[call][to] for to, times in asked[call].items()
                       if times > opened[call][to] and (to[0] == "wasi-tcp" or not opened[call][to])}
            if sum(unheard.values()) > refused[call]["all"]:
                say(first[call, next(iter(unheard))], "the outlet has not heard of it")
