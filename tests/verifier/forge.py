"""Makes logs as LOG-FORMAT.md says, with keys of its own, so that rules can be broken that a real writer keeps.

It never reads a real key, and writes only below the directory that it is given.
"""

import base64
import functools
import hashlib
import json
import struct

from primitives import L, P, Tree, crc32c, sha, times_base


@functools.lru_cache
def public(seed):
    return encode(times_base(scalar(seed)))


def scalar(seed):
    """RFC 8032 §5.1.5."""
    a = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return a & ((1 << 254) - 8) | 1 << 254


def encode(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


@functools.lru_cache(maxsize=4096)
def sign(seed, message):
    r = int.from_bytes(hashlib.sha512(hashlib.sha512(seed).digest()[32:] + message).digest(), "little") % L
    commitment = encode(times_base(r))
    k = int.from_bytes(hashlib.sha512(commitment + public(seed) + message).digest(), "little") % L
    return commitment + ((r + k * scalar(seed)) % L).to_bytes(32, "little")


def key_id(name, seed):
    return sha(name.encode(), b"\n\x01", public(seed))[:4]


def vkey(name, seed):
    return f"{name}+{key_id(name, seed).hex()}+{base64.b64encode(bytes([1]) + public(seed)).decode()}"


def note(name, seed, size, root):
    text = f"{name}\n{size}\n{base64.b64encode(root).decode()}\n".encode()
    line = base64.b64encode(key_id(name, seed) + sign(seed, text)).decode()
    return text + f"\n— {name} {line}\n".encode()


def spell(leaf):
    return json.dumps(leaf, ensure_ascii=False, separators=(",", ":")).encode()


def leaf(n, kind, o, tc=None, ev="performed", t=None, mt=0, v=1):
    out = {"v": v, "n": n, "t": 1700000000000000000 if t is None else t, "mt": mt, "k": kind, "ev": ev}
    out.update({"tc": tc} if tc else {})
    return {**out, "o": o}


def frame(kind, payload):
    head = struct.pack("<IB", len(payload), ord(kind))
    return head + struct.pack("<I", crc32c(head, payload)) + payload


def header(origin, segment, first, v=1):
    return frame("H", f'{{"format":"stockade-log","v":{v},"origin":"{origin}","seg":{segment},"first":{first}}}'.encode())


def tree(raws):
    out = Tree()
    for raw in raws:
        out.append(sha(b"\x00", raw))
    return out


def segments(origin, raws, closed, split=None, v=1):
    """The segments of a log: two of them when it is split behind so many leaves."""
    out, data, merkle, prev = [], header(origin, 0, 0, v), tree(raws), 2**64 - 1
    for n, raw in enumerate(raws):
        data += frame("E", raw)
        size = n + 1
        if size == split or size == len(raws):
            place = len(out) << 32 | len(data)
            data += frame("C", struct.pack("<Q32sQQ", size, merkle.root(size), prev, 1))
            prev = place
        if size == split and size < len(raws):
            out.append(data + frame("S", struct.pack("<Q32sB", size, merkle.root(size), 0)))
            data = header(origin, len(out), size, v)
    if closed:
        data += frame("S", struct.pack("<Q32sB", len(raws), merkle.root(len(raws)), 1))
    return [*out, data]


def write_log(place, origin, seed, raws, closed=False, split=None, with_vkey=True, v=1):
    """A log with one checkpoint over everything."""
    (place / "seg").mkdir(parents=True)
    for index, data in enumerate(segments(origin, raws, closed, split, v)):
        (place / "seg" / f"{index:06}.seg").write_bytes(data)
    checkpoint = note(origin, seed, len(raws), tree(raws).root(len(raws)))
    for name in ("checkpoints", "checkpoint"):
        (place / name).write_bytes(checkpoint)
    if with_vkey:
        (place / "vkey").write_text(vkey(origin, seed) + "\n")


# ---- A whole state: a ledger, one session, its follow-up ------------------------------------------------------------------

LEDGER, SID = "test/agent-ledger", "01HF7YAT00040G2081040G2081"
SESSION, HASH, OTHER = f"{LEDGER}/s/{SID}", "01" * 32, "02" * 32
LEDGER_SEED, SESSION_SEED = b"\x01" * 32, b"\x02" * 32
OPEN = {"sid": SID, "tool": "t", "kernel": "k", "wall": "process", "grade": "full", "layers": [], "profile": "shell",
        "profile_h": HASH, "plan_h": OTHER, "mode": "review", "durability": "group"}


def close(records, lost=0, **changed):
    kinds = [kind for kind, *_ in records] + ["session.open"]
    return {"cause": "exit", "status": 0, "counts": {k: kinds.count(k) for k in sorted(set(kinds))}, "lost": lost, **changed}


def write_state(state, records, after=(), course=None, closing=None, edit=None, ends=None, split=None, v=1, recorder=None,
                opening=None):
    """`records` are (kind, o, tc), or (kind, o, tc, ev), between open and close; `edit` changes the leaves before they are
    hashed; `ends` is the leaf for the close, `opening` what its open has beside or instead, `course` the leaves of the ledger
    behind its open, from (size, root)."""
    leaves = [("session.open", {**OPEN, **({"recorder": recorder} if recorder else {}), **(opening or {})}, None), *records]
    if closing is not False:
        leaves.append(("session.close", closing or close(records), None))
    made = [leaf(n, *one) for n, one in enumerate(leaves)]
    raws = [one if isinstance(one, bytes) else spell(one) for one in (edit(made) if edit else made)]
    write_log(state / "s" / SID, SESSION, SESSION_SEED, raws, closing is not False, split, v=v)
    root = tree(raws).root(len(raws)).hex()
    acts = [spell(leaf(n, kind, o)) for n, (kind, o) in enumerate(after)]
    if acts:
        write_log(state / "s" / SID / "after", f"{SESSION}/after", LEDGER_SEED, acts, with_vkey=False)
    opened = {"sid": SID, "vkey": vkey(SESSION, SESSION_SEED), "tool": "t", "profile_h": HASH, "plan_h": OTHER}
    said = [("ledger.init", {"origin": LEDGER, "vkey": vkey(LEDGER, LEDGER_SEED)}), ("ledger.open", {**opened, **(ends or {})})]
    if course is not None:
        said += course(len(raws), root)
    elif closing is not False:
        said.append(("ledger.close", {"sid": SID, "size": len(raws), "root": root, "cause": "exit", "status": 0}))
    if acts and course is None:
        said.append(("ledger.after", {"sid": SID, "size": len(acts), "root": tree(acts).root(len(acts)).hex()}))
    write_log(state / "ledger", LEDGER, LEDGER_SEED, [spell(leaf(n, kind, o)) for n, (kind, o) in enumerate(said)])
