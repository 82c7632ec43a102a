"""A server of gRPC for those who have the key: one answer to one message, many to one, and many to many.

Reads the key from its first line of input, prints its port, and ends with its input.
"""

import concurrent.futures
import sys

import grpc

KEY = sys.stdin.readline().strip().encode()


def checked(context):
    if dict(context.invocation_metadata()).get("authorization") != "Bearer " + KEY.decode():
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")


def one(message, context):
    checked(context)
    context.set_trailing_metadata((("x-counted", str(len(message))),))
    return b"one <" + message + b"> for " + KEY


def many(message, context):
    checked(context)
    for number in range(int(message)):
        yield b"piece %d" % number


def both(messages, context):
    checked(context)
    for message in messages:
        yield b"back " + message


class Service(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/egress.Test/One": grpc.unary_unary_rpc_method_handler(one),
            "/egress.Test/Many": grpc.unary_stream_rpc_method_handler(many),
            "/egress.Test/Both": grpc.stream_stream_rpc_method_handler(both),
        }.get(details.method)


def content(name):
    with open(sys.argv[1] + "/" + name, "rb") as file:
        return file.read()


server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Service(),))
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(content("server.key"), content("server.pem"))]))
server.start()
print(port, flush=True)
sys.stdin.read()
server.stop(None)
