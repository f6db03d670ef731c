"""The official Python SDK as a client: does what its argument says, and prints what came of it as a line of JSON.

The argument is JSON: {"command", "args", "mode": "auto" or "legacy", "calls": [[tool, arguments], ...], "read": [uri, ...]},
and where the server has them {"prompts": [[prompt, arguments], ...], "cancelled": [[tool, arguments], ...]}: calls that are
given up once they have told how far they are. An argument {"mib": N} is that much text; of long answers the length is told.
"""

import asyncio
import json
import sys

import anyio
from mcp import Client, MCPError, StdioServerParameters
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

asked, logged = set(), []


async def sample(context, params):
    asked.add("sampling/createMessage")
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="sampled"), model="none")


async def elicit(context, params):
    asked.add("elicitation/create")
    return ElicitResult(action="accept", content={"name": "nobody"})


async def list_roots(context):
    asked.add("roots/list")
    return ListRootsResult(roots=[Root(uri="file:///root", name="root")])


async def log(params):
    logged.append(params.level)


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def given(arguments):
    return {key: "x" * (value["mib"] << 20) if isinstance(value, dict) else value for key, value in arguments.items()}


def short(result):
    for content in result.get("content", []):
        if len(content.get("text", "")) > 10_000:
            content["text"] = len(content["text"])
    return result


async def call(client, name, arguments):
    progress = []

    async def tell(done, total, message):
        progress.append(done)

    try:
        result = short(plain(await client.call_tool(name, given(arguments), progress_callback=tell)))
    except MCPError as error:
        result = {"error": plain(error.error)}
    return result | ({"progress": progress} if progress else {})


async def cancel(client, name, arguments):
    with anyio.CancelScope() as scope:

        async def tell(done, total, message):
            scope.cancel()

        await client.call_tool(name, arguments, progress_callback=tell)
    return scope.cancelled_caught


async def main():
    order = json.loads(sys.argv[1])
    client = Client(
        StdioServerParameters(command=order["command"], args=order["args"]),
        mode=order["mode"],
        read_timeout_seconds=600,
        cache=None,
        sampling_callback=sample,
        elicitation_callback=elicit,
        list_roots_callback=list_roots,
        logging_callback=log,
    )
    async with client:
        # Listing first: the SDK then holds what is answered against each tool's schema.
        said = {
            "server": plain(client.server_info),
            "protocol": client.protocol_version,
            "tools": plain(await client.list_tools())["tools"],
        }
        said["calls"] = [await call(client, *one) for one in order["calls"]]
        said["cancelled"] = [await cancel(client, *one) for one in order.get("cancelled", [])]
        if "prompts" in order:
            said["prompts"] = plain(await client.list_prompts())["prompts"]
            said["prompted"] = [plain(await client.get_prompt(*one)) for one in order["prompts"]]
        said["read"] = [plain(await client.read_resource(uri)) for uri in order["read"]]
        said["resources"] = plain(await client.list_resources())["resources"]
        said["templates"] = plain(await client.list_resource_templates())["resourceTemplates"]
    print(json.dumps(said | {"asked": sorted(asked), "logged": len(logged)}))


asyncio.run(main())
