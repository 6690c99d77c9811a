"""An agent of LiveKit Agents whose tools are the methods of a page."""

import asyncio
import json
import os
from typing import Any

from livekit import api, rtc
from livekit.agents import Agent, AgentSession, ToolError, function_tool, llm
from livekit.agents.utils import wait_for_participant

from trio_rpc.typed.forwarding import Tool, forward_tool


class ScriptedModel(llm.LLM):
    """A stand-in for a model: it always wants the first tool, and repeats its result."""

    def chat(self, *, chat_ctx: Any, tools: Any, conn_options: Any, **_: Any) -> llm.LLMStream:
        return ScriptedReply(self, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)


class ScriptedReply(llm.LLMStream):
    async def _run(self) -> None:
        last = self._chat_ctx.items[-1]
        delta = llm.ChoiceDelta(role="assistant")
        if last.type == "function_call_output":
            delta.content = f"The tool said: {last.output}"
        else:
            question = {"question": "Which colour shall the kitchen have?"}
            delta.tool_calls = [
                llm.FunctionToolCall(
                    name=self._tools[0].info.name,
                    arguments=json.dumps(question),
                    call_id="call_1",
                )
            ]
        self._event_ch.send_nowait(llm.ChatChunk(id="chunk_1", delta=delta))


async def tool_of_page(room: rtc.Room, method: str) -> Tool:
    # The model reads the text of a ToolError, and of no other.
    return await forward_tool(
        room, "page", method, timeout=60, on_error=lambda error: ToolError(str(error))
    )


async def converse(room: rtc.Room, question: str) -> str:
    tools = [function_tool(await tool_of_page(room, name)) for name in ("pick_colour", "confirm")]
    async with AgentSession[None](llm=ScriptedModel()) as session:
        await session.start(Agent(instructions="Ask the user before you paint.", tools=tools))
        result = await session.run(user_input=question)
        return str(result.events[-1].item.text_content)


async def main() -> None:
    grants = api.VideoGrants(room_join=True, room="demo")
    token = api.AccessToken().with_identity("agent").with_grants(grants).to_jwt()
    room = rtc.Room()
    await room.connect(os.environ["LIVEKIT_URL"], token)
    try:
        await wait_for_participant(room, identity="page")
        print(await converse(room, "Let us paint the kitchen."), flush=True)
    finally:
        await room.disconnect()


asyncio.run(main())
