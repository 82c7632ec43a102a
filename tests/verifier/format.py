"""One log as LOG-FORMAT.md describes it: notes and keys, leaves, segments, checkpoints, tiles.

It says whether a log agrees with itself and with a key; it never decides what a session should contain, nor a verdict.
"""

import collections
import json
import os
import re
import struct

from primitives import Malformed, Refused, Tree, crc32c, names, read, sha, signed, unbase64

BROKEN, UNCHECKED, INCOMPLETE, NOTE = 2, 4, 3, 0
ORIGIN = re.compile(r"[A-Za-z0-9.\-_/:@]{1,255}\Z")
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
SEGMENT_BYTES_MAX, LEAF_BYTES_MAX, NOTE_BYTES_MAX = 64 << 20, 8192, 16 << 10


# ---- Keys and notes (§5) ------------------------------------------------------------------------------------------------

Key = collections.namedtuple("Key", "name id public")
Checkpoint = collections.namedtuple("Checkpoint", "raw size root origin text lines")


def named_key(name, public):
    return Key(name, sha(name.encode(), b"\n\x01", public)[:4], public)


def parse_vkey(text):
    parts = text.split("+", 2)
    if len(parts) != 3 or not ORIGIN.match(parts[0]):
        raise Malformed("not a vkey")
    data = unbase64(parts[2])
    key = named_key(parts[0], data[1:])
    if len(data) != 33 or data[0] != 1 or key.id.hex() != parts[1]:
        raise Malformed("a vkey with another type, length or id")
    return key


def parse_note(raw):
    """One signed note, strictly. Whether anybody's signature holds is asked later, in `vouches`."""
    try:
        head, blank, tail = raw.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise Malformed("not UTF-8")
    text, lines, found = head.split("\n"), tail.split("\n"), []
    if not blank or len(text) != 3 or lines.pop() != "" or not lines or len(raw) > NOTE_BYTES_MAX:
        raise Malformed("not a note of three lines and signatures")
    for line in lines:
        match = re.match(r"— ([^\s+]+) (\S+)\Z", line)
        if not match:
            raise Malformed("a line that is no signature")
        data = unbase64(match[2])
        found.append((match[1], data[:4], data[4:]))
    root = unbase64(text[2])
    if not ORIGIN.match(text[0]) or not re.match(r"(0|[1-9][0-9]{0,19})\Z", text[1]) or len(root) != 32:
        raise Malformed("not a checkpoint")
    return Checkpoint(raw, int(text[1]), root, text[0], (head + "\n").encode(), found)


def vouches(note, key):
    """Why the note is not signed by this key, or None."""
    ours = [signature for name, key_id, signature in note.lines if (name, key_id) == (key.name, key.id)]
    if note.origin != key.name:
        return f"it is about {note.origin}"
    if len(ours) != 1:
        return "it has no signature of the log's key" if not ours else "it has two signatures of the log's key"
    return None if signed(key.public, note.text, ours[0]) else "its signature is wrong"


def split_notes(data):
    """The notes of `checkpoints`, and what is left when it ends inside one."""
    notes, at, dash = [], 0, "— ".encode()
    while at < len(data):
        end = data.find(b"\n\n", at)
        if end < 0:
            break
        end += 2
        while data.startswith(dash, end) and data.find(b"\n", end) >= 0:
            end = data.find(b"\n", end) + 1
        if data[end - 2:end] == b"\n\n" or dash.startswith(data[end:]) and end < len(data) or data.startswith(dash, end):
            break
        notes.append(parse_note(data[at:end]))
        at = end
    return notes, data[at:]


# ---- Leaves (§4) --------------------------------------------------------------------------------------------------------


def number(below, least=0):
    return lambda v: type(v) is int and least <= v < below


def matches(pattern):
    return lambda v: type(v) is str and re.match(pattern + r"\Z", v) is not None


def one_of(words):
    return lambda v: type(v) is str and v in words.split()


