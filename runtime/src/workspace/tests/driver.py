"""Does the same random file operations in two places: in a plain copy of a tree, and in what a guest sees.

Reads lines of JSON: {"seed": n, "steps": n, "root": dir} or, to mount an overlay first,
{"seed": n, "steps": n, "root": dir, "lower": dir, "upper": dir, "work": dir}. Never leaves `root`.

A file that had several names before is "frozen": overlayfs gives each name its own copy on the first write, as the
manual says, so there the guest itself sees something else than on a plain file system.
"""
import ctypes
import errno
import json
import os
import random
import shutil
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
NAMES = [b"a", b"b", b"c", b"dir", b"new\nline", b"qu\"ote\\", b"\xff\xfe", b"-rf", "\u00e9".encode(),
         "e\u0301".encode(), b".wh.x", b".wh..wh..opq", b"x" * 255, b" space ", b"tab\t", b"UP", b"up", b"%41"]


def walk(root):
    found = []
    for at, dirs, files in os.walk(root):
        dirs.sort()
        for name in sorted(dirs + files):
            found.append(os.path.relpath(os.path.join(at, name), root))
    return sorted(found)


def pick_dir(rng, root, paths):
    dirs = [p for p in paths if stat.S_ISDIR(os.lstat(os.path.join(root, p)).st_mode)]
    return rng.choice([b""] + dirs)


def step(rng, root, frozen):
    paths = walk(root)
    target = os.path.join(pick_dir(rng, root, paths), rng.choice(NAMES))
    full = os.path.join(root, target)
    op = rng.randrange(16)
    old = rng.choice(paths) if paths else None
    data = bytes(rng.randrange(256) for _ in range(rng.randrange(64))) * rng.choice([1, 1, 1, 3000])
    mode = rng.choice([0o644, 0o755, 0o600, 0o400, 0o000, 0o4755, 0o200])
    # Not 0: an ordinary user cannot take back what lies in a directory that it may not even enter.
    dmode = rng.choice([0o755, 0o700, 0o500, 0o1777])
    number = rng.randrange(4)
    kind = None
    if old is not None:
        info = os.lstat(os.path.join(root, old))
        kind = stat.S_IFMT(info.st_mode)
    free = target not in frozen
    if op in (0, 1, 2) and free and not os.path.isdir(full) and not os.path.islink(full):
        with open(full, "wb") as file:
            file.write(data)
    elif op == 3 and not os.path.lexists(full):
        os.mkdir(full)
    elif op == 4 and not os.path.lexists(full):
        os.symlink(rng.choice([b"a", b"dir/b", b"missing", b"x\ny"]), full)
    elif op == 5 and old:
        if kind == stat.S_IFDIR:
            shutil.rmtree(os.path.join(root, old))
        else:
            os.unlink(os.path.join(root, old))
    elif op == 6 and old and old not in frozen and kind == stat.S_IFREG:
        os.chmod(os.path.join(root, old), mode)
    elif op == 7 and old and kind == stat.S_IFDIR:
        os.chmod(os.path.join(root, old), dmode)
    elif op in (8, 9) and old and old not in frozen and free and kind != stat.S_IFDIR and not os.path.isdir(full):
        if not (os.path.lexists(full) and os.path.samefile(os.path.join(root, old), full)
                if os.path.exists(full) and os.path.exists(os.path.join(root, old)) else False):
            os.rename(os.path.join(root, old), full)
    elif op == 10 and old and old not in frozen and kind == stat.S_IFREG and not os.path.lexists(full):
        os.link(os.path.join(root, old), full)
    elif op == 11 and old and kind in (stat.S_IFREG, stat.S_IFDIR) and old not in frozen:
        path = os.path.join(root, old)
        name = b"user.t%d" % number
        if name in [os.fsencode(x) for x in os.listxattr(path)] and number % 2:
            os.removexattr(path, name)
        else:
            os.setxattr(path, name, data[:200] or b"v")
    elif op == 12 and old and old not in frozen and kind == stat.S_IFREG:
        with open(os.path.join(root, old), "ab") as file:
            file.write(b"line\n")
    elif op == 13 and old and kind == stat.S_IFDIR:
        shutil.rmtree(os.path.join(root, old))
        os.mkdir(os.path.join(root, old))
    elif op == 14 and old and old not in frozen and kind != stat.S_IFLNK:
        path = os.path.join(root, old)
        if kind == stat.S_IFDIR:
            shutil.rmtree(path)
            open(path, "wb").close()
        else:
            os.unlink(path)
            os.mkdir(path)
    elif op == 15 and old and kind == stat.S_IFDIR and not os.path.lexists(full) \
            and not (full + b"/").startswith(os.path.join(root, old) + b"/") \
            and not any((f + b"/").startswith(old + b"/") for f in frozen):
        shutil.copytree(os.path.join(root, old), full, symlinks=True)
        shutil.rmtree(os.path.join(root, old))


def main():
    os.umask(0o022)
    for line in sys.stdin:
        job = {k: os.fsencode(v) if isinstance(v, str) else v for k, v in json.loads(line).items()}
        if b"upper" in map(os.fsencode, job):
            options = b"userxattr,lowerdir=%s,upperdir=%s,workdir=%s" % (job["lower"], job["upper"], job["work"])
            if libc.mount(b"overlay", job["root"], b"overlay", 0, options) != 0:
                sys.exit("mount: " + os.strerror(ctypes.get_errno()))
        rng = random.Random(job["seed"])
        frozen = {p for p in walk(job["root"]) if p.startswith(b"linked")}
        try:
            for _ in range(job["steps"]):
                step(rng, job["root"], frozen)
        except OSError as error:
            # overlayfs answers so now and then when a file of several names is renamed; the sequence says nothing then.
            if error.errno != errno.ESTALE:
                raise
            print(job["seed"])


main()
