#!/usr/bin/env python3
"""Verifies the log of a session from its bytes, knowing only what LOG-FORMAT.md says.

It never reads the writer's source, calls the writer, writes a file, looks at a clock or opens a connection; it needs
nothing but Python's standard library. Section numbers in comments are those of LOG-FORMAT.md.

    verify.py [--ledger DIR] [--ledger-key VKEY] [--session-key VKEY] DIR
    output: one finding a line, then the verdict
    exit: 0 nothing found, 2 broken, 3 incomplete, 4 not checked (a file or a version that cannot be read)
"""

import argparse
import collections
import os
import re
import sys

sys.dont_write_bytecode = True
from format import BROKEN, INCOMPLETE, NOTE, UNCHECKED, Log, named_key, parse_leaf, parse_note, parse_vkey, vouches  # noqa: E402
from primitives import Malformed, Refused, included, names, read, sha, unbase64  # noqa: E402
from recorded import check_recorded  # noqa: E402
from tools import check_tools

WORD = {BROKEN: "broken", UNCHECKED: "not checked", INCOMPLETE: "incomplete", NOTE: "note"}


class Report:
    """What was found, one line each."""

    def __init__(self):
        self.findings, self.independence = [], "self-attested"

    def add(self, level, where, text):
        self.findings.append((level, where, text))

    def exit(self):
        """Of several, 2 beats 4 beats 3 (§9)."""
        levels = {level for level, _, _ in self.findings}
        return next((level for level in (BROKEN, UNCHECKED, INCOMPLETE) if level in levels), 0)


def verify(directory, ledger=None, ledger_key=None, session_key=None):
    """The report on the session in a directory. The ledger is a directory, the keys are the text of vkeys."""
    report = Report()
    try:
        check(report, os.path.abspath(directory), ledger, ledger_key, session_key)
    except Refused as error:
        report.add(UNCHECKED, "session", str(error))
    return report


def check(report, directory, ledger_dir, ledger_key, session_key):
    ledger_key = ledger_key and given_key(ledger_key)
    session_key = session_key and given_key(session_key)
    report.independence = ("ledger key from outside" if ledger_key else "ledger of the same host" if ledger_dir
                           else "session key from outside" if session_key else "self-attested")
    if report.independence == "self-attested":
        report.add(INCOMPLETE, "session", "nothing outside the log vouches for it")
    ledger, facts = None, []
    if ledger_dir:
        ledger, ledger_key = check_ledger(report, ledger_dir, ledger_key)
    session = Log(report, "session", directory)
    sid = session_id(report, session, directory, ledger_key)
    if ledger:
        facts = [leaf for leaf in ledger.leaves if leaf and leaf["o"].get("sid") == sid]
    proofs = check_proofs(report, directory, sid, ledger, ledger_key)
    facts = facts if ledger else proofs
    by = collections.defaultdict(list)
    for leaf in facts:
        by[leaf["k"]].append(leaf["o"])
    check_session_key(report, session, by, ledger_key, session_key)
    check_session(report, session, sid, by, outside=bool(ledger_key))
    check_after(report, directory, session, by["ledger.after"], ledger_key)
    check_blobs(report, session)


def given_key(text):
    try:
        return parse_vkey(text.strip())
    except Malformed as error:
        raise Refused(f"the given key is {error}")


