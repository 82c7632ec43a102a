"""Made logs, as data: one rule of LOG-FORMAT.md each, what breaks it, and the exit code that the document asks for.

It decides nothing; compare.py writes each one and asks both verifiers. A code of None means that the document does not
say, and the verifiers need only agree.
"""

from doubles import DOUBLES
from forge import HASH, LEDGER, OTHER, SESSION_SEED, SID, close, spell, vkey
from tooled import TOOLED

CALL, PERMIT, DENY = {"tool": "exec", "via": "cli"}, {"rules": ["r"]}, {"rule": "r", "reason": "no"}
RESULT = {"cause": "exit", "status": 0, "wall_us": 20, "cpu_us": 10, "p": 1}
EXIT = {"p": 1, "pid": 7, "cause": "exit", "status": 0, "cpu_us": 10, "rss_kib": 900}
LIMIT, CHANGE = {"which": "wall_s", "max": 1, "seen": 2}, {"path": "a", "op": "created", "a": {"ty": "file", "mode": 420, "z": 0}}
GOOD = [("call", CALL, "c1"), ("permit", PERMIT, "c1"), ("proc.exit", EXIT, "c1"), ("fs.outcome", CHANGE, "c1"), ("result", RESULT, "c1")]
ACT = [("apply", {"begin": 1}), ("apply", {"file": CHANGE}), ("apply", {"end": 1})]
NET = [("net.open", {"c": 1, "host": "a.b", "port": 443, "via": "direct"}, None),
       ("net.request", {"r": 1, "c": 1, "method": "GET", "host": "a.b", "port": 443, "path": "/", "rules": ["r"]}, None),
       ("secret.use", {"r": 1, "name": "k", "v": 1, "host": "a.b", "place": "header authorization", "rule": "r"}, None),
       ("secret.scrub", {"r": 1, "name": "k", "form": "raw", "count": 1, "place": "body"}, None),
       ("net.reply", {"r": 1, "status": 200, "addr": "192.0.2.1:443", "up": 0, "down": 5, "first_us": 1, "us": 2, "why": "done"}, None),
       ("net.close", {"c": 1, "up": 9, "down": 9, "us": 3, "why": "done"}, None)]
ROTATED = ("secret.rotate", {"name": "k", "was": 1, "v": 2, "kept": "store"}, None)
BLOB = {"h": HASH, "c": OTHER, "z": 3}


def instead(index, *records):
    return {"records": GOOD[:index] + list(records) + GOOD[index + 1:]}


def net(*indices):
    return {"records": [NET[index] for index in indices]}


def netted(index, **changed):
    return {"records": NET[:index] + [(NET[index][0], {**NET[index][1], **changed}, None)] + NET[index + 1:]}


def result(**changed):
    return instead(4, ("result", {k: v for k, v in {**RESULT, **changed}.items() if v is not None}, "c1"))


def edited(index, **changed):
    """A member of a leaf is another: the log is whole and signed, and the leaf is wrong."""
    def edit(leaves):
        leaves[index].update(changed)
        return leaves
    return {"records": GOOD, "edit": edit}


def respelt(old, new, index=1):
    def edit(leaves):
        raw = spell(leaves[index])
        assert old in raw
        return leaves[:index] + [raw.replace(old, new, 1)] + leaves[index + 1:]
    return {"records": GOOD, "edit": edit}


def happened(ago, mt):
    """The second leaf, and all behind it, at this time; what the second tells of was so much earlier."""
    def edit(leaves):
        later = [{**leaf, "mt": mt} for leaf in leaves[1:]]
        members = list(later[0].items())
        return [leaves[0], dict(members[:4] + [("ago", ago)] + members[4:]), *later[1:]]
    return {"records": GOOD, "edit": edit}


def outcome(change):
    return instead(3, ("fs.outcome", change, "c1"))


