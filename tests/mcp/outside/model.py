"""A model that does what a script says, behind the Messages API: calls one tool after the other, then ends its turn.

    model.py PORT_FILE HEARD_FILE STEPS     STEPS: a JSON list of [tool, arguments]

It writes its port when it listens, and everything that it was asked, one JSON value a line. It never calls a tool that the
client does not offer: then it says so, and the turn ends.
"""

import http.server
import json
import os
import sys

port_file, heard_file, steps = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])


def results(messages):
    blocks = [block for message in messages if isinstance(message["content"], list) for block in message["content"]]
    return [block for block in blocks if block["type"] == "tool_result"]


def answer(request):
    offered = [tool.get("name") for tool in request.get("tools", [])]
    done = len(results(request["messages"]))
    # Without tools it is something else that the client wants, a title for instance.
    if not offered or done >= len(steps):
        return {"type": "text", "text": "finished"}, "end_turn"
    name, arguments = steps[done]
    if name not in offered:
        return {"type": "text", "text": f"{name} is not among {offered}"}, "end_turn"
    return {"type": "tool_use", "id": f"toolu_{done:02}", "name": name, "input": arguments}, "tool_use"


def events(request, block, stop):
    usage = {"input_tokens": 10, "output_tokens": 10}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield "message_start", {"message": message}
    if block["type"] == "text":
        yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
        yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": block["text"]}}
    else:
        yield "content_block_start", {"index": 0, "content_block": {**block, "input": {}}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield "content_block_delta", {"index": 0, "delta": delta}
    yield "content_block_stop", {"index": 0}
    yield "message_delta", {"delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}
    yield "message_stop", {}


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send("application/json", b"{}")

    do_HEAD = do_GET

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        with open(heard_file, "a") as heard:
            heard.write(json.dumps({"path": self.path, "request": request}) + "\n")
        if "count_tokens" in self.path:
            return self.send("application/json", b'{"input_tokens": 10}')
        if "/v1/messages" not in self.path:
            return self.send("application/json", b"{}")
        block, stop = answer(request)
        if request.get("stream"):
            lines = (f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n" for kind, data in events(request, block, stop))
            return self.send("text/event-stream", "".join(lines).encode())
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": [block],
                   "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 10}}
        self.send("application/json", json.dumps(message).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
with open(port_file + ".part", "w") as file:
    file.write(str(server.server_port))
os.rename(port_file + ".part", port_file)
server.serve_forever()