def is_path(v):
    if type(v) is str:
        return v != "" and "\0" not in v
    if type(v) is not dict or list(v) != ["b64"] or type(v["b64"]) is not str:
        return False
    try:
        raw = unbase64(v["b64"], url=True)
        if not raw or b"\0" in raw:
            return False
        raw.decode()
    except Malformed:
        return False
    except UnicodeDecodeError:
        return True
    return False


def is_change(v):
    """The states that it is between, and a path that does not climb."""
    if not is_object("path:path path_h?:hex op:op b?:state a?:state lines?:lines ino?:inode mark?:mark")(v):
        return False
    path = v["path"].encode() if type(v["path"]) is str else unbase64(v["path"]["b64"], url=True)
    has = {"created": (False, True), "deleted": (True, False)}.get(v["op"], (True, True))
    return b".." not in path.split(b"/") and ("b" in v, "a" in v) == has


def is_digest(v):
    try:
        return type(v) is str and len(unbase64(v, url=True)) == 32
    except Malformed:
        return False


def is_vkey(v):
    try:
        return type(v) is str and parse_vkey(v) is not None
    except Malformed:
        return False


def is_counts(v):
    """Kinds that are none, or with 0, are wrong counts (§9, rule 2) rather than a wrong form."""
    return type(v) is dict and list(v) == sorted(v) and all(map(NUM, v.values()))


def is_object(spec):
    """`name:type` members in order; `name?:type` may be left out; `[type]` is a list."""
    members = [re.match(r"(\w+)(\??):(\[?)(\w+)", word).groups() for word in spec.split()]

    def check(v):
        if type(v) is not dict or list(v) != [m[0] for m in members if m[0] in v]:
            return False
        for name, optional, many, kind in members:
            if name not in v:
                if not optional:
                    return False
            elif many:
                if type(v[name]) is not list or not all(map(TYPES[kind], v[name])):
                    return False
            elif not TYPES[kind](v[name]):
                return False
        return True

    return check


