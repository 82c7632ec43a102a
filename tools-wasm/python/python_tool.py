"""The `python` tool: runs a piece of code in a fresh interpreter, and answers with what it printed and what it came to.

It never keeps anything from one call to the next, because an instance serves one call; and it never starts a process or opens a
connection, because the component has no import for either.
"""

import ast
import builtins
import io
import json
import os
import sys
import traceback
import types

import preload  # noqa: F401  What is imported here, before the snapshot, is all that a call can import.
from componentize_py_types import Err
from wit_world.imports import environment, preopens
from wit_world.imports.tool_types import Failure_InvalidArguments, Reply

OUTPUT_BYTES = 256 << 10
# Both streams come back twice, as text and as JSON, where one byte may take six: that must fit into an answer (16 MiB).
OUTPUT_BYTES_MAX = 512 << 10
CODE_BYTES_MAX = 1 << 20
VALUE_CHARS_MAX = 64 << 10
KINDS = {"code": str, "stdin": str, "args": list, "cwd": str, "output_bytes": int}


class Bounded(io.RawIOBase):
    """Keeps the first bytes of a stream, and counts the rest."""

    def __init__(self, limit):
        self.kept = bytearray()
        self.left = limit
        self.truncated = False

    def writable(self):
        return True

    def write(self, data):
        data = bytes(data)
        part = data[: self.left]
        self.kept += part
        self.left -= len(part)
        self.truncated |= len(part) < len(data)
        return len(data)

    def text(self):
        return self.kept.decode("utf-8", "replace")


def invalid(why):
    return Err(Failure_InvalidArguments(why))


def checked(text):
    """The arguments, or an error that says what would be right."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise invalid(f"the arguments are no JSON: {error}") from None
    if not isinstance(given, dict):
        raise invalid("the arguments are an object with `code`")
    for name, value in given.items():
        if name not in KINDS:
            raise invalid(f"`{name}` is no argument; there are {', '.join(KINDS)}")
        if not isinstance(value, KINDS[name]) or isinstance(value, bool):
            raise invalid(f"`{name}` is a {KINDS[name].__name__}")
    if not given.get("code", "").strip():
        raise invalid("`code` is missing or empty")
    if len(given["code"].encode()) > CODE_BYTES_MAX:
        raise invalid(f"`code` has more than {CODE_BYTES_MAX} bytes: write a file, and run it with runpy")
    if not all(isinstance(argument, str) for argument in given.get("args", [])):
        raise invalid("`args` is a list of strings")
    if not 1 <= given.get("output_bytes", OUTPUT_BYTES) <= OUTPUT_BYTES_MAX:
        raise invalid(f"`output_bytes` is from 1 to {OUTPUT_BYTES_MAX}")
    return given


def surroundings(given):
    """What the snapshot could not know: the directory, the environment. The seed it draws anew before anything else of ours runs."""
    os.environ.clear()
    os.environ.update(environment.get_environment())
    own = [path for _, path in preopens.get_directories() if len(path) > 1 and path.startswith("/")]
    start = os.path.join(own[0] if own else "/", given.get("cwd", ""))
    try:
        os.chdir(start)
    except OSError as error:
        if own or "cwd" in given:
            raise invalid(f"`cwd` \"{start}\": {error.strerror}") from None
    sys.argv = ["-c", *given.get("args", [])]
    sys.path[:] = ["", *(path for path in sys.path if path)]


def run(code):
    """Runs the code as `__main__`; the value of its last expression, and how it ended."""
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __file__="<code>")
    sys.modules["__main__"] = main
    value = None
    try:
        tree = ast.parse(code, "<code>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<code>", "exec"), main.__dict__)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "<code>", "eval"), main.__dict__)
        return (None if value is None else shown(value)), 0, None
    except SystemExit as end:
        return None, exit_code(end.code), None
    except BaseException as error:
        told(error, code)
        return None, 1, {"type": type(error).__name__, "message": str(error)[:VALUE_CHARS_MAX]}


def shown(value):
    text = repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "…"


def exit_code(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def told(error, code):
    """Prints the traceback without this file's frames, with the lines of the code."""
    import linecache

    linecache.cache["<code>"] = (len(code), None, code.splitlines(True), "<code>")
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != "<code>":
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        trace = None
    traceback.print_exception(type(error), error, trace)


def answer(stdout, stderr, value, code, exception):
    parts = [stdout.text(), stderr.text(), value or ""]
    if stdout.truncated or stderr.truncated:
        parts.append("[truncated: ask for more with output_bytes, or write to a file and read parts of it]")
    if code:
        parts.append(f"[exit code {code}]")
    text = ""
    for part in filter(None, parts):
        text += ("\n" if text and not text.endswith("\n") else "") + part
    structured = {
        "stdout": stdout.text(),
        "stderr": stderr.text(),
        "value": value,
        "exit_code": code,
        "exception": exception,
        "truncated": stdout.truncated or stderr.truncated,
    }
    return Reply(text, json.dumps(structured), [])


def run_with(given):
    limit = given.get("output_bytes", OUTPUT_BYTES)
    stdout, stderr = Bounded(limit), Bounded(limit)
    kept = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = io.TextIOWrapper(io.BytesIO(given.get("stdin", "").encode()), "utf-8")
    sys.stdout = io.TextIOWrapper(stdout, "utf-8", "backslashreplace", write_through=True)
    sys.stderr = io.TextIOWrapper(stderr, "utf-8", "backslashreplace", write_through=True)
    try:
        value, code, exception = run(given["code"])
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass  # The code closed or replaced it.
        return answer(stdout, stderr, value, code, exception)
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept


# What most calls do: what it touches, and so copies, of the snapshot is there before a call comes.
USUAL = '''
import collections, json, re
class Point:
    def __init__(self, x):
        self.x = x
    def __repr__(self):
        return f"<{self.x:>4}>"
points = {str(n): Point(n / 2) for n in range(20)}
try:
    points["none"]
except KeyError as error:
    print(error, sorted(points, key=lambda name: -points[name].x)[:3], sep="; ")
print(json.dumps(json.loads('{"a": [1, 2.5, null, "b"]}')), re.findall(r"[a-c]+", "abcd ab"), file=__import__("sys").stderr)
collections.Counter("a b a".split())
'''


class WitWorld:
    def prepare(self):
        run_with(checked(json.dumps({"code": USUAL})))

    def call(self, arguments):
        given = checked(arguments)
        surroundings(given)
        return run_with(given)
