"""An upstream that misbehaves in the way that its argument names: `python3 hostile.py NAME`.

It speaks HTTP/1.1 or, to whoever begins it, HTTP/2 without TLS; prints its port and ends with its standard input.
"""

import os
import socket
import sys
import threading
import time

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
requests = 0


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name, value):
    def text(value):
        head, rest = (bytes([len(value)]), 0) if len(value) < 127 else (b"\x7f", len(value) - 127)
        if head == b"\x7f":
            while rest >= 128:
                head, rest = head + bytes([rest % 128 + 128]), rest // 128
            head += bytes([rest])
        return head + value

    return b"\0" + text(name.encode()) + text(value.encode())


def endless(stream, piece):
    while True:
        stream.sendall(piece)


# ---- HTTP/1.1: each is called when a request has come, with the connection and what number the request has on it ----


def good(stream, number):
    stream.sendall(OK + b"content-length: 4\r\n\r\ngood")


def slow_head(stream, number):
    for byte in OK + b"x: " + b"a" * 200:
        stream.sendall(bytes([byte]))
        time.sleep(1)


def interim(stream, number):
    endless(stream, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 10)


def some_interim(stream, number):
    stream.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 20)
    good(stream, number)


def long_head(stream, number):
    stream.sendall(OK)
    endless(stream, b"x: " + b"a" * 8_000 + b"\r\n")


def endless_trailers(stream, number):
    stream.sendall(OK + b"transfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n")
    endless(stream, b"x: a\r\n" * 100)


def endless_extension(stream, number):
    stream.sendall(OK + b"transfer-encoding: chunked\r\n\r\n4;")
    endless(stream, b"a" * 1_000)


def overflowing_chunk(stream, number):
    stream.sendall(OK + b"transfer-encoding: chunked\r\n\r\n10000000000000004\r\ngood\r\n0\r\n\r\n")


def short_body(stream, number):
    stream.sendall(OK + b"content-length: 100\r\n\r\ngood")
    stream.shutdown(socket.SHUT_RDWR)


def no_http(stream, number):
    stream.sendall(b"SSH-2.0-hostile\r\n")


def two_answers(stream, number):
    stream.sendall((OK + b"content-length: 4\r\n\r\ngood") + (OK + b"content-length: 4\r\n\r\nevil"))


def unasked_upgrade(stream, number):
    stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: evil\r\nconnection: upgrade\r\n\r\nevil")


def ends_between(stream, number):
    """Keeps the connection, as it says, until the next request has come: then it ends without a word."""
    if number == 1:
        return good(stream, number)
    stream.shutdown(socket.SHUT_RDWR)


def ends_after(stream, number):
    good(stream, number)
    stream.shutdown(socket.SHUT_RDWR)


# ---- HTTP/2: each is called when the first request has come ----------------------------------------------------------

ANSWER = frame(HEADERS, END_HEADERS, 1, b"\x88")


def two_good(stream):
    stream.sendall(ANSWER + frame(DATA, END_STREAM, 1, b"good"))


def two_pings(stream):
    endless(stream, frame(PING, 0, 0, b"12345678") * 100)


def two_settings(stream):
    endless(stream, frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64") * 100)


def two_empty(stream):
    stream.sendall(ANSWER)
    endless(stream, frame(DATA, 0, 1) * 100)


def two_interim(stream):
    endless(stream, frame(HEADERS, END_HEADERS, 1, b"\x08\x03103") * 10)


def two_continuation(stream):
    stream.sendall(frame(HEADERS, 0, 1, b"\x88"))
    endless(stream, frame(CONTINUATION, 0, 1, field("x", "a" * 16_000)))


def two_bomb(stream):
    big = b"\x40" + field("x-bomb", "a" * 3_900)[1:]
    stream.sendall(frame(HEADERS, END_HEADERS, 1, b"\x88" + big + b"\xbe" * 12_000))
    time.sleep(5)


def two_push(stream):
    stream.sendall(frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2\x82\x86\x84"))
    two_good(stream)
    time.sleep(5)


def two_resets(stream):
    stream.sendall(frame(RST_STREAM, 0, 1, b"\0\0\0\x0b"))
    endless(stream, frame(RST_STREAM, 0, 1, b"\0\0\0\x0b") * 100)


def two_stall(stream):
    """Takes 64 KiB of an upload, as every server does at first, and no more."""
    time.sleep(4)
    stream.shutdown(socket.SHUT_RDWR)


def serve(stream, name):
    global requests
    have, number = b"", 0
    try:
        while len(have) < len(PREFACE):
            part = stream.recv(65536)
            if not part:
                return
            have += part
        if have.startswith(PREFACE):
            stream.sendall(frame(SETTINGS) + frame(SETTINGS, ACK))
            if name != "two_stall":
                threading.Thread(target=drain, args=(stream,), daemon=True).start()
            time.sleep(0.3)
            return globals()[name](stream)
        while True:
            while b"\r\n\r\n" not in have:
                part = stream.recv(65536)
                if not part:
                    return
                have += part
            head, have = have.split(b"\r\n\r\n", 1)
            number, requests = number + 1, requests + 1
            os.write(2, b"%d on its connection: %s\n" % (number, head.split(b"\r\n")[0]))
            globals()[name](stream, number)
    except OSError as error:
        os.write(2, b"ended: %s\n" % str(error).encode())
    finally:
        stream.close()


def drain(stream):
    try:
        while stream.recv(65536):
            pass
    except OSError:
        pass


def accept(listener, name):
    while True:
        stream, _ = listener.accept()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(stream, name), daemon=True).start()


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, sys.argv[1]), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    while sys.stdin.buffer.read(64):
        pass
    os._exit(0)