def session_id(report, session, directory, ledger_key):
    """The id in the log's own origin; a directory that is named like a session must be that session's (§1)."""
    match = re.match(r"(.*)/s/([0-7][0-9A-HJKMNP-TV-Z]{25})\Z", session.origin or "")
    name = os.path.basename(directory)
    place = name if re.match(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z", name) else None
    if not match:
        if session.names and not session.damaged:
            report.add(BROKEN, "session", "its origin is not one of a session")
        else:
            report.add(INCOMPLETE, "session", "there is no log here, or its beginning is lost")
        return place
    if ledger_key and match[1] != ledger_key.name:
        report.add(BROKEN, "session", "its origin is not below that of the ledger")
    if place and place != match[2]:
        report.add(BROKEN, "session", f"the log of {match[2]} is in the place of {place}")
    return place or match[2]


# ---- The ledger, and what it says of a session (§6) -----------------------------------------------------------------------


def check_ledger(report, directory, given):
    """The ledger and its key, which is the given one or else the one in its own `vkey` and first leaf."""
    ledger, stored = Log(report, "ledger", directory), stored_key(report, "ledger", directory)
    first = ledger.leaves[0] if ledger.leaves else None
    init = parse_vkey(first["o"]["vkey"]) if first and first["k"] == "ledger.init" else None
    if ledger.size and (init is None or first["o"]["origin"] != ledger.origin or init.name != ledger.origin):
        report.add(BROKEN, "ledger", "its first leaf is not the ledger.init of this ledger")
    key = given or stored or init
    for other in (stored, init):
        if other and key and other != key:
            report.add(BROKEN, "ledger", "it names another key than the one that vouches for it")
    if any(leaf and leaf["k"] == "ledger.init" for leaf in ledger.leaves[1:]):
        report.add(BROKEN, "ledger", "a second ledger.init")
    if key is None:
        report.add(INCOMPLETE, "ledger", "it has no key")
    ledger.check_notes(key)
    seen = {}
    for leaf in ledger.leaves:
        if leaf and leaf["k"] in ("ledger.open", "ledger.beat", "ledger.close", "ledger.after"):
            check_course(report, seen, leaf, ledger.origin)
        if leaf and leaf["k"] == "recovery" and leaf["o"]["size"] != leaf["n"]:
            report.add(BROKEN, "ledger", f"leaf {leaf['n']}: it was recovered at another size")
    return ledger, key


def check_course(report, seen, leaf, origin):
    """One open, then beats, at most one close, and sizes that do not fall."""
    sid, o = leaf["o"]["sid"], leaf["o"]
    if leaf["k"] == "ledger.open":
        if sid in seen or parse_vkey(o["vkey"]).name != f"{origin}/s/{sid}":
            report.add(BROKEN, "ledger", f"leaf {leaf['n']}: a second open of {sid}, or one with a key of another name")
        seen.setdefault(sid, {"size": 0, "after": 0, "closed": False})
        return
    state = seen.setdefault(sid, {"size": 0, "after": 0, "closed": None})
    which = "after" if leaf["k"] == "ledger.after" else "size"
    if state["closed"] is None or o["size"] < state[which] or (which == "size" and state["closed"]):
        report.add(BROKEN, "ledger", f"leaf {leaf['n']}: {leaf['k']} of {sid} without an open, behind the close, or of a smaller size")
    state[which] = max(o["size"], state[which])
    state["closed"] = state["closed"] or leaf["k"] == "ledger.close"


def check_proofs(report, directory, sid, ledger, key):
    """The ledger's leaves that the three proofs carry, as far as they hold."""
    found = []
    for kind in ("open", "close", "after"):
        data = read(directory, f"anchor-{kind}.tlog-proof")
        if data is None:
            continue
        try:
            index, path, note, extra = parse_proof(data)
        except Malformed as error:
            report.add(INCOMPLETE, "session", f"the proof of its ledger.{kind} is {error}")
            continue
        try:
            leaf = parse_leaf(extra or b"")
        except Malformed as error:
            report.add(BROKEN, "session", f"the leaf in the proof of its ledger.{kind} is {error}")
            continue
        if key is None:
            continue
        why = vouches(note, key)
        if not why and not included(sha(b"\x00", extra), index, note.size, path, note.root):
            why = "its path does not lead to the checkpoint"
        if not why and (leaf["k"] != f"ledger.{kind}" or leaf["n"] != index or leaf["o"]["sid"] != sid):
            why = "it is the proof of something else"
        if why:
            report.add(BROKEN, "session", f"the proof of its ledger.{kind}: {why}")
            continue
        if ledger:
            ledger.has(note.size, note.root, f"the proof of the ledger.{kind}")
        found.append(leaf)
    return found


def parse_proof(data):
    """C2SP tlog-proof: index, path, checkpoint, and the bytes of `extra`, which it need not have."""
    head, blank, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed("not ASCII")
    if not blank or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Malformed("not a proof")
    extra = unbase64(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else None
    index = re.match(r"index (0|[1-9][0-9]{0,19})\Z", lines[0] if lines else "")
    path = [unbase64(line) for line in lines[1:]]
    if not index or any(len(node) != 32 for node in path):
        raise Malformed("not a proof")
    return int(index[1]), path, parse_note(note), extra


# ---- The session against what is known of it --------------------------------------------------------------------------------


def stored_key(report, where, directory):
    data = read(directory, "vkey")
    try:
        if data is None:
            raise Malformed("missing")
        text = data.decode("ascii", "replace")
        if not text.endswith("\n"):
            raise Malformed("without its newline")
        return parse_vkey(text[:-1])
    except Malformed as error:
        report.add(INCOMPLETE, where, f"its vkey: {error}")
        return None


def check_session_key(report, session, by, ledger_key, given):
    stored = stored_key(report, "session", session.dir)
    opened = parse_vkey(by["ledger.open"][0]["vkey"]) if by["ledger.open"] else None
    if ledger_key and not opened:
        report.add(INCOMPLETE, "session", "the ledger, or a proof of it, knows no such session")
    key = given or opened or stored
    for other in (opened, stored):
        if other and other != key:
            report.add(BROKEN, "session", "it has another key than the one vouched for")
    if key and session.origin and key.name != session.origin:
        report.add(BROKEN, "session", "its key is the key of something else")
    session.check_notes(key)


def check_session(report, session, sid, by, outside):
    broken = lambda text: report.add(BROKEN, "session", text)  # noqa: E731
    incomplete = lambda text: report.add(INCOMPLETE, "session", text)  # noqa: E731
    leaves = session.leaves
    if leaves and (not leaves[0] or leaves[0]["k"] != "session.open" or leaves[0]["o"]["sid"] != sid):
        broken("its first leaf is not the session.open of this session")
    if any(leaf and leaf["k"] == "session.open" for leaf in leaves[1:]):
        broken("a second session.open")
    closed = [leaf["n"] for leaf in leaves if leaf and leaf["k"] == "session.close"]
    if closed and leaves[-1] is not None and leaves[-1]["k"] != "session.close" or len(closed) > 1:
        broken("there are leaves behind session.close")
    for fact in by["ledger.beat"] + by["ledger.close"]:
        session.has(fact["size"], bytes.fromhex(fact["root"]), "the ledger")
    if not session.names and by["ledger.open"]:
        broken("the ledger knows it, and it is gone")
    if by["ledger.close"] and (not closed or by["ledger.close"][-1]["size"] != session.size):
        broken("the ledger knows a close that the log has not")
    for fact, leaf in [(fact, leaves[0]) for fact in by["ledger.open"] if leaves] + [
            (fact, leaves[n]) for fact in by["ledger.close"] for n in closed]:
        if leaf and any(fact[name] != leaf["o"].get(name) for name in fact if name not in ("sid", "vkey", "size", "root")):
            broken(f"the {fact_kind(fact)} says something else than the ledger")
    if closed and session.rolled:
        broken("its segment says that leaves follow its close")
    if closed and outside and not by["ledger.close"]:
        incomplete("its close is not known to the ledger")
    if not closed:
        incomplete("it was not closed")
    elif not session.sealed:
        incomplete("it has no seal")
    count_records(incomplete, [leaf for leaf in leaves if leaf])
    note = lambda text: report.add(NOTE, "session", text)  # noqa: E731
    check_recorded(incomplete, note, [leaf for leaf in leaves if leaf])
    check_tools(incomplete, [leaf for leaf in leaves if leaf])


def fact_kind(fact):
    return "session.close" if "cause" in fact else "session.open"


def check_after(report, directory, session, facts, ledger_key):
    origin = session.origin or ""
    place = os.path.join(directory, "after")
    if not names(place, "seg"):
        if facts:
            report.add(BROKEN, "after", "the ledger knows it, and it is gone")
        return
    after = Log(report, "after", place, f"{origin}/after")
    after.check_notes(named_key(f"{origin}/after", ledger_key.public) if ledger_key else None)
    if not ledger_key:
        return report.add(INCOMPLETE, "after", "it is signed by the ledger's key, which is not known")
    for fact in facts:
        after.has(fact["size"], bytes.fromhex(fact["root"]), "the ledger")
    if after.size > max([fact["size"] for fact in facts], default=0):
        report.add(INCOMPLETE, "after", "it is longer than the ledger knows")
    for leaf in filter(None, after.leaves):
        o = leaf["o"]
        if leaf["k"] == "redact" and o["leaf"] >= session.size:
            report.add(BROKEN, "after", f"leaf {leaf['n']}: a redaction of no leaf")
        if leaf["k"] == "recovery" and o["size"] != leaf["n"] and (o["size"], o["root"]) != (session.size, session.tree.root(session.size).hex()):
            report.add(BROKEN, "after", f"leaf {leaf['n']}: another session was found at its recovery")
    check_acts(lambda text: report.add(INCOMPLETE, "after", text), [leaf for leaf in after.leaves if leaf])


def small_blobs(report, session):
    """Names in `blobs/small`: entries of hash, length and bytes, one after the other; None when there is no such file."""
    data, names, at = read(session.dir, "blobs", "small"), set(), 0
    if data is None:
        return None
    while at < len(data):
        name, length = data[at:at + 32], int.from_bytes(data[at + 32:at + 34], "big")
        stored = data[at + 34:at + 34 + length]
        if len(data) < at + 34 or not 72 <= length <= 4168 or len(stored) != length:
            report.add(INCOMPLETE, "session", "the small blobs do not end with a whole one")
            break
        if sha(stored) != name:
            report.add(BROKEN, "session", f"the small blob at byte {at + 34} was altered")
        names.add(name.hex())
        at += 34 + length
    return names


def check_blobs(report, session):
    small = small_blobs(report, session)
    for leaf in filter(None, session.leaves):
        o = leaf["o"]
        for blob in (o.get("in"), (o.get("out") or {}).get("blob"), (o.get("err") or {}).get("blob")):
            if not blob or blob["h"] in (small or ()):
                continue
            data = read(session.dir, "blobs", blob["h"][:2], blob["h"][2:])
            if data is None and small is not None and blob["z"] <= 4096:
                report.add(INCOMPLETE, "session", f"leaf {leaf['n']}: its blob is not among the small ones")
            elif data is None:
                report.add(NOTE, "session", f"leaf {leaf['n']}: its blob is gone")
            elif sha(data).hex() != blob["h"]:
                report.add(BROKEN, "session", f"leaf {leaf['n']}: its blob was altered")


# ---- Completeness, by counting records (§9) -----------------------------------------------------------------------------------


def count_records(incomplete, leaves):
    counts, lost, decided, results, limits = collections.Counter(), 0, {}, collections.Counter(), set()
    exits = {leaf["o"]["p"]: leaf["o"] for leaf in leaves if leaf["k"] == "proc.exit"}
    outlet = {}
    ended = collections.Counter(leaf["o"]["p"] for leaf in leaves if leaf["k"] == "proc.exit")
    for leaf in leaves:
        kind, call, o = leaf["k"], leaf.get("tc"), leaf["o"]
        say = lambda text: incomplete(f"leaf {leaf['n']} ({kind} {call}): {text}")  # noqa: E731, B023
        if kind == "session.close":
            if o["counts"] != counts:
                say("the counts are not those of the records")
            if o["lost"] != lost:
                say("what was lost is not what the gaps say")
        counts[kind] += 1
        if kind == "gap":
            lost += o["lost"]
            say("records were lost")
        elif kind == "call":
            if call is None or call in decided:
                say("a call without a name, or a second one with it")
            decided.setdefault(call, [])
        elif kind in ("permit", "deny"):
            if call is None or call not in decided:
                say("a decision without a call")
            decided.setdefault(call, []).append(kind)
        elif kind in ("result", "limit", "proc.exit", "fs.outcome"):
            if call is None or "permit" not in decided.get(call, []):
                say("no call of that name was permitted before it")
            if kind == "limit":
                limits.add(call)
        check_outlet(say, outlet, kind, o)
        if kind == "result":
            results[call] += 1
            check_result(say, o, exits, call in limits)
    for call, decisions in decided.items():
        if len(decisions) != 1:
            incomplete(f"call {call} has {len(decisions)} decisions")
        if "permit" in decisions and results[call] != 1:
            incomplete(f"call {call} was permitted and has {results[call]} results")
    for (what, number, *_), under_way in outlet.items():
        if under_way:
            incomplete(f"{what} {number} has no end")
    for process, times in ended.items():
        if times > 1:
            incomplete(f"process {process} exits {times} times")


def check_outlet(say, outlet, kind, o):
    """`outlet` knows of each connection (`c`) and request (`r`) whether it is under way."""
    if kind in ("net.open", "net.request"):
        what = ("c", o["c"]) if kind == "net.open" else ("r", o["r"])
        if what in outlet:
            say("its number was used before")
        if kind == "net.request" and not outlet.get(("c", o["c"])):
            say("its connection is not open")
        outlet[what] = True
    elif kind in ("net.close", "net.reply"):
        what = ("c", o["c"]) if kind == "net.close" else ("r", o["r"])
        if not outlet.get(what):
            say("what it ends is not under way")
        outlet[what] = False
    elif kind in ("secret.use", "secret.scrub") and "r" in o and not outlet.get(("r", o["r"])):
        say("its request is not under way")
    if kind == "secret.use":
        outlet["v", o["name"], o["v"]] = False
    if kind == "secret.rotate" and o["kept"] != "source" and ("v", o["name"], o["was"]) not in outlet:
        say("what was replaced never went out")


def check_result(say, o, exits, limited):
    own = exits.get(o.get("p"))
    if o["cause"] in ("exit", "signal") and "p" not in o and "t" not in o:
        say("nobody knows whose exit it is")
    if "p" in o and own is None:
        say("the exit of its process is missing")
    if own and o["cause"] in ("exit", "signal") and (o["cause"], o["status"]) != (own["cause"], own["status"]):
        say("the exit of its process was another one")
    if o["cause"] == "limit" and not limited:
        say("no limit was hit before it")


def check_acts(incomplete, leaves):
    """Acts do not overlap: one that begins while another is open leaves the other without its end."""
    kind, announced, files = None, 0, 0
    for leaf in leaves:
        now, o = leaf["k"], leaf["o"]
        if now not in ("apply", "discard", "undo"):
            continue
        if "begin" in o:
            if kind:
                incomplete(f"leaf {leaf['n']}: the {kind} before it has no end")
            kind, announced, files = now, o["begin"], 0
        elif kind != now:
            incomplete(f"leaf {leaf['n']}: it belongs to no {now} that began")
        elif "file" in o:
            files += 1
            if files > announced:
                incomplete(f"leaf {leaf['n']}: more files than were announced")
        else:
            if o["end"] > files:
                incomplete(f"leaf {leaf['n']}: it counts more files than there were")
            kind = None
    if kind:
        incomplete(f"the last {kind} has no end")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory")
    parser.add_argument("--ledger", metavar="DIR")
    parser.add_argument("--ledger-key", metavar="VKEY")
    parser.add_argument("--session-key", metavar="VKEY")
    try:
        args = parser.parse_args()
    except SystemExit as stop:
        # Its own code for wrong usage is 2, which here means that a log was altered.
        return UNCHECKED if stop.code else 0
    report = verify(args.directory, args.ledger, args.ledger_key, args.session_key)
    for level, where, text in report.findings:
        # A guest chose parts of the text; nothing of it may reach a terminal as anything but visible ASCII (§4).
        print(f"{WORD[level]}: {where}: {ascii(text)[1:-1]}")
    print(f"verdict {report.exit()}, {report.independence}")
    return report.exit()


if __name__ == "__main__":
    sys.exit(main())