def ledger(*course):
    """What the ledger says behind its open; SIZE and ROOT stand for those of the session."""
    def made(size, root):
        put = {"SIZE": size, "ROOT": root}
        return [(kind, {k: put.get(v, v) if isinstance(v, str) else v for k, v in o.items()}) for kind, o in course]
    return {"records": GOOD, "course": made}


BEAT = ("ledger.beat", {"sid": SID, "size": "SIZE", "root": "ROOT"})
CLOSE = ("ledger.close", {"sid": SID, "size": "SIZE", "root": "ROOT", "cause": "exit", "status": 0})
ELSE = "01HF7YAT00040G2081040G2082"
RECOVERY = {"size": 1, "root": HASH, "kept": 0, "dropped": 0}

CONTAINER = {"engine": "docker", "engine_v": "28.2.2", "api": "1.50", "rights": "rootless", "runtime": "runc", "id": HASH,
             "image": "debian:13", "image_id": OTHER, "repo_digest": f"docker.io/library/debian@sha256:{HASH}", "uid": 1000,
             "gid": 1000, "spec_h": OTHER}


FORK = {"sid": ELSE, "changes": 3, "changes_h": HASH}


def forked(mode="review", **changed):
    """A session that goes on from another; None leaves a member out."""
    fork = {k: v for k, v in {**FORK, **changed}.items() if v is not None}
    return {"records": GOOD, "opening": {"mode": mode, "from": fork}}


def contained(wall="container", **changed):
    """A session in a container; None leaves a member out."""
    container = {k: v for k, v in {**CONTAINER, **changed}.items() if v is not None}
    return {"records": GOOD, "opening": {"wall": wall, "container": container}}


