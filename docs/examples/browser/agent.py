"""An agent whose tools are the methods of a page: it forwards a model's tool calls to the page."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio

from trio_rpc import AccessToken, RemoteParticipant, Room, RpcError, VideoGrants

Message = dict[str, Any]


class Model(Protocol):
    """A language model with tools, in the words of Anthropic's Messages API."""

    async def reply(self, messages: list[Message], tools: list[Message]) -> Message:
        """Return the message of the model that comes after `messages`."""


class ScriptedModel:
    """A stand-in for a model: it always wants the last tool, and repeats its result.

    A real one goes here, with a client of its vendor's:

        client.messages.create(model=…, max_tokens=…, messages=messages, tools=tools)
    """

    async def reply(self, messages: list[Message], tools: list[Message]) -> Message:
        last = messages[-1]["content"]
        if isinstance(last, str):
            call = {
                "type": "tool_use",
                "id": "toolu_1",
                "name": tools[-1]["name"],
                "input": {"question": "Which colour shall the kitchen have?"},
            }
            return {"role": "assistant", "stop_reason": "tool_use", "content": [call]}
        text = f"The tool said: {last[0]['content']}"
        content = [{"type": "text", "text": text}]
        return {"role": "assistant", "stop_reason": "end_turn", "content": content}


class Page:
    """The page, as the tools of a model."""

    def __init__(self, participant: RemoteParticipant) -> None:
        self._participant = participant

    async def run(self, call: Message) -> Message:
        """Forward a tool call to the page, and return the result for the model."""
        result = {"type": "tool_result", "tool_use_id": call["id"]}
        try:
            answer = await self._participant.perform_rpc(
                call["name"], json.dumps(call["input"]), response_timeout=60
            )
        except RpcError as error:
            # The model can read it, and do something else.
            return {**result, "content": error.message, "is_error": True}
        return {**result, "content": answer}


async def tools_of(room: Room, identity: str) -> list[Message]:
    """Return the methods of a participant, as the tools of a model."""
    return [
        {"name": each.name, "description": each.description, "input_schema": each.input_schema}
        for each in await room.discover(identity)
        if each.input_schema is not None
    ]


async def converse(model: Model, page: Page, tools: list[Message], question: str) -> str:
    """Ask the model, run the tools that it wants, and return what it says in the end."""
    messages: list[Message] = [{"role": "user", "content": question}]
    while True:
        reply = await model.reply(messages, tools)
        messages.append({"role": reply["role"], "content": reply["content"]})
        if reply["stop_reason"] != "tool_use":
            return "".join(part["text"] for part in reply["content"] if part["type"] == "text")
        calls = [part for part in reply["content"] if part["type"] == "tool_use"]
        messages.append({"role": "user", "content": await run_all(page, calls)})


async def run_all(page: Page, calls: list[Message]) -> list[Message]:
    """Run tool calls at the same time, and return their results in order."""
    results: dict[str, Message] = {}

    async def run(call: Message) -> None:
        results[call["id"]] = await page.run(call)

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(run, call)
    return [results[call["id"]] for call in calls]


@asynccontextmanager
async def joined(identity: str) -> AsyncIterator[Room]:
    grants = VideoGrants(room_join=True, room="demo")
    token = AccessToken().with_identity(identity).with_grants(grants).to_jwt()
    async with Room().connect(os.environ["LIVEKIT_URL"], token) as room:
        yield room


async def main() -> None:
    async with joined("agent") as room:
        page = Page(await room.wait_for_method("page", "pick_colour"))
        tools = await tools_of(room, "page")
        print(await converse(ScriptedModel(), page, tools, "Let us paint the kitchen."))


trio.run(main)
