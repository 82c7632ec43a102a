#!/usr/bin/env python3
"""Alters logs in many ways and compares two verifiers on each: verify.py, and the binary's own.

It works on copies that it made, puts back every byte before the next case, and never changes the log it was given.

    compare.py BINARY STATE SESSIONS EARLIER
    SESSIONS has lines of a name and the id of a session; EARLIER is the directory of "followed" before its last acts
"""

import base64
import contextlib
import itertools
import multiprocessing
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import forge  # noqa: E402
from format import parse_leaf, parse_note, parse_vkey, vouches  # noqa: E402
from primitives import sha  # noqa: E402
from rules import RULES  # noqa: E402
from verify import verify  # noqa: E402

# The driver has a minute; what is sampled stops before, so that a slow machine samples less and fails no more.
SECONDS_MAX = int(os.environ.get("VERIFIER_SECONDS", "35"))
# What LOG-FORMAT.md says a verifier does not look at, or does not say how to check.
UNCOVERED = ("lock", "head", "tail.quarantine", "open/openings", "open/blob-key")
# Where the two are known to read the document differently, or it does not say. Such a case is said aloud and counted as
# skipped until they agree; ours, which is the letter of the document, must still not pass the log.
KNOWN = [(re.compile(pattern), why) for pattern, why in (
    (r"the session is gone", "the path of no directory is wrong usage to the binary; by its id the session is gone"),
)]


class Bench:
    """One copy of a state, altered and mended by one process."""

    def __init__(self, binary, state):
        self.binary, self.state, self.copy = binary, state, pathlib.Path(f"{state}-{os.getpid()}")
        shutil.copytree(state, self.copy, symlinks=True)

    def theirs(self, place, key):
        command = [self.binary, "verify", *(["--vkey", key] if key else []), str(place)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              env={**os.environ, "STOCKADE_STATE": str(self.copy)})
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def case(self, sid, covered, expect, alone=False, key=None):
        """Both verdicts on a session, with the ledger beside it or, alone, with its key or nothing; and what is wrong with them."""
        place = self.copy / "s" / sid
        if alone:
            place = self.copy / "alone"
            shutil.copytree(self.copy / "s" / sid, place, symlinks=True)
        report = verify(place, ledger=None if alone else self.copy / "ledger", ledger_key=key)
        ours, (theirs, text) = report.exit(), self.theirs(place, key)
        if alone:
            shutil.rmtree(place)
        if ours == theirs and expect in (None, ours) and not (covered and ours == 0):
            return ours, theirs, []
        wanted = expect if expect is not None else "no 0" if covered else "the same"
        said = [f"    ours: {level} {where}: {ascii(finding)[1:-1]}" for level, where, finding in report.findings if level]
        said += [f"    theirs: {ascii(line)[1:-1]}" for line in text.splitlines()
                 if line.startswith(("  broken", "  incomplete", "error")) or "not checked" in line]
        return ours, theirs, [f"ours {ours}, theirs {theirs}, wanted {wanted}", *said[:24]]

    @contextlib.contextmanager
    def altered(self, *paths):
        """Whatever happens to these files or directories of the copy is undone."""
        kept = pathlib.Path(f"{self.copy}-kept")
        kept.mkdir()
        for n, path in enumerate(paths):
            put(self.copy / path, kept / str(n))
        try:
            yield [self.copy / path for path in paths]
        finally:
            for n, path in enumerate(paths):
                put(kept / str(n), self.copy / path)
            shutil.rmtree(kept)