RULES = [
    ("nothing is wrong", {"records": GOOD}, 0),
    ("two segments", {"records": GOOD, "split": 3}, 0),
    ("an act follows", {"records": GOOD, "after": ACT}, 0),
    ("no calls at all", {"records": []}, 0),
    ("a container", contained(), 0),
    ("a container of no registry's image", contained(repo_digest=None, image=f"sha256:{OTHER}"), 0),
    ("a container of an engine with root's rights", contained(rights="rootful", uid=0, gid=2**32 - 1), 0),
    ("a container with the longest words", contained(engine="e" * 128, image="i" * 512, runtime="~!" * 64), 0),
    ("layers that nobody has heard of", {"records": GOOD, "opening": {"layers": [{"name": "image", "state": "active"}]}}, 0),
    ("a container behind another wall", contained("process"), 2),
    ("a container behind no wall that there is", contained("Container"), 2),
    ("the wall of a container without one", {"records": GOOD, "opening": {"wall": "container"}}, 2),
    ("a container that is nothing", {"records": GOOD, "opening": {"wall": "container", "container": None}}, 2),
    *[(f"a container without {name}", contained(**{name: None}), 2) for name in CONTAINER if name != "repo_digest"],
    *[(f"a container with {name} {str(value)[:20]!r}", contained(**{name: value}), 2) for name, value in (
        ("engine", ""), ("engine", "docker engine"), ("engine_v", "v" * 129), ("api", "1.50\n"), ("runtime", "r\u00fcnc"),
        ("rights", "root"), ("id", HASH[:62]), ("id", HASH.upper().replace("0", "A")), ("image", ""), ("image", "i" * 513),
        ("image", "a\u202eb"), ("image_id", f"sha256:{OTHER}"), ("repo_digest", ""), ("repo_digest", "debian:13"),
        ("repo_digest", f"@sha256:{HASH}"), ("repo_digest", f"a@b@sha256:{HASH}"), ("repo_digest", f"a@sha256:{HASH}0"),
        ("repo_digest", "r" * 441 + f"@sha256:{HASH}"), ("uid", -1), ("gid", 2**32), ("uid", "1000"), ("spec_h", ""), ("more", 1))],
    ("a session that goes on from another", forked(), 0),
    ("a session that goes on from another without a change", forked(changes=0), 0),
    ("a session that goes on from itself", forked(sid=SID), 2),
    ("a session that goes on from another in the workspace itself", forked("direct"), 2),
    ("a session that goes on from nothing", {"records": GOOD, "opening": {"from": None}}, 2),
    *[(f"a fork without {name}", forked(**{name: None}), 2) for name in FORK],
    *[(f"a fork with {name} {value!r}", forked(**{name: value}), 2) for name, value in (
        ("sid", "last"), ("changes", -1), ("changes", "3"), ("changes_h", HASH[:62]), ("more", 1))],
    ("a denied call", {"records": [("call", CALL, "c1"), ("deny", DENY, "c1")]}, 0),
    ("a heartbeat", {"records": [*GOOD, ("heartbeat", {"running": 0, "lost": 0}, None)]}, 0),
    ("a request", net(*range(6)), 0),
    ("a name that has no address", {"records": [("net.name", {"name": "a.b", "ty": "A"}, None)]}, 0),
    ("a refusal of no connection", {"records": [("net.refuse", {"host": "a.b", "rule": "r", "reason": "no"}, None)]}, 0),
    ("a canary", {"records": [("secret.canary", {"c": 9, "name": "k", "host": "a.b", "place": "path"}, None)]}, 0),
    ("a secret in output", {"records": [("secret.scrub", {"name": "k", "form": "raw", "count": 1, "place": "stdout"}, None)]}, 0),
    # Completeness, rules 1 to 6 and 12 of section 9; 7 to 11 are those of a recorder.
    ("1: a gap", {"records": [*GOOD, ("gap", {"lost": 2, "why": "full"}, None)],
                  "closing": close([*GOOD, ("gap", 0, 0)], lost=2)}, 3),
    ("1: lost without a gap", {"records": GOOD, "closing": close(GOOD, lost=2)}, 3),
    ("2: a count too high", {"records": GOOD, "closing": close([*GOOD, ("call", 0, 0)])}, 3),
    ("2: a kind is not counted", {"records": GOOD, "closing": close(GOOD[:4])}, 3),
    ("3: a call without a name", instead(0, ("call", CALL, None)), 3),
    ("3: two calls of one name", instead(0, GOOD[0], GOOD[0]), 3),
    ("3: a call without a decision", {"records": [*GOOD, ("call", CALL, "c2")]}, 3),
    ("3: a permit and a denial", instead(1, GOOD[1], ("deny", DENY, "c1")), 3),
    ("3: two permits", instead(1, GOOD[1], GOOD[1]), 3),
    ("3: a permit of no call", {"records": [*GOOD, ("permit", PERMIT, "c2")]}, 3),
    ("3: a permit without a name", {"records": [*GOOD, ("permit", PERMIT, None)]}, 3),
    ("3: a denial before its call", {"records": [("deny", DENY, "c1"), ("call", CALL, "c1")]}, 3),
    ("4: no result", {"records": GOOD[:4]}, 3),
    ("4: two results", {"records": [*GOOD, GOOD[4]]}, 3),
    ("4: the result of a denied call", instead(1, ("deny", DENY, "c1")), 3),
    ("4: an outcome of no call", {"records": [*GOOD, ("fs.outcome", CHANGE, "c2")]}, 3),
    ("4: an outcome without a name", {"records": [*GOOD, ("fs.outcome", CHANGE, None)]}, 3),
    ("4: an exit without a name", {"records": [*GOOD, ("proc.exit", {**EXIT, "p": 2}, None)]}, 3),
    ("4: a limit without a name", {"records": [*GOOD, ("limit", LIMIT, None)]}, 3),
    ("4: an outcome before the permit", {"records": [GOOD[0], GOOD[3], GOOD[1], GOOD[2], GOOD[4]]}, 3),
    ("4: an outcome behind the result", {"records": [*GOOD[:3], GOOD[4], GOOD[3]]}, 0),
    ("5: an exit behind the result", {"records": [*GOOD[:2], *GOOD[3:], GOOD[2]]}, 0),
    ("5: nobody's exit", result(p=None), 3),
    ("5: an error has no process", {"records": [*GOOD[:2], ("result", {**result(cause="error", p=None)["records"][4][1]}, "c1")]}, 0),
    ("5: a process that does not exit", result(p=2), 3),
    ("5: an error with a process that does not exit", result(p=2, cause="error"), 3),
    ("5: another status", result(status=1), 3),
    ("5: another cause", result(cause="signal"), 3),
    ("5: stopped, with another cause", result(cause="stop"), 0),
    ("5: exits twice", instead(2, GOOD[2], GOOD[2]), 3),
    ("5: the exit belongs to another call", {"records": [
        *GOOD[:2], *GOOD[3:], ("call", CALL, "c2"), ("permit", PERMIT, "c2"), ("proc.exit", EXIT, "c2"),
        ("result", result(cause="error", p=None)["records"][4][1], "c2")]}, None),
    ("5: a limit without its record", result(cause="limit", status=9), 3),
    ("5: a limit with its record", {"records": [*GOOD[:2], ("limit", LIMIT, "c1"), GOOD[2], ("result", {**RESULT, "cause": "limit"}, "c1")]}, 0),
    ("5: a limit behind its result", {"records": [*result(cause="limit")["records"], ("limit", LIMIT, "c1")]}, 3),
    ("6: a connection without an end", net(0, 1, 4), 3),
    ("6: a request without an end", net(0, 1, 5), 3),
    ("6: a request of no connection", net(1, 4), 3),
    ("6: a request of a closed connection", net(0, 5, 1, 4), 3),
    ("6: a reply to nothing", net(0, 4, 5), 3),
    ("6: two replies", net(0, 1, 4, 4, 5), 3),
    ("6: two closes of a connection", net(0, 5, 5), 3),
    ("6: a connection's number again", net(0, 5, 0, 5), 3),
    ("6: a request's number again", net(0, 1, 4, 1, 4, 5), 3),
    ("6: a reply behind its connection", net(0, 1, 5, 4), 0),
    ("6: a secret of no request", net(0, 2, 5), 3),
    ("6: a secret behind its request", net(0, 1, 4, 2, 5), 3),
    ("6: a scrub behind its request", net(0, 1, 4, 3, 5), 3),
    ("6: a rotation of what went out", {"records": [*NET[:3], ROTATED, *NET[4:]]}, 0),
    ("6: a rotation behind the request", {"records": [*NET, ROTATED]}, 0),
    ("6: a rotation before the use", {"records": [*NET[:2], ROTATED, *NET[2:]]}, 3),
    ("6: a rotation of another version", {"records": [*NET, ("secret.rotate", {**ROTATED[1], "was": 2}, None)]}, 3),
    ("6: a rotation of another secret", {"records": [*NET, ("secret.rotate", {**ROTATED[1], "name": "l"}, None)]}, 3),
    ("6: a rotation that only the session keeps", {"records": [("secret.rotate", {**ROTATED[1], "kept": "session", "why": "w"}, None)]}, 3),
    ("6: a rotation at the source", {"records": [("secret.rotate", {**ROTATED[1], "kept": "source"}, None)]}, 0),
    ("12: no end", {"records": GOOD, "after": ACT[:2]}, 3),
    ("12: no beginning", {"records": GOOD, "after": ACT[1:]}, 3),
    ("12: the end of another act", {"records": GOOD, "after": [*ACT[:2], ("undo", {"end": 1})]}, 3),
    ("12: more files than announced", {"records": GOOD, "after": [*ACT[:2], *ACT[1:]]}, 3),
    ("12: fewer files than counted", {"records": GOOD, "after": [ACT[0], ACT[2]]}, 3),
    ("12: fewer files than announced", {"records": GOOD, "after": [ACT[0], ("apply", {"end": 0})]}, 0),
    ("12: an act in an act", {"records": GOOD, "after": [ACT[0], *ACT]}, 3),
    ("12: two kinds at once", {"records": GOOD, "after": [ACT[0], ("undo", {"begin": 0}), *ACT[1:], ("undo", {"end": 0})]}, None),
    ("12: a redaction in an act", {"records": GOOD, "after": [
        *ACT[:2], ("redact", {"leaf": 1, "field": "argv", "reason": "r", "by": "b"}), ACT[2]]}, 0),
    ("a redaction of no leaf", {"records": GOOD, "after": [("redact", {"leaf": 99, "field": "argv", "reason": "r", "by": "b"})]}, 2),
    ("a recovery of another root", {"records": GOOD, "after": [("recovery", RECOVERY)]}, 2),
    # The session as a whole.
    ("it was not closed", {"records": GOOD, "closing": False}, 3),
    ("leaves behind the close", {"records": [*GOOD, ("session.close", close(GOOD), None)]}, 2),
    ("opened twice", {"records": [("session.open", GOOD, None)]}, 2),
    ("another session's open", {"records": GOOD, "edit": lambda leaves: [
        {**leaves[0], "o": {**leaves[0]["o"], "sid": ELSE}}, *leaves[1:]]}, 2),
    ("no open", {"records": GOOD, "edit": lambda leaves: [{**one, "n": one["n"] - 1} for one in leaves[1:]]}, 2),
    ("a ledger's leaf", {"records": [*GOOD, ("ledger.beat", {"sid": SID, "size": 1, "root": HASH}, None)]}, 2),
    ("an apply in a session", {"records": [*GOOD, ("apply", {"begin": 0}, None)]}, 2),
    ("a call in a follow-up", {"records": GOOD, "after": [("call", CALL)]}, 2),
    # What the ledger says.
    ("the ledger knows no close", ledger(), 3),
    ("a beat and a close", ledger(BEAT, CLOSE), 0),
    ("a beat of another root", ledger(("ledger.beat", {**BEAT[1], "size": 2}), CLOSE), 2),
    ("a beat behind the close", ledger(CLOSE, BEAT), 2),
    ("two closes", ledger(CLOSE, CLOSE), 2),
    ("a close of another root", ledger(("ledger.close", {**CLOSE[1], "root": HASH})), 2),
    ("a close that is larger", ledger(("ledger.close", {**CLOSE[1], "size": 99})), 2),
    ("a close the log lacks", {**ledger(CLOSE), "closing": False}, 2),
    ("a close of another status", ledger(("ledger.close", {**CLOSE[1], "status": 1})), 2),
    ("a follow-up that is gone", ledger(CLOSE, ("ledger.after", {"sid": SID, "size": 1, "root": HASH})), 2),
    ("a follow-up the ledger does not know", {**ledger(CLOSE), "after": ACT}, 3),
    ("an empty follow-up that is gone", ledger(CLOSE, ("ledger.after", {"sid": SID, "size": 0, "root": HASH})), 2),
    ("a beat before any open, of another session", ledger(("ledger.beat", {**BEAT[1], "sid": ELSE}), CLOSE), 2),
    ("sizes of another session fall", ledger(("ledger.open", {
        "sid": ELSE, "vkey": vkey(f"{LEDGER}/s/{ELSE}", SESSION_SEED), "tool": "t", "profile_h": HASH, "plan_h": HASH}),
        ("ledger.beat", {"sid": ELSE, "size": 3, "root": HASH}), ("ledger.beat", {"sid": ELSE, "size": 2, "root": HASH}), CLOSE), 2),
    ("a second ledger.init", ledger(CLOSE, ("ledger.init", {"origin": LEDGER, "vkey": vkey(LEDGER, b"\x01" * 32)})), 2),
    ("the ledger names another profile", {"records": GOOD, "ends": {"profile_h": OTHER}}, 2),
    ("the ledger names another key", {"records": GOOD, "ends": {"vkey": vkey(f"{LEDGER}/s/{SID}", b"\x09" * 32)}}, 2),
    ("the ledger names a key of another name", {"records": GOOD, "ends": {"vkey": vkey(f"{LEDGER}/s/{ELSE}", SESSION_SEED)}}, 2),
    ("the ledger does not know the session", {"records": GOOD, "ends": {"sid": ELSE, "vkey": vkey(f"{LEDGER}/s/{ELSE}", SESSION_SEED)}}, None),
    # Spelling and form of leaves.
    ("another index", edited(2, n=3), 2),
    ("a clock goes back", edited(2, t=1), 2),
    ("the monotonic clock goes back", edited(1, mt=5), 2),
    ("it happened before it was written", happened(4, 9), 0),
    ("it happened as the log was opened", happened(9, 9), 0),
    ("it happened before the log was opened", happened(10, 9), 2),
    ("it happened no time ago", happened(0, 9), 2),
    ("an unknown kind", edited(2, k="permits"), 2),
    ("an unknown level", edited(2, ev="sure"), 2),
    ("a name with a space", edited(2, tc="c 1"), 2),
    ("an unknown member", edited(2, x=1), 2),
    ("an unknown member of the object", edited(2, o={"rules": [], "x": 1}), 2),
    ("a missing member", edited(2, o={}), 2),
    ("null for nothing", edited(1, o={**CALL, "in": None}), 2),
    ("a digest too short", edited(1, _sd=["AAAA"]), 2),
    ("no digests", edited(1, _sd=[]), 2),
    ("a digest", edited(1, _sd=["hD11-IlpoX4FLHQ4Jlf47M2_2pHPlf1OiVxvdPuASow"]), 0),
    ("a digest whose unused bits are set", edited(1, _sd=["hD11-IlpoX4FLHQ4Jlf47M2_2pHPlf1OiVxvdPuASox"]), 2),
    ("white space", respelt(b'"k":', b'"k": '), 2),
    ("a member twice", respelt(b'"v":1,', b'"v":1,"v":1,'), 2),
    ("members in another order", respelt(b'"tool":"exec","via":"cli"', b'"via":"cli","tool":"exec"'), 2),
    ("an escape that is not needed", respelt(b'"exec"', b'"\\u0065xec"'), 2),
    ("a slash that is escaped", respelt(b'"exec"', b'"e\\/c"'), 2),
    ("a control by its short name", respelt(b'"exec"', b'"\\n"'), 0),
    ("a control by number that has a name", respelt(b'"exec"', b'"\\u000a"'), 2),
    ("a control by number", respelt(b'"exec"', b'"\\u001f"'), 0),
    ("a control in capitals", respelt(b'"exec"', b'"\\u001F"'), 2),
    ("a control as it is", respelt(b'"exec"', b'"\x1f"'), 2),
    ("delete as it is", respelt(b'"exec"', b'"\x7f"'), 0),
    ("not UTF-8", respelt(b'"exec"', b'"\xff"'), 2),
    ("half a surrogate pair", respelt(b'"exec"', b'"\\ud800"'), 2),
    ("a character of four bytes", respelt(b'"exec"', '"\U0001f600"'.encode()), 0),
    ("a fraction", respelt(b'"n":1', b'"n":1.0'), 2),
    ("a leading zero", respelt(b'"n":1', b'"n":01'), 2),
    ("minus nothing", respelt(b'"status":0', b'"status":-0', 5), 2),
    ("a negative status", {"records": [*GOOD[:2], ("proc.exit", {**EXIT, "status": -5}, "c1"), ("result", {**RESULT, "status": -5}, "c1")]}, 0),
    ("a status that is too large", result(status=2**31), 2),
    ("a number that is too large", result(wall_us=2**64), 2),
    ("the largest number", result(wall_us=2**64 - 1), 0),
    ("a negative number", result(wall_us=-1), 2),
    ("a pid that is too large", instead(2, ("proc.exit", {**EXIT, "pid": 2**32}, "c1")), 2),
    ("a mode that is too large", outcome({**CHANGE, "a": {"ty": "file", "mode": 2**32}}), 2),
    ("a mode with bits of a type", outcome({**CHANGE, "a": {"ty": "file", "mode": 0o100644}}), 2),
    ("an unknown operation", outcome({**CHANGE, "op": "renamed"}), 2),
    ("a path that is not UTF-8", outcome({**CHANGE, "path": {"b64": "bv9t"}}), 0),
    ("a path as bytes that is UTF-8", outcome({**CHANGE, "path": {"b64": "YQ"}}), 2),
    ("a path as bytes with padding", outcome({**CHANGE, "path": {"b64": "_w=="}}), 2),
    ("an empty path", outcome({**CHANGE, "path": ""}), 2),
    ("a path with a NUL", outcome({**CHANGE, "path": "a\x00b"}), 2),
    ("a change of a path in a directory with a dot", outcome({**CHANGE, "path": "a/..b/."}), 0),
    ("deleted into something", outcome({**CHANGE, "op": "deleted"}), 2),
    ("a path that climbs", outcome({**CHANGE, "path": "../x"}), 2),
    ("created from something", outcome({"path": "a", "op": "created", "b": CHANGE["a"], "a": CHANGE["a"]}), 2),
    ("capital hexadecimal", outcome({**CHANGE, "a": {"ty": "file", "mode": 1, "h": "AB" * 32}}), 2),
    ("a blob that is gone", instead(0, ("call", {**CALL, "in": BLOB}, "c1")), 0),
    ("a cut of 0", result(out={"z": 1, "cut": 0}), 2),
    ("a cut", result(out={"z": 1, "cut": 1}), 0),
    ("counts out of order", {"records": GOOD, "closing": {**close(GOOD), "counts": dict(reversed(close(GOOD)["counts"].items()))}}, 2),
    ("a count of 0", {"records": GOOD, "closing": {**close(GOOD), "counts": dict(sorted({**close(GOOD)["counts"], "deny": 0}.items()))}}, 3),
    ("a count of no kind", {"records": GOOD, "closing": {**close(GOOD), "counts": {**close(GOOD)["counts"], "x": 1}}}, 3),
    ("an empty reason of a layer", {"records": GOOD, "edit": lambda leaves: [
        {**leaves[0], "o": {**leaves[0]["o"], "layers": [{"name": "n", "state": "active", "why": ""}]}}, *leaves[1:]]}, 2),
    ("an empty list of rules", instead(1, ("permit", {"rules": []}, "c1")), 0),
    ("a result of a name of 64", {"records": [(kind, o, "c" * 64) for kind, o, _ in GOOD]}, 0),
    ("a name of 65", {"records": [(kind, o, "c" * 65) for kind, o, _ in GOOD]}, 2),
    ("a leaf of 8192 bytes", respelt(b'"exec"', b'"' + b"x" * 8080 + b'"'), 0),
    ("a port that is too large", netted(0, port=2**16), 2),
    ("a status that is no port", netted(4, status=2**16), 2),
    ("a secret kept by an unknown keeper", {"records": [*NET, ("secret.rotate", {**ROTATED[1], "kept": "agent"}, None)]}, 2),
    ("an unknown way", netted(0, via="smoke"), 2),
    ("a connection with no rules", netted(0, rules=[]), 2),
    ("a connection with a rule", netted(0, rules=["r"]), 0),
    ("a query that is no hash", netted(1, query_h="a=1"), 2),
    ("a later version of a leaf", edited(2, v=2), 4),
    ("a later version of the log", {"records": GOOD, "v": 2}, 4),
    *DOUBLES,
    *TOOLED,
]