NUM = number(2**64)
LOOKS, CHANGES = "read list stat readlink", "open unlink rmdir rename link symlink mkdir chmod utimes truncate"
FILE_USES = f"{LOOKS} write {CHANGES}"
TYPES = {
    "num": NUM, "num16": number(2**16), "num32": number(2**32), "via": one_of("direct http socks wasi wasi-tcp port exchange"),
    "rules": lambda v: type(v) is list and v != [] and all(type(rule) is str for rule in v), "some": number(2**64, 1), "int": number(2**31, -(2**31)), "path": is_path,
    "str": lambda v: type(v) is str, "text": lambda v: type(v) is str and v != "", "sid": matches(ULID.pattern[:-2]),
    "hex": matches("[0-9a-f]{64}"), "vkey": is_vkey, "digest": is_digest, "counts": is_counts,
    "origin": matches(ORIGIN.pattern[:-2]), "call": matches(r"[A-Za-z0-9._:\-]{1,64}"),
    "kept": one_of("store session source"), "state3": one_of("active degraded absent"), "mode": one_of("review direct discard"), "mark": one_of("held protected"),
    "durability": one_of("group before-result before-run"), "cause": one_of("exit signal limit error stop"),
    "op": one_of("created modified deleted metadata retyped"), "ty": one_of("file dir symlink fifo socket device"),
    "layer": is_object("name:str state:state3 why?:text"), "blob": is_object("h:hex c:hex z:num"),
    "stream": is_object("z:num cut?:some blob?:blob"),
    "state": lambda v: is_object("ty:ty mode:bits z?:num h?:hex g?:git to?:path to_h?:hex")(v) and ("to" in v or "to_h" not in v), "git": matches("[0-9a-f]{40}"),
    "lines": is_object("add:num del:num"),
    "change": is_change, "bits": number(0o10000),
    "recorder": is_object("grade:grade scope:scope why?:text"), "grade": one_of("notify+addfd notify trace outcome-only"),
    "container": is_object("engine:word engine_v:word api:word rights:rights runtime:word id:hex image:image image_id:hex"
                           " repo_digest?:repo uid:num32 gid:num32 spec_h:hex"),
    "fork": is_object("sid:sid changes:num changes_h:hex"),
    "word": matches("[!-~]{1,128}"), "rights": one_of("rootful rootless"), "image": matches("[!-~]{1,512}"),
    "repo": lambda v: matches("[!-?A-~]+@sha256:[0-9a-f]{64}")(v) and len(v) <= 512,
    "scope": one_of("changes all-opens off"), "times": number(2**64, 2), "cut1": number(2, 1), "cut2": number(3, 1), "cut4": number(5, 1),
    "inode": lambda v: type(v) is list and len(v) == 2 and all(map(NUM, v)),
    "args": lambda v: type(v) is list and len(v) <= 3 and all(map(NUM, v)), "absent": one_of("absent"),
    "flags": matches("(R|W|RW)" + "".join(f"(\\|{flag})?" for flag in "APPEND CREAT EXCL TRUNC TMPFILE NOFOLLOW".split())),
    "fsop": one_of("unlink rmdir rename exchange link symlink mkdir mknod chmod chown utimes truncate setxattr removexattr"),
    "ask": one_of("connect bind listen send"),
    "files3": one_of("none read write"), "net4": one_of("none requests sockets requests+sockets"), "errno": lambda v: TYPES["int"](v) and v != 0,
    "toolop": one_of(f"{FILE_USES} request connect moved lookup clock random env stdin args socket"),
    "act": lambda v: any(is_object(s)(v) for s in ("begin:num", "file:change", "end:num")),
}
KINDS = {
    "session.open": "sid:sid tool:str kernel:str wall:str grade:str layers:[layer] profile:str profile_h:hex plan_h:hex"
                    " filter_h?:hex mode:mode durability:durability recorder?:recorder container?:container"
                    " from?:fork",
    "session.close": "cause:cause status:int counts:counts lost:num",
    "call": "tool:str via:str in?:blob", "permit": "rules:[str]", "deny": "rule:str reason:str",
    "result": "cause:cause status:int wall_us:num cpu_us:num p?:num t?:num out?:stream err?:stream",
    "proc.start": "p:num pp?:num pid:num32",
    "proc.exec": "p:num exe?:path h?:hex asked?:path cut?:cut4",
    "proc.call": "p:num call:str args:args errno?:int times?:times",
    "fs.open": "p:num path:path path_h?:hex fl:flags mode?:bits errno?:int ino?:inode was?:absent cut?:cut1 times?:times",
    "fs.change": "p:num op:fsop path:path path_h?:hex to?:path to_h?:hex value?:num cut?:cut2 times?:times",
    "net.ask": "p:num op:ask addr:str times?:times",
    "proc.exit": "p:num pp?:num pid:num32 exe?:path failed?:some cause:cause status:int cpu_us?:num rss_kib?:num",
    "limit": "which:str max:num seen:num", "fs.outcome": None,
    "net.name": "name:str ty:str addr?:str", "net.open": "c:num host:str port:num16 via:via addr?:str rules?:rules",
    "net.close": "c:num up:num down:num us:num addr?:str why:str",
    "net.request": "r:num c:num method:str host:str port:num16 path:str query_h?:hex rules:[str]",
    "net.reply": "r:num status?:num16 addr?:str up:num down:num first_us:num us:num why:str",
    "net.refuse": "c?:num host:str port?:num16 method?:str path?:str rule:str reason:str",
    "secret.use": "r:num name:str v:num host:str place:str rule:str", "secret.canary": "c?:num name?:str host:str place:str",
    "secret.rotate": "name:str was:num v:num kept:kept why?:str",
    "secret.scrub": "r?:num name:str form:str count:num place:str",
    "tool.start": "t:num tool:str h:hex files:files3 net:net4",
    "tool.use": "t:num op:toolop path?:path path_h?:hex to?:path to_h?:hex host?:str port?:num16 fl?:flags value?:num errno?:errno"
                " ino?:inode was?:absent r?:num w?:num below?:some times?:times",
    "tool.end": "t:num cause:cause status:int why?:text wall_us:num cpu_us:num mem_bytes:num uses:num",
    "heartbeat": "running:num lost:num", "gap": "lost:num why:str", "apply": None, "discard": None, "undo": None,
    "redact": "leaf:num field:str reason:str by:str", "recovery": "size:num root:hex kept:num dropped:num tail_h?:hex",
    "ledger.init": "origin:origin vkey:vkey", "ledger.open": "sid:sid vkey:vkey tool:str profile_h:hex plan_h:hex",
    "ledger.beat": "sid:sid size:num root:hex", "ledger.close": "sid:sid size:num root:hex cause:cause status:int",
    "ledger.after": "sid:sid size:num root:hex",
}
LEVELS = one_of("claimed observed confirmed performed outcome")
SESSION_KINDS = list(KINDS)[:list(KINDS).index("gap") + 1]
OBJECTS = {kind: is_object(spec) if spec else TYPES["act"] for kind, spec in KINDS.items()}
OBJECTS["fs.outcome"] = is_change
# A container is behind the wall of that name, and behind no other.
OBJECTS["session.open"] = lambda v, form=OBJECTS["session.open"]: form(v) and (v["wall"] == "container") == ("container" in v)
# A session goes on from another one, and in a layer.
OBJECTS["session.open"] = lambda v, form=OBJECTS["session.open"]: (
    form(v) and ("from" not in v or (v["mode"] != "direct" and v["from"]["sid"] != v["sid"])))