def put(source, target):
    """Makes the target what the source is, be it a file, a directory or nothing."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


# ---- What is done to a log: data, a name and a function of the bench that returns both verdicts -----------------------------


def made():
    for name, kwargs, expect in RULES:
        def do(bench, kwargs=kwargs, expect=expect):
            state, bench.copy = bench.copy, pathlib.Path(f"{bench.copy}-made")
            try:
                forge.write_state(bench.copy, **kwargs)
                return bench.case(forge.SID, False, expect)
            finally:
                shutil.rmtree(bench.copy)
                bench.copy = state
        yield f"made: {name}", do


def files(state, sid):
    """Every file of a session and of the ledger, relative to the state."""
    for top in (state / "s" / sid, state / "ledger"):
        yield from (str(path.relative_to(state)) for path in sorted(top.rglob("*")) if path.is_file())


def changed(path, sid, change, covered=True, expect=None, **how):
    """A file becomes what `change` makes of its bytes; None removes it."""
    def do(bench):
        with bench.altered(path) as [file]:
            data = change(file.read_bytes())
            file.unlink()
            if data is not None:
                file.write_bytes(data)
            return bench.case(sid, covered, expect, **how)
    return do


def sampled(state, named):
    """Bits that are turned and files that are cut, in every file that a verifier reads."""
    rng = random.Random(1)
    for name, sid in named.items():
        for path in files(state, sid):
            whole, covered = (state / path).read_bytes(), not path.endswith(UNCOVERED)
            size = len(whole)
            gone = covered and not ("/tile/" in path or "/blobs/" in path or "anchor-" in path)
            yield f"{name}: {path} removed", changed(path, sid, lambda data: None, gone)
            yield f"{name}: {path} and an x", changed(path, sid, lambda data: data + b"x", covered)
            for at in {0, size - 1, size // 2, rng.randrange(size + 1)} - {size, -1}:
                yield f"{name}: {path} cut to {at}", changed(path, sid, lambda data, at=at: data[:at], covered)
            for at in rng.sample(range(size), min(size, 24)):
                bit = 1 << rng.randrange(8)
                turned = whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1:]
                text = "" if turned.decode(errors="ignore").encode() == turned else " (not UTF-8)"
                yield f"{name}: {path} byte {at} ^ {bit}{text}", changed(path, sid, lambda data, turned=turned: turned, covered)


def leaves(data):
    """The payloads of the entries of a segment."""
    at = 0
    while at < len(data):
        length, kind = struct.unpack_from("<IB", data, at)
        if kind == 0x45:
            yield data[at + 9:at + 9 + length]
        at += 9 + length


def remade(origin, closed, change):
    """The segment again with other leaves, so that every CRC, commit and seal is right and only signatures are not."""
    return lambda data: forge.segments(origin, change(list(leaves(data))), closed)[0]


def split_notes(data):
    lines = data.split(b"\n")[:-1]
    return [b"\n".join(lines[at:at + 5]) + b"\n" for at in range(0, len(lines), 5)]


def chosen(state, named, earlier):
    """What somebody would do who knows the format."""
    sid, other = named["followed"], named["many"]
    home, strange = f"s/{sid}", state / "s" / other
    ledger_origin = split_notes((state / "ledger/checkpoint").read_bytes())[0].split(b"\n")[0].decode()
    origin, segment, key = f"{ledger_origin}/s/{sid}", "seg/000000.seg", (state / "ledger/vkey").read_text().strip()

    def both(name, path, change, expect, **how):
        return name, changed(path, sid, change, expect != 0, expect, **how)

    for name, change in {
        "a leaf is dropped": lambda raws: [raw.replace(b'"n":%d,' % (n + 1), b'"n":%d,' % n) for n, raw in enumerate(raws[:3] + raws[4:])],
        "a leaf says something else": lambda raws: [*raws[:1], raws[1].replace(b'"ev":"', b'"ev":"confirmed","x":"', 1), *raws[2:]],
        "a leaf has another level": lambda raws: [*raws[:1], re.sub(b'"ev":"[a-z]+"', b'"ev":"outcome"', raws[1]), *raws[2:]],
        "two leaves change places": lambda raws: [raws[0], raws[2], raws[1], *raws[3:]],
        "a leaf comes twice": lambda raws: [*raws[:3], *raws[2:]],
        "a leaf from another session": lambda raws: [*raws[:2], list(leaves((strange / segment).read_bytes()))[2], *raws[3:]],
        "a leaf is added": lambda raws: [*raws, raws[-1]],
        "the last leaf is dropped": lambda raws: raws[:-1],
        "every leaf is dropped": lambda raws: [],
    }.items():
        yield both(f"session: {name}", f"{home}/{segment}", remade(origin, True, change), 2)
        yield both(f"ledger: {name}", f"ledger/{segment}", remade(ledger_origin, False, change),
                   2)
    yield both("session: a seal that nothing needs", f"{home}/{segment}", lambda data: data + data[-50:], 2)
    yield both("session: without its seal", f"{home}/{segment}", lambda data: data[:-50], 3)
    yield both("session: without its last commit and seal", f"{home}/{segment}", lambda data: data[:-115], 3)
    yield both("session: zeros behind the seal", f"{home}/{segment}", lambda data: data + bytes(64), None)
    yield both("session: an unknown frame behind the seal", f"{home}/{segment}", lambda data: data + forge.frame("Z", b"z"), 2)
    yield both("session: a last commit of another root", f"{home}/{segment}", lambda data: data[:-115] + forge.frame(
        "C", data[-106:-98] + bytes(32) + data[-66:-50]) + data[-50:], 2)
    yield both("session: a last commit behind another", f"{home}/{segment}", lambda data: data[:-115] + forge.frame(
        "C", data[-106:-66] + bytes(8) + data[-58:-50]) + data[-50:], 2)
    yield both("session: a seal of another root", f"{home}/{segment}", lambda data: data[:-50] + forge.frame(
        "S", data[-41:-33] + bytes(32) + b"\x01"), 2)
    yield both("session: a seal of an unknown kind", f"{home}/{segment}", lambda data: data[:-50] + forge.frame("S", data[-41:-1] + b"\x02"), 2)
    yield both("session: a seal that says there is more", f"{home}/{segment}", lambda data: data[:-50] + forge.frame(
        "S", data[-41:-1] + b"\x00"), 2)
    yield both("session: another header", f"{home}/{segment}", lambda data: data.replace(
        data[:9 + data[0]], forge.header(origin + "x", 0, 0)), 2)
    yield both("session: a header of a later version", f"{home}/{segment}", lambda data: data.replace(
        data[:9 + data[0]], forge.header(origin, 0, 0, v=2)), 4)
    yield both("session: a header with white space", f"{home}/{segment}", lambda data: forge.frame(
        "H", data[9:9 + data[0]] + b" ") + data[9 + data[0]:], 2)

    for top, where in ((home, "session"), ("ledger", "ledger"), (f"{home}/after", "follow-up")):
        yield both(f"{where}: the last note is dropped", f"{top}/checkpoints", lambda data: b"".join(split_notes(data)[:-1]), None)
        yield both(f"{where}: the notes turn round", f"{top}/checkpoints", lambda data: b"".join(reversed(split_notes(data))), 2)
        yield both(f"{where}: a note comes twice", f"{top}/checkpoints", lambda data: data + split_notes(data)[-1], 0)
        yield both(f"{where}: an older checkpoint", f"{top}/checkpoint", lambda data, top=top: split_notes(
            (state / top / "checkpoints").read_bytes())[0], 3 if where == "session" else 0)
        yield both(f"{where}: another's checkpoints", f"{top}/checkpoints", lambda data: (strange / "checkpoints").read_bytes(), 2)
        yield both(f"{where}: another's checkpoint", f"{top}/checkpoint", lambda data: (strange / "checkpoint").read_bytes(), None)
        yield both(f"{where}: a signature comes twice", f"{top}/checkpoints", lambda data: data + data.rstrip(b"\n").split(b"\n")[-1] + b"\n", 2)
        yield both(f"{where}: a stranger signs too", f"{top}/checkpoints", lambda data: data + forge.note(
            "stranger", b"\x07" * 32, 1, bytes(32)).split(b"\n")[-2] + b"\n", 3)
        yield both(f"{where}: a stranger signed before", f"{top}/checkpoints", lambda data: b"".join(
            note + forge.note("stranger", b"\x07" * 32, 1, bytes(32)).split(b"\n")[-2] + b"\n" if n == 0 else note
            for n, note in enumerate(split_notes(data) + split_notes(data)[-1:])), 0)
        yield both(f"{where}: a stranger signs another root", f"{top}/checkpoints", lambda data: data + forge.note(
            data.split(b"\n")[0].decode(), b"\x07" * 32, 2, bytes(32)), 2)
        yield both(f"{where}: not a note between the notes", f"{top}/checkpoints", lambda data: b"x\n" + data, 2)
    yield both("session: another's vkey", f"{home}/vkey", lambda data: (strange / "vkey").read_bytes(), 2)
    yield both("session: a vkey of our own", f"{home}/vkey", lambda data: forge.vkey(origin, b"\x07" * 32).encode() + b"\n", 2)
    yield both("ledger: a vkey of our own", "ledger/vkey", lambda data: forge.vkey(ledger_origin, b"\x07" * 32).encode() + b"\n", 2)
    for kind in ("open", "close", "after"):
        proof = f"{home}/anchor-{kind}.tlog-proof"
        yield both(f"proof of {kind}: another's", proof, lambda data: (strange / "anchor-close.tlog-proof").read_bytes(), 2)
        yield both(f"proof of {kind}: another index", proof, lambda data: data.replace(b"\nindex ", b"\nindex 1"), 2)
        yield both(f"proof of {kind}: without extra", proof, lambda data: b"\n".join(
            line for line in data.split(b"\n") if not line.startswith(b"extra")), 2)
        yield both(f"alone: no proof of {kind}", proof, lambda data: None, 3, alone=True, key=key)
        yield both(f"alone: an empty proof of {kind}", proof, lambda data: b"", 3, alone=True, key=key)
    yield both("alone: with the ledger's key", f"{home}/vkey", lambda data: data, 0, alone=True, key=key)
    yield both("alone: with another key", f"{home}/vkey", lambda data: data, 2, alone=True, key=forge.vkey(ledger_origin, b"\x07" * 32))
    yield both("alone: with nothing", f"{home}/vkey", lambda data: data, 3, alone=True)
    yield both("beside the ledger: with another key", f"{home}/vkey", lambda data: data, 2, key=forge.vkey(ledger_origin, b"\x07" * 32))

    def replaced(name, expect, *paths, source, **how):
        def do(bench):
            with bench.altered(*paths) as places:
                for path, place in zip(paths, places):
                    put(source(path), place)
                return bench.case(sid, True, expect, **how)
        return name, do

    nothing = state / "nothing"
    past = lambda path: earlier / pathlib.Path(path).relative_to(home)  # noqa: E731
    yield replaced("the follow-up is gone", 2, f"{home}/after", source=lambda _: nothing)
    yield replaced("the follow-up and its proof are gone", 2, f"{home}/after", f"{home}/anchor-after.tlog-proof", source=lambda _: nothing)
    yield replaced("the follow-up as it was", 2, f"{home}/after", f"{home}/anchor-after.tlog-proof", source=past)
    yield replaced("alone: the follow-up is gone", 2, f"{home}/after", source=lambda _: nothing, alone=True, key=key)
    yield replaced("alone: the follow-up as it was", 2, f"{home}/after", source=past, alone=True, key=key)
    yield replaced("the segments are gone", 2, f"{home}/seg", source=lambda _: nothing)
    yield replaced("the ledger's segments are gone", 2, "ledger/seg", source=lambda _: nothing)
    yield replaced("the session is gone", 2, home, source=lambda _: nothing)
    yield replaced("another session in its place", 2, home, source=lambda _: strange)
    yield replaced("another's segments", 2, f"{home}/seg", source=lambda _: strange / "seg")

    def moved(name, expect, act, *paths):
        def do(bench):
            with bench.altered(*paths) as places:
                act(*places)
                return bench.case(sid, True, expect)
        return name, do

    yield moved("the first segment is the second", 2, lambda seg: os.rename(seg / "000000.seg", seg / "000001.seg"), f"{home}/seg")
    yield moved("a segment too many", None, lambda seg: shutil.copy(seg / "000000.seg", seg / "000001.seg"), f"{home}/seg")
    yield moved("an empty segment too many", None, lambda seg: (seg / "000001.seg").write_bytes(b""), f"{home}/seg")
    yield moved("a segment that is a link", 4, lambda file, moved: (file.rename(moved), file.symlink_to(moved)),
                f"{home}/{segment}", f"{home}/{segment}.x")
    yield moved("a file that is a directory", 4, lambda file: (file.unlink(), file.mkdir()), f"{home}/checkpoints")
    yield moved("the ledger is rolled back", 2, lambda ledger: rolled_back(ledger, ledger_origin), "ledger")
    yield moved("everything is made anew with another key", 2, lambda place: anew(place, origin), home)


def rolled_back(ledger, origin):
    """The ledger as it was when its key had signed only four leaves."""
    kept = split_notes((ledger / "checkpoints").read_bytes())[:4]
    size = int(kept[-1].split(b"\n")[1])
    raws = list(leaves((ledger / "seg/000000.seg").read_bytes()))[:size]
    (ledger / "seg/000000.seg").write_bytes(forge.segments(origin, raws, False)[0])
    (ledger / "checkpoints").write_bytes(b"".join(kept))
    (ledger / "checkpoint").write_bytes(kept[-1])


def anew(place, origin):
    raws = list(leaves((place / "seg/000000.seg").read_bytes()))
    shutil.rmtree(place / "seg")
    forge.write_log(place, origin, b"\x07" * 32, raws, closed=True)


def vectors(document):
    """What section 12 says, against our own writing and reading of it; the words of what differs."""
    text = document.read_text().partition("\n## 12.")[2]
    blocks = (block.split("\n") for block in re.findall(r"```\n(.*?)\n```", text, re.S))
    keys, records, contained, sealed, openings, first = blocks
    raws, hashes, seeds = [r.encode() for r in records[::2]], records[1::2], (forge.LEDGER_SEED, forge.SESSION_SEED)
    merkle, bad = forge.tree(raws), []
    root, note = bytes.fromhex(sealed[0]), ("\n".join(sealed[2:]) + "\n").encode()
    digests = parse_leaf(raws[1])["_sd"]
    for name, good in {
        "vkeys": keys == [forge.vkey(name, seed) for name, seed in zip((forge.LEDGER, forge.SESSION), seeds)],
        "leaves": [parse_leaf(raw)["n"] for raw in raws] == list(range(7)),
        "container": parse_leaf(contained[0].encode())["o"]["wall"] == "container",
        "its hash": forge.tree([contained[0].encode()]).rows[0][0].hex() == contained[1],
        "hashes": [node.hex() for node in merkle.rows[0]] == hashes,
        "root": merkle.root(7) == root,
        "checkpoint": note == forge.note(forge.SESSION, forge.SESSION_SEED, 7, root),
        "signature": vouches(parse_note(note), parse_vkey(keys[1])) is None,
        "openings": [base64.urlsafe_b64encode(sha(line.encode())).rstrip(b"=").decode() for line in openings] == digests,
        "segment": forge.segments(forge.SESSION, raws, True)[0][:48].hex() == first[0],
    }.items():
        bad += [] if good else [name]
    return bad


# ---- The run ----------------------------------------------------------------------------------------------------------------


def work(index):
    """One case in one of the processes; whether it was only a sample, when there was no time for it."""
    name, do, sample = CASES[index]
    if time.monotonic() > DEADLINE + (0 if sample else 8):
        return sample
    if not BENCH:
        BENCH.append(Bench(BINARY, STATE))
    return name, do(BENCH[0])


def main():
    global CASES, BENCH, BINARY, STATE, DEADLINE
    BINARY, STATE, sessions, earlier = sys.argv[1:]
    state = pathlib.Path(STATE)
    named = dict(line.split() for line in pathlib.Path(sessions).read_text().splitlines())
    whole = [(f"{name}: untouched", lambda bench, sid=sid, name=name: bench.case(
        sid, False, 3 if name in ("interrupted", "recovered") else 0), False) for name, sid in named.items()]
    aimed = [(*case, False) for case in chosen(state, named, pathlib.Path(earlier))]
    rules, samples = [(*case, False) for case in made()], [(*case, True) for case in sampled(state, named)]
    random.Random(2).shuffle(samples)
    # In turns, so that a slow machine has some of each.
    turns = [case for pair in itertools.zip_longest(rules, samples) for case in pair if case]
    CASES, BENCH, DEADLINE = whole + aimed + turns, [], time.monotonic() + SECONDS_MAX
    passed = failed = skipped = left = late = 0
    document = pathlib.Path(__file__).resolve().parents[2] / "runtime/LOG-FORMAT.md"
    if bad := vectors(document):
        failed += 1
        print(f"FAILED the test vectors: {' '.join(bad)}")
    else:
        passed += 1
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for done in pool.imap_unordered(work, range(len(CASES)), chunksize=4):
            if isinstance(done, bool):
                left, late = left + done, late + (not done)
                continue
            name, (ours, theirs, complaint) = done
            if os.environ.get("VERIFIER_LIST"):
                print(f"{ours} {theirs} {name}")
            why = next((why for pattern, why in KNOWN if pattern.search(name)), None)
            if not complaint:
                passed += 1
            elif why and ours:
                skipped += 1
                print(f"skipped: {name}: {complaint[0]}: {why}")
            else:
                failed += 1
                print("\n".join([f"FAILED {name}: {complaint[0]}", *complaint[1:]]))
    print(f"{len(samples) - left} of {len(samples)} alterations were sampled in the time there was")
    if late:
        skipped += late
        print(f"!! this machine is too slow today: {late} other cases were left out")
    print(f"verifier: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
