"""Holds lock files against a checkout of the RustSec advisory database.

It never downloads anything and knows no exceptions: an advisory is answered by an update or a replacement.

    advisories.py DATABASE LOCK…      exit status 1 when a locked version has an advisory
    advisories.py --self-test         shows that it can fail
"""

import pathlib
import re
import sys
import tempfile
import tomllib


def version(text):
    """`1.2.3-rc.1+x` as something that orders: numbers first, a release after its pre-releases."""
    core, _, rest = text.partition("+")[0].partition("-")
    numbers = [int(part) for part in core.split(".")]
    numbers += [0] * (3 - len(numbers))
    before = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in rest.split(".")] if rest else []
    return (tuple(numbers), not before, before)


def bound(numbers, place):
    """The first version that differs from `numbers` at `place`, upwards."""
    raised = numbers[:place] + [numbers[place] + 1] + [0] * (2 - place)
    return version(".".join(map(str, raised)))


def within(found, requirement):
    """Whether a version meets `>= 1.2, < 2` and the other forms of cargo's requirements."""
    for part in requirement.split(","):
        operator, text = re.fullmatch(r"\s*([<>=^~]*)\s*(\S+)\s*", part).groups()
        if text == "*":
            continue
        given = [int(number) for number in text.partition("-")[0].split(".")]
        numbers = given + [0] * (3 - len(given))
        low = version(text)
        first = next((place for place in range(3) if numbers[place]), 2)
        caret = bound(numbers, min(first, len(given) - 1) if any(numbers) else len(given) - 1)
        met = {
            ">=": lambda: found >= low,
            ">": lambda: found > low,
            "<": lambda: found < low,
            "<=": lambda: found <= low,
            "=": lambda: found == low,
            "~": lambda: low <= found < bound(numbers, min(1, len(given) - 1)),
            "^": lambda: low <= found < caret,
            "": lambda: low <= found < caret,
        }[operator]()
        if not met:
            return False
    return True


def advisories(database):
    """Every advisory that has not been withdrawn."""
    for path in sorted(pathlib.Path(database, "crates").glob("*/*.md")):
        text = path.read_text(encoding="utf-8")
        block = re.search(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if not block:
            raise SystemExit(f"error: {path} holds no advisory")
        advisory = tomllib.loads(block.group(1))
        if "withdrawn" not in advisory["advisory"]:
            yield advisory


def findings(database, locks):
    """A line for each locked version that an advisory names and that is neither patched nor unaffected."""
    known = {}
    for advisory in advisories(database):
        known.setdefault(advisory["advisory"]["package"], []).append(advisory)
    for lock in locks:
        for package in tomllib.loads(pathlib.Path(lock).read_text(encoding="utf-8"))["package"]:
            for advisory in known.get(package["name"], []) if "source" in package else []:
                versions = advisory.get("versions", {})
                safe = versions.get("patched", []) + versions.get("unaffected", [])
                if not any(within(version(package["version"]), requirement) for requirement in safe):
                    about = advisory["advisory"]
                    yield f"error: {lock}: {package['name']} {package['version']}: {about['id']}"


def self_test():
    """Each form of requirement, and a database and a lock file made up to agree and to disagree."""
    met = ["1.2.3 >= 1.2", "1.2.3 ^1", "0.2.5 ^0.2.3", "0.0.3 ^0.0.3", "1.2.9 ~1.2.3", "1.0.0 > 1.0.0-rc.1", "1.4.0 >= 1.2, < 1.5"]
    unmet = ["2.0.0 ^1", "0.3.0 ^0.2.3", "0.0.4 ^0.0.3", "1.3.0 ~1.2.3", "1.0.0-rc.1 >= 1.0.0", "1.5.0 >= 1.2, < 1.5"]
    for wanted, cases in ((True, met), (False, unmet)):
        for case in cases:
            found, _, requirement = case.partition(" ")
            assert within(version(found), requirement) is wanted, case
    with tempfile.TemporaryDirectory() as directory:
        crate = pathlib.Path(directory, "crates", "holed")
        crate.mkdir(parents=True)
        text = '```toml\n[advisory]\nid = "RUSTSEC-2000-0001"\npackage = "holed"\n[versions]\npatched = [">= 1.2.3"]\n```\n\n# A hole\n'
        crate.joinpath("RUSTSEC-2000-0001.md").write_text(text, encoding="utf-8")
        lock = pathlib.Path(directory, "Cargo.lock")
        for found, count in (("1.2.2", 1), ("1.2.3", 0)):
            lock.write_text(f'[[package]]\nname = "holed"\nversion = "{found}"\nsource = "registry"\n', encoding="utf-8")
            assert len(list(findings(directory, [lock]))) == count, found
    print("the check can fail, and does when it must")


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    lines = list(findings(arguments[0], arguments[1:]))
    print("\n".join(lines) or f"no advisory names anything in {', '.join(arguments[1:])}")
    raise SystemExit(1 if lines else 0)


main(sys.argv[1:])
