"""The primitives that the verifier stands on: Ed25519, base64, CRC-32C, Merkle trees, and reading files.

It knows nothing of logs, and never signs, writes or follows a symbolic link.
"""

import base64
import functools
import hashlib
import os


class Refused(Exception):
    """The verifier cannot go on: exit code 4."""


class Malformed(Exception):
    """Bytes that are not what they should be; the caller decides how bad that is."""


# ---- Ed25519 (RFC 8032 §5.1.7, §6), verification only -----------------------------------------------------------------

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    x, y = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = y - x, d - c, d + c, y + x
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, a):
    out = (0, 1, 1, 0)
    while n:
        if n & 1:
            out = add(out, a)
        a, n = add(a, a), n >> 1
    return out


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point(data):
    """The point that 32 bytes encode, or None; an encoding of y that is not reduced is none."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - xx) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
POWERS = [BASE]
while len(POWERS) < 256:
    POWERS.append(add(POWERS[-1], POWERS[-1]))


def times_base(n):
    """As `times(n, BASE)`, without the doublings."""
    return functools.reduce(add, (power for bit, power in enumerate(POWERS) if n >> bit & 1), (0, 1, 1, 0))


@functools.lru_cache(maxsize=4096)
def signed(public, message, signature):
    """Strictly: S is reduced, and neither the key nor R has a small order."""
    a, r = point(public), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= L:
        return False
    if same(times(8, a), (0, 1, 1, 0)) or same(times(8, r), (0, 1, 1, 0)):
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    return same(times_base(s), add(r, times(k, a)))


# ---- Encodings and hashes -----------------------------------------------------------------------------------------------


def unbase64(text, url=False):
    """RFC 4648 §4 with padding, or §5 without; only the canonical spelling of the bytes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4 if url else 0), altchars=b"-_" if url else None, validate=True)
    except ValueError:
        raise Malformed("not base64")
    again = base64.urlsafe_b64encode(data).rstrip(b"=") if url else base64.b64encode(data)
    if again.decode() != text:
        raise Malformed("base64 in another spelling")
    return data


TABLE = [functools.reduce(lambda c, _: c >> 1 ^ 0x82F63B78 * (c & 1), range(8), i) for i in range(256)]


def crc32c(*parts):
    crc = 0xFFFFFFFF
    for part in parts:
        for byte in part:
            crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


class Tree:
    """RFC 6962 §2: every complete subtree of a list of leaf hashes, so that the root of each size is at hand."""

    def __init__(self):
        self.rows = [[]]

    def append(self, leaf_hash):
        self.rows[0].append(leaf_hash)
        for height, row in enumerate(self.rows):
            if len(row) % 2:
                break
            if height + 1 == len(self.rows):
                self.rows.append([])
            self.rows[height + 1].append(sha(b"\x01", row[-2], row[-1]))

    def root(self, size):
        out = None
        for height, row in enumerate(self.rows):
            if size >> height & 1:
                left = row[(size >> height) - 1]
                out = left if out is None else sha(b"\x01", left, out)
        return sha() if out is None else out


def included(leaf_hash, index, size, path, root):
    """RFC 6962 §2.1.1, walked from the leaf up."""
    node, last, path = index, size - 1, list(path)
    if index >= size:
        return False
    while last:
        if node & 1 or node < last:
            if not path:
                return False
            side = path.pop(0)
            leaf_hash = sha(b"\x01", side, leaf_hash) if node & 1 else sha(b"\x01", leaf_hash, side)
        node, last = node >> 1, last >> 1
    return not path and leaf_hash == root


# ---- Files --------------------------------------------------------------------------------------------------------------


def read(*parts):
    """The bytes of a file, or None if there is none. No symbolic link is followed at its end."""
    try:
        fd = os.open(os.path.join(*parts), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Refused(f"{os.path.join(*parts)}: {error.strerror}")


def names(*parts):
    """The names in a directory, sorted; none if there is no directory. One that is a symbolic link is refused (§2)."""
    path = os.path.join(*parts)
    try:
        if os.path.islink(path):
            raise Refused(f"{path} is a symbolic link")
        return sorted(name for name in os.listdir(path) if not name.endswith(".tmp"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}")
