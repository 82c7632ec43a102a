"""The Python client of the registry against `stockade mcp`, in the era that is named: what a model's harness does with it.

    python_client.py ERA STOCKADE WORKSPACE PROFILE     ERA: legacy, auto or a version

It never looks at the wire: what the library makes of the answers is what is tested.
"""

import asyncio
import json
import sys

from mcp import MCPError, StdioServerParameters
from mcp.client import Client

era, stockade, workspace, profile = sys.argv[1:]
import os

server = StdioServerParameters(
    command=stockade, args=["mcp", "--workspace", workspace, "--profile", profile], env=dict(os.environ)
)


def text(result):
    return "".join(block.text for block in result.content if block.type == "text")


async def work():
    async with Client(server, mode=era) as client:
        print("version", client.protocol_version)
        assert client.server_info.name == "stockade", client.server_info
        assert "sandbox" in client.instructions, client.instructions
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"bash", "diff", "apply", "audit_receipt"} <= set(tools), tools
        for tool in tools.values():
            assert tool.title and tool.description and tool.annotations, tool
        assert tools["diff"].annotations.read_only_hint and not tools["bash"].annotations.read_only_hint

        # The library holds structured content against the schema by itself, and raises where it does not fit.
        said = await client.call_tool("bash", {"command": "echo one; echo two >&2; echo x > made"})
        assert not said.is_error and text(said) == "one\ntwo\n", said
        assert said.structured_content["stdout"] == "one\n" and said.structured_content["stderr"] == "two\n", said
        receipt = said.meta["stockade/receipt"]
        assert len(receipt["leaf_hash"]) == 64 and receipt["position"] > 0 and receipt["checkpoint"], receipt

        heard = []

        async def progress(done, total, message):
            heard.append((done, message))

        said = await client.call_tool(
            "bash", {"command": "for i in 1 2 3; do echo line $i; sleep 0.4; done"}, progress_callback=progress
        )
        assert text(said) == "line 1\nline 2\nline 3\n", said
        assert heard and heard == sorted(heard) and "line" in heard[-1][1], heard

        said = await client.call_tool("bash", {"command": "seq 100000"})
        pages = 1
        while "cursor" in said.structured_content:
            said = await client.call_tool("bash", {"cursor": said.structured_content["cursor"]})
            pages += 1
        assert pages > 10 and "100000" in text(said), pages

        # Components: the same holding against their schemas.
        for name, arguments, words in [
            ("write", {"file_path": "made", "content": "y\nx\n"}, "made"),
            ("read", {"file_path": "made"}, "y"),
            ("edit", {"file_path": "made", "old_string": "y\n", "new_string": ""}, "made"),
            ("grep", {"pattern": "^x$"}, "made"),
            ("glob", {"pattern": "ma*"}, "made"),
            ("list", {}, "made"),
            ("shell", {"command": "cat made | tr x z"}, "z"),
        ]:
            said = await client.call_tool(name, arguments)
            assert not said.is_error and words in text(said) and said.structured_content is not None, (name, said)
            assert said.meta["stockade/receipt"]["position"], said
        said = await client.call_tool("read", {"file_path": "no-such-file"})
        assert said.is_error and said.meta["stockade/receipt"], said

        said = await client.call_tool("diff", {})
        assert "+x" in text(said) and said.structured_content["total"] == 1, said
        said = await client.call_tool("apply", {})
        assert said.is_error and "denied" in text(said) and "to ask:" in text(said), said
        assert said.meta["stockade/denial"]["reason"] and said.meta["stockade/receipt"]["position"], said
        said = await client.call_tool("bash", {"command": "cat /etc/shadow"})
        assert said.structured_content["exit_code"] == 1, said
        said = await client.call_tool("bash", {"comand": "typo"})
        assert said.is_error and "command" in text(said), said
        try:
            await client.call_tool("nosuch", {})
            raise AssertionError("a tool that there is not was called")
        except MCPError as error:
            assert error.error.code == -32602, error.error

        # Two at once come back each to its own; a call that is given up ends, and the next one is served.
        both = await asyncio.gather(*(client.call_tool("bash", {"command": f"echo {n}"}) for n in range(2)))
        assert [text(one) for one in both] == ["0\n", "1\n"], both
        try:
            await asyncio.wait_for(client.call_tool("bash", {"command": "sleep 1000"}), 1)
            raise AssertionError("it did not wait")
        except TimeoutError:
            pass
        said = await asyncio.wait_for(client.call_tool("bash", {"command": "echo on"}), 30)
        assert text(said) == "on\n", said
        said = await client.call_tool("audit_receipt", {"calls": 3})
        assert said.structured_content["covered"] and len(said.structured_content["calls"]) == 3, said
        print(json.dumps({"log": said.structured_content["log"]}))


asyncio.run(asyncio.wait_for(work(), 120))
print("held")
