"""Clients of the outlet's tests, by hand where no client would send such a thing.

Unconfined, VIA says which port of the loopback stands for which port of every name; inside it is not there.
"""

import os
import socket
import ssl
import sys

KEY = os.environ.get("API_KEY", "")
VIA = dict(pair.split("=") for pair in os.environ.get("VIA", "").split(",") if pair)
PROXY = ("proxy.stockade.internal", 3128)


def dial(name, port):
    if str(port) in VIA:
        name, port = "127.0.0.1", int(VIA[str(port)])
    made = socket.create_connection((name, port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def tls(name, port=443, sni=None, alpn=("http/1.1",), through=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(through or dial(name, port), server_hostname=sni or name)


def lenient(name):
    """The host; unconfined, a server that reads nothing into what it gets and sends it back."""
    if not VIA:
        return tls(name)
    made = dial("raw.test", 2222)
    made.settimeout(0.3)
    return made


def all_of(stream, limit=1 << 20):
    got = b""
    try:
        while len(got) < limit:
            part = stream.recv(65536)
            if not part:
                break
            got += part
    except OSError as error:
        got += ("(%s)" % error).encode()
    return got


def show(stream, *pieces):
    """Sends pieces one by one, and prints what comes until the end."""
    try:
        for piece in pieces:
            stream.sendall(piece if isinstance(piece, bytes) else piece.encode())
    except OSError as error:
        print("(%s)" % error)
    print(all_of(stream).decode("latin-1"))


def head(method, target, host, *fields):
    lines = ["%s %s HTTP/1.1" % (method, target), "host: %s" % host, "connection: close", *fields, "", ""]
    return "\r\n".join(lines)