# Only a name that is there, and cut, has a hash of the whole.
for kind in ("fs.open", "fs.change"):
    OBJECTS[kind] = lambda v, form=OBJECTS[kind]: (
        form(v) and ("to" in v or "to_h" not in v) and ("path_h" in v) + ("to_h" in v) <= v.get("cut", 0))
OBJECTS["tool.use"] = lambda v, form=OBJECTS["tool.use"]: form(v) and is_use(v)
BELONGS = {"session": set(SESSION_KINDS), "after": {"apply", "discard", "undo", "redact", "recovery"},
           "ledger": {kind for kind in KINDS if kind.startswith("ledger.")} | {"recovery"}}
TYPES.update(kind=lambda v: type(v) is str and v in KINDS, ev=LEVELS, obj=lambda v: True, one=lambda v: v == 1)
LEAF_MEMBERS = is_object("v:one n:num t:num mt:num ago?:some k:kind ev:ev tc?:call o:obj _sd?:[digest]")


def LEAF(v):
    return LEAF_MEMBERS(v) and v.get("ago", 0) <= v["mt"]


def is_use(v):
    """The members that its operation has, no more and no less (§4)."""
    op, has = v["op"], set(v) - {"t", "op"}
    hashed = all(name in v for name in ("path", "to") if f"{name}_h" in v)
    refused = "errno" in v and has & {"r", "w", "ino", "was"}
    counted = {"read": {"r"}, "write": {"r", "w"}, "random": {"r"}, "stdin": {"r"}, "moved": {"r", "w"}, "open": {"ino", "was"}}.get(op, set())
    if not hashed or refused:
        return False
    if "below" in v:
        quiet = op in LOOKS.split() + ["write"] or op in CHANGES.split() and "errno" in v
        return quiet and "path" in v and has <= {"path", "path_h", "errno", "below"} | counted - {"ino", "was"}
    must = {"path"} if op in FILE_USES.split() else set()
    must |= {"rename": {"to"}, "link": {"to"}, "symlink": {"to"}, "chmod": {"value"}, "truncate": {"value"}, "open": {"fl"},
             **dict.fromkeys(("request", "connect", "moved"), {"host", "port"}), "lookup": {"host"}}.get(op, set())
    if "errno" not in v and not must <= has or not has <= must | counted | {"path_h", "to_h", "errno", "times"}:
        return False
    flags = set(v.get("fl", "W").split("|"))
    return "errno" in v or bool({"W", "RW", "TRUNC"} & flags) or "CREAT" in flags and "was" in v


def no_twins(pairs):
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a member twice")
    return dict(pairs)


def parse_leaf(raw):
    try:
        leaf = json.loads(raw.decode(), object_pairs_hook=no_twins)
        version = leaf.get("v") if type(leaf) is dict else None
        if type(version) is int and version > 1:
            raise Refused(f"a leaf of version {version}")
        if json.dumps(leaf, ensure_ascii=False, separators=(",", ":")).encode() != raw:
            raise Malformed("another spelling")
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}")
    if not LEAF(leaf) or not OBJECTS[leaf["k"]](leaf["o"]) or leaf.get("_sd") == []:
        raise Malformed("not of the form of its kind")
    return leaf


