"""A little internet in a network namespace: a name server that changes its mind, and servers that must not be reached.

Every word of the command line is `NAME=ANSWER;ANSWER…`, an answer is addresses with commas: the first question for IPv4
gets the first answer, the next one the next, and the last stays. Prints what was reached, line by line.
"""

import http.server
import ipaddress
import socket
import socketserver
import sys
import threading

ANSWERS = {name: [answer.split(",") for answer in answers.split(";")]
           for name, answers in (word.split("=") for word in sys.argv[1:])}
SERVERS = [("93.184.216.34", "PUBLIC"), ("127.0.0.1", "INSIDE"), ("10.9.8.7", "INSIDE"), ("169.254.169.254", "INSIDE"),
           ("::1", "INSIDE")]
A, AAAA = 1, 28


class Names(socketserver.BaseRequestHandler):
    def handle(self):
        message, sock = self.request
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1:at + 1 + message[at]].decode().lower())
            at += 1 + message[at]
        question = message[12:at + 5]
        kind = int.from_bytes(message[at + 1:at + 3], "big")
        answers = ANSWERS.get(".".join(labels), [[]])
        now = answers[0]
        if kind == A and len(answers) > 1:
            answers.pop(0)
        packed = [ipaddress.ip_address(text).packed for text in now if text]
        packed = [address for address in packed if len(address) == {A: 4, AAAA: 16}.get(kind)]
        head = message[:2] + b"\x81\x80\0\1" + len(packed).to_bytes(2, "big") + b"\0\0\0\0"
        record = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\0"
        body = b"".join(record + len(address).to_bytes(2, "big") + address for address in packed)
        sock.sendto(head + question + body, self.client_address)


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_GET(self):
        print("reached", self.server.server_address[0], self.server.told, flush=True)
        self.send_response(200)
        self.send_header("content-length", str(len(self.server.told) + 1))
        self.end_headers()
        self.wfile.write(self.server.told.encode() + b"\n")


def start(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


class WebServer(http.server.ThreadingHTTPServer):
    def server_bind(self):
        socketserver.TCPServer.server_bind(self)


for address, told in SERVERS:
    WebServer.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    web = WebServer((address, 80), Web)
    web.told = told
    start(web)
start(socketserver.ThreadingUDPServer(("127.0.0.1", 53), Names))
print("ready", flush=True)
threading.Event().wait()
