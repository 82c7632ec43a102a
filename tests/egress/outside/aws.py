"""S3 and STS, as much of them as their own command line needs: who signed is computed anew by botocore, from the real key.

Reads `ACCESS-KEY-ID:SECRET-KEY` from its first line of input, prints its port, and ends with its input.
"""

import hashlib
import http.server
import ssl
import sys
import threading
import urllib.parse

from awscli.botocore.auth import S3SigV4Auth, SigV4Auth
from awscli.botocore.awsrequest import AWSRequest
from awscli.botocore.credentials import Credentials

IDENTIFIER, KEY = sys.stdin.readline().strip().split(":", 1)
REGION = "eu-west-1"
OBJECTS = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return whole

    def wrong(self, body):
        """Why it is not signed as it should be; nothing where it is."""
        algorithm, _, rest = self.headers.get("authorization", "").partition(" ")
        fields = dict(field.strip().split("=", 1) for field in rest.split(",") if "=" in field)
        identifier, day, region, service, end = (fields.get("Credential", "") + "////").split("/")[:5]
        if (algorithm, identifier, region, end) != ("AWS4-HMAC-SHA256", IDENTIFIER, REGION, "aws4_request"):
            return "not signed by whom it should be: %s %s %s" % (algorithm, identifier, region)
        if service != ("sts" if self.headers["host"].startswith("sts.") else "s3"):
            return "signed for another service: %s" % service
        stated = self.headers.get("x-amz-content-sha256")
        if stated and len(stated) == 64 and hashlib.sha256(body).hexdigest() != stated:
            return "the body is not the one that was signed"
        signed = fields["SignedHeaders"].split(";")
        wanted = {"host", "x-amz-date"} | {name.lower() for name in self.headers if name.lower().startswith("x-amz-")}
        if not wanted <= set(signed):
            return "not signed: %s" % sorted(wanted - set(signed))
        url = "https://%s%s" % (self.headers["host"], self.path)
        request = AWSRequest(method=self.command, url=url, data=body)
        for name in signed:
            request.headers[name] = ",".join(self.headers.get_all(name))
        request.context["timestamp"] = self.headers["x-amz-date"]
        scheme = S3SigV4Auth if service == "s3" else SigV4Auth
        signer = scheme(Credentials(IDENTIFIER, KEY), service, region)
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        if not self.headers["x-amz-date"].startswith(day):
            return "signed for another day"
        return None if fields["Signature"] == expected else "SignatureDoesNotMatch"

    def answer(self):
        body = self.body()
        wrong = self.wrong(body)
        if wrong:
            print("wrong:", wrong, file=sys.stderr, flush=True)
            return self.say(403, ("<Error><Code>SignatureDoesNotMatch</Code><Message>%s</Message></Error>" % wrong).encode())
        if self.headers["host"].startswith("sts."):
            told = "<GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/egress</Arn><UserId>AIDAEGRESS</UserId>"
            told += "<Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata/>"
            return self.say(200, ("<GetCallerIdentityResponse>%s</GetCallerIdentityResponse>" % told).encode())
        path, _, query = self.path.partition("?")
        parts = [part for part in path.split("/") if part]
        # The bucket is in the name or in the path.
        if not self.headers["host"].startswith("s3."):
            parts.insert(0, self.headers["host"].split(".")[0])
        name = "/".join(urllib.parse.unquote(part) for part in parts)
        if self.command == "PUT":
            if "aws-chunked" in self.headers.get("content-encoding", ""):
                body = unchunked(body)
            OBJECTS[name] = body
            return self.say(200, b"", etag(body))
        if "list-type=2" in query:
            rows = "".join(
                "<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>%d</Size></Contents>"
                % (key.split("/", 1)[1], len(value)) for key, value in OBJECTS.items())
            return self.say(200, ("<ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>" % rows).encode())
        if name not in OBJECTS:
            return self.say(404, b"<Error><Code>NoSuchKey</Code></Error>")
        self.say(200, OBJECTS[name], etag(OBJECTS[name]))

    do_GET = do_PUT = do_HEAD = do_POST = answer

    def say(self, status, content, *fields):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def etag(content):
    return ("etag", '"%s"' % hashlib.md5(content).hexdigest())


def unchunked(body):
    """What is in the pieces of a payload whose checksum follows it."""
    whole, rest = b"", body
    while True:
        size, _, rest = rest.partition(b"\r\n")
        size = int(size.split(b";")[0], 16)
        if size == 0:
            return whole
        whole, rest = whole + rest[:size], rest[size + 2:]


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/server.pem", sys.argv[1] + "/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
