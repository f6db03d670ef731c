"""A server by the official Python SDK: its tools answer much, tell how far they are, ask the client, and fail."""

from typing import Annotated

import anyio
from mcp.server.mcpserver import Context, Elicit, ListRoots, MCPServer, Resolve, Sample
from mcp_types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("python", version="1")


class Name(BaseModel):
    name: str


def ask_name() -> Elicit[Name]:
    return Elicit("Who are you?", Name)


def ask_model() -> Sample:
    return Sample([SamplingMessage(role="user", content=TextContent(type="text", text="Say something."))], max_tokens=9)


def ask_roots() -> ListRoots:
    return ListRoots()


@server.tool(structured_output=False)
def large(mib: int) -> str:
    return "x" * (mib << 20)


@server.tool(structured_output=False)
def length(text: str) -> str:
    return str(len(text))


@server.tool(structured_output=False)
async def slow(steps: int, ctx: Context) -> str:
    for step in range(steps):
        await anyio.sleep(0.05)
        await ctx.report_progress(step + 1, steps)
    return "slow"


@server.tool(structured_output=False)
def ask(
    name: Annotated[Name, Resolve(ask_name)],
    model: Annotated[CreateMessageResult, Resolve(ask_model)],
    roots: Annotated[ListRootsResult, Resolve(ask_roots)],
) -> str:
    return f"{name.name} {model.content.text} {roots.roots[0].uri}"


@server.tool(structured_output=False)
def fail() -> str:
    raise ValueError("as it was asked to")


@server.resource("test://resource")
def resource() -> str:
    return "a resource"


@server.prompt()
def prompt(word: str) -> str:
    return f"a prompt: {word}"


server.run()