# ---- One log: segments, checkpoints, tiles (§2, §3, §5) -----------------------------------------------------------------


class Log:
    """Everything that one log says about itself; `sort` is session, after or ledger."""

    def __init__(self, report, sort, directory, origin=None):
        self.report, self.sort, self.dir, self.origin = report, sort, directory, origin
        self.leaves, self.raw, self.tree = [], [], Tree()
        self.notes, self.sealed, self.rolled, self.commit, self.damaged = [], False, False, None, False
        self.names = [n for n in names(directory, "seg") if re.match(r"[0-9]{6}\.seg\Z", n)]
        if self.names and self.names != [f"{i:06}.seg" for i in range(len(self.names))]:
            self.broken("its segments are not numbered without a gap")
        for index, name in enumerate(self.names):
            if self.damaged or not self.segment(index, read(directory, "seg", name) or b"", index + 1 == len(self.names)):
                self.damaged = True
                break
        self.check_tiles()

    def broken(self, text):
        self.report.add(BROKEN, self.sort, text)

    def incomplete(self, text):
        self.report.add(INCOMPLETE, self.sort, text)

    @property
    def size(self):
        return len(self.raw)

    def segment(self, index, data, last):
        """Reads one segment; False when it ends in damage. A frame with the right CRC and a wrong meaning is broken."""
        at, kind = 0, None
        if len(data) > SEGMENT_BYTES_MAX:
            self.broken(f"segment {index} is too large")
        while at < len(data):
            if len(data) - at < 9:
                return self.incomplete(f"torn at {index}:{at}")
            length, kind_now, crc = struct.unpack_from("<IBI", data, at)
            payload = data[at + 9:at + 9 + length]
            if length > LEAF_BYTES_MAX or len(payload) < length or crc32c(data[at:at + 5], payload) != crc:
                return self.incomplete(f"torn or damaged at {index}:{at}")
            if kind == 0x53:
                self.broken(f"a frame behind the seal at {index}:{at}")
            if (kind_now == 0x48) != (at == 0):
                self.broken(f"the first frame, and no other, is a header: {index}:{at}")
            self.frame(index, at, kind_now, payload, kind)
            kind, at = kind_now, at + 9 + length
        if kind is None:
            return self.incomplete(f"segment {index} is empty")
        if not last and (kind != 0x53 or self.sealed):
            self.broken(f"segment {index} is not the last and has not the seal of one")
        return True

    def frame(self, index, at, kind, payload, before):
        if kind == 0x48:
            return self.header(index, payload)
        if kind == 0x45 and payload:
            return self.leaf(payload)
        if kind == 0x43 and len(payload) == 56:
            size, root, prev, _ = struct.unpack("<Q32sQQ", payload)
            if prev != (2**64 - 1 if self.commit is None else self.commit):
                self.broken(f"the commit at {index}:{at} names another one before it")
            self.commit = index << 32 | at
        elif kind == 0x53 and len(payload) == 41 and payload[40] < 2:
            size, root = struct.unpack("<Q32s", payload[:40])
            self.sealed = payload[40] == 1
            if not self.sealed and f"{index + 1:06}.seg" not in self.names:
                self.rolled = True
                self.incomplete(f"the seal at {index}:{at} says that a segment follows, and there is none")
            if before != 0x43:
                self.broken(f"the seal at {index}:{at} does not follow a commit")
            if self.sealed and self.sort != "session":
                self.broken("it is sealed as if it were a session")
        else:
            return self.broken(f"a frame of an unknown type or a wrong length at {index}:{at}")
        if size != self.size or root != self.tree.root(self.size):
            self.broken(f"the commit or seal at {index}:{at} has not the size and root of the leaves before it")

    def header(self, index, payload):
        match = re.match(rb'\{"format":"stockade-log","v":([1-9][0-9]*),', payload)
        if match and int(match[1]) > 1:
            raise Refused(f"{self.sort}: a log of version {int(match[1])}")
        found = re.match(rb'\{"format":"stockade-log","v":1,"origin":"([^"]*)"', payload)
        if self.origin is None and found and ORIGIN.match(found[1].decode("latin-1")):
            self.origin = found[1].decode()
        if payload != b'{"format":"stockade-log","v":1,"origin":"%s","seg":%d,"first":%d}' % (
                (self.origin or "?").encode(), index, self.size):
            self.broken(f"segment {index} has not the header of this log and place")

    def leaf(self, raw):
        self.raw.append(raw)
        self.tree.append(sha(b"\x00", raw))
        try:
            leaf = parse_leaf(raw)
        except Malformed as error:
            self.leaves.append(None)
            return self.broken(f"leaf {self.size - 1}: {error}")
        before = next((old for old in reversed(self.leaves) if old), {"t": 0, "mt": 0})
        self.leaves.append(leaf)
        if leaf["n"] != self.size - 1:
            self.broken(f"leaf {self.size - 1} says it is {leaf['n']}")
        if leaf["t"] < before["t"] or leaf["mt"] < before["mt"] or (self.sort != "session" and leaf["mt"]):
            self.broken(f"leaf {self.size - 1}: its clocks are wrong")
        if leaf["k"] not in BELONGS[self.sort]:
            self.broken(f"leaf {self.size - 1}: {leaf['k']} does not belong here")

    def has(self, size, root, who):
        if size > self.size or self.tree.root(size) != root:
            self.broken(f"{who} vouches for another tree of size {size}")

    def check_notes(self, key):
        """`checkpoints` and `checkpoint` against the tree and, if it is known, the key."""
        data, current = read(self.dir, "checkpoints"), read(self.dir, "checkpoint")
        try:
            self.notes, rest = split_notes(data or b"")
            if rest:
                self.incomplete("`checkpoints` ends inside a note")
        except Malformed as error:
            self.broken(f"`checkpoints`: {error}")
        for before, note in zip([None] + self.notes, self.notes):
            why = vouches(note, key) if key else None
            if why:
                self.broken(f"checkpoint of size {note.size}: {why}")
            if before and before.size > note.size:
                self.broken(f"checkpoint of size {note.size} follows one of size {before.size}")
            self.has(note.size, note.root, "a checkpoint")
        try:
            note = parse_note(current or b"")
            if not any(note.raw == old.raw for old in self.notes):
                why = vouches(note, key) if key else None
                if why:
                    self.broken(f"`checkpoint`: {why}")
                self.has(note.size, note.root, "`checkpoint`")
                if self.notes and note.size <= self.notes[-1].size:
                    self.incomplete("`checkpoint` is none of `checkpoints`, and not newer")
            if self.sealed and self.notes and note.raw != self.notes[-1].raw:
                self.incomplete("`checkpoint` is not the last of `checkpoints`")
        except Malformed as error:
            self.incomplete(f"`checkpoint`: missing, or {error}")
        if max([note.size for note in self.notes], default=0) < self.size:
            self.incomplete("there are leaves that no checkpoint covers")

    def check_tiles(self):
        seen = 0
        for folder, _, files in os.walk(os.path.join(self.dir, "tile")):
            for name in files:
                place = os.path.relpath(os.path.join(folder, name), os.path.join(self.dir, "tile"))
                match = re.match(r"(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?\Z", place)
                if not match or name.endswith(".tmp"):
                    continue
                entries, n = match[1] == "entries", int(re.sub("[x/]", "", match[2]))
                height = 0 if entries else 8 * int(match[1])
                row = self.tree.rows[height] if height < len(self.tree.rows) else []
                span = slice(256 * n, 256 * n + int(match[3] or 256))
                want = b"".join(struct.pack(">H", len(r)) + r for r in self.raw[span]) if entries else b"".join(row[span])
                if len(row) < span.stop or read(folder, name) != want:
                    self.broken(f"tile {place} is wrong")
                seen += 1
        if self.size and not seen:
            self.report.add(NOTE, self.sort, "there are no tiles")
