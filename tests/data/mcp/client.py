"""The official Python SDK as a client: does what its argument says, and prints what came of it as a line of JSON.

The argument is JSON: {"command", "args", "mode": "auto" or "legacy", "calls": [[name, arguments], ...], "read": [uri, ...]}.
"""

import asyncio
import json
import sys

from mcp import Client, MCPError, StdioServerParameters


async def main():
    order = json.loads(sys.argv[1])
    server = StdioServerParameters(command=order["command"], args=order["args"])
    plain = lambda model: model.model_dump(mode="json", by_alias=True, exclude_none=True)
    async with Client(server, mode=order["mode"], read_timeout_seconds=60, cache=None) as client:
        # Listing first: the SDK then holds what is answered against each tool's schema.
        tools = plain(await client.list_tools())["tools"]
        calls = []
        for name, arguments in order["calls"]:
            try:
                calls.append(plain(await client.call_tool(name, arguments)))
            except MCPError as error:
                calls.append({"error": plain(error.error)})
        read = [plain(await client.read_resource(uri)) for uri in order["read"]]
        print(
            json.dumps(
                {
                    "server": plain(client.server_info),
                    "protocol": client.protocol_version,
                    "tools": tools,
                    "calls": calls,
                    "resources": plain(await client.list_resources())["resources"],
                    "templates": plain(await client.list_resource_templates())["resourceTemplates"],
                    "read": read,
                }
            )
        )


asyncio.run(main())
